"""One inventory: what moved in SAP is what Commerce sells from, however events come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from shared.domain.changes import Change
from shared.flows.availability import availability
from shared.flows.inventory_push import inventory_push
from tests.systems import Systems, systems

FLOW = "inventory_push"


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Systems]:
    async with systems(monkeypatch) as running:
        yield running


async def moved(world: Systems, quantity: str, material: str = "TEA", plant: str = "GB10") -> Change:
    """Stock changes in SAP; the change as it arrived on the bus."""
    world.bus.sent.clear()
    await world.control("sap", "PUT", f"stock/{plant}/{material}", {"quantity": quantity, "unit": "EA"})
    return await world.heard(lambda change: change.entity == "stock" and change.key == f"{plant}|{material}")


async def on_hand(world: Systems, material: str = "TEA", plant: str = "GB10") -> Decimal | None:
    stand = await availability(material, plant, world.hub)
    return None if stand is None else stand.on_hand


async def test_a_stock_movement_in_sap_becomes_the_figure_that_commerce_sells_from(world: Systems) -> None:
    change = await moved(world, "40")
    assert await world.settle(FLOW, inventory_push, change) == "accept"
    stand = await availability("TEA", "GB10", world.hub)
    assert stand is not None
    assert (stand.on_hand, stand.unit, stand.legal_entity, stand.as_of) == (Decimal(40), "EA", "GB01", world.clock())


async def test_a_burst_of_movements_costs_one_reading_of_sap(world: Systems) -> None:
    first = await moved(world, "40")
    await world.control("sap", "PUT", "stock/GB10/TEA", {"quantity": "39", "unit": "EA"})
    second = replace(first, id="another", received_at=first.received_at)
    world.clock.forward(seconds=5)
    assert await world.settle(FLOW, inventory_push, first) == "accept"
    await world.control("sap", "DELETE", "calls")
    assert await world.settle(FLOW, inventory_push, second) == "unchanged"
    assert await world.control("sap", "GET", "calls") == []
    assert await on_hand(world) == 39


async def test_the_same_event_twice_changes_nothing(world: Systems) -> None:
    change = await moved(world, "7")
    await world.settle(FLOW, inventory_push, change)
    pushed = len(await world.control("commerce", "GET", "calls"))
    await world.settle(FLOW, inventory_push, change)
    assert await on_hand(world) == 7
    posts = [call for call in (await world.control("commerce", "GET", "calls"))[pushed:] if "setonhand" in call["path"]]
    assert posts == []


async def test_an_older_reading_never_replaces_a_newer_one(world: Systems) -> None:
    first = await moved(world, "10")
    await world.settle(FLOW, inventory_push, first)
    second = await moved(world, "3")
    world.clock.forward(seconds=10)
    await world.settle(FLOW, inventory_push, second)
    world.clock.now -= timedelta(seconds=30)
    late = replace(await moved(world, "99"), received_at=world.clock())
    assert await world.settle(FLOW, inventory_push, late) == "unchanged"
    assert await on_hand(world) == 3


async def test_stock_that_ran_out_is_told_as_zero_and_not_left_standing(world: Systems) -> None:
    await world.settle(FLOW, inventory_push, await moved(world, "2"))
    change = await moved(world, "0")
    world.clock.forward(seconds=2)
    assert await world.settle(FLOW, inventory_push, replace(change, received_at=world.clock())) == "accept"
    assert await on_hand(world) == 0


async def test_a_plant_of_no_legal_entity_is_left_alone_and_said_so(world: Systems) -> None:
    change = replace(await moved(world, "5"), key="XX99|TEA")
    assert await world.settle(FLOW, inventory_push, change) == "unchanged"
    [evidence] = await world.hub.records.read_evidence(change.business_key)
    assert evidence.reasons[0]["code"] == "plant_not_governed"


async def test_a_key_that_names_no_material_becomes_a_case(world: Systems) -> None:
    change = replace(await moved(world, "5"), key="GB10")
    assert await world.settle(FLOW, inventory_push, change) == "hold"
    assert [case.code for case in await world.hub.cases.list(state="open")] == ["malformed"]


async def test_availability_of_an_unknown_product_or_plant_is_none(world: Systems) -> None:
    assert await availability("NOBODY-KNOWS", "GB10", world.hub) is None
    assert await availability("TEA", "XX99", world.hub) is None
