"""A webhook that is lost is no order lost: Commerce is asked, and the order comes as if its event had."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from functions import lineage as doors_of_lineage
from shared.domain.changes import Change
from shared.flows.crm_history_update import crm_history_update
from shared.flows.lost_order_sweep import lost_order_sweep
from shared.flows.order_to_ledger import order_to_ledger
from shared.flows.reconciliation import reconcile
from tests.cases.doors import Doors
from tests.ledger.rig import confirmed, line, sales_order
from tests.reconciliation.trading import into_history, trade
from tests.systems import Systems, systems

LEDGER = "order_to_ledger"


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Systems]:
    async with systems(monkeypatch) as running:
        yield running


def placed(world: Systems, number: str, *, ago: timedelta = timedelta(hours=2), **more: Any) -> dict[str, Any]:
    """An order placed a while ago, on a business day that is looked at."""
    at = world.clock.now - ago
    return sales_order(
        number, OrderPlacedDate=at.strftime("%Y-%m-%dT%H:%M:%SZ"), BusinessDate=at.date().isoformat(), **more
    )


async def lose(world: Systems, *orders: dict[str, Any], **more: Any) -> None:
    """Commerce takes the orders and every one of their events is lost on the way."""
    await world.control("commerce", "PUT", "events", {"lose": 1.0, "seed": 7})
    for order in orders:
        body = {"order": order, "legalEntity": "GB01", "emit": True, **more}
        await world.control("commerce", "PUT", f"orders/{order['SalesId']}", body)
    await world.control("commerce", "PUT", "events", {})


def brought(world: Systems) -> list[Change]:
    return [sent.change for sent in world.bus.sent if sent.change.id.startswith("lost_order_sweep")]


async def documents(world: Systems) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await world.control("sap", "GET", "state"))["documents"]
    return found


async def test_a_lost_order_is_brought_here_and_posts(world: Systems) -> None:
    await trade(world, placed(world, "S-1"))
    await lose(world, placed(world, "S-2"), placed(world, "S-3"))
    assert await lost_order_sweep(world.hub) == {"recovered": 2, "refused": 0, "failed": 0}
    for change in brought(world):
        assert await world.settle(LEDGER, order_to_ledger, change) == "accept"
    assert sorted(document["order"] for document in await documents(world)) == ["S-1", "S-2", "S-3"]


async def test_the_event_that_comes_after_all_settles_as_unchanged(world: Systems) -> None:
    order = placed(world, "S-1")
    await lose(world, order)
    await lost_order_sweep(world.hub)
    [change] = brought(world)
    assert await world.settle(LEDGER, order_to_ledger, change) == "accept"
    assert await world.settle(LEDGER, order_to_ledger, confirmed(order, event_id="the late one")) == "unchanged"
    assert len(await documents(world)) == 1


async def test_the_sweep_gives_an_order_the_same_message_each_time(world: Systems) -> None:
    await lose(world, placed(world, "S-1"))
    await lost_order_sweep(world.hub)
    world.clock.forward(minutes=30)
    assert (await lost_order_sweep(world.hub))["recovered"] == 0  # it waits in its lane: nobody brings it again yet
    world.clock.forward(minutes=31)
    assert (await lost_order_sweep(world.hub))["recovered"] == 1
    first, second = brought(world)
    assert first.message_id == second.message_id


async def test_what_was_received_and_what_has_just_been_placed_is_left_alone(world: Systems) -> None:
    await trade(world, placed(world, "S-1"))
    await lose(world, placed(world, "S-2", ago=timedelta(seconds=20)))
    held = placed(world, "S-3", charges=[("UNHEARD_OF", "5.00", "0")])
    await world.control("commerce", "PUT", "orders/S-3", {"order": held, "legalEntity": "GB01"})
    await world.settle(LEDGER, order_to_ledger, confirmed(held))
    free = placed(world, "S-4", lines=[line("1", "1", "0.00", "0.00")])
    await trade(world, free)
    assert (await lost_order_sweep(world.hub))["recovered"] == 0


async def test_a_lost_order_that_was_cancelled_comes_with_its_cancellation(world: Systems) -> None:
    await lose(world, placed(world, "S-1"), status="Canceled")
    await lost_order_sweep(world.hub)
    changes = brought(world)
    assert [change.kind for change in changes] == ["order.confirmed", "order.cancelled"]
    for change in changes:
        await world.settle(LEDGER, order_to_ledger, change)
    assert sorted(document["kind"] for document in await documents(world)) == ["cancellation", "invoice"]


async def test_a_lost_return_comes_as_a_return(world: Systems) -> None:
    given = placed(world, "R-1", lines=[line("1", "-1", "-10.00", "-2.00")])
    await lose(world, given)
    await lost_order_sweep(world.hub)
    [change] = brought(world)
    assert change.kind == "order.returned"
    assert await world.settle(LEDGER, order_to_ledger, change) == "accept"


async def test_an_order_nobody_can_read_becomes_a_case_and_stops_no_other(world: Systems) -> None:
    broken = placed(world, "S-1") | {"CurrencyCode": "XXX"}
    await lose(world, broken, placed(world, "S-2"))
    assert await lost_order_sweep(world.hub) == {"recovered": 1, "refused": 1, "failed": 0}
    [case] = await world.hub.cases.list(state="open")
    assert (case.key, case.code) == ("S-1", "malformed_order")


async def test_a_difference_that_is_a_lost_order_ends_with_one_click(
    world: Systems, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = placed(world, "S-1")
    await lose(world, order)
    period = order["BusinessDate"][:7]
    report, _ = await reconcile("GB01", period, world.hub)
    assert {row.code for row in report.rows} == {"never_received"}
    doors = Doors(monkeypatch, world.hub, doors_of_lineage)
    route: dict[str, Any] = {"legalEntity": "GB01", "orderNumber": "S-1"}
    assert (await doors.call(doors_of_lineage.lifecycle_recover, "POST", **route)).status == 403
    clicked = await doors.call(doors_of_lineage.lifecycle_recover, "POST", roles=("Operator",), **route)
    assert clicked.status == 202
    assert {row.code for row in (await reconcile("GB01", period, world.hub))[0].rows} == {"in_flight"}
    [change] = brought(world)
    await world.settle(LEDGER, order_to_ledger, change)
    await into_history(world, change)
    assert (await reconcile("GB01", period, world.hub))[0].matched == 1
    unknown = await doors.call(
        doors_of_lineage.lifecycle_recover, "POST", roles=("Operator",), legalEntity="GB01", orderNumber="S-404"
    )
    assert unknown.status == 404


async def test_a_cancelled_order_is_in_the_history_whatever_came_first(world: Systems) -> None:
    await lose(world, placed(world, "S-1"), status="Canceled")
    await lost_order_sweep(world.hub)
    for change in reversed(brought(world)):
        assert await world.settle("crm_history_update", crm_history_update, change) == "accept"
