"""The bus, seen from the app: changes out, deliveries in.

A change goes to the lane of its business key. Many changes sent at the same moment share one send, because each send
costs a round trip. A body too large for the bus goes to Blob storage and its name to the bus.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import azure.functions as func
from azure.core.exceptions import AzureError
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusSender
from azure.servicebus.exceptions import MessageSizeExceededError, ServiceBusError

from shared import exact_json
from shared.domain.changes import ORDER_KINDS, Change, decode, encode, lane_of
from shared.errors import Fault, Malformed, OutcomeUnknown, RemoteDown
from shared.telemetry import Counters, count, span, traceparent
from shared.telemetry.names import KEY, KIND, PUBLISHED, SYSTEM

BODY_BYTES_MAX = 180_000
"""Above this a body goes to Blob storage: Service Bus Standard takes 256 KB with properties and framing."""
WAKE_UP = "wake-up"
_ORDER_MATTERS = ("order", "credit_hold")


class Bodies(Protocol):
    """Where bodies too large for the bus are kept (write-once, by content)."""

    async def put(self, body: bytes) -> str: ...

    async def get(self, name: str) -> bytes: ...


class BusPort(Protocol):
    """What stories and stores need of the bus."""

    async def publish(self, topic: str, change: Change) -> None:
        """Send a change once in effect: the same change sent again within the bus's window is dropped by it."""
        ...

    async def wake(
        self, topic: str, change: Change, *, flow: str, due: datetime | None = None, force: bool = False
    ) -> None:
        """Send a wake-up for the parked key of one flow, now or at `due`, under a message id of its own."""
        ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of one message to one flow: how often it was tried before, and the change or why there is none.

    `traceparent` is that of whoever sent the message.
    """

    flow: str
    topic: str
    message_id: str
    deliveries: int
    change: Change | None
    malformed: Malformed | None
    body: bytes
    force: bool = False
    traceparent: str = ""

    @property
    def is_wake_up(self) -> bool:
        return self.change is not None and self.change.kind == WAKE_UP


async def read_delivery(message: func.ServiceBusMessage, flow: str, topic: str, bodies: Bodies) -> Delivery:
    """Decode at the edge; a message that cannot be understood is a delivery that says so, never an exception."""
    body = message.get_body()
    properties = message.application_properties or {}
    change: Change | None = None
    malformed: Malformed | None = None
    try:
        blob = properties.get("bodyBlob")
        if blob:
            body = await bodies.get(str(blob))
        change = decode(body)
        if faults := _astray(change, topic):
            change, malformed = None, Malformed(faults)
    except Malformed as error:
        malformed = error
    return Delivery(
        flow=flow,
        topic=topic,
        message_id=message.message_id or "",
        deliveries=int(message.delivery_count or 0),
        change=change,
        malformed=malformed,
        body=body,
        force=str(properties.get("force", "")).lower() == "true",
        traceparent=str(properties.get("traceparent") or properties.get("Diagnostic-Id") or ""),
    )


def _astray(change: Change, topic: str) -> list[Fault]:
    """Why a message does not belong on this topic: its flows would take it for something else, or for nothing."""
    if (change.entity in _ORDER_MATTERS) != (topic == "orders"):
        return [Fault("entity", f"{change.entity!r} does not belong on topic {topic}")]
    if change.entity == "order" and change.kind not in (*ORDER_KINDS, WAKE_UP):
        return [Fault("kind", f"{change.kind!r} is not one of {', '.join(ORDER_KINDS)}")]
    return []


class Bus:
    """The topics this app sends to, over one connection for each, opened on first use."""

    def __init__(
        self, client: Callable[[], Awaitable[ServiceBusClient]], bodies: Bodies, lanes: int, counters: Counters
    ) -> None:
        self._open_client = client
        self._bodies = bodies
        self._lanes = lanes
        self._counters = counters
        self._outboxes: dict[str, _Outbox] = {}

    async def publish(self, topic: str, change: Change) -> None:
        with _sending(topic, change):
            message = await self._message(change, change.message_id)
            await self._outbox(topic).send(message)
        self._counters.add(f"published.{topic}.{change.kind}")
        count(PUBLISHED, topic=topic, kind=change.kind)

    async def wake(
        self, topic: str, change: Change, *, flow: str, due: datetime | None = None, force: bool = False
    ) -> None:
        with _sending(topic, change):
            message = await self._message(change, f"wake-{secrets.token_hex(12)}")
            properties = message.application_properties
            if properties is None:
                raise AssertionError("a message of ours always has application properties")
            properties["retryFor"] = flow
            if force:
                properties["force"] = "true"
            if due is not None:
                message.scheduled_enqueue_time_utc = due
            await self._outbox(topic).send(message)
        self._counters.add(f"woken.{flow}")
        count(PUBLISHED, topic=topic, kind=change.kind)

    async def close(self) -> None:
        for outbox in self._outboxes.values():
            await outbox.close()

    def _outbox(self, topic: str) -> _Outbox:
        if topic not in self._outboxes:
            self._outboxes[topic] = _Outbox(self._open_client, topic)
        return self._outboxes[topic]

    async def _message(self, change: Change, message_id: str) -> ServiceBusMessage:
        body = encode(change)
        properties: dict[str | bytes, object] = {
            "kind": change.kind,
            "entity": change.entity,
            "source": change.source,
            "key": change.key,
        }
        decision = change.data.get("decisionId")
        if isinstance(decision, str) and decision:
            properties["decisionId"] = decision
        if sent_by := traceparent.get() or change.traceparent:
            # W3C's name, and the one that Azure's own clients and the Functions host look for
            properties["traceparent"] = properties["Diagnostic-Id"] = sent_by
        if len(body) > BODY_BYTES_MAX:
            properties["bodyBlob"] = await self._bodies.put(body)
            body = exact_json.dumps({"bodyBlob": properties["bodyBlob"]})
        return ServiceBusMessage(
            body,
            message_id=message_id,
            session_id=lane_of(change.business_key, self._lanes),
            content_type="application/json",
            correlation_id=change.correlation_id,
            subject=change.kind,
            application_properties=properties,  # type: ignore[arg-type]
        )


def _sending(topic: str, change: Change) -> span:
    """The span of one message on its way to a topic; what the message carries on is this span's context."""
    about: dict[str, str | int | float | bool] = {SYSTEM: "bus", KEY: change.business_key, KIND: change.kind}
    return span(f"send {topic}", "producer", attributes=about)


