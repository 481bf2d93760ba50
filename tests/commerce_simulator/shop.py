"""Calls the simulated Commerce as the app and as its tills do, and plays the functions app that it calls."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import aiohttp
from aiohttp import web

from sandbox.commerce.simulator import CommerceSimulator
from sandbox.kit import exact_json
from sandbox.kit.simulator import Settings, running
from sandbox.kit.tokens import sign
from tests.kit.counter import Clock

SECRET = "of-these-tests"
ENVIRONMENT = "e-1"
ENTRA = "0cdb527f-a8d1-4bf8-9436-b352c68682b2"
SCOPE = "https://inventoryservice.operations365.dynamics.com/.default"


def sales_order(number: str = "S-1", /, **changes: object) -> dict[str, Any]:
    """The smallest order that has to be taken, with changes."""
    return {
        "SalesId": number, "ChannelId": "web", "CustomerId": "C-1", "CurrencyCode": "GBP",
        "OrderPlacedDate": "2026-11-23T10:00:00Z", "BusinessDate": "2026-11-23",
        "SubtotalAmountWithoutTax": Decimal("100.00"), "TaxAmount": Decimal("20.00"), "TotalAmount": Decimal("120.00"),
        "SalesLines": [{
            "LineId": "1", "ItemId": "A", "Quantity": 10, "UnitOfMeasureSymbol": "ea", "Price": Decimal("10.00"),
            "NetAmount": Decimal("100.00"), "TaxAmount": Decimal("20.00"), "TotalAmount": Decimal("120.00"),
        }],
        "ChargeLines": [],
        "TenderLines": [{"TenderTypeId": "4", "Amount": Decimal("120.00"), "Currency": "GBP"}],
    } | changes  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, numbers exact."""
        return exact_json.loads(self.body)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of a set; fails on an error."""
        assert self.status == 200, self.body
        found: list[dict[str, Any]] = self.json["value"]
        return found


@dataclass(slots=True)
class Functions:
    """The functions app as Commerce sees it: answers credit checks by `decisions` in turn, and takes events."""

    decisions: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def check(self, request: web.Request) -> web.Response:
        """One credit check."""
        self.asked.append(exact_json.loads_object(await request.read()))
        self.keys.append(request.headers.get("x-functions-key", ""))
        status, body = self.decisions.pop(0) if self.decisions else (200, approved())
        return exact_json.response(body, status=status)

    async def take(self, request: web.Request) -> web.Response:
        """One event."""
        if self.refusals:
            return web.Response(status=self.refusals.pop(0))
        self.keys.append(request.headers.get("x-functions-key", ""))
        self.events.append(exact_json.loads_object(await request.read()))
        self.news.set()
        return web.Response(status=202)


def approved() -> dict[str, Any]:
    """A decision that lets an order pass."""
    return {"decisionId": "d-1", "outcome": "approved", "reasons": []}


@dataclass(slots=True)
class Shop:
    """One running Commerce, the app's session with it, and the app that it calls."""

    simulator: CommerceSimulator
    url: str
    session: aiohttp.ClientSession
    functions: Functions
    inventory_token: str = ""

    async def call(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One call with the app's token for this Commerce."""
        sent = {"Authorization": f"Bearer {self.token(self.url)}", **(headers or {})}
        data = body if isinstance(body, bytes) else None if body is None else exact_json.dumps(body)
        url = path if path.startswith("http") else f"{self.url}{path}"
        async with self.session.request(method, url, data=data, headers=sent) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def get(self, path: str) -> Reply:
        """One read."""
        return await self.call("GET", path)

    async def inventory(self, path: str, body: object, environment: str = ENVIRONMENT) -> Reply:
        """One call of Inventory Visibility, with its own token."""
        if not self.inventory_token:
            self.inventory_token = str((await self.exchange()).json["access_token"])
        headers = {"Authorization": f"Bearer {self.inventory_token}", "Api-Version": "1.0"}
        return await self.call("POST", f"/api/environment/{environment}/{path}", body, headers)

    async def exchange(self, **changes: str) -> Reply:
        """The token exchange, its redirect followed."""
        body = {
            "grant_type": "client_credentials", "client_assertion_type": "aad_app",
            "client_assertion": self.token(ENTRA), "scope": SCOPE, "context": ENVIRONMENT,
            "context_type": "finops-env",
        } | changes  # fmt: skip
        return await self.call("POST", "/token", body, {"Api-Version": "1.0"})

    def token(self, audience: str) -> str:
        """A good Entra token."""
        return sign(SECRET, audience, "concord", now=self.simulator.state.clock())

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

    async def told(self, count: int) -> list[dict[str, Any]]:
        """The events, once there are `count` of them."""
        async with asyncio.timeout(10):
            while len(self.functions.events) < count:
                self.functions.news.clear()
                await self.functions.news.wait()
        return self.functions.events


@asynccontextmanager
async def open_shop(clock: Clock | None = None) -> AsyncIterator[Shop]:
    """A running Commerce that calls an app of the test's own."""
    functions = Functions()
    async with AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_post("/api/credit-checks", functions.check)
        app.router.add_post("/api/webhooks/commerce", functions.take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        settings = Settings(f"http://127.0.0.1:{runner.addresses[0][1]}", "host-key", SECRET)
        simulator = CommerceSimulator(settings, clock) if clock else CommerceSimulator(settings)
        url = await stack.enter_async_context(running(simulator))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Shop(simulator, url, session, functions)
