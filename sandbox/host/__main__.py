"""Run one worker: `python -m sandbox.host --app DIR --port P --host-keys default=…,master=…`.

Prints `ready http://127.0.0.1:P` once HTTP serves and receivers are attached. SIGTERM drains and exits 0; a restart
asked for over HTTP drains and exits 75, which tells the one who started the worker to start it again.
"""

import argparse
import asyncio
import os
import secrets
import socket
import sys
from pathlib import Path

from sandbox.host.keys import parse_keys
from sandbox.host.serve import Options, serve


def main() -> int:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.host")
    parser.add_argument("--app", type=Path, default=Path.cwd(), help="folder of function_app.py and host.json")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--port", type=int, default=7071)
    where.add_argument("--listen-fd", type=int, help="an inherited listening socket instead of a port")
    parser.add_argument("--host-keys", required=True, help="default=…,master=…")
    parser.add_argument("--function-keys", default="", help="function=key,…")
    parser.add_argument("--token-secret", default=os.environ.get("SANDBOX_TOKEN_SECRET", ""), help="signs tokens")
    parser.add_argument("--timers", choices=["on-demand", "schedule"], default="on-demand")
    parser.add_argument("--drain-seconds", type=float, default=25.0, help="how long a stop waits for work to finish")
    given = parser.parse_args()
    try:
        keys = parse_keys(given.host_keys, given.function_keys)
    except ValueError as fault:
        parser.error(str(fault))
    listen = socket.socket(fileno=given.listen_fd) if given.listen_fd is not None else _bound(given.port)
    options = Options(
        app=given.app.resolve(),
        listen=listen,
        keys=keys,
        token_secret=given.token_secret or secrets.token_urlsafe(32),
        identity_header=secrets.token_urlsafe(32),
        keeps_schedule=given.timers == "schedule",
        drain_seconds=given.drain_seconds,
    )
    return asyncio.run(serve(options))


def _bound(port: int) -> socket.socket:
    listen = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listen.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listen.bind(("127.0.0.1", port))
    except OSError as fault:
        raise SystemExit(f"port {port} of 127.0.0.1 cannot be had: {fault}") from fault
    return listen


if __name__ == "__main__":
    sys.exit(main())
