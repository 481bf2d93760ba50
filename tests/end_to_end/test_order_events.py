"""Order events in any order, any number of times, with amounts that do not add up: each order ends where it should."""

from __future__ import annotations

import itertools
import random
from decimal import Decimal
from typing import Any

import pytest

from tests.end_to_end.conftest import Outside
from tests.end_to_end.orders import check, event, on_account, open_account, sales_order

COMMERCE = "/api/webhooks/commerce"


async def told(outside: Outside, *events: dict[str, Any]) -> None:
    """Events one after the other, each at another worker."""
    for number, one in enumerate(events):
        reply = await outside.ask("POST", COMMERCE, one, worker=number % 2)
        assert reply.status == 202, reply.body


async def balance_of(outside: Outside, number: str) -> Decimal:
    """What SAP's documents of an order come to."""
    documents = await outside.documents_of(number)
    return sum((Decimal(str(one["gross"])) for one in documents), Decimal(0))


async def known_to_commerce(outside: Outside, order: dict[str, Any]) -> None:
    await outside.control("commerce", "PUT", f"orders/{order['SalesId']}", {**order, "legalEntity": "GB01"})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("TOTAL", {"TotalAmount": Decimal("121.00")}),
        ("TAX", {"TaxAmount": Decimal("19.00")}),
        ("NET", {"SubtotalAmountWithoutTax": Decimal("99.99")}),
        ("TENDERS", {"TenderLines": [{"TenderTypeId": "3", "Amount": Decimal("1.00"), "Currency": "GBP"}]}),
        ("CHARGES", {"ChargeLines": [{"ChargeCode": "FREIGHT", "CalculatedAmount": Decimal("0.01")}]}),
        ("EMPTY", {"SalesLines": []}),
    ],
)
async def test_an_order_that_does_not_add_up_is_taken_becomes_a_case_and_posts_nothing(
    outside: Outside, name: str, wrong: dict[str, Any]
) -> None:
    number = f"SUMS-{name}"
    await told(outside, event("confirmed", sales_order(number) | wrong, number))
    await outside.rest()
    [case] = [case for case in await outside.cases_about(number) if case["flow"] == "order_to_ledger"]
    assert case["state"] == "open" and case["reasons"]
    assert await outside.documents_of(number) == []


@pytest.mark.parametrize("seed", range(2))
async def test_every_event_told_three_times_in_any_order_ends_the_same(outside: Outside, seed: int) -> None:
    chance = random.Random(seed)
    orders = [sales_order(f"ANY-{seed}-{number}") for number in range(6)]
    events: list[dict[str, Any]] = []
    for index, order in enumerate(orders):
        number = order["SalesId"]
        await known_to_commerce(outside, order)
        told_of = [event("confirmed", order, number)]
        if index % 3 == 1:
            told_of.append(event("cancelled", None, number, occurredAt="2026-11-23T12:00:00Z"))
        if index % 3 == 2:
            lines = [{"lineId": "1", "quantity": 4}]
            told_of.append(event("returned", None, number, lines=lines, occurredAt="2026-11-23T12:00:00Z"))
        events += told_of * 3
    chance.shuffle(events)
    await told(outside, *events)
    await outside.rest()
    await outside.sweep()
    for index, order in enumerate(orders):
        number = order["SalesId"]
        expected = (Decimal("120.00"), Decimal("0.00"), Decimal("72.00"))[index % 3]
        assert await balance_of(outside, number) == expected, (number, await outside.documents_of(number))
        assert await outside.cases_about(number) == []
    references = [one["reference"] for one in await outside.documents_of(*(order["SalesId"] for order in orders))]
    assert len(references) == len(set(references))


async def test_a_change_before_its_confirmation_is_what_gets_posted(outside: Outside) -> None:
    number = "CHANGED-1"
    later = sales_order(number, net="50.00", tax="10.00")
    await told(
        outside,
        event("changed", later, number, occurredAt="2026-11-23T11:00:00Z"),
        event("confirmed", sales_order(number), number),
    )
    await outside.rest()
    assert await balance_of(outside, number) == Decimal("60.00")


async def test_a_change_after_its_posting_is_a_persons_matter(outside: Outside) -> None:
    number = "CHANGED-2"
    await told(outside, event("confirmed", sales_order(number), number))
    await outside.rest()
    later = sales_order(number, net="50.00", tax="10.00")
    await told(outside, event("changed", later, number, occurredAt="2026-11-23T11:00:00Z"))
    await outside.rest()
    assert await balance_of(outside, number) == Decimal("120.00")
    assert [case["code"] for case in await outside.cases_about(number)] == ["changed_after_posting"]


async def test_never_more_comes_back_than_was_sold_however_it_is_told(outside: Outside) -> None:
    number = "BACK-1"
    await told(outside, event("confirmed", sales_order(number), number))
    returns = [
        event("returned", None, number, id=f"back-{turn}", lines=[{"lineId": "1", "quantity": quantity}])
        for turn, quantity in enumerate((6, 6, 11, 4))
    ]
    await told(outside, *itertools.chain(returns, returns))
    await outside.rest()
    await outside.sweep()
    balance = await balance_of(outside, number)
    assert Decimal(0) <= balance <= Decimal("120.00")
    assert balance == Decimal("48.00") or balance == Decimal("0.00"), balance
    assert await outside.cases_about(number), "what was too much is a person's matter"


async def test_an_order_on_account_without_its_decision_is_held_and_posts_with_it(outside: Outside) -> None:
    await open_account(outside, "HELD-1", "1000")
    number = "HELD-1-1"
    order = on_account(number, "HELD-1")
    await told(outside, event("confirmed", order, number))
    await outside.rest()
    assert [case["code"] for case in await outside.cases_about(number)] == ["no_credit_decision"]
    assert await outside.documents_of(number) == []
    decision = await outside.ask("POST", "/api/credit-checks", check(number, "HELD-1"))
    assert decision.json["outcome"] == "approved"
    named = event("confirmed", order, number, id=f"again-{number}", decisionId=decision.json["decisionId"])
    await told(outside, named)
    [case] = await outside.cases_about(number)
    why = {"comment": "confirmed again with its decision"}
    discarded = await outside.ask("POST", f"/api/cases/{case['id']}/discard", why, headers=outside.person("operator"))
    assert discarded.status == 200, discarded.body
    await outside.rest()
    assert [one["kind"] for one in await outside.documents_of(number)] == ["invoice"]


async def test_one_decision_covers_one_order_only(outside: Outside) -> None:
    await open_account(outside, "ONCE-1", "1000")
    decision = await outside.ask("POST", "/api/credit-checks", check("once-1", "ONCE-1"))
    numbers = [f"ONCE-1-{turn}" for turn in range(4)]
    await told(
        outside,
        *(event("confirmed", on_account(n, "ONCE-1"), n, decisionId=decision.json["decisionId"]) for n in numbers),
    )
    await outside.rest()
    await outside.sweep()
    assert len(await outside.documents_of(*numbers)) == 1
    held = [number for number in numbers if await outside.cases_about(number)]
    assert len(held) == 3
