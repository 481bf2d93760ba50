"""A broker of each test's own, on a thread of its own, so that the sync and the async client can both speak to it."""

import asyncio
import json
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from azure.servicebus import ServiceBusClient
from azure.servicebus.aio import ServiceBusClient as AsyncServiceBusClient

from sandbox.broker.config import parse_topology
from sandbox.broker.server import Broker


def _queue(name: str, **properties: Any) -> dict[str, Any]:
    return {"Name": name, "Properties": properties}


def _subscription(name: str, sql: str | None = None, **properties: Any) -> dict[str, Any]:
    rule = {"Name": "rule", "Properties": {"FilterType": "Sql", "SqlFilter": {"SqlExpression": sql}}}
    return {"Name": name, "Properties": properties, "Rules": [] if sql is None else [rule]}


DOCUMENT: dict[str, Any] = {
    "UserConfig": {
        "Namespaces": [
            {
                "Name": "tests",
                "Queues": [
                    _queue("work", MaxDeliveryCount=3),
                    _queue("brief", LockDuration="PT0.4S"),
                    _queue("mortal", DeadLetteringOnMessageExpiration=True),
                    _queue("once", RequiresDuplicateDetection=True),
                    _queue("talks", RequiresSession=True),
                    _queue("brief-talks", RequiresSession=True, LockDuration="PT0.4S"),
                    _queue("renewed-talks", RequiresSession=True, LockDuration="PT2S"),
                    _queue("large", MaxMessageSizeInKilobytes=1024),
                ],
                "Topics": [
                    {
                        "Name": "news",
                        "Subscriptions": [
                            _subscription("everything"),
                            _subscription("europe", "region = 'eu' AND urgency > 1"),
                            _subscription("retries", "retryFor IS NULL OR retryFor = 'retries'", RequiresSession=True),
                        ],
                    }
                ],
            }
        ]
    }
}


@dataclass(frozen=True)
class RunningBroker:
    """Where a broker can be reached, and how a test runs something on its loop."""

    broker: Broker
    loop: asyncio.AbstractEventLoop

    @property
    def port(self) -> int:
        return self.broker.port

    @property
    def connection_string(self) -> str:
        return (
            f"Endpoint=sb://127.0.0.1:{self.port};SharedAccessKeyName=RootManageSharedAccessKey;"
            "SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;"
        )

    def state(self) -> dict[str, Any]:
        """What the control port answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.broker.control_port}/state", timeout=5) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

    def entity(self, path: str) -> dict[str, Any]:
        """What the control port says of one entity."""
        entity: dict[str, Any] = self.state()["entities"][path]
        return entity

    def call(self, function: Callable[[], Any]) -> Any:
        """Run a function on the broker's own thread."""

        async def on_loop() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(on_loop(), self.loop).result(5)


@pytest.fixture
def broker() -> Iterator[RunningBroker]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> Broker:
        served = Broker(parse_topology(DOCUMENT))
        await served.start(control_port=0)
        return served

    running = RunningBroker(asyncio.run_coroutine_threadsafe(start(), loop).result(10), loop)
    yield running
    asyncio.run_coroutine_threadsafe(running.broker.close(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture
def sync_client(broker: RunningBroker) -> Iterator[ServiceBusClient]:
    with ServiceBusClient.from_connection_string(broker.connection_string, retry_total=0) as client:
        yield client


@pytest.fixture
async def client(broker: RunningBroker) -> AsyncIterator[AsyncServiceBusClient]:
    async with AsyncServiceBusClient.from_connection_string(broker.connection_string, retry_total=0) as client:
        yield client
