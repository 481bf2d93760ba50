"""One worker process: index, attach, serve, drain."""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

from sandbox.host.admin import Admin, Fire
from sandbox.host.http import Front, Identity
from sandbox.host.keys import Keys
from sandbox.host.routes import Routes
from sandbox.host.runtime import AppNotIndexed, BusRefused, Function, Invoked, Invoker, index
from sandbox.host.settings import BusSettings, HostSettings, SettingsRefused, is_disabled, read_settings
from sandbox.host.timers import Timer, timers_of

if TYPE_CHECKING:
    from sandbox.host.bus import Listener

RESTART_EXIT_CODE: Final = 75
_LAST_ANSWERS_SECONDS: Final = 0.2  # after the drain, to write the answers of what has finished
_QUIET_LOGGERS: Final = ("azure", "azure.functions", "aiohttp.access", "asyncio")


@dataclass(frozen=True, slots=True)
class Options:
    """How one worker is started. `listen` is a bound socket; it is closed by the worker at the end."""

    app: Path
    listen: socket.socket
    keys: Keys
    token_secret: str
    identity_header: str
    keeps_schedule: bool
    drain_seconds: float


async def serve(options: Options) -> int:
    """Serve until SIGTERM, SIGINT or a restart; returns the exit code: 0, 1 (cannot serve) or 75 (start me again)."""
    url = "http://{}:{}".format(*options.listen.getsockname())
    os.environ["IDENTITY_ENDPOINT"] = f"{url}/__identity/token"
    os.environ["IDENTITY_HEADER"] = options.identity_header
    stop = _Stop()
    try:
        settings = read_settings(options.app)
        _set_up_logging(settings.log_level)
        functions = [function for function in await index(options.app) if not is_disabled(function.name)]
        worker = _Worker(options, settings, functions, stop)
        await _started_or_stopped(worker, stop)
    except (AppNotIndexed, SettingsRefused, BusRefused) as fault:
        print(f"the functions host cannot serve {options.app}: {fault}", file=sys.stderr, flush=True)
        return 1
    if not stop.asked.is_set():
        print(f"ready {url}", flush=True)
    await stop.asked.wait()
    finished = await worker.drain()
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # an app has no hook to close its sessions in
    if not finished:
        print("the drain took too long: what is still at work is given up", file=sys.stderr, flush=True)
        os._exit(stop.exit_code)  # a function that blocks a thread would hold up the exit
    return stop.exit_code


async def _started_or_stopped(worker: "_Worker", stop: "_Stop") -> None:
    """Start, unless the stop comes first. Raises BusRefused."""
    starting = asyncio.create_task(worker.start())
    stopping = asyncio.create_task(stop.asked.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if starting.done():
        starting.result()
    else:
        starting.cancel()
        await asyncio.wait((starting,))


class _Stop:
    """Why and when the worker is to stop."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.exit_code = 0
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.asked.set)

    def restart(self) -> None:
        self.exit_code = RESTART_EXIT_CODE
        # the answer to the one who asked goes out before the drain closes connections
        asyncio.get_running_loop().call_later(0.05, self.asked.set)


class _Worker:
    def __init__(self, options: Options, settings: HostSettings, functions: list[Function], stop: _Stop) -> None:
        self._options = options
        self._invoker = Invoker(settings.function_timeout_seconds)
        self._timers = timers_of(functions, self._invoker)
        self._listeners = _listeners_of(functions, settings.bus, self._invoker)
        fires: dict[str, Fire] = {timer.function.name: _on_demand(timer) for timer in self._timers}
        fires |= {listener.function.name: listener.fire for listener in self._listeners}
        routes = Routes([f for f in functions if f.kind == "httpTrigger"], settings.route_prefix)
        self._is_ready = False
        self._admin = Admin(
            options.keys, functions, fires, lambda: self._is_ready, lambda: self._invoker.running, stop.restart
        )
        identity = Identity(options.token_secret, options.identity_header)
        front = Front(settings, routes, options.keys, identity, self._invoker, self._admin.handle)
        self._runner = web.ServerRunner(
            # Azure's host hands a compressed body to the app as it came.
            web.Server(front.handle, access_log=None, keepalive_timeout=600, auto_decompress=False),
            shutdown_timeout=_LAST_ANSWERS_SECONDS,
        )
        self._schedules: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Serve HTTP and attach every receiver. Raises BusRefused."""
        await self._runner.setup()
        await web.SockSite(self._runner, self._options.listen, backlog=1024).start()
        try:
            async with asyncio.TaskGroup() as group:
                for listener in self._listeners:
                    group.create_task(listener.start())
        except* BusRefused as refused:
            await self.drain()
            raise BusRefused("\n".join(str(fault) for fault in refused.exceptions)) from None
        if self._options.keeps_schedule:
            self._schedules = [asyncio.create_task(timer.keep_schedule()) for timer in self._timers]
        self._is_ready = True

    async def drain(self) -> bool:
        """Take nothing new, finish what is at work within the drain time, close; False when it was not finished."""
        self._is_ready = False
        limit = self._options.drain_seconds
        deadline = time.monotonic() + limit
        for schedule in self._schedules:
            schedule.cancel()
        for site in tuple(self._runner.sites):
            await site.stop()
        await asyncio.gather(*(listener.stop(limit) for listener in self._listeners), self._invoker.drained(limit))
        finished = await self._invoker.drained(max(0.0, deadline - time.monotonic()))
        await self._runner.cleanup()
        return finished


def _listeners_of(functions: Sequence[Function], settings: BusSettings, invoker: Invoker) -> "tuple[Listener, ...]":
    """Raises SettingsRefused. The Service Bus client is slow to import: an app without its triggers starts without."""
    triggered = [function for function in functions if function.kind == "serviceBusTrigger"]
    if not triggered:
        return ()
    from sandbox.host.bus import Listener

    return tuple(Listener(function, settings, invoker) for function in triggered)


def _on_demand(timer: Timer) -> Callable[[str | None], Awaitable[Invoked]]:
    async def fire(_: str | None) -> Invoked:
        return await timer.fire()

    return fire


def _set_up_logging(level: str) -> None:
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for name in _QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("azure.servicebus").setLevel(logging.CRITICAL)  # what matters of it is told in one line
