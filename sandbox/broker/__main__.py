"""Run the broker: `python -m sandbox.broker --port 5679 --config sandbox/broker/Config.json [--control-port 5680]`.

Prints `ready sb://127.0.0.1:PORT` when it serves (port 0 takes a free one), and after it `control
http://127.0.0.1:PORT` when a control port is asked for; see `sandbox.broker.server` for what that answers. SIGTERM or
Ctrl-C closes every connection and exits 0; a configuration that cannot be used, or a port that is taken, exits 2.
"""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from sandbox.broker.config import ConfigError, Topology, read_topology
from sandbox.broker.server import Broker


def main() -> int:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.broker", description=__doc__)
    parser.add_argument("--port", type=int, default=5679, help="AMQP port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("Config.json"), help="the topology")
    parser.add_argument("--control-port", type=int, default=None, help="HTTP port for GET /state; 0 takes a free one")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        topology = read_topology(arguments.config)
    except ConfigError as error:
        print(f"broker: {error}", file=sys.stderr)
        return 2
    try:
        asyncio.run(_serve(topology, arguments.port, arguments.control_port))
    except OSError as error:
        print(f"broker: {error}", file=sys.stderr)
        return 2
    return 0


async def _serve(topology: Topology, port: int, control_port: int | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    broker = Broker(topology)
    await broker.start(port, control_port)
    print(f"ready sb://127.0.0.1:{broker.port}", flush=True)
    if broker.control_port is not None:
        print(f"control http://127.0.0.1:{broker.control_port}", flush=True)
    await stop.wait()
    await broker.close()


if __name__ == "__main__":
    sys.exit(main())
