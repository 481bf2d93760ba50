"""Where an order stands, how long each step took, and which orders are late."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from functions import lineage as doors_of_lineage
from shared.domain.changes import Change
from shared.errors import OutcomeUnknown
from shared.flows.crm_history_update import crm_history_update
from shared.flows.lifecycle import late_orders, read_lifecycle
from shared.flows.order_to_ledger import order_to_ledger
from shared.stores.records import Dossier, Outcome
from shared.wiring import Hub
from tests.cases.doors import Doors
from tests.ledger.rig import confirmed
from tests.reconciliation.test_lost_orders import placed
from tests.reconciliation.trading import trade
from tests.systems import Systems, systems


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Systems]:
    async with systems(monkeypatch) as running:
        yield running


async def test_each_step_of_an_order_has_its_time(world: Systems) -> None:
    order = placed(world, "S-1")
    await world.control("commerce", "PUT", "orders/S-1", {"order": order, "legalEntity": "GB01"})
    change = replace(confirmed(order), received_at=world.clock.now)
    world.clock.forward(seconds=2)
    await world.settle("order_to_ledger", order_to_ledger, change)
    world.clock.forward(seconds=3)
    await world.settle("crm_history_update", crm_history_update, change)
    life = await read_lifecycle("GB01", "S-1", world.hub)
    assert life is not None and life.state == "posted"
    assert [(step.name, step.milliseconds, step.since_before) for step in life.steps] == [
        ("received", 0, 0),
        ("posted", 2000, 2000),
        ("written_to_crm", 5000, 3000),
    ]


async def test_the_check_and_the_binding_of_the_hold_are_steps_too(world: Systems) -> None:
    order = placed(world, "S-1")
    await trade(world, order)
    now = world.clock.now
    decision = SimpleNamespace(id="d-1", decided_at=now - timedelta(minutes=9), outcome="approved", amount="120.00 GBP")
    kept = SimpleNamespace(
        record=SimpleNamespace(decision=decision),
        steps=(SimpleNamespace(after="firm", at=now + timedelta(milliseconds=250), reason="confirmed"),),
    )

    class Book:
        async def read_record(self, decision_id: str) -> Any:
            assert decision_id == "d-1"
            return kept

    key = "order|GB01|S-1"
    dossier = await world.hub.records.read(key)
    from shared.stores.claims import claims_in

    [claim] = claims_in(dossier)
    await world.hub.records.write(key, [replace(claim, decision="d-1").operation()])
    life = await read_lifecycle("GB01", "S-1", replace(world.hub, credit_book=Book()))  # type: ignore[arg-type]
    assert life is not None
    assert {"checked", "firmed", "posted", "written_to_crm"} <= {step.name for step in life.steps}
    assert [step.at for step in life.steps] == sorted(step.at for step in life.steps)


async def test_orders_that_are_late_show_and_others_do_not(world: Systems, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(change: Change, dossier: Dossier, hub: Hub) -> Outcome:
        raise OutcomeUnknown("no answer")

    await trade(world, placed(world, "S-1"))
    for number, ago in (("S-2", 90), ("S-3", 3)):
        order = placed(world, number, ago=timedelta(minutes=ago))
        await world.control("commerce", "PUT", f"orders/{number}", {"order": order, "legalEntity": "GB01"})
        received = replace(confirmed(order), received_at=world.clock.now - timedelta(minutes=ago))
        await world.settle("order_to_ledger", unknown, received)
        await world.settle("crm_history_update", crm_history_update, received)
    lost = placed(world, "S-4", ago=timedelta(hours=3))
    await world.control("commerce", "PUT", "orders/S-4", {"order": lost, "legalEntity": "GB01"})
    late = await late_orders("GB01", world.hub)
    assert [(one.order_number, one.code) for one in late] == [("S-4", "never_received"), ("S-2", "in_flight")]
    assert late[1].missing == ("ledger",)
    doors = Doors(monkeypatch, world.hub, doors_of_lineage)
    told = await doors.call(doors_of_lineage.lifecycle_late, params={"late": "2m"}, legalEntity="GB01")
    assert [one["orderNumber"] for one in told.json["orders"]] == ["S-4", "S-2", "S-3"]
    assert told.json["orders"][0]["links"]["replay"] == "/api/lifecycle/GB01/S-4/recover"
    assert (await doors.call(doors_of_lineage.lifecycle_late, roles=None, legalEntity="GB01")).status == 401
    assert (await doors.call(doors_of_lineage.lifecycle_late, legalEntity="XX01")).status == 404
    odd = await doors.call(doors_of_lineage.lifecycle_late, params={"late": "soon"}, legalEntity="GB01")
    assert (odd.status, odd.json["errors"][0]["field"]) == (400, "late")
