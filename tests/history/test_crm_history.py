"""A whole customer history in CRM: whatever order the events come in, the same rows stand in the end."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.clients.http import deadline_after
from shared.domain.changes import Change
from shared.errors import RemoteDown, Transient
from shared.flows.crm_history_update import crm_history_update
from tests.ledger.rig import confirmed, event, line, sales_order
from tests.systems import Systems, systems

FLOW = "crm_history_update"
ORDER = sales_order("S-1", lines=[line("1", "10", "100.00", "20.00"), line("2", "1", "5.00", "1.00")])


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Systems]:
    async with systems(monkeypatch) as running:
        yield running


def posted(number: str = "S-1") -> Change:
    told = event("posted", number, order=ORDER | {"SalesId": number}, event_id=f"posted-{number}")
    posting = {
        "key": "K000000000000001", "kind": "invoice", "document": "1800000001", "fiscalYear": "2026",
        "companyCode": "GB01", "postingDate": "2026-11-23", "currency": "GBP", "gross": Decimal("126.00"),
        "onAccount": Decimal(0),
    }  # fmt: skip
    return replace(told, source="concord", data={**told.data, "posting": posting})


async def settle_all(world: Systems, changes: list[Change]) -> list[str]:
    return [await world.settle(FLOW, crm_history_update, change) for change in changes]


async def rows(world: Systems) -> dict[str, list[dict[str, Any]]]:
    tables: dict[str, list[dict[str, Any]]] = (await world.control("dataverse", "GET", "state"))["tables"]
    return tables


def essence(tables: dict[str, list[dict[str, Any]]]) -> object:
    """What a person reads of the history, without what Dataverse stamps itself."""
    heads = [
        {
            name: str(row.get(name))
            for name in ("ordernumber", "totalamount", "totaltax", "concord_stage", "concord_documents")
        }
        for row in tables["salesorders"]
    ]
    lines = sorted(
        tuple(str(row.get(name)) for name in ("concord_lineid", "quantity", "extendedamount", "quantityshipped"))
        for row in tables["salesorderdetails"]
    )
    return heads, lines, len(tables["concord_signals"])


async def test_an_order_stands_in_crm_with_its_lines_and_its_document(world: Systems) -> None:
    assert await settle_all(world, [confirmed(ORDER), posted()]) == ["accept", "accept"]
    tables = await rows(world)
    [head] = tables["salesorders"]
    assert head["concord_stage"] == "posted" and "1800000001/2026" in head["concord_documents"]
    assert Decimal(str(head["totalamount"])) == Decimal("126.00")
    assert len(tables["salesorderdetails"]) == 2


async def test_any_order_of_arrival_ends_in_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    changed_order = ORDER | {"ChannelId": "call-centre"}
    first = confirmed(ORDER)
    later = replace(event("changed", order=changed_order), occurred_at=first.occurred_at + timedelta(minutes=1))
    shipped = event("shipped", lines=[("1", "4")])
    story = [first, later, shipped, posted()]
    seen = set()
    for number, arrival in enumerate(itertools.permutations(story)):
        if number % 5:  # every fifth of the 24 orders; each change comes first, and last, in some
            continue
        async with systems(monkeypatch) as world:
            await world.control("commerce", "PUT", "orders/S-1", changed_order)
            await settle_all(world, [*arrival, arrival[0]])
            seen.add(str(essence(await rows(world))))
    assert len(seen) == 1, seen


async def test_the_post_purchase_signal_fires_once_from_complete_data(world: Systems) -> None:
    await settle_all(world, [confirmed(ORDER)])
    assert (await rows(world))["concord_signals"] == []
    await settle_all(world, [posted(), posted(), confirmed(ORDER)])
    [signal] = (await rows(world))["concord_signals"]
    assert Decimal(str(signal["concord_amount"])) == Decimal("126.00")


async def test_an_order_that_comes_before_its_customer_makes_room_for_it(world: Systems) -> None:
    await settle_all(world, [confirmed(ORDER | {"CustomerId": "NEW-1"})])
    assert [row["accountnumber"] for row in (await rows(world))["accounts"] if row["accountnumber"] == "NEW-1"]


async def test_a_guest_order_has_no_customer_and_still_its_history(world: Systems) -> None:
    assert await settle_all(world, [confirmed(ORDER | {"CustomerId": ""})]) == ["accept"]
    assert len((await rows(world))["salesorders"]) == 1


async def test_a_newer_content_takes_away_the_lines_it_no_longer_has(world: Systems) -> None:
    first = confirmed(ORDER)
    smaller = sales_order("S-1", lines=[line("1", "10", "100.00", "20.00")])
    later = replace(event("changed", order=smaller), occurred_at=first.occurred_at + timedelta(minutes=1))
    await settle_all(world, [first, later])
    assert [row["concord_lineid"] for row in (await rows(world))["salesorderdetails"]] == ["1"]


async def test_numbers_that_dataverse_cannot_address_still_name_one_row(world: Systems) -> None:
    odd = sales_order("S/1 #7&8", lines=[line("1", "1", "10.00", "2.00")])
    await settle_all(world, [confirmed(odd), confirmed(odd, event_id="again")])
    assert [row["ordernumber"] for row in (await rows(world))["salesorders"]] == ["S/1 #7&8"]


async def calls(world: Systems) -> list[dict[str, Any]]:
    """What Dataverse was asked to write, a batch with its parts."""
    told: list[dict[str, Any]] = await world.control("dataverse", "GET", "calls")
    return [call for call in told if call["method"] != "GET"]


async def test_an_order_costs_dataverse_one_request_at_its_confirmation_and_one_at_its_posting(world: Systems) -> None:
    await world.control("dataverse", "PUT", f"accounts/{ORDER['CustomerId']}", {})
    await settle_all(world, [confirmed(ORDER), posted()])
    first, second = await calls(world)
    assert [(part["method"], part["path"].partition("(")[0].rpartition("/")[2]) for part in first["parts"]] == [
        ("PATCH", "salesorders"),
        ("POST", "Microsoft.Dynamics.CRM.UpsertMultiple"),
        ("GET", "salesorders"),
    ]
    assert [(part["method"], part["path"].partition("(")[0].rpartition("/")[2]) for part in second["parts"]] == [
        ("PATCH", "salesorders"),
        ("PATCH", "concord_signals"),
        ("GET", "salesorders"),
    ]


async def test_every_write_inside_carries_the_tag_that_tells_our_own_echo(world: Systems) -> None:
    await world.control("dataverse", "PUT", f"accounts/{ORDER['CustomerId']}", {})
    await settle_all(world, [confirmed(ORDER), posted()])
    parts = [part for call in await calls(world) for part in call["parts"] if part["method"] != "GET"]
    assert {part["query"] for part in parts} == {"tag=concord"}


async def test_an_order_whose_lines_are_refused_is_not_half_written(world: Systems) -> None:
    await world.control(
        "dataverse", "POST", "faults", {"kind": "status", "match": {"path": "UpsertMultiple"}, "status": 400}
    )
    assert await settle_all(world, [confirmed(ORDER)]) == ["hold"]
    assert (await rows(world))["salesorders"] == []


async def test_a_signal_that_stands_already_does_not_take_the_posting_back(world: Systems) -> None:
    await settle_all(world, [confirmed(ORDER)])
    await world.control(
        "dataverse", "POST", "rows/concord_signals",
        {"concord_signalkey": "purchase|GB01|S-1", "concord_name": "by another hand"},
    )  # fmt: skip
    assert await settle_all(world, [posted()]) == ["accept"]
    tables = await rows(world)
    assert [row["concord_stage"] for row in tables["salesorders"]] == ["posted"]
    assert [row["concord_name"] for row in tables["concord_signals"]] == ["by another hand"]


async def test_a_signal_that_is_refused_leaves_the_posting_and_is_sent_by_the_next_try(world: Systems) -> None:
    await settle_all(world, [confirmed(ORDER)])
    fault = {"kind": "status", "match": {"path": "concord_signals"}, "status": 500, "count": 1}
    await world.control("dataverse", "POST", "faults", fault)
    dossier = await world.hub.records.read(posted().business_key)
    with pytest.raises(Transient):
        await crm_history_update(posted(), dossier, world.hub)
    tables = await rows(world)
    assert [row["concord_stage"] for row in tables["salesorders"]] == ["posted"] and tables["concord_signals"] == []
    await settle_all(world, [posted()])
    assert len((await rows(world))["concord_signals"]) == 1


async def test_an_order_that_comes_before_its_customer_is_written_whole_at_the_second_try(world: Systems) -> None:
    await settle_all(world, [confirmed(ORDER | {"CustomerId": "NEW-1"})])
    assert [call["status"] for call in await calls(world)] == [400, 204, 200]
    assert len((await rows(world))["salesorderdetails"]) == 2


async def test_a_line_that_is_gone_already_does_not_keep_the_newer_content_from_standing(world: Systems) -> None:
    first = confirmed(ORDER)
    smaller = sales_order("S-1", lines=[line("1", "10", "100.00", "20.00")])
    later = replace(event("changed", order=smaller), occurred_at=first.occurred_at + timedelta(minutes=1))
    await settle_all(world, [first])
    second_line = next(row for row in (await rows(world))["salesorderdetails"] if row["concord_lineid"] == "2")
    await world.control("dataverse", "DELETE", f"rows/salesorderdetails/{second_line['salesorderdetailid']}")
    assert await settle_all(world, [later]) == ["accept"]
    assert [row["concord_lineid"] for row in (await rows(world))["salesorderdetails"]] == ["1"]


@pytest.mark.parametrize("kind", ["timeout_before", "timeout_after", "reset"])
async def test_a_batch_without_an_answer_is_sent_again_and_stands_once(world: Systems, kind: str) -> None:
    await settle_all(world, [confirmed(ORDER)])
    await world.control("dataverse", "POST", "faults", {"kind": kind, "match": {"path": r"\$batch"}, "count": 1})
    dossier = await world.hub.records.read(posted().business_key)
    with pytest.raises(Transient), deadline_after(0.5):
        await crm_history_update(posted(), dossier, world.hub)
    assert await settle_all(world, [posted()]) == ["accept"]
    tables = await rows(world)
    assert [row["concord_stage"] for row in tables["salesorders"]] == ["posted"]
    assert (len(tables["salesorderdetails"]), len(tables["concord_signals"])) == (2, 1)


async def test_a_throttled_batch_had_no_effect_and_says_when_to_come_back(world: Systems) -> None:
    order = {"kind": "status", "match": {"path": r"\$batch"}, "status": 429, "retryAfter": 7, "count": 1}
    await world.control("dataverse", "POST", "faults", order)
    dossier = await world.hub.records.read(confirmed(ORDER).business_key)
    with pytest.raises(RemoteDown) as throttled:
        await crm_history_update(confirmed(ORDER), dossier, world.hub)
    assert throttled.value.retry_after_seconds == 7
    assert (await rows(world))["salesorders"] == []


async def test_an_attempt_that_lands_long_after_it_was_given_up_takes_nothing_of_the_later_events_back(
    world: Systems,
) -> None:
    """The confirmation's first attempt has its effect when the order is confirmed, shipped and posted already."""
    dossier = await world.hub.records.read(confirmed(ORDER).business_key)
    fault = {"kind": "timeout_late", "match": {"path": r"\$batch"}, "appliesAfter": 1.5, "count": 1}
    await world.control("dataverse", "POST", "faults", fault)
    with pytest.raises(Transient), deadline_after(0.3):
        await crm_history_update(confirmed(ORDER), dossier, world.hub)
    shipped = event("shipped", lines=[("1", "4")])
    assert await settle_all(world, [confirmed(ORDER), shipped, posted()]) == ["accept"] * 3
    before = await rows(world)
    assert before["salesorders"][0]["concord_stage"] == "partly shipped"
    await landed(world)
    assert await rows(world) == before


