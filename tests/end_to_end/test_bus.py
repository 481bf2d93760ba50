"""A bad message on the bus becomes a case, is not lost, and stops no other message of its lane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusSender
from azure.servicebus.exceptions import MessageSizeExceededError

from sandbox.kit import exact_json
from tests.end_to_end.conftest import Outside
from tests.end_to_end.orders import event, sales_order

LANES = 16  # of two workers
FLOWS = {"orders": 3, "changes": 1}
"""How many flows see a message that carries no property they could be chosen by, at least."""
PROPERTIES = {"kind": "order.confirmed", "entity": "order", "source": "commerce", "key": "?"}


def change(number: str, **changes: Any) -> dict[str, Any]:
    """A change as intake puts it on the bus: a confirmed order."""
    return {
        "id": f"by-hand-{number}", "source": "commerce", "entity": "order", "kind": "order.confirmed",
        "legalEntity": "GB01", "key": number, "occurredAt": "2026-11-23T10:00:00+00:00",
        "receivedAt": "2026-11-23T10:00:00+00:00", "correlationId": "0" * 32, "traceparent": "",
        "data": {"order": sales_order(number), "lines": None, "decisionId": None, "eventId": f"by-hand-{number}"},
    } | changes  # fmt: skip


def message(name: str, body: object, lane: str | None, properties: dict[str, Any] | None) -> ServiceBusMessage:
    written = body if isinstance(body, bytes) else exact_json.dumps(body)
    told: Any = properties
    return ServiceBusMessage(written, session_id=lane, message_id=name[:100], application_properties=told)


@asynccontextmanager
async def sending(outside: Outside, topic: str) -> AsyncIterator[ServiceBusSender]:
    connection = outside.described["servicebus"]["connection_string"]
    async with ServiceBusClient.from_connection_string(connection) as client, client.get_topic_sender(topic) as sender:
        yield sender


async def cases_of(outside: Outside) -> list[dict[str, Any]]:
    return list((await outside.ask("GET", "/api/cases?state=all&limit=5000")).json["cases"])


async def dead_letters(outside: Outside) -> dict[str, int]:
    held: Any = (await outside.systems.read("broker", "/state"))["entities"]
    return {name: one["dead_lettered"] for name, one in held.items() if one.get("dead_lettered")}


BAD: dict[str, object] = {
    "not JSON": b"\x00\x01garbage",
    "not UTF-8": b'{"id": "\xff"}',
    "a list": [],
    "nothing": b"",
    "an exponent bomb": b'{"data": {"x": 1e999999999999999999999}}',
    "deep nesting": b'{"data":' * 5_000,
    "no key": change("x", key=""),
    "a key of five thousand characters": change("x", key="x" * 5_000),
    "a key that is a number": change("x", key=7),
    "a time that is none": change("x", occurredAt="yesterday"),
    "a time beyond the calendar": change("x", occurredAt="0001-01-01T00:00:00+14:00"),
    "an unknown source": change("x", source="elsewhere"),
    "data that is a list": change("x", data=[]),
    "another topic's entity": change("x", entity="stock"),
    "an unknown kind": change("x", kind="order.lost"),
}


@pytest.mark.parametrize("topic", ["orders", "changes"])
async def test_bad_messages_become_cases_and_their_lane_goes_on(outside: Outside, topic: str) -> None:
    number = f"BUS-{topic}"
    names = {f"{topic} {name} {lane:02d}" for name in BAD for lane in range(0, LANES, 3)}
    bad = {"another topic's entity": change("x")} if topic == "changes" else {}
    async with sending(outside, topic) as sender:
        for name, body in (BAD | bad).items():
            for lane in range(0, LANES, 3):
                lot = message(f"{topic} {name} {lane:02d}", body, f"lane-{lane:02d}", PROPERTIES)
                await sender.send_messages(lot)
    told = await outside.ask("POST", "/api/webhooks/commerce", event("confirmed", sales_order(number), number))
    assert told.status == 202
    await outside.rest()
    assert [one["kind"] for one in await outside.documents_of(number)] == ["invoice"]
    found = [case for case in await cases_of(outside) if case["code"] == "unreadable" and case["key"] in names]
    assert {case["key"] for case in found} == names, "every bad message has its case"
    assert len(found) >= FLOWS[topic] * len(names), "in every flow that it reached"
    assert all(case["reasons"][0]["message"] for case in found)
    assert await dead_letters(outside) == {}


async def test_an_order_that_no_flow_can_post_is_a_case_of_that_order_and_no_other(outside: Outside) -> None:
    bad = {
        "ODD-ENTITY": change("ODD-ENTITY", legalEntity="ZZ99"),
        "ODD-ORDER": change("ODD-ORDER", data={"order": [1], "lines": 7, "decisionId": {}}),
        "ODD-NOTHING": change("ODD-NOTHING", data={}),
        "ODD-NUMBER": change("ODD-NUMBER", data={"order": sales_order("OTHER")}),
    }
    async with sending(outside, "orders") as sender:
        for number, body in bad.items():
            await sender.send_messages(message(number, body, "lane-00", PROPERTIES | {"key": number}))
        await sender.send_messages(message("EVEN-1", change("EVEN-1"), "lane-00", PROPERTIES))
    await outside.rest()
    about = {case["key"] for case in await cases_of(outside) if case["flow"] == "order_to_ledger"}
    assert bad.keys() <= about
    assert "EVEN-1" not in about
    assert [one["order"] for one in await outside.documents_of("EVEN-1", "OTHER", *bad)] == ["EVEN-1"]


async def test_a_good_order_in_a_bad_wrapping_is_posted_all_the_same(outside: Outside) -> None:
    """No properties, another key in them, another lane than its own: what counts is the body."""
    wrapped = {
        "WRAP-NONE": (None, "lane-01"),
        "WRAP-KEY": (PROPERTIES | {"key": "SOMEBODY-ELSE"}, "lane-02"),
        "WRAP-LANE": (PROPERTIES, "lane-?/'"),
        "WRAP/#?'\\": (PROPERTIES, "lane-03"),
    }
    async with sending(outside, "orders") as sender:
        for number, (properties, lane) in wrapped.items():
            await sender.send_messages(message(f"wrapped {number[:8]}", change(number), lane, properties))
    await outside.rest()
    assert sorted(one["order"] for one in await outside.documents_of(*wrapped)) == sorted(wrapped)


async def test_an_order_without_a_lane_is_dead_lettered_becomes_a_case_and_is_posted_by_its_replay(
    outside: Outside,
) -> None:
    async with sending(outside, "orders") as sender:
        await sender.send_messages(message("no lane", change("LANELESS-1"), None, PROPERTIES))
    await outside.rest()
    found = await outside.cases_about("LANELESS-1")
    assert {case["code"] for case in found} == {"dead_lettered"}
    assert {case["flow"] for case in found} == {"credit_hold_update", "order_to_ledger", "crm_history_update"}
    assert "Session ID is null" in found[0]["reasons"][0]["message"]
    assert await dead_letters(outside) == {}
    assert await outside.documents_of("LANELESS-1") == []
    for case in found:
        replayed = await outside.ask("POST", f"/api/cases/{case['id']}/replay", {}, headers=outside.person("operator"))
        assert replayed.status == 202, replayed.body
    await outside.rest()
    assert [one["kind"] for one in await outside.documents_of("LANELESS-1")] == ["invoice"]


async def test_a_message_too_large_for_the_bus_is_refused_to_its_sender_and_an_order_of_that_size_is_not(
    outside: Outside,
) -> None:
    async with sending(outside, "orders") as sender:
        with pytest.raises(MessageSizeExceededError):
            await sender.send_messages(message("huge", b'"' + b"x" * 900_000 + b'"', "lane-00", PROPERTIES))
    number = "HUGE-1"
    order = sales_order(number)
    [line] = order["SalesLines"]
    order["SalesLines"] = [line] + [
        {**line, "LineId": str(index), "Quantity": 1, "Price": 0, "NetAmount": 0, "TaxAmount": 0, "TotalAmount": 0,
         "Comment": "x" * 600}
        for index in range(2, 700)
    ]  # fmt: skip
    assert len(exact_json.dumps(order)) > 400_000
    assert (await outside.ask("POST", "/api/webhooks/commerce", event("confirmed", order, number))).status == 202
    await outside.rest()
    assert [one["gross"] for one in await outside.documents_of(number)] == ["120.00"]


async def test_a_body_that_is_not_where_it_should_be_is_a_case_at_once(outside: Outside) -> None:
    bodies = {"no body 1": "../../x?y#z", "no body 2": f"{'0' * 64}.json", "no body 3": ""}
    async with sending(outside, "orders") as sender:
        for name, blob in bodies.items():
            wrapped = message(name, {"bodyBlob": blob}, "lane-04", PROPERTIES | {"bodyBlob": blob})
            await sender.send_messages(wrapped)
    await outside.rest()
    found = {case["key"] for case in await cases_of(outside) if case["flow"] == "order_to_ledger"}
    assert bodies.keys() <= found
    assert await dead_letters(outside) == {}


async def test_wake_ups_that_nobody_asked_for_do_nothing(outside: Outside) -> None:
    number = "WOKEN-1"
    await outside.ask("POST", "/api/webhooks/commerce", event("confirmed", sales_order(number), number))
    await outside.rest()
    async with sending(outside, "orders") as sender:
        for flow in ("order_to_ledger", "crm_history_update", "credit_hold_update", "nobody"):
            woken = PROPERTIES | {"kind": "wake-up", "retryFor": flow, "force": "true"}
            body = change(number, kind="wake-up", data={})
            await asyncio.gather(
                *(sender.send_messages(message(f"{flow} {turn}", body, "lane-05", woken)) for turn in range(3))
            )
    await outside.rest()
    assert len(await outside.documents_of(number)) == 1
    assert await outside.cases_about(number) == []
