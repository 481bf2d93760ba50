"""Whatever is tampered with in one of three systems is found, named and costed, nothing else is; undone, it closes."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from functions import reconciliation as doors_of_reconciliation
from tests.cases.doors import Doors
from tests.ledger.rig import line, sales_order
from tests.reconciliation.finding import misses
from tests.reconciliation.tampering import ALL, Subject, Tampered, Tampering, subjects_of
from tests.reconciliation.trading import PERIOD, cancel, give_back, on_account, trade
from tests.systems import System, Systems, systems


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Systems]:
    async with systems(monkeypatch) as running:
        yield running


@pytest.fixture
def doors(world: Systems, monkeypatch: pytest.MonkeyPatch) -> Doors:
    return Doors(monkeypatch, world.hub, doors_of_reconciliation)


async def a_month(world: Systems) -> None:
    """One of every kind of order: sold, returned, cancelled, at the till, on account, in charges, in many lines."""
    many = [line(str(number), "1", f"{number}.{number % 100:02d}", "0") for number in range(1, 301)]
    for order in (
        sales_order("INVOICE"),
        sales_order("ZERO-RATED", lines=[line("1", "10", "100.00")]),
        sales_order("TILL", customer="", tenders=[("1", "120.00")]),
        sales_order("CHARGES", lines=[], charges=[("POSTAGE", "5.00", "1.00"), ("BANKCHARGE", "2.00", "0")]),
        sales_order("LINES", lines=many),
        sales_order("GIFT", lines=[line("1", "1", "50.00", "0", gift_card=True), line("2", "1", "10.00", "2.00")]),
        sales_order("REDEEMED", tenders=[("8", "20.00"), ("3", "100.00")]),
        sales_order("EXCHANGE", lines=[line("1", "-1", "-30.00", "-6.00"), line("2", "1", "10.00", "2.00")]),
        sales_order("RETURN", lines=[line("1", "-2", "-20.00", "-4.00", original=("INVOICE", "1"))]),
        sales_order("REFUND", lines=[], charges=[("ADJUSTMENT", "-7.00", "0")]),
        sales_order("BY-LINE"),
        sales_order("CANCELLED"),
    ):
        await trade(world, order)
    await on_account(world, "ACCOUNT")
    await give_back(world, "BY-LINE", [("1", "4")])
    await cancel(world, "CANCELLED")


async def subjects(world: Systems) -> list[Subject]:
    names: tuple[System, ...] = ("sap", "commerce", "dataverse")
    return subjects_of({name: await world.control(name, "GET", "state") for name in names}, world.control)


async def told(doors: Doors) -> dict[str, Any]:
    answered = await doors.call(doors_of_reconciliation.reconciliation, legalEntity="GB01", period=PERIOD)
    assert answered.status == 200
    report: dict[str, Any] = answered.json
    assert all(bridge["addsUp"] for bridge in report["bridges"]), report["bridges"]
    return report


async def closed(doors: Doors) -> tuple[int, Any]:
    answered = await doors.call(
        doors_of_reconciliation.reconciliation_close, "POST", roles=("Controller",), body={}, legalEntity="GB01",
        period=PERIOD,
    )  # fmt: skip
    return answered.status, answered.json


async def an_untouched_month(world: Systems, doors: Doors) -> dict[str, Any]:
    """A month in which nothing is unexplained, and closed."""
    await a_month(world)
    report = await told(doors)
    assert (report["unexplained"], report["difference"]) == (0, {"GBP": "0.00"}), report["rows"]
    assert (await closed(doors))[0] == 201
    return report


async def tampered_and_undone(doors: Doors, done: list[Tampered]) -> list[str]:
    """What the report does not say of it, or says beyond; once looked at, it is undone."""
    report = await told(doors)
    wrong = misses(report, [found for one in done for found in one.found])
    status, refusal = await closed(doors)
    named = {row["orderNumber"] for row in report["rows"] if not row["explained"]}
    if status != 409 or {item["orderNumber"] for item in refusal["items"]} != named:
        wrong.append(f"closing answers {status} {refusal}")
    for one in done:
        await one.undo()
    return wrong


async def is_as_before(doors: Doors, before: dict[str, Any]) -> None:
    after = await told(doors)
    assert (after["unexplained"], after["difference"]) == (0, {"GBP": "0.00"}), after["rows"]
    assert {name: side["sha256"] for name, side in after["systems"].items()} == {
        name: side["sha256"] for name, side in before["systems"].items()
    }
    assert (await closed(doors))[0] == 201


async def test_each_way_of_tampering_is_found_and_named_and_the_month_closes_once_it_is_undone(
    world: Systems, doors: Doors
) -> None:
    before = await an_untouched_month(world, doors)
    known, chance, wrong = await subjects(world), random.Random(7), []
    for tampering in ALL:
        subject = chance.choice([one for one in known if tampering.fits(one)])
        wrong += await tampered_and_undone(doors, [await tampering.act(subject)])
    assert not wrong, "\n".join(wrong)
    await is_as_before(doors, before)


@pytest.mark.prove
@pytest.mark.parametrize("tampering", ALL, ids=str)
async def test_what_is_tampered_with_is_found_on_every_kind_of_document(
    world: Systems, doors: Doors, tampering: Tampering
) -> None:
    before = await an_untouched_month(world, doors)
    wrong = []
    for subject in await subjects(world):
        if tampering.fits(subject):
            wrong += await tampered_and_undone(doors, [await tampering.act(subject)])
    assert not wrong, "\n".join(wrong)
    await is_as_before(doors, before)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.prove) for seed in range(2, 8))])
async def test_tampering_with_every_order_at_once_hides_none_of_them(world: Systems, doors: Doors, seed: int) -> None:
    before = await an_untouched_month(world, doors)
    chance, by_number = random.Random(seed), {one.number: one for one in await subjects(world)}
    done = [await chance.choice([way for way in ALL if way.fits(one)]).act(one) for one in by_number.values()]
    wrong = await tampered_and_undone(doors, done)
    assert not wrong, "\n".join(wrong)
    await is_as_before(doors, before)