async def landed(world: Systems) -> None:
    """Once every effect that was to come late has come."""
    async with asyncio.timeout(10):
        while (await world.control("dataverse", "GET", "faults"))["late_effects_pending"]:
            await asyncio.sleep(0)


async def test_an_edit_of_the_order_in_crm_does_not_keep_later_events_out_and_is_kept(world: Systems) -> None:
    await settle_all(world, [confirmed(ORDER)])
    [head] = (await rows(world))["salesorders"]
    await world.control("dataverse", "PATCH", f"rows/salesorders/{head['salesorderid']}", {"description": "a gift"})
    assert await settle_all(world, [posted()]) == ["accept"]
    [head] = (await rows(world))["salesorders"]
    assert (head["concord_stage"], head["description"]) == ("posted", "a gift")


async def test_an_order_that_was_deleted_in_crm_is_written_again(world: Systems) -> None:
    first = confirmed(ORDER)
    later = replace(event("changed", order=ORDER), occurred_at=first.occurred_at + timedelta(minutes=1))
    await settle_all(world, [first])
    tables = await rows(world)
    for name, column in (("salesorderdetails", "salesorderdetailid"), ("salesorders", "salesorderid")):
        for row in tables[name]:
            await world.control("dataverse", "DELETE", f"rows/{name}/{row[column]}")
    assert await settle_all(world, [later]) == ["accept"]
    tables = await rows(world)
    assert (len(tables["salesorders"]), len(tables["salesorderdetails"])) == (1, 2)


async def test_two_attempts_at_once_do_not_write_over_each_other_unseen(world: Systems) -> None:
    """Both read the same dossier; whoever comes second finds another version and goes by what stands."""
    await settle_all(world, [confirmed(ORDER)])
    dossier = await world.hub.records.read(posted().business_key)
    await asyncio.gather(*(crm_history_update(posted(), dossier, world.hub) for _ in range(2)))
    tables = await rows(world)
    assert [row["concord_stage"] for row in tables["salesorders"]] == ["posted"]
    assert len(tables["concord_signals"]) == 1
