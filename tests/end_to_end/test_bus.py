"""A bad message on the bus becomes a case, is not lost, and stops no other message of its lane."""

from __future__ import annotations

import json
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from tests.end_to_end.conftest import Outside
from tests.end_to_end.orders import event, sales_order

GOOD: dict[str, Any] = {
    "id": "by-hand-1", "source": "commerce", "entity": "order", "kind": "order.confirmed", "legalEntity": "GB01",
    "key": "BUS-1", "occurredAt": "2026-11-23T10:00:00+00:00", "receivedAt": "2026-11-23T10:00:00+00:00",
    "correlationId": "0" * 32, "traceparent": "", "data": {},
}  # fmt: skip
BAD: dict[str, bytes] = {
    "not JSON": b"\x00\x01garbage",
    "a list": b"[]",
    "nothing": b"",
    "no key": json.dumps({**GOOD, "key": ""}).encode(),
    "a time that is none": json.dumps({**GOOD, "occurredAt": "yesterday"}).encode(),
    "an unknown source": json.dumps({**GOOD, "source": "elsewhere"}).encode(),
    "deep nesting": b'{"data":' * 5_000,
    "an order without content that Commerce never had": json.dumps({**GOOD, "key": "NEVER-1", "id": "n"}).encode(),
}


@pytest.mark.parametrize("topic", ["orders", "changes"])
async def test_bad_messages_become_cases_and_their_lane_goes_on(outside: Outside, topic: str) -> None:
    before = {case["id"] for case in (await outside.ask("GET", "/api/cases?state=all")).json["cases"]}
    connection = outside.described["servicebus"]["connection_string"]
    number = f"BUS-{topic}"
    async with ServiceBusClient.from_connection_string(connection) as client, client.get_topic_sender(topic) as sender:
        for name, body in BAD.items():
            properties: dict[str | bytes, Any] = {"kind": "order.confirmed", "entity": "order", "key": "?"}
            for lane in range(8):
                await sender.send_messages(
                    ServiceBusMessage(
                        body, session_id=f"lane-{lane:02d}", message_id=f"{topic}-{name}-{lane}"[:100],
                        application_properties=properties,
                    )
                )  # fmt: skip
    assert (
        await outside.ask("POST", "/api/webhooks/commerce", event("confirmed", sales_order(number), number))
    ).status == 202
    await outside.rest()
    assert [one["kind"] for one in await outside.documents_of(number)] == ["invoice"]
    cases = (await outside.ask("GET", "/api/cases?state=all")).json["cases"]
    unreadable = [case for case in cases if case["code"] == "unreadable" and case["id"] not in before]
    assert len(unreadable) >= (len(BAD) - 1) * 8, "every unreadable message has its case"
    held = await outside.systems.read("broker", "/state")
    entities: Any = held["entities"]
    assert {name: one["dead_lettered"] for name, one in entities.items() if one.get("dead_lettered")} == {}
