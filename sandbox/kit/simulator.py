"""One simulator process: its own routes, the control surface every simulator has, a call log, faults and events."""

import argparse
import asyncio
import signal
import ssl
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar, Final

from aiohttp import web

from sandbox.kit import exact_json
from sandbox.kit.events import Emitter, RetryPolicy
from sandbox.kit.faults import Asked, Faults, Handler
from sandbox.kit.state import Clock, State

CONTROL: Final = "/__sim/"
_BODY_BYTES_MAX: Final = 64 * 1024 * 1024
_CALLS_KEPT: Final = 200_000


@dataclass(frozen=True, slots=True)
class Settings:
    """What a simulator is told at start. `options` are those its own class adds (dashes as underscores)."""

    functions_url: str | None = None
    functions_key: str = ""
    token_secret: str = ""
    options: dict[str, str | None] = field(default_factory=dict)


@dataclass(slots=True)
class Call:
    """One call received. `status` is None while unanswered, and stays None if it never is.

    `parts` are the calls that it carried, where it was a batch.
    """

    time: float
    method: str
    path: str
    query: str
    status: int | None = None
    parts: Sequence[Asked] = ()

    def described(self) -> dict[str, object]:
        """The call as JSON, its time as ISO 8601 UTC."""
        received_at = datetime.fromtimestamp(self.time, UTC).isoformat(timespec="microseconds")
        told: dict[str, object] = {
            "time": received_at, "method": self.method, "path": self.path, "query": self.query, "status": self.status,
        }  # fmt: skip
        if self.parts:
            told["parts"] = [{"method": part.method, "path": part.path, "query": part.query} for part in self.parts]
        return told


class Simulator(ABC):
    """Base of the simulators. Subclasses keep their state in tables of `self.state` and emit through `self.events`."""

    name: ClassVar[str]
    default_port: ClassVar[int]
    retry: ClassVar[RetryPolicy] = RetryPolicy()
    event_lanes: ClassVar[int] = 1

    def __init__(self, settings: Settings, clock: Clock = time.time) -> None:
        self.settings = settings
        self.state = State(clock)
        self.faults = Faults(self.state, self.refusal, self.contents)
        self.events = Emitter(settings.functions_url, settings.functions_key, retry=self.retry, lanes=self.event_lanes)
        self.calls: deque[Call] = deque(maxlen=_CALLS_KEPT)

    @classmethod
    def options(cls, parser: argparse.ArgumentParser) -> None:
        """Add command line options of this simulator's own; they arrive in `settings.options`."""
        return

    @abstractmethod
    def routes(self, app: web.Application) -> None:
        """Add the simulated system's routes, and control routes of its own below /__sim/."""

    @abstractmethod
    def reset(self) -> None:
        """Back to the beginning: called after every table was emptied."""

    @abstractmethod
    def snapshot(self) -> dict[str, object]:
        """Everything it holds, as JSON-ready data."""

    async def contents(self, request: web.Request) -> Sequence[Asked]:
        """The calls that a batch carries, in their order; none in anything else."""
        return ()

    async def started(self) -> None:
        """Runs once before the first call is served."""
        return

    async def stopping(self) -> None:
        """Runs once after the last call was served."""
        return

    def refusal(self, request: web.Request, status: int) -> web.Response:
        """The body this system gives an injected error status."""
        message = f"injected fault: {status} for {request.method} {request.path}"
        return exact_json.response({"error": {"code": str(status), "message": message}}, status=status)


def build_app(simulator: Simulator) -> web.Application:
    """The aiohttp application of one simulator: log, then faults, then its routes."""

    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            message = "compressed bodies are not played here"
            return exact_json.response({"error": {"code": "415", "message": message}}, status=415)
        if request.path.startswith(CONTROL):
            return await _control_errors(request, handler)
        call = Call(simulator.state.clock(), request.method, request.path, request.query_string)
        simulator.calls.append(call)
        call.parts = await simulator.contents(request)
        try:
            answer = await simulator.faults.handle(request, handler)
        except web.HTTPException as refusal:
            call.status = refusal.status
            raise
        if answer is None:
            return web.Response(status=500)  # the connection is gone: this is never sent
        call.status = answer.status
        return answer

    app = web.Application(middlewares=[observe], client_max_size=_BODY_BYTES_MAX)
    _add_control(app, simulator)
    simulator.routes(app)

    async def life(_: web.Application) -> AsyncIterator[None]:
        await simulator.events.start()
        await simulator.started()
        yield
        await simulator.stopping()
        await simulator.events.stop()

    async def let_go(_: web.Application) -> None:
        simulator.faults.close()

    app.cleanup_ctx.append(life)
    app.on_shutdown.append(let_go)
    return app


