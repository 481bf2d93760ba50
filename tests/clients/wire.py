"""A server whose answers a test scripts: the clients under test meet a real socket, never a mock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

Answer = web.StreamResponse | Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Seen:
    """One request as the server saw it."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Wire:
    """Answers in the order scripted; the last one repeats."""

    answers: list[Answer]
    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    running: int = 0
    running_most: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.seen.append(Seen(request.method, request.rel_url.raw_path, dict(request.query), request.headers, body))
        self.running += 1
        self.running_most = max(self.running_most, self.running)
        try:
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            return await answer(request) if callable(answer) else _fresh(answer)
        finally:
            self.running -= 1


@asynccontextmanager
async def wire(*answers: Answer) -> AsyncIterator[Wire]:
    """A server on a free port of the loopback."""
    scripted = Wire(list(answers))
    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", scripted.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield scripted
    finally:
        await runner.cleanup()


def json(status: int, text: str, **headers: str) -> web.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(status=status, text=text, content_type="application/json", headers=named)


async def cut(request: web.Request) -> web.StreamResponse:
    """Take the request, then drop the connection without an answer."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def silent(_: web.Request) -> web.StreamResponse:
    """Take the request and never answer."""
    await asyncio.Event().wait()
    return web.Response()


def _fresh(answer: web.StreamResponse) -> web.StreamResponse:
    if not isinstance(answer, web.Response):
        return answer
    copy = web.Response(status=answer.status, body=answer.body)
    copy.headers.clear()
    for name, value in answer.headers.items():
        if name.lower() not in {"content-length", "date", "server"}:
            copy.headers.add(name, value)
    return copy
