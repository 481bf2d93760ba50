"""Calls the simulated Dataverse as an application user does, plays its users, and receives its webhooks."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from sandbox.dataverse.simulator import Dataverse
from sandbox.kit import exact_json
from sandbox.kit.simulator import Settings, running
from sandbox.kit.tokens import sign
from tests.kit.counter import Clock

API = "/api/data/v9.2"
SECRET = "of-these-tests"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON, numbers exact."""
        return exact_json.loads(self.body)

    @property
    def code(self) -> str:
        """The error code."""
        return str(self.json["error"]["code"])

    @property
    def message(self) -> str:
        """The error message."""
        return str(self.json["error"]["message"])

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of a set; fails on an error."""
        assert self.status == 200, self.body
        found: list[dict[str, Any]] = self.json["value"]
        return found

    @property
    def row_id(self) -> str:
        """The GUID that OData-EntityId ends with."""
        assert self.status < 300, self.body
        return self.headers["OData-EntityId"].partition("(")[2].rstrip(")")


@dataclass(slots=True)
class Delivery:
    """One webhook as it arrived: `text` before any decoding."""

    path: str
    query: str
    headers: Mapping[str, str]
    text: str

    @property
    def context(self) -> Any:
        """The RemoteExecutionContext."""
        return exact_json.loads(self.text)

    def target(self, context: Any = None) -> dict[str, Any]:
        """The attributes of the Target entity, of the message itself or of a context given."""
        of = self.context if context is None else context
        entity = next(p["value"] for p in of["InputParameters"] if p["key"] == "Target")
        return {attribute["key"]: attribute["value"] for attribute in entity["Attributes"]}


@dataclass(slots=True)
class Inbox:
    """The functions app as far as webhooks see it: answers each of `answers` in turn, then 202."""

    answers: list[int] = field(default_factory=list)
    attempts: int = 0
    deliveries: list[Delivery] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        """One attempt."""
        self.attempts += 1
        status = self.answers.pop(0) if self.answers else 202
        if status < 400:
            text = (await request.read()).decode()
            self.deliveries.append(
                Delivery(request.path, request.rel_url.raw_query_string, dict(request.headers), text)
            )
        self.news.set()
        return web.Response(status=status)


@dataclass(slots=True)
class Organization:
    """One running simulator, an application user's session with it, and the inbox its webhooks go to."""

    simulator: Dataverse
    url: str
    session: aiohttp.ClientSession
    inbox: Inbox

    async def call(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One call of the Web API; `path` as it stands in the url, quotes and blanks may be left as they are."""
        sent = {"Authorization": f"Bearer {self.token()}", **(headers or {})}
        data = body if isinstance(body, bytes) else None
        if body is not None and data is None:
            data = exact_json.dumps(body)
            sent.setdefault("Content-Type", "application/json")
        url = path if path.startswith("http") else f"{self.url}{API}/{path}"
        async with self.session.request(method, url, data=data, headers=sent) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    def token(self) -> str:
        """A good token."""
        return sign(SECRET, f"{self.url}/.default", "concord", now=self.simulator.state.clock())

    async def get(self, path: str, **headers: str) -> Reply:
        """A read; headers with underscores for dashes."""
        return await self.call("GET", path, None, {name.replace("_", "-"): text for name, text in headers.items()})

    async def account(self, number: str = "C-1", **columns: object) -> str:
        """Upsert an account and give its id."""
        written = await self.call("PATCH", f"accounts(accountnumber='{number}')", {"name": number, **columns})
        return written.row_id

    async def control(self, method: str, path: str, body: object = None) -> Any:
        """A control call that must succeed."""
        status, answer = await self.try_control(method, path, body)
        assert status == 200, answer
        return answer

    async def try_control(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """A control call, as (status, JSON)."""
        data = None if body is None else exact_json.dumps(body)
        async with self.session.request(method, f"{self.url}/__sim/{path}", data=data) as answer:
            return answer.status, exact_json.loads(await answer.read())

    async def delivered(self, count: int) -> list[Delivery]:
        """The webhooks, once there are `count` of them."""
        async with asyncio.timeout(10):
            while len(self.inbox.deliveries) < count:
                self.inbox.news.clear()
                await self.inbox.news.wait()
        return self.inbox.deliveries

    async def rest(self) -> None:
        """Wait until nothing is on its way any more."""
        async with asyncio.timeout(10):
            while self.simulator.events.described()["pending"]:
                await asyncio.sleep(0)


@asynccontextmanager
async def open_organization(clock: Clock | None = None, **options: str) -> AsyncIterator[Organization]:
    """A running organization whose webhooks go to an inbox."""
    inbox = Inbox()
    async with AsyncExitStack() as stack:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/{path:.*}", inbox.take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        functions_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        settings = Settings(functions_url, "host-key", SECRET, dict(options))
        simulator = Dataverse(settings, clock) if clock else Dataverse(settings)
        url = await stack.enter_async_context(running(simulator))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Organization(simulator, url, session, inbox)