@asynccontextmanager
async def running(
    simulator: Simulator, port: int = 0, *, tls: ssl.SSLContext | None = None, tls_port: int | None = None
) -> AsyncIterator[str]:
    """Serve on 127.0.0.1 (port 0 = any free one), and give the url; stops at the end.

    Told how, over TLS: at `port`, or at `tls_port` beside it where there is one.
    """
    runner = web.AppRunner(
        build_app(simulator), access_log=None, keepalive_timeout=600, shutdown_timeout=5, auto_decompress=False
    )
    await runner.setup()
    try:
        beside = tls is not None and tls_port is not None
        site = web.TCPSite(runner, "127.0.0.1", port, backlog=1024, ssl_context=None if beside else tls)
        await site.start()
        if beside:
            await web.TCPSite(runner, "127.0.0.1", tls_port, backlog=1024, ssl_context=tls).start()
        yield f"{'https' if tls and not beside else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def serve(simulator_class: type[Simulator], argv: Sequence[str] | None = None) -> int:
    """Run one simulator as a process until SIGTERM or Ctrl-C; prints `ready <url>` when it serves. Returns 0."""
    parser = argparse.ArgumentParser(prog=f"python -m sandbox.{simulator_class.name}")
    parser.add_argument("--port", type=int, default=simulator_class.default_port)
    parser.add_argument("--functions-url")
    parser.add_argument("--functions-key", default="")
    parser.add_argument("--token-secret", default="")
    parser.add_argument("--tls-certificate", help="PEM file with certificate and key: serve https")
    parser.add_argument("--tls-port", type=int, help="serve https at this port, and http at the other")
    simulator_class.options(parser)
    given = vars(parser.parse_args(argv))
    port, certificate, tls_port = int(given.pop("port")), given.pop("tls_certificate"), given.pop("tls_port")
    common = {name: given.pop(name) for name in ("functions_url", "functions_key", "token_secret")}
    asyncio.run(_serve(simulator_class(Settings(**common, options=given)), port, certificate, tls_port))
    return 0


async def _serve(simulator: Simulator, port: int, certificate: str | None, tls_port: int | None) -> None:
    tls = None
    if certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(simulator, port, tls=tls, tls_port=tls_port) as url:
        print(f"ready {url}", flush=True)
        await stop.wait()


async def _control_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Control calls are never faulted; what is wrong with one is said as 400, naming the field."""
    try:
        return await handler(request)
    except ValueError as fault:
        return exact_json.response({"error": {"code": "400", "message": str(fault)}}, status=400)


def _add_control(app: web.Application, simulator: Simulator) -> None:
    async def reset(_: web.Request) -> web.Response:
        simulator.faults.clear()
        simulator.events.reset()
        simulator.calls.clear()
        simulator.state.clear()
        simulator.reset()
        return exact_json.response({"reset": simulator.name})

    async def state(_: web.Request) -> web.Response:
        held = simulator.snapshot()
        return exact_json.response(
            {**held, "events": simulator.events.described(), "faults": simulator.faults.described()}
        )

    async def calls(_: web.Request) -> web.Response:
        return exact_json.response([call.described() for call in simulator.calls])

    async def forget_calls(_: web.Request) -> web.Response:
        simulator.calls.clear()
        return exact_json.response([])

    async def faults(_: web.Request) -> web.Response:
        return exact_json.response(simulator.faults.described())

    async def add_fault(request: web.Request) -> web.Response:
        return exact_json.response(simulator.faults.add(await request.read()).described())

    async def clear_faults(_: web.Request) -> web.Response:
        simulator.faults.clear()
        return exact_json.response(simulator.faults.described())

    async def disturb_events(request: web.Request) -> web.Response:
        simulator.events.disturb(await request.read())
        return exact_json.response(simulator.events.described())

    async def event_log(_: web.Request) -> web.Response:
        return exact_json.response(simulator.events.log())

    app.router.add_post("/__sim/reset", reset)
    app.router.add_get("/__sim/state", state)
    app.router.add_get("/__sim/calls", calls)
    app.router.add_delete("/__sim/calls", forget_calls)
    app.router.add_get("/__sim/faults", faults)
    app.router.add_post("/__sim/faults", add_fault)
    app.router.add_delete("/__sim/faults", clear_faults)
    app.router.add_put("/__sim/events", disturb_events)
    app.router.add_get("/__sim/events", event_log)
