"""Every place the posting flow crosses × everything that can go wrong there: one document for each key, nothing lost.

The places are found by crossing them: each table call, each call of SAP, each message sent, each settlement; with the
places that only recovery leads over, for postings that landed without an answer, that landed late, that never landed.
"""

from __future__ import annotations

import pytest

from tests.ledger_proofs.histories import (
    BEGINNINGS,
    FAULTS,
    PLACING,
    POSTING,
    SALE,
    a_sale,
    can_strike,
    places_of,
    play,
    replay_command,
    strike,
    strike_what_sap_taxes_otherwise,
)

COMMITTING = "records insert lineage+replace claim"
TELLING = [("clean", f"order.confirmed: {POSTING} #1", fault) for fault in FAULTS] + [
    ("clean", f"order.confirmed: {COMMITTING} #1", "crash_before"),
    ("clean", f"order.confirmed: {COMMITTING} #1", "crash_after"),
    ("clean", f"order.confirmed: {COMMITTING} #1", "timeout_late"),
    ("clean", "order.confirmed: records insert claim #1", "timeout_late"),
    ("clean", "order.confirmed: records insert claim #1", "two_workers"),
    ("clean", "order.confirmed: bus order.posted #1", "timeout_lost"),
    ("clean", "order.confirmed: bus order.posted #1", "timeout_applied"),
    ("clean", "order.confirmed: settle #1", "crash_before"),
    ("clean", "order.confirmed: settle #1", "lock_lost"),
    ("clean", f"order.returned: {POSTING} #1", "timeout_lost"),
    ("clean", f"order.returned: {POSTING} #1", "lock_lost_long"),
    ("clean", "order.cancelled: records insert claim+insert line #1", "crash_after"),
    ("posted without an answer", "order.confirmed: parked upsert row #1", "crash_before"),
    ("posted without an answer", "order.confirmed: bus wake-up order_to_ledger #1", "timeout_lost"),
    ("posted after the first look", "order.confirmed: sap GET API_OPLACCTGDOCITEMCUBE_SRV #1", "stale_read"),
    ("posted after the first look", "wake-up: sap GET API_OPLACCTGDOCITEMCUBE_SRV #1", "503"),
    ("never posted", f"wake-up: {POSTING} #1", "timeout_late"),
    ("never posted", f"wake-up: {POSTING} #1", "crash_after"),
]
"""The telling ones, for every run of the tests: all that can happen to a posting, and each step's weakest moment."""


@pytest.mark.parametrize(("beginning", "place", "fault"), TELLING)
def test_a_fault_leaves_one_document_for_each_key_and_loses_nothing(beginning: str, place: str, fault: str) -> None:
    ended = strike(beginning, place, fault)
    assert (place, fault) in ended.struck, "the place was not crossed"
    assert not ended.wrong, f"{ended.wrong}\n{replay_command(beginning, place, fault)}"


def test_without_a_fault_three_events_become_three_documents_in_their_order() -> None:
    ended = play(a_sale, SALE)
    assert not ended.wrong
    natures = {nature for _, nature in ended.crossed}
    assert natures == {"table-read", "table-write", "sap-effect", "bus", "settle"}


def test_a_run_can_be_repeated_to_the_letter() -> None:
    first, again = (strike("clean", f"order.confirmed: {POSTING} #1", "timeout_late") for _ in range(2))
    assert (first.crossed, first.struck, first.seconds) == (again.crossed, again.struck, again.seconds)


PLACES_BY_ORDER = [("clean", f"order.confirmed: {PLACING} #1", fault) for fault in FAULTS] + [
    ("clean", f"order.confirmed: {COMMITTING} #1", "crash_before"),
    ("clean", "order.confirmed: sap GET API_SALES_ORDER_SRV #1", "503"),
    ("clean", "order.confirmed: sap GET API_SALES_ORDER_SRV #1", "timeout_lost"),
    ("posted after the first look", "order.confirmed: sap GET API_SALES_ORDER_SRV #2", "stale_read"),
    ("posted after the first look", "wake-up: sap GET API_SALES_ORDER_SRV #1", "503"),
    ("never posted", f"wake-up: {PLACING} #1", "timeout_late"),
    ("never posted", f"wake-up: {PLACING} #1", "crash_after"),
]
"""The same for a legal entity that posts by sales order, where the session with SAP is a place of its own."""


@pytest.mark.parametrize(("beginning", "place", "fault"), PLACES_BY_ORDER)
def test_a_fault_leaves_one_sales_order_billed_once_and_loses_nothing(beginning: str, place: str, fault: str) -> None:
    ended = strike(beginning, place, fault, by_order=True)
    assert (place, fault) in ended.struck, "the place was not crossed"
    assert not ended.wrong, f"{ended.wrong}\n{replay_command(beginning, place, fault, '--by-order')}"


def test_without_a_fault_a_sale_becomes_a_sales_order_and_what_comes_back_two_credits() -> None:
    ended = play(a_sale, SALE, by_order=True)
    assert not ended.wrong
    assert [place for place, nature in ended.crossed if nature == "sap-effect"] == [
        f"order.confirmed: {PLACING} #1", f"order.returned: {POSTING} #1", f"order.cancelled: {POSTING} #1"
    ]  # fmt: skip


BLOCKING = "sap PATCH API_SALES_ORDER_SRV"


@pytest.mark.parametrize("place", [PLACING, BLOCKING])
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in ("duplicate_renamed", "stale_read")])
def test_what_sap_computes_otherwise_ends_blocked_unbilled_and_as_one_case(place: str, fault: str) -> None:
    at = f"order.confirmed: {place} #1"
    struck, wrong = strike_what_sap_taxes_otherwise((at, fault))
    assert (at, fault) in struck, "the place was not crossed"
    assert not wrong, wrong


@pytest.mark.prove
@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_place_of_a_sale_by_sales_order_survives_it(beginning: str, fault: str) -> None:
    places = [place for place, nature in places_of(beginning, by_order=True) if can_strike(fault, place, nature)]
    assert len(places) >= 4
    wrong = {place: ended.wrong for place in places if (ended := strike(beginning, place, fault, by_order=True)).wrong}
    assert not wrong, "\n".join(
        f"{place}: {what}\n{replay_command(beginning, place, fault, '--by-order')}" for place, what in wrong.items()
    )


@pytest.mark.prove
@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_place_survives_it(beginning: str, fault: str) -> None:
    places = [place for place, nature in places_of(beginning) if can_strike(fault, place, nature)]
    assert len(places) >= 4
    wrong = {place: ended.wrong for place in places if (ended := strike(beginning, place, fault)).wrong}
    assert not wrong, "\n".join(
        f"{place}: {what}\n{replay_command(beginning, place, fault)}" for place, what in wrong.items()
    )
