"""The life of a hold: each step at most once, only forward, and never past what SAP has."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.domain.credit import CANCELLED, NOTHING_OWED, Decision, Hold, HoldState, Posting
from shared.domain.credit_transitions import (
    EXPIRED,
    GIVEN_UP,
    REPLACED,
    cancel,
    confirm,
    consume,
    expire,
    firm,
    give_up,
    post,
    replaced_by,
    shrink,
    take_over,
)
from shared.domain.rulings import Reason
from tests.credit.truth import gbp
from tests.hub import NOON

LATER = NOON + timedelta(hours=2)


def hold(state: HoldState = "placed", amount: int = 100, **changes: Any) -> Hold:
    decision = Decision(
        id="d.1", request_id="r-1", digest="x", legal_entity="GB01", segment="1000", account="4711", channel="web",
        total=gbp(amount), amount=gbp(amount), outcome="approved", requested_by="bea", replaces="", decided_at=NOON,
        policy="p", correlation_id="c",
    )  # fmt: skip
    made = Hold(decision, state, gbp(amount), gbp(amount), NOON, NOON + timedelta(minutes=30), "d.1")
    return replace(made, **changes)


def posting(amount: int, key: str = "K1") -> Posting:
    return Posting(key, "GB01", f"18{key}", "2026", gbp(amount), NOON)


def moved(step: Hold | Reason | None) -> Hold:
    assert isinstance(step, Hold), step
    return step


def refused(step: Hold | Reason | None) -> str:
    assert isinstance(step, Reason), step
    return step.code


def test_a_confirmed_hold_is_bound_to_its_order_and_no_clock_can_take_it() -> None:
    firmed = moved(firm(hold(), "S-1", NOON))
    assert (firmed.state, firmed.order) == ("firm", "S-1")
    assert expire(firmed, LATER) is None and not firmed.is_expired(LATER)


def test_a_confirmation_that_comes_twice_moves_nothing() -> None:
    assert firm(moved(firm(hold(), "S-1", NOON)), "S-1", LATER) is None


def test_a_confirmation_after_expiry_is_refused_whether_or_not_the_sweep_came_by() -> None:
    assert refused(firm(hold(), "S-1", LATER)) == "hold_expired"
    assert refused(firm(moved(expire(hold(), LATER)), "S-1", LATER)) == "hold_expired"


@pytest.mark.parametrize("state", ["firm", "posted", "consumed"])
def test_one_decision_serves_one_order(state: HoldState) -> None:
    bound = hold(state, order="S-1")
    assert refused(firm(bound, "S-2", NOON)) == "decision_used_twice"
    assert refused(post(bound, posting(10), "S-2", None)) == "decision_used_twice"
    assert refused(cancel(bound, "S-2", NOON)) == "decision_used_twice"


def test_parts_are_posted_one_by_one_and_the_last_ends_it() -> None:
    first = moved(post(hold("firm", order="S-1"), posting(40), "S-1", gbp(100)))
    assert (first.state, first.amount) == ("firm", gbp(100))
    second = moved(post(first, posting(60, "K2"), "S-1", gbp(100)))
    assert (second.state, second.posted_amount) == ("posted", gbp(100))
    assert post(second, posting(60, "K2"), "S-1", gbp(100)) is None, "the same document comes twice"


def test_an_order_that_came_out_smaller_frees_the_rest_when_it_is_posted() -> None:
    whole = moved(post(hold("firm", order="S-1"), posting(70), "S-1", gbp(70)))
    assert (whole.state, whole.amount, whole.value) == ("posted", gbp(70), gbp(70))


def test_a_document_that_stands_in_sap_brings_a_released_hold_back() -> None:
    gone = hold("released", closed_at=NOON, closed_because=EXPIRED)
    back = moved(post(gone, posting(100), "S-1", gbp(100)))
    assert (back.state, back.amount, back.closed_at) == ("posted", gbp(100), None)


def test_cancelling_frees_what_is_not_posted_and_keeps_what_is() -> None:
    free = moved(cancel(hold("firm", order="S-1"), "S-1", NOON))
    assert (free.state, free.closed_because) == ("released", CANCELLED)
    part = moved(cancel(moved(post(hold("firm", order="S-1"), posting(40), "S-1", None)), "S-1", NOON))
    assert (part.state, part.amount) == ("posted", gbp(40))


def test_a_cancellation_before_any_confirmation_leaves_nothing_to_firm() -> None:
    gone = moved(cancel(hold(), "S-1", NOON))
    assert firm(gone, "S-1", NOON) is None


def test_an_abandoned_checkout_gives_back_only_what_no_order_is_bound_to() -> None:
    assert moved(give_up(hold(), NOON)).closed_because == GIVEN_UP
    assert give_up(moved(give_up(hold(), NOON)), NOON) is None
    assert refused(give_up(hold("firm", order="S-1"), NOON)) == "hold_is_firm"
    assert refused(give_up(hold("consumed", order="S-1"), NOON)) == "hold_is_consumed"


def test_an_order_confirmed_smaller_holds_only_what_it_owes() -> None:
    smaller = moved(confirm(hold(), "S-1", gbp(60), NOON))
    assert (smaller.state, smaller.amount, smaller.value) == ("firm", gbp(60), gbp(60))
    assert confirm(smaller, "S-1", gbp(60), NOON) is None


def test_an_order_confirmed_larger_holds_what_was_decided_and_no_more() -> None:
    assert moved(confirm(hold(), "S-1", gbp(140), NOON)).amount == gbp(100)


def test_an_order_with_nothing_on_account_any_more_holds_nothing() -> None:
    gone = moved(confirm(hold(), "S-1", gbp(0), NOON))
    assert (gone.state, gone.closed_because) == ("released", NOTHING_OWED)
    assert firm(gone, "S-1", NOON) is None


def test_a_changed_order_brings_along_what_was_posted_on_its_old_decision() -> None:
    old = moved(post(hold("firm", order="S-1"), posting(40), "S-1", None))
    new = moved(take_over(hold(amount=150), [old], "S-1", gbp(150), NOON))
    assert (new.state, new.posted_amount, new.order) == ("firm", gbp(40), "S-1")
    assert moved(replaced_by(old, NOON)).closed_because == REPLACED


def test_a_change_cannot_take_the_hold_of_another_order() -> None:
    other = hold("firm", order="S-9")
    assert refused(take_over(hold(), [other], "S-1", None, NOON)) == "decision_used_twice"


def test_what_was_consumed_stays_consumed() -> None:
    gone = consume(hold("posted", order="S-1", postings=(posting(100),)), NOON)
    assert expire(gone, LATER) is None and shrink(gone, gbp(1), "S-1", NOON) is None
    assert firm(gone, "S-1", NOON) is None and cancel(gone, "S-1", NOON) is None


def test_a_hold_in_another_currency_than_the_limit_is_reduced_at_its_own_rate() -> None:
    foreign = hold("firm", order="S-1", value=gbp(80))
    assert moved(shrink(foreign, gbp(50), "S-1", NOON)).value == gbp(40)
