"""Each order counts once, and never not at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.credit import Figure, Hold, Item, Posting
from shared.domain.credit_counting import REMEMBERED, counted, is_wholly_in, unseen_postings
from shared.domain.credit_transitions import consume, post
from shared.domain.money import Money
from tests.credit.test_transitions import hold, moved, posting
from tests.credit.truth import gbp
from tests.hub import NOON

HOUR = timedelta(hours=1)


def figure(*items: Item, lag: timedelta | None = None, cleared: frozenset[str] = frozenset()) -> Figure:
    exposure = sum((item.amount for item in items), gbp(0))
    return Figure(NOON, "totals" if lag is not None else "items", exposure, items, lag, cleared)


def invoice(key: str, amount: int, order: str = "S-1") -> Item:
    return Item(key, "GB01", f"18{key}", "2026", "GB01", order, "invoice", None, gbp(amount))


EMPTY = figure()


def firm(amount: int = 100) -> Hold:
    return hold("firm", amount, order="S-1")


def test_a_hold_counts_from_its_placing_on_and_also_once_its_time_is_up_until_it_is_released() -> None:
    assert counted([hold()], EMPTY, NOON, HOUR) == gbp(100)
    assert counted([hold()], EMPTY, NOON + timedelta(days=1), HOUR) == gbp(100)
    assert counted([hold("released", closed_at=NOON)], EMPTY, NOON, HOUR) == gbp(0)


def test_a_posted_order_counts_until_it_is_seen_in_sap_and_not_a_moment_less() -> None:
    posted = moved(post(firm(), posting(100), "S-1", gbp(100)))
    assert counted([posted], EMPTY, NOON, HOUR) == gbp(100)
    assert counted([posted], figure(invoice("K1", 100)), NOON, HOUR) == gbp(0)


def test_an_invoice_seen_before_the_book_hears_of_it_does_not_count_twice() -> None:
    assert counted([firm()], figure(invoice("K1", 100)), NOON, HOUR) == gbp(0)
    assert counted([firm()], figure(invoice("K1", 40)), NOON, HOUR) == gbp(60)


def test_an_invoice_of_another_order_takes_nothing_off() -> None:
    assert counted([firm()], figure(invoice("K9", 100, order="S-9")), NOON, HOUR) == gbp(100)


def test_a_paid_invoice_is_neither_in_the_figure_nor_held_for() -> None:
    posted = moved(post(firm(), posting(100), "S-1", gbp(100)))
    assert unseen_postings([posted], EMPTY, NOON, HOUR) == ("K1",)
    assert counted([posted], figure(cleared=frozenset({"K1"})), NOON, HOUR) == gbp(0)


def test_an_older_figure_cannot_unsee_what_was_consumed() -> None:
    gone = consume(moved(post(firm(), posting(100), "S-1", gbp(100))), NOON)
    assert counted([gone], EMPTY, NOON + timedelta(minutes=5), HOUR) == gbp(100)
    assert counted([gone], EMPTY, NOON + 2 * HOUR, HOUR) == gbp(0), "beyond its memory it is kept apart"


def test_a_remembered_figure_has_what_was_consumed_before_it_added_back_after_it() -> None:
    gone = consume(moved(post(firm(), posting(100), "S-1", gbp(100))), NOON)
    before = Figure(NOON - HOUR, REMEMBERED, gbp(0))
    since = Figure(NOON + timedelta(minutes=1), REMEMBERED, gbp(100))
    assert counted([gone], before, NOON, 2 * HOUR) == gbp(100)
    assert counted([gone], since, NOON + timedelta(minutes=2), HOUR) == gbp(0)


def test_a_source_of_totals_contains_a_posting_only_after_its_lag() -> None:
    posted = moved(post(firm(), posting(100), "S-1", gbp(100)))
    fresh = replace(figure(lag=timedelta(minutes=10)), as_of=NOON + timedelta(minutes=9))
    assert counted([posted], fresh, NOON, HOUR) == gbp(100)
    assert counted([posted], replace(fresh, as_of=NOON + timedelta(minutes=10)), NOON, HOUR) == gbp(0)


def test_a_change_counts_with_what_it_replaces_as_the_larger_of_both() -> None:
    old, new = firm(100), replace(hold("placed", 130), decision=replace(hold().decision, id="d.2"))
    assert counted([old, new], EMPTY, NOON, HOUR) == gbp(130)


def test_a_part_that_was_consumed_is_taken_off_a_changed_order_once() -> None:
    gone = consume(moved(post(firm(40), posting(40), "S-1", gbp(40))), NOON)
    changed = replace(firm(100), decision=replace(hold().decision, id="d.2"))
    assert counted([gone, changed], figure(invoice("K1", 40)), NOON + timedelta(minutes=5), HOUR) == gbp(60)


def test_a_hold_is_consumed_only_when_all_its_parts_are_seen() -> None:
    part = moved(post(firm(), posting(40), "S-1", gbp(100)))
    assert not is_wholly_in(part, figure(invoice("K1", 40)))
    whole = moved(post(part, posting(60, "K2"), "S-1", gbp(100)))
    assert not is_wholly_in(whole, figure(invoice("K1", 40)))
    assert is_wholly_in(whole, figure(invoice("K1", 40), invoice("K2", 60)))


@given(
    parts=st.lists(st.integers(1, 50), min_size=1, max_size=6),
    seen=st.sets(st.integers(0, 5)),
    rest=st.integers(0, 40),
)
def test_exposure_and_hold_together_never_fall_below_what_the_order_comes_to(
    parts: list[int], seen: set[int], rest: int
) -> None:
    """Whatever part of an order's documents SAP shows already: figure + hold = the order."""
    total = sum(parts) + rest
    stands = firm(total)
    for index, amount in enumerate(parts):
        stands = moved(post(stands, posting(amount, f"K{index}"), "S-1", gbp(total)))
    shown = [invoice(f"K{index}", amount) for index, amount in enumerate(parts) if index in seen]
    read = figure(*shown)
    assert read.exposure + counted([stands], read, NOON, HOUR) == gbp(total)


@given(
    amounts=st.lists(st.integers(1, 999), min_size=1, max_size=5),
    rate=st.decimals(min_value=Decimal("0.01"), max_value=Decimal(200), places=4),
)
def test_parts_of_a_hold_in_another_currency_make_up_its_value_to_the_last_unit(
    amounts: list[int], rate: Decimal
) -> None:
    total = Money(Decimal(sum(amounts)), "JPY")
    stands = replace(firm(), amount=total, value=Money.rounded(total.amount * rate, "GBP"))
    for index, amount in enumerate(amounts):
        part = Posting(f"K{index}", "JP01", f"9{index}", "2026", Money(Decimal(amount), "JPY"), NOON)
        stands = moved(post(stands, part, "S-1", total))
    assert counted([stands], EMPTY, NOON, HOUR) == stands.value
