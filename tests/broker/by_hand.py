"""What the tests of the entities turn by hand: a clock, a receiver, and messages as the real client encodes them."""

import heapq
import itertools
from collections.abc import Callable
from typing import Any

from azure.servicebus import ServiceBusMessage
from azure.servicebus._transport._pyamqp_transport import PyamqpTransport

from sandbox.broker.config import parse_topology
from sandbox.broker.entities import Namespace, Topic
from sandbox.broker.message import Content, Message, parse_content
from sandbox.broker.queues import Lock, Queue, Receiver, Stream


class ManualClock:
    """Time stands still until `advance`; due calls are made in order, each at its own time."""

    def __init__(self) -> None:
        self._now = 1_795_500_000.0
        self._order = itertools.count()
        self._calls: list[tuple[float, int, _ManualTimer]] = []

    def now(self) -> float:
        return self._now

    def call_at(self, when: float, call: Callable[[], None]) -> "_ManualTimer":
        timer = _ManualTimer(call)
        heapq.heappush(self._calls, (when, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        until = self._now + seconds
        while self._calls and self._calls[0][0] <= until:
            when, _, timer = heapq.heappop(self._calls)
            self._now = max(self._now, when)
            if not timer.cancelled:
                timer.call()
        self._now = until


class _ManualTimer:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class HandReceiver(Receiver):
    """Takes messages as long as it has credit, and remembers what happened to it."""

    def __init__(self, credit: int = 100, destructive: bool = False) -> None:
        self.credit = credit
        self.destructive = destructive
        self.deliveries: list[tuple[Message, Lock | None]] = []
        self.was_granted = False
        self.losses = 0

    def has_credit(self) -> bool:
        return self.credit > 0

    def deliver(self, message: Message, lock: Lock | None) -> None:
        self.credit -= 1
        self.deliveries.append((message, lock))

    def session_granted(self, stream: Stream) -> None:
        self.was_granted = True

    def session_lost(self) -> None:
        self.losses += 1

    def take(self) -> Lock:
        """The lock of the oldest delivery not taken yet."""
        _, lock = self.deliveries.pop(0)
        assert lock is not None
        return lock

    def bodies(self) -> list[str]:
        """The bodies delivered and not taken yet."""
        return [body(message.content) for message, _ in self.deliveries]


def encoded(text: str, **fields: Any) -> bytes:
    """A message with a text body, as the real client encodes it."""
    message = ServiceBusMessage(text.encode(), **fields)
    outgoing = PyamqpTransport.to_outgoing_amqp_message(message.raw_amqp_message)
    message._message = outgoing
    return bytes(PyamqpTransport.encode_message(message))


def content(text: str, **fields: Any) -> Content:
    """What the broker makes of such a message."""
    return parse_content(encoded(text, **fields))


def body(content: Content) -> str:
    """The text of a body of up to 255 bytes: the bytes after the data section's head."""
    return content.bare.split(b"\x00\x53\x75\xa0", 1)[1][1:].decode()


def namespace(clock: ManualClock, queues: dict[str, dict[str, Any]], topics: list[dict[str, Any]] = []) -> Namespace:  # noqa: B006
    """A namespace of queues by name and emulator properties."""
    entities = {
        "Name": "by-hand",
        "Queues": [{"Name": name, "Properties": properties} for name, properties in queues.items()],
        "Topics": topics,
    }
    return Namespace(parse_topology({"UserConfig": {"Namespaces": [entities]}}), clock)


def queue(clock: ManualClock, **properties: Any) -> Queue:
    """A queue of its own namespace."""
    found = namespace(clock, {"q": properties}).find("q")
    assert isinstance(found, Queue)
    return found


def topic(clock: ManualClock, properties: dict[str, Any], subscriptions: list[dict[str, Any]]) -> Topic:
    """A topic of its own namespace."""
    document = {"Name": "t", "Properties": properties, "Subscriptions": subscriptions}
    found = namespace(clock, {}, [document]).find("t")
    assert isinstance(found, Topic)
    return found