class _Outbox:
    """One topic's sender. Messages that wait while a send is under way leave together in the next one."""

    def __init__(self, client: Callable[[], Awaitable[ServiceBusClient]], topic: str) -> None:
        self._open_client = client
        self._topic = topic
        self._sender: ServiceBusSender | None = None
        self._waiting: list[tuple[ServiceBusMessage, asyncio.Future[None]]] = []
        self._flusher: asyncio.Task[None] | None = None

    async def send(self, message: ServiceBusMessage) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((message, done))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        await done

    async def close(self) -> None:
        if self._flusher is not None:
            await asyncio.gather(self._flusher, return_exceptions=True)
        if self._sender is not None:
            await self._sender.close()

    async def _flush(self) -> None:
        while self._waiting:
            taken = list(itertools.islice(self._waiting, 100))
            del self._waiting[: len(taken)]
            try:
                sent = await self._send_some([message for message, _ in taken])
            except (ServiceBusError, AzureError, OSError, ValueError) as error:
                await self._drop_sender()
                fault: Exception = OutcomeUnknown(f"topic {self._topic} did not confirm: {type(error).__name__}")
                if isinstance(error, (MessageSizeExceededError, ValueError)):
                    fault = error
                for _, done in taken:
                    if not done.done():
                        done.set_exception(fault)
                continue
            except asyncio.CancelledError:
                for _, done in taken:
                    if not done.done():
                        done.set_exception(OutcomeUnknown(f"sending to topic {self._topic} was cancelled"))
                raise
            for _, done in taken[:sent]:
                if not done.done():
                    done.set_result(None)
            self._waiting[:0] = taken[sent:]

    async def _send_some(self, messages: list[ServiceBusMessage]) -> int:
        """Send as many as fit one batch; returns how many."""
        if self._sender is None:
            try:
                client = await self._open_client()
                sender = client.get_topic_sender(self._topic)
                await sender.__aenter__()
            except (ServiceBusError, OSError) as error:
                raise RemoteDown(f"the bus cannot be reached for topic {self._topic}", system="bus") from error
            self._sender = sender
        if len(messages) == 1:
            await self._sender.send_messages(messages[0])
            return 1
        batch = await self._sender.create_message_batch()
        for index, message in enumerate(messages):
            try:
                batch.add_message(message)
            except (MessageSizeExceededError, ValueError):
                if index == 0:
                    await self._sender.send_messages(message)
                    return 1
                await self._sender.send_messages(batch)
                return index
        await self._sender.send_messages(batch)
        return len(messages)

    async def _drop_sender(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            await asyncio.gather(sender.close(), return_exceptions=True)
