"""The three systems and the app's stories in one process: real simulators over HTTP, real clients, tables in memory.

Webhooks of the simulators arrive here as they would at the app's doors and wait on a bus that remembers; a test
brings them to their stories with `settle`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr

from sandbox.commerce.simulator import CommerceSimulator
from sandbox.dataverse.simulator import Dataverse
from sandbox.kit import exact_json
from sandbox.kit.simulator import Settings as SimulatorSettings
from sandbox.kit.simulator import running
from sandbox.kit.tokens import sign
from sandbox.sap.simulator import SapSimulator
from shared.delivery import Story, deliver
from shared.domain.changes import Change
from shared.domain.events import topic_of
from shared.flows.change_intake import change_intake
from shared.messaging import Delivery
from shared.stores.table import Table
from shared.wiring import Hub, build_hub
from tests.hub import MemoryBodies, RememberingBus, SetClock, settings
from tests.memory_table import MemoryTable

SECRET = "of-these-tests"
SAP_PASSWORD = "not-a-secret"
System = Literal["sap", "dataverse", "commerce"]


@dataclass
class ToldBus(RememberingBus):
    """A bus that says so when it took something."""

    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish(self, topic: str, change: Change) -> None:
        await super().publish(topic, change)
        self.news.set()


@dataclass(slots=True)
class Systems:
    """Everything a flow touches. `sap`, `dataverse` and `commerce` are the simulators, `urls` where they serve."""

    hub: Hub
    bus: ToldBus
    clock: SetClock
    sap: SapSimulator
    dataverse: Dataverse
    commerce: CommerceSimulator
    urls: dict[System, str]
    session: aiohttp.ClientSession
    refused: list[str] = field(default_factory=list)

    async def control(self, system: System, method: str, path: str, body: object = None) -> Any:
        """One call of a simulator's control surface."""
        data = None if body is None else exact_json.dumps(body)
        async with self.session.request(method, f"{self.urls[system]}/__sim/{path}", data=data) as answer:
            said = await answer.read()
            assert answer.status < 300, said
            return exact_json.loads(said)

    async def heard(self, which: Callable[[Change], bool]) -> Change:
        """The first change on the bus that fits, now or once it comes."""
        async with asyncio.timeout(20):
            while True:
                self.bus.news.clear()
                for sent in self.bus.sent:
                    if which(sent.change):
                        return sent.change
                await self.bus.news.wait()

    async def settle(self, flow: str, story: Story, change: Change) -> str:
        """Bring a change to its story as the delivery engine does; the ruling that lineage keeps."""
        delivery = Delivery(flow, topic_of(change), change.message_id, 1, change, None, b"")
        await deliver(delivery, story, self.hub)
        kept = await self.hub.records.read_evidence(change.business_key)
        return next((one.ruling for one in reversed(kept) if one.message_id == change.message_id), "")


@asynccontextmanager
async def systems(patch: pytest.MonkeyPatch, **over: Any) -> AsyncIterator[Systems]:
    """Start the simulators and connect a hub; `over` replaces settings of the app."""
    async with AsyncExitStack() as stack:
        bus, clock = ToldBus(), SetClock(datetime.now(UTC))
        reached: list[Systems] = []

        async def take(request: web.Request) -> web.Response:
            source: Any = request.match_info["source"]
            try:
                await change_intake(source, exact_json.loads(await request.read()), "", reached[0].hub)
            except Exception as fault:
                reached[0].refused.append(f"{source}: {fault}")
                raise
            return web.Response(status=202)

        async def token(request: web.Request) -> web.Response:
            resource = request.query["resource"]
            return web.json_response(
                {
                    "access_token": sign(SECRET, resource, "concord"),
                    "expires_on": str(int(clock.now.timestamp()) + 36_000),
                    "resource": resource,
                    "token_type": "Bearer",
                }
            )

        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_post("/api/webhooks/{source}", take)
        app.router.add_get("/identity", token)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        own = f"http://127.0.0.1:{runner.addresses[0][1]}"
        patch.setenv("IDENTITY_ENDPOINT", f"{own}/identity")
        patch.setenv("IDENTITY_HEADER", "of-these-tests")

        given = SimulatorSettings(functions_url=own, functions_key="key", token_secret=SECRET)
        dataverse, commerce = Dataverse(given), CommerceSimulator(given)
        urls: dict[System, str] = {
            "dataverse": await stack.enter_async_context(running(dataverse)),
            "commerce": await stack.enter_async_context(running(commerce)),
        }
        beside = {"commerce_url": urls["commerce"], "dataverse_url": urls["dataverse"]}
        sap = SapSimulator(
            SimulatorSettings(functions_url=own, functions_key="key", token_secret=SECRET, options=dict(beside)),
            password=SAP_PASSWORD,
        )
        urls["sap"] = await stack.enter_async_context(running(sap))
        tables: dict[str, Table] = {}
        hub = await build_hub(
            settings().model_copy(
                update={
                    "sap_url": urls["sap"],
                    "sap_password": SecretStr(SAP_PASSWORD),
                    "dataverse_url": urls["dataverse"],
                    "commerce_retail_url": urls["commerce"],
                    "commerce_hq_url": urls["commerce"],
                    "commerce_inventory_url": urls["commerce"],
                    "commerce_inventory_token_url": urls["commerce"],
                    **over,
                }
            ),
            clock=clock,
            tables=lambda name: tables.setdefault(name, MemoryTable()),
            bus=bus,
            bodies=MemoryBodies(),
        )
        stack.push_async_callback(hub.closing.aclose)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        reached.append(Systems(hub, bus, clock, sap, dataverse, commerce, urls, session))
        yield reached[0]
