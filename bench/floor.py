"""The floor of a benchmark: a bare app in a worker of its own, under the same host, on the stack's own systems."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec

from sandbox.processes import Child, Command, start
from sandbox.stack import ROOT

SAP_URL, SAP_AUTHORIZATION, TABLES, BUS = "BARE_SAP_URL", "BARE_SAP_AUTHORIZATION", "BARE_TABLES", "ServiceBus"
"""Environment of the process that serves a floor."""


async def start_floor(module: str, folder: Path, described: dict[str, Any], *, on_bus: bool) -> tuple[Child, str, str]:
    """The worker that serves `app` of a module, its url and its key; `described` is the content of stack.json.

    It has the app's own host settings. One that does not receive has none of the bus.
    """
    app, key = folder / "bare", secrets.token_hex(16)
    await asyncio.to_thread(_write_app, app, module, on_bus)
    listen = socket.create_server(("127.0.0.1", 0), backlog=1024)
    try:
        sap = described["sap"]
        environment = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
            SAP_URL: sap["url"],
            SAP_AUTHORIZATION: _basic(sap["user"], sap["password"]),
            TABLES: described["tables"]["connection_string"],
            BUS: described["servicebus"]["connection_string"],
        }
        line = [sys.executable, "-m", "sandbox.host", "--app", str(app), "--listen-fd", str(listen.fileno())]
        line += ["--host-keys", f"default={key},master={key}"]
        child = await start(Command("bare", line, environment, folder / "bare.log", ROOT, (listen.fileno(),)))
        await child.ready()
        return child, f"http://127.0.0.1:{listen.getsockname()[1]}", key
    finally:
        listen.close()


def _write_app(app: Path, module: str, on_bus: bool) -> None:
    app.mkdir()
    (app / "function_app.py").write_text(f"from {module} import app\n\n__all__ = ['app']\n")
    host = msgspec.json.decode((ROOT / "host.json").read_bytes())
    if not on_bus:
        del host["extensions"]["serviceBus"]
    (app / "host.json").write_bytes(msgspec.json.encode(host))


def _basic(user: str, password: str) -> str:
    """The Authorization header of a communication user."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
