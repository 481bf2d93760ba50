"""A small simulator to try the kit on, and a clock that moves when told to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import aiohttp
from aiohttp import web

from sandbox.kit import exact_json
from sandbox.kit.events import RetryPolicy
from sandbox.kit.simulator import Settings, Simulator, running
from sandbox.kit.state import Table


class Clock:
    """Epoch seconds, as told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Counter(Simulator):
    """GET /count reads, POST /count adds one and tells the functions."""

    name: ClassVar[str] = "counter"
    default_port: ClassVar[int] = 0
    retry: ClassVar[RetryPolicy] = RetryPolicy(attempts=3, backoff_seconds=0.001)
    counts: Table[str, int]

    def routes(self, app: web.Application) -> None:
        self.counts = self.state.table()
        self.counted = asyncio.Event()
        app.router.add_get("/count", self._read)
        app.router.add_post("/count", self._add)

    def reset(self) -> None:
        self.counted.clear()

    def snapshot(self) -> dict[str, object]:
        return {"count": self.counts.get("all") or 0}

    async def _read(self, _: web.Request) -> web.Response:
        return exact_json.response({"count": self.counts.get("all") or 0})

    async def _add(self, request: web.Request) -> web.Response:
        await request.read()
        count = (self.counts.get("all") or 0) + 1
        self.counts.put("all", count)
        self.events.emit("/api/webhooks/counter", b"%d" % count, key="all")
        self.counted.set()
        return exact_json.response({"count": count})


@dataclass(slots=True)
class Caller:
    """Calls one simulator; `patience` is how long it waits for an answer, in seconds."""

    url: str
    session: aiohttp.ClientSession
    patience: float = 5.0

    async def call(self, method: str, path: str, body: object = None) -> tuple[int, object]:
        """One call, as (status, JSON)."""
        data = None if body is None else exact_json.dumps(body)
        timeout = aiohttp.ClientTimeout(total=self.patience)
        async with self.session.request(method, self.url + path, data=data, timeout=timeout) as answer:
            return answer.status, exact_json.loads(await answer.read())

    async def get(self, path: str) -> object:
        """The JSON of a read."""
        return (await self.call("GET", path))[1]


@asynccontextmanager
async def calling(simulator: Simulator) -> AsyncIterator[Caller]:
    """A running simulator and its caller."""
    async with running(simulator) as url, aiohttp.ClientSession() as session:
        yield Caller(url, session)


@dataclass(slots=True)
class Inbox:
    """Webhook receiver: answers each status of `answers` in turn, then 202, and says when `expected` have arrived."""

    answers: list[int] = field(default_factory=list)
    received: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    expected: int = 0
    complete: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        """One delivery."""
        status = self.answers.pop(0) if self.answers else 202
        if status < 400:
            self.received.append((await request.read()).decode())
            self.keys.append(request.headers.get("x-functions-key", ""))
        if len(self.received) >= self.expected:
            self.complete.set()
        return web.Response(status=status)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """Serve; gives the url."""
        app = web.Application()
        app.router.add_post("/{path:.*}", self.take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


def counter(functions_url: str | None = None, clock: Clock | None = None) -> Counter:
    """A counter that sends its events to `functions_url`."""
    settings = Settings(functions_url=functions_url, functions_key="host-key")
    return Counter(settings, clock) if clock else Counter(settings)
