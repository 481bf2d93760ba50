"""What goes back: at the original's prices, never more than was sold, in any order of arrival."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.ledger import Entry, EntryLine, entry_of
from shared.domain.money import Money
from shared.domain.orders import read_order
from shared.domain.returns import Taken, credit_line, refunded
from shared.errors import Transient
from shared.stores.table import Op, RowChanged, RowExists
from tests.ledger.rig import Bench, bench, codes, confirmed, event, ledger_policy, line, reading_together, sales_order

MIXED: dict[str, Any] = {
    "lines": [line("1", "3", "10.00", "2.00"), line("2", "5", "25.00", "5.00")],
    "charges": [("FREIGHT", "5.00", "1.00")],
    "tenders": [("3", "18.00"), ("8", "30.00")],
}


def net_of_all(at: Bench) -> Decimal:
    """What is left on revenue and freight over all documents."""
    import re

    found = [
        Decimal(amount)
        for body in at.sap.bodies
        for account, amount in re.findall(
            r"<GLAccount>(4\d+)</GLAccount><AmountInTransactionCurrency[^>]*>([-0-9.]+)<", body
        )
    ]
    return sum(found, Decimal(0))


def own_return(number: str, quantity: str, net: str, tax: str, original: tuple[str, str] | None) -> dict[str, Any]:
    return sales_order(number, lines=[line("1", quantity, net, tax, original=original)])


async def test_a_full_cancellation_takes_everything_back_the_way_it_was_paid() -> None:
    async with bench() as at:
        await at.tell(confirmed(sales_order(**MIXED)))
        outcome = await at.tell(event("cancelled"))
        assert outcome.ruling.kind == "accept"
        assert at.bus.published[-1].data["posting"]["gross"] == "-48.00"
        assert net_of_all(at) == 0
        assert [document["kind"] for document in at.sap.documents] == ["invoice", "cancellation"]


async def test_a_cancellation_that_arrives_first_leaves_a_tombstone_and_the_order_posts_nothing() -> None:
    async with bench() as at:
        assert codes(await at.tell(event("cancelled"))) == ["before_its_order"]
        assert codes(await at.tell(confirmed(sales_order()))) == ["cancelled_before_posting"]
        assert at.sap.documents == []


async def test_a_partial_cancellation_that_arrives_first_is_carried_out_right_after_its_order() -> None:
    async with bench() as at:
        await at.tell(event("cancelled", lines=[("2", "5")]))
        outcome = await at.tell(confirmed(sales_order(**MIXED)))
        assert outcome.ruling.kind == "accept"
        assert [document["kind"] for document in at.sap.documents] == ["invoice", "cancellation"]
        assert at.bus.published[-1].data["posting"]["gross"] == "-30.00"


async def test_partial_returns_are_postings_of_their_own_and_the_last_takes_what_is_left() -> None:
    async with bench() as at:
        await at.tell(confirmed(sales_order(**MIXED)))
        for number in range(3):
            await at.tell(event("returned", lines=[("1", "1")], event_id=f"r{number}"))
        assert len(set(at.sap.keys())) == 4
        gross = [Decimal(change.data["posting"]["gross"]) for change in at.bus.published[1:]]
        assert gross == [Decimal("-4.00"), Decimal("-4.00"), Decimal("-4.00")]


async def test_more_than_was_sold_never_goes_back() -> None:
    async with bench() as at:
        await at.tell(confirmed(sales_order(**MIXED)))
        await at.tell(event("returned", lines=[("1", "2")], event_id="r1"))
        assert codes(await at.tell(event("returned", lines=[("1", "2")], event_id="r2"))) == ["more_than_sold"]
        assert len(at.sap.documents) == 2


async def test_a_return_with_its_own_number_credits_the_original_it_names() -> None:
    async with bench() as at:
        await at.tell(confirmed(sales_order(**MIXED)))
        order = own_return("R-1", "-2", "-10.00", "-2.00", ("S-1", "2"))
        outcome = await at.tell(event("returned", "R-1", order=order))
        assert outcome.ruling.kind == "accept"
        order = own_return("R-2", "-4", "-20.00", "-4.00", ("S-1", "2"))
        assert codes(await at.tell(event("returned", "R-2", order=order))) == ["more_than_sold"]


async def test_returns_in_different_lanes_cannot_both_have_the_last_piece() -> None:
    async with bench() as at:
        await at.tell(confirmed(sales_order(**MIXED)))
        await at.tell(event("returned", lines=[("2", "4")], event_id="r1"))
        order = own_return("R-1", "-2", "-10.00", "-2.00", ("S-1", "2"))
        assert codes(await at.tell(event("returned", "R-1", order=order))) == ["more_than_sold"]


async def test_two_returns_read_at_the_same_moment_cannot_both_have_the_last_piece() -> None:
    async with bench() as at:
        await at.tell(confirmed(sales_order(**MIXED)))
        lanes = [
            event("returned", number, order=own_return(number, "-3", "-15.00", "-3.00", ("S-1", "2")))
            for number in ("R-1", "R-2")
        ]
        with reading_together(at, 2, times=2):  # each reads its own partition, then the original's
            results = await asyncio.gather(*(at.tell(one) for one in lanes), return_exceptions=True)
        lost = [one for one, result in zip(lanes, results, strict=True) if isinstance(result, (RowExists, RowChanged))]
        assert (len(lost), len(at.sap.documents)) == (1, 2)
        assert codes(await at.tell(lost[0])) == ["more_than_sold"]


def test_what_goes_back_comes_first_off_what_is_owed() -> None:
    paid = sales_order(tenders=[("3", "60.00"), ("4", "60.00")])
    original = entry_of(read_order(paid, "GB01"), ledger_policy().entity("GB01"), "invoice")
    assert isinstance(original, Entry)
    pounds = [(one.type, one.amount.text) for one in refunded(original, (), Money(Decimal("80.00"), "GBP"))]
    assert pounds == [("4", "-60.00"), ("3", "-20.00")]


async def test_a_return_that_gives_back_other_amounts_than_were_paid_is_a_case() -> None:
    async with bench() as at:
        await at.tell(confirmed(sales_order(**MIXED)))
        order = own_return("R-1", "-1", "-6.00", "-1.20", ("S-1", "2"))
        assert codes(await at.tell(event("returned", "R-1", order=order))) == ["return_amount_differs"]
        assert len(at.sap.documents) == 1


async def test_a_return_of_an_unknown_original_waits_and_then_policy_decides() -> None:
    async with bench() as at:
        change = event("returned", "R-1", order=own_return("R-1", "-1", "-5.00", "-1.00", ("S-9", "1")))
        with pytest.raises(Transient):
            await at.tell(change)
        at.clock.advance(seconds=901)
        assert codes(await at.tell(change)) == ["unknown_original"]
    then_post = ledger_policy(unknown_original={"wait_seconds": 0, "then": "post_unlinked"})
    async with bench(then_post) as at:
        assert (await at.tell(change)).ruling.kind == "accept"


async def test_an_original_that_comes_while_its_return_waits_is_credited() -> None:
    async with bench() as at:
        change = event("returned", "R-1", order=own_return("R-1", "-1", "-5.00", "-1.00", ("S-1", "2")))
        with pytest.raises(Transient):
            await at.tell(change)
        await at.tell(confirmed(sales_order(**MIXED)))
        assert (await at.tell(change)).ruling.kind == "accept"


async def test_a_return_that_names_no_original_posts_or_holds_as_the_legal_entity_says() -> None:
    change = event("returned", "R-1", order=own_return("R-1", "-1", "-5.00", "-1.00", None))
    async with bench() as at:
        assert (await at.tell(change)).ruling.kind == "accept"
    async with bench(ledger_policy(unlinked_return="hold")) as at:
        assert codes(await at.tell(change)) == ["unlinked_return"]


async def test_a_return_finds_its_original_by_transaction_when_the_number_is_another() -> None:
    async with bench() as at:
        await at.tell(confirmed(sales_order(**MIXED, Id="TX-77")))
        order = own_return("R-1", "-1", "-5.00", "-1.00", ("TX-77", "2"))
        assert (await at.tell(event("returned", "R-1", order=order))).ruling.kind == "accept"
        order = own_return("R-2", "-5", "-25.00", "-5.00", ("TX-77", "2"))
        assert codes(await at.tell(event("returned", "R-2", order=order))) == ["more_than_sold"]


async def test_an_exchange_posts_the_new_goods_and_takes_the_old_ones_off_their_original() -> None:
    async with bench() as at:
        await at.tell(confirmed(sales_order(**MIXED)))
        order = sales_order(
            "X-1", lines=[line("1", "1", "8.00", "1.60"), line("2", "-2", "-10.00", "-2.00", original=("S-1", "2"))]
        )
        outcome = await at.tell(confirmed(order))
        assert outcome.ruling.kind == "accept"
        assert at.bus.published[-1].data["posting"]["gross"] == "-2.40"
        assert codes(await at.tell(event("returned", lines=[("2", "4")], event_id="r1"))) == ["more_than_sold"]


async def test_a_return_against_several_originals_takes_from_each() -> None:
    async with bench() as at:
        await at.tell(confirmed(sales_order("S-1", **MIXED)))
        await at.tell(confirmed(sales_order("S-2", **MIXED)))
        order = sales_order(
            "R-1",
            lines=[
                line("1", "-5", "-25.00", "-5.00", original=("S-1", "2")),
                line("2", "-5", "-25.00", "-5.00", original=("S-2", "2")),
            ],
        )
        assert (await at.tell(event("returned", "R-1", order=order))).ruling.kind == "accept"
        for number in ("S-1", "S-2"):
            assert codes(await at.tell(event("returned", number, lines=[("2", "1")], event_id="r"))) == [
                "more_than_sold"
            ]


async def test_a_crash_between_taking_and_posting_takes_once() -> None:
    async with bench() as at:
        await at.tell(confirmed(sales_order(**MIXED)))
        change = event("returned", "R-1", order=own_return("R-1", "-5", "-25.00", "-5.00", ("S-1", "2")))
        await at.tell(change, settle=False)
        assert (await at.tell(change)).ruling.kind == "accept"
        assert len(at.sap.documents) == 2


async def test_a_worker_that_dies_after_taking_and_before_claiming_has_taken_once() -> None:
    async with bench() as at:
        await at.tell(confirmed(sales_order(**MIXED)))
        change = event("returned", "R-1", order=own_return("R-1", "-5", "-25.00", "-5.00", ("S-1", "2")))
        write = at.hub.records.write

        async def die(business_key: str, operations: Sequence[Op]) -> list[str]:
            if business_key == change.business_key:
                raise RuntimeError("the worker died")
            return await write(business_key, operations)

        object.__setattr__(at.hub.records, "write", die)
        with pytest.raises(RuntimeError):
            await at.tell(change)
        object.__setattr__(at.hub.records, "write", write)
        assert (await at.tell(change)).ruling.kind == "accept"
        assert len(at.sap.documents) == 2


async def test_a_discount_goes_back_with_the_goods_and_nobody_gets_back_more_than_was_paid() -> None:
    """Freight stays with the carrier; what was taken off the price is taken off the refund, in proportion."""
    charges = [("DISCOUNT", "-30.00", "-6.00"), ("FREIGHT", "5.00", "1.00")]
    async with bench() as at:
        await at.tell(confirmed(sales_order(charges=charges)))
        for turn, quantity in enumerate(("4", "3", "3")):
            outcome = await at.tell(event("returned", lines=[("1", quantity)], event_id=f"r{turn}"))
            assert outcome.ruling.kind == "accept"
        gross = [change.data["posting"]["gross"] for change in at.bus.published]
        assert gross == ["90.00", "-33.60", "-25.20", "-25.20"], "what is left is the freight and its tax"


async def test_a_cancellation_after_a_return_gives_back_all_that_is_left_charges_included() -> None:
    charges = [("DISCOUNT", "-30.00", "-6.00"), ("FREIGHT", "5.00", "1.00")]
    async with bench() as at:
        await at.tell(confirmed(sales_order(charges=charges)))
        await at.tell(event("returned", lines=[("1", "4")], event_id="r1"))
        await at.tell(event("cancelled"))
        gross = [Decimal(change.data["posting"]["gross"]) for change in at.bus.published]
        assert sum(gross) == 0


async def test_many_small_returns_never_come_to_more_than_the_line() -> None:
    pennies = sales_order(lines=[line("1", "9", "0.05", "0.00")])
    async with bench() as at:
        await at.tell(confirmed(pennies))
        for turn in range(9):
            outcome = await at.tell(event("returned", lines=[("1", "1")], event_id=f"r{turn}"))
            assert outcome.ruling.kind in {"accept", "unchanged"}
        gross = [Decimal(change.data["posting"]["gross"]) for change in at.bus.published]
        assert sum(gross) == 0 and all(amount < 0 for amount in gross[1:])


async def test_a_change_after_posting_is_a_case_and_one_without_consequence_is_not() -> None:
    async with bench() as at:
        await at.tell(confirmed(sales_order()))
        assert codes(await at.tell(event("changed", order=sales_order(Memo="call first")))) == ["no_ledger_change"]
        bigger = sales_order(lines=[line("1", "11", "110.00", "22.00")])
        assert codes(await at.tell(event("changed", order=bigger))) == ["changed_after_posting"]


async def test_a_change_that_overtakes_its_confirmation_is_what_gets_posted() -> None:
    async with bench() as at:
        bigger = sales_order(lines=[line("1", "11", "110.00", "22.00")])
        await at.tell(event("changed", order=bigger, at=at.clock() + timedelta(seconds=5)))
        await at.tell(confirmed(sales_order()))
        assert at.bus.published[-1].data["posting"]["gross"] == "132.00"


async def test_a_legal_entity_that_posts_at_shipment_posts_its_parts_and_all_of_them_are_the_order() -> None:
    async with bench(ledger_policy(post_when="shipment")) as at:
        assert codes(await at.tell(confirmed(sales_order(**MIXED)))) == ["posted_at_shipment"]
        await at.tell(event("shipped", lines=[("1", "1"), ("2", "2")], event_id="s1"))
        await at.tell(event("shipped", event_id="s2"))
        gross = [Decimal(change.data["posting"]["gross"]) for change in at.bus.published]
        assert len(gross) == 2
        assert sum(gross) == Decimal("48.00")
        over = await at.tell(event("shipped", lines=[("1", "1")], event_id="s3"))
        assert codes(over) == ["more_than_ordered"]
        assert (await at.tell(event("returned", lines=[("2", "5")], event_id="r1"))).ruling.kind == "accept"


async def test_what_was_cancelled_before_its_shipment_is_not_shipped_and_credits_nothing() -> None:
    async with bench(ledger_policy(post_when="shipment")) as at:
        await at.tell(confirmed(sales_order()))
        assert codes(await at.tell(event("cancelled", lines=[("1", "4")], event_id="c1"))) == ["called_off"]
        over = await at.tell(event("shipped", lines=[("1", "7")], event_id="s0"))
        assert codes(over) == ["shipped_after_cancellation"]
        assert (await at.tell(event("shipped", event_id="s1"))).ruling.kind == "accept"
        assert [change.data["posting"]["gross"] for change in at.bus.published] == ["72.00"]


async def test_a_shipment_of_an_order_that_was_cancelled_is_a_case() -> None:
    async with bench(ledger_policy(post_when="shipment")) as at:
        await at.tell(confirmed(sales_order()))
        await at.tell(event("cancelled"))
        assert codes(await at.tell(event("shipped", event_id="s1"))) == ["shipped_after_cancellation"]
        assert at.sap.documents == []


async def test_a_return_that_overtakes_its_shipment_is_carried_out_once_right_after_it() -> None:
    async with bench(ledger_policy(post_when="shipment")) as at:
        await at.tell(confirmed(sales_order()))
        assert codes(await at.tell(event("returned", lines=[("1", "1")], event_id="r1"))) == ["before_its_order"]
        for shipment, quantity in (("s1", "6"), ("s2", "4")):
            outcome = await at.tell(event("shipped", lines=[("1", quantity)], event_id=shipment))
            assert outcome.ruling.kind == "accept"
        gross = [change.data["posting"]["gross"] for change in at.bus.published]
        assert gross == ["72.00", "-12.00", "48.00"]


@given(
    st.integers(1, 10_000_000),
    st.integers(1, 60).flatmap(
        lambda sold: st.tuples(st.just(sold), st.lists(st.integers(1, 60), min_size=1, max_size=60))
    ),
    st.sampled_from(["GBP", "JPY", "KWD"]),
)
@settings(max_examples=200, deadline=None)
def test_returns_of_a_line_add_up_to_the_line_and_never_beyond(
    cents: int, drawn: tuple[int, list[int]], currency: str
) -> None:
    sold, quantities = drawn
    smallest = {"GBP": "0.01", "JPY": "1", "KWD": "0.001"}[currency]
    net = Money(cents * Decimal(smallest), currency)
    original = EntryLine("1", "A", Decimal(sold), net, Money.zero(currency), "A0")
    taken: Taken | None = None
    for quantity in quantities:
        worth = credit_line(original, Decimal(quantity), taken)
        if not isinstance(worth, Taken):
            continue
        taken = worth if taken is None else taken + worth
        assert taken.quantity <= sold
        assert abs(taken.net.amount) <= net.amount + Decimal(smallest) * len(quantities)
    left = sold - (taken.quantity if taken is not None else 0)
    if left:
        rest = credit_line(original, Decimal(left), taken)
        assert isinstance(rest, Taken)
        taken = rest if taken is None else taken + rest
    assert taken is not None
    assert (taken.quantity, taken.net) == (Decimal(sold), net)
