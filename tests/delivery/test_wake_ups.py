"""A wake-up on the wire: heard by its own flow alone, and never taken by the bus for a message it knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from azure.servicebus import ServiceBusMessage

from shared.messaging import WAKE_UP, Bus
from shared.telemetry import Counters
from tests.hub import MemoryBodies
from tests.ledger.rig import confirmed, sales_order


class _Client:
    """The bus client's place: keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[ServiceBusMessage] = []

    def get_topic_sender(self, topic: str) -> _Client:
        return self

    async def __aenter__(self) -> _Client:
        return self

    async def close(self) -> None:
        return

    async def send_messages(self, message: ServiceBusMessage) -> None:
        self.sent.append(message)


async def test_each_wake_up_has_an_id_of_its_own_in_the_lane_of_its_key_for_one_flow() -> None:
    client = _Client()

    async def connect() -> Any:
        return client

    bus = Bus(connect, MemoryBodies(), 32, Counters())
    change = confirmed(sales_order())
    await bus.publish("orders", change)
    for _ in range(2):
        await bus.wake("orders", replace(change, kind=WAKE_UP, data={}), flow="order_to_ledger")
    await bus.wake("orders", change, flow="order_to_ledger")  # a case replayed: its very message once more
    assert len({message.message_id for message in client.sent}) == 4
    assert len({message.session_id for message in client.sent}) == 1
    flows = [(message.application_properties or {}).get("retryFor") for message in client.sent]
    assert flows == [None, "order_to_ledger", "order_to_ledger", "order_to_ledger"]
