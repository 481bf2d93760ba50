"""Service Bus triggers, over real AMQP: what a function is given, and what becomes of the message."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from tests.host.conftest import HERE, MASTER, READY_SECONDS, ROOT, Client, Worker, command, environment, running_worker
from tests.ports import free_port

TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker with the queues of bus_config.json."""

    port: int
    control_port: int

    @property
    def settings(self) -> dict[str, str]:
        connection = (
            f"Endpoint=sb://127.0.0.1:{self.port};SharedAccessKeyName=RootManageSharedAccessKey;"
            "SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;"
        )
        return {"ServiceBus": connection, "PlainQueue": "plain"}

    async def entity(self, name: str) -> dict[str, Any]:
        """What the broker holds of one entity."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.control_port}/state") as answer,
        ):
            return dict((await answer.json())["entities"][name])


@contextmanager
def running_broker(port: int | None = None) -> Iterator[Broker]:
    broker = Broker(port or free_port(), free_port())
    config = HERE / "bus_config.json"
    ports = ["--port", str(broker.port), "--control-port", str(broker.control_port)]
    line = [sys.executable, "-m", "sandbox.broker", "--config", str(config), *ports]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().startswith("ready ")
            yield broker
        finally:
            process.kill()


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with running_broker() as started:
        yield started


@pytest.fixture(scope="module")
def bus_worker(broker: Broker) -> Iterator[Worker]:
    with running_worker(HERE / "bus_app", broker.settings) as worker:
        yield worker


@pytest.fixture
async def bus_client(bus_worker: Worker) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(session, bus_worker.url)


async def send(broker: Broker, entity: str, *messages: ServiceBusMessage) -> None:
    """Send to a queue or topic, in order."""
    async with ServiceBusClient.from_connection_string(broker.settings["ServiceBus"]) as client:
        sender = client.get_topic_sender(entity) if entity == "events" else client.get_queue_sender(entity)
        async with sender:
            for message in messages:
                await sender.send_messages(message)


async def seen(client: Client, function: str, count: int) -> list[dict[str, Any]]:
    """What a function was given, once that are `count` messages."""
    answer = await asyncio.wait_for(client.get(f"/api/seen/{function}?count={count}"), 15)
    return list(json.loads(answer.body))


async def test_a_message_arrives_with_everything_it_carries(broker: Broker, bus_client: Client) -> None:
    message = ServiceBusMessage(
        '{"amount": 1.10}',
        message_id="m-1",
        content_type="application/json",
        correlation_id="c-1",
        subject="order",
        application_properties={"kind": "order.confirmed", "attempt": 2, "traceparent": TRACE},
    )
    await send(broker, "plain", message)
    (given,) = [m for m in await seen(bus_client, "plain", 1) if m["id"] == "m-1"]
    properties = {"kind": "order.confirmed", "attempt": 2, "traceparent": TRACE}
    assert given["body"] == '{"amount": 1.10}'
    assert (given["content_type"], given["correlation_id"], given["subject"]) == ("application/json", "c-1", "order")
    assert given["properties"] == given["user_properties"] == properties
    assert (given["delivery_count"], given["trace"]) == (1, TRACE)
    assert given["enqueued"].endswith("+00:00")
    assert given["sequence"] >= 1


async def test_a_message_that_fails_is_given_back_at_once_until_the_broker_buries_it(
    broker: Broker, bus_client: Client
) -> None:
    await send(broker, "poison", ServiceBusMessage("bad", message_id="p-1"))
    (buried,) = await seen(bus_client, "buried", 1)
    assert [given["delivery_count"] for given in await seen(bus_client, "poisoned", 3)] == [1, 2, 3]
    assert buried["id"] == "p-1"
    assert buried["properties"]["DeadLetterReason"] == "MaxDeliveryCountExceeded"


async def test_a_batch_function_is_given_every_message_of_the_batch(broker: Broker, bus_client: Client) -> None:
    messages = [
        ServiceBusMessage(str(n), subject="s" if n % 2 else None, application_properties={"n": n}) for n in range(20)
    ]
    await send(broker, "batches", *messages)
    given = await seen(bus_client, "batch", 20)
    assert [m["body"] for m in given] == [str(n) for n in range(20)]
    assert [m["properties"] for m in given] == [{"n": n} for n in range(20)]
    assert [m["subject"] for m in given] == ["s" if n % 2 else None for n in range(20)]
    assert {m["delivery_count"] for m in given} == {1}


async def test_a_session_keeps_its_order_across_a_failure(broker: Broker, bus_client: Client) -> None:
    bodies = ["a", "fail once", "b", "c"]
    sessions = [f"lane-{n:02}" for n in range(12)]  # twice as many as there are receivers
    messages = [ServiceBusMessage(body, session_id=session) for body in bodies for session in sessions]
    await send(broker, "events", *messages)
    given = await seen(bus_client, "in_order", 5 * len(sessions))
    for session in sessions:
        mine = [(m["body"], m["delivery_count"]) for m in given if m["session"] == session]
        assert mine == [("a", 1), ("fail once", 1), ("fail once", 2), ("b", 1), ("c", 1)]
    assert (await broker.entity("events/Subscriptions/in_order"))["dead_lettered"] == 0


async def test_a_lock_is_kept_for_as_long_as_the_function_works(broker: Broker, bus_client: Client) -> None:
    await asyncio.gather(
        send(broker, "short_lock", ServiceBusMessage("long work")),
        send(broker, "events", ServiceBusMessage("long", session_id="s", application_properties={"slow": True})),
    )
    assert [m["delivery_count"] for m in await seen(bus_client, "slow", 1)] == [1]
    assert [m["delivery_count"] for m in await seen(bus_client, "slow_session", 1)] == [1]


async def test_without_auto_complete_a_message_stays_locked(broker: Broker, bus_client: Client) -> None:
    await send(broker, "kept", ServiceBusMessage("mine to settle"))
    assert [m["delivery_count"] for m in await seen(bus_client, "kept", 1)] == [1]
    held = await broker.entity("kept")
    assert (held["active"], held["locked"], held["completed_total"]) == (1, 1, 0)


async def test_a_message_function_fires_on_demand_with_an_input(bus_client: Client) -> None:
    answer = await bus_client.post("/admin/functions/plain?wait", b'{"input": "by hand"}', MASTER)
    assert json.loads(answer.body)["succeeded"]
    assert "by hand" in [m["body"] for m in await seen(bus_client, "plain", 1)]
    answer = await bus_client.post("/admin/functions/other_batch?wait", b'{"input": "many"}', MASTER)
    assert json.loads(answer.body)["succeeded"]
    assert [m["body"] for m in await seen(bus_client, "other_batch", 1)] == ["many"]


async def test_a_stop_finishes_and_settles_the_message_at_work_and_takes_no_other() -> None:
    with running_broker() as broker, running_worker(HERE / "bus_app", broker.settings) as worker:
        async with aiohttp.ClientSession() as session:
            client = Client(session, worker.url)
            await send(broker, "gated", ServiceBusMessage("at work"))
            await seen(client, "gated", 1)
            await client.post("/api/gate?after=0.3")
        worker.process.terminate()
        await asyncio.to_thread(worker.read_until, "gated has finished")
        await asyncio.to_thread(worker.process.wait, 10)
        assert worker.process.returncode == 0
        await send(broker, "gated", ServiceBusMessage("too late"))
        held = await broker.entity("gated")
        assert (held["completed_total"], held["active"], held["locked"]) == (1, 1, 0)


async def test_receivers_come_back_when_the_broker_does() -> None:
    with ExitStack() as life:
        with running_broker() as first:
            worker = life.enter_context(running_worker(HERE / "bus_app", first.settings))
        with running_broker(first.port) as second:
            async with aiohttp.ClientSession() as session:
                await send(second, "plain", ServiceBusMessage("after"))
                assert [m["body"] for m in await seen(Client(session, worker.url), "plain", 1)] == ["after"]


def test_a_queue_that_does_not_exist_is_named_at_start(broker: Broker) -> None:
    settings = {**broker.settings, "PlainQueue": "no_such_queue"}
    ended = subprocess.run(
        command(HERE / "bus_app"),
        capture_output=True,
        text=True,
        env=environment(settings),
        cwd=ROOT,
        timeout=READY_SECONDS,
        check=False,
    )
    assert ended.returncode == 1
    assert "function plain: no_such_queue" in ended.stderr


def test_a_stop_while_the_broker_is_out_of_reach_is_obeyed_at_once() -> None:
    nobody = Broker(free_port(), free_port())
    with subprocess.Popen(
        command(HERE / "bus_app"), stderr=subprocess.PIPE, text=True, env=environment(nobody.settings), cwd=ROOT
    ) as process:
        assert process.stderr is not None
        assert "Connect" in process.stderr.readline()
        process.terminate()
        assert process.wait(5) == 0
