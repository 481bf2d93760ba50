"""Posting at shipment: what is cancelled is never shipped, and what was shipped is credited when it comes back.

Histories that Commerce can have, told in any order and more than once, come to the same documents; histories that it
cannot have never make more documents than goods.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.changes import Change
from shared.domain.rulings import Hold
from shared.stores.claims import Claim, claims_in
from shared.stores.early import early_in
from tests.ledger.rig import NOW, Bench, again, bench, codes, confirmed, event, ledger_policy, line, sales_order

ORDERED = {"1": 5, "2": 3}
ORDER = sales_order(lines=[line("1", "5", "33.34", "6.67"), line("2", "3", "10.00", "2.00")])
WORTH = {"1": Decimal("40.01") / 5, "2": Decimal("4.00")}
PENNY = Decimal("0.01")


def move(kind: str, lines: dict[str, int] | None, number: int) -> Change:
    named = None if lines is None else [(name, str(quantity)) for name, quantity in lines.items()]
    return event(kind, lines=named, event_id=f"{kind}-{number}", at=NOW + timedelta(minutes=number))


@st.composite
def histories(draw: st.DrawFn) -> list[Change]:
    """What can happen to one order in Commerce, in the order in which it happens, confirmation first."""
    left, out = dict(ORDERED), dict.fromkeys(ORDERED, 0)
    told = [confirmed(ORDER, at=NOW)]
    for number in range(1, draw(st.integers(2, 7))):
        kind = draw(st.sampled_from(["shipped", "shipped", "cancelled", "returned"]))
        source = out if kind == "returned" else left
        lines = {name: draw(st.integers(0, source[name])) for name in source}
        lines = {name: quantity for name, quantity in lines.items() if quantity}
        if not lines:
            continue
        for name, quantity in lines.items():
            source[name] -= quantity
            if kind == "shipped":
                out[name] += quantity
        told.append(move(kind, lines, number))
    if any(left.values()) and draw(st.booleans()):
        told.append(move(draw(st.sampled_from(["cancelled", "shipped"])), None, 20))
    return told


def is_of_the_rest(change: Change) -> bool:
    return change.kind == "order.shipped" and change.data["lines"] is None


async def play(at: Bench, arrivals: list[Change]) -> list[Change]:
    """Tell them; what is held is told again when everything else has come, as a person would. What stays held."""
    waiting = arrivals
    for _ in range(3):
        held = []
        for change in waiting:
            outcome = await at.tell(change)
            if isinstance(outcome.ruling, Hold):
                held.append(change)
        waiting = held
    return waiting


async def claims_of(at: Bench) -> list[Claim]:
    return claims_in(await at.hub.records.read("order|GB01|S-1"))


async def moved(at: Bench) -> dict[str, Counter[str]]:
    """Quantities by kind of document and line."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for claim in await claims_of(at):
        for one in claim.entry.lines:
            found[claim.kind][one.line_id] += int(one.quantity)
    return found


@given(st.data())
@settings(max_examples=100, deadline=None)
async def test_what_commerce_can_tell_comes_to_the_same_documents_in_any_order(data: st.DataObject) -> None:
    history = data.draw(histories())
    arrivals = data.draw(st.permutations([*history, *data.draw(st.lists(st.sampled_from(history), max_size=3))]))
    # "The rest is shipped" says how much only once it is known what was shipped before it: it is told after that.
    arrivals.sort(key=is_of_the_rest)
    async with bench(ledger_policy(post_when="shipment")) as at:
        at.commerce.orders["S-1"] = ORDER
        assert await play(at, arrivals) == []
        posted = {change.id: change for change in history if change.kind in {"order.shipped", "order.returned"}}
        claims = await claims_of(at)
        assert Counter(claim.event for claim in claims) == Counter(posted.keys())
        assert len(at.sap.documents) == len({claim.key for claim in claims}) == len(claims)
        quantities = await moved(at)
        whole = {name: sum(quantities[kind][name] for kind in ("shipment", "return")) for name in ORDERED}
        stayed: dict[str, int] = dict.fromkeys(ORDERED, 0)
        cancelled: dict[str, int] = dict.fromkeys(ORDERED, 0)
        for change in history[1:]:
            lines = change.data["lines"]
            if lines is None and change.kind == "order.shipped":
                lines = [{"lineId": name, "quantity": ORDERED[name] - quantities_of(history, name)} for name in ORDERED]
            for one in lines or ():
                sign = {"order.shipped": 1, "order.returned": -1}.get(change.kind, 0)
                stayed[one["lineId"]] += sign * int(one["quantity"])
                cancelled[one["lineId"]] += int(one["quantity"]) * (change.kind == "order.cancelled")
        assert whole == stayed
        assert all(quantities["shipment"][name] + cancelled[name] <= ORDERED[name] for name in ORDERED)
        total = sum((claim.entry.total.amount for claim in claims), Decimal(0))
        worth = sum((WORTH[name] * quantity for name, quantity in stayed.items()), Decimal(0))
        assert abs(total - worth) <= 2 * PENNY * max(1, len(claims))
        if stayed == ORDERED and not any(claim.kind == "return" for claim in claims):
            assert total == Decimal("52.01")
        if not any(stayed.values()):
            assert total == 0


def quantities_of(history: list[Change], name: str) -> int:
    """How much of a line was shipped or cancelled by name."""
    return sum(
        int(one["quantity"])
        for change in history
        if change.kind in {"order.shipped", "order.cancelled"}
        for one in change.data["lines"] or ()
        if one["lineId"] == name
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["shipped", "cancelled", "returned"]),
            st.one_of(st.none(), st.fixed_dictionaries({"1": st.integers(1, 6), "2": st.integers(1, 4)})),
        ),
        min_size=1,
        max_size=7,
    )
)
@settings(max_examples=100, deadline=None)
async def test_whatever_is_told_no_more_is_shipped_than_ordered_and_no_more_credited_than_shipped(
    told: list[tuple[str, dict[str, int] | None]],
) -> None:
    async with bench(ledger_policy(post_when="shipment")) as at:
        at.commerce.orders["S-1"] = ORDER
        await at.tell(confirmed(ORDER, at=NOW))
        for number, (kind, lines) in enumerate(told, start=1):
            await at.tell(move(kind, lines, number))
            quantities = await moved(at)
            assert "cancellation" not in quantities
            dossier = await at.hub.records.read("order|GB01|S-1")
            off: Counter[str] = Counter()
            for early in early_in(dossier):
                for one in (early.data["lines"] or ()) if early.kind == "order.cancelled" else ():
                    off[one["lineId"]] += int(one["quantity"])
            for name, ordered in ORDERED.items():
                assert 0 <= -quantities["return"][name] <= quantities["shipment"][name] <= ordered
                assert quantities["shipment"][name] + off[name] <= ordered
        assert len(at.sap.documents) == len(await claims_of(at))


async def test_a_cancellation_after_a_first_shipment_takes_what_is_left_and_credits_nothing() -> None:
    async with bench(ledger_policy(post_when="shipment")) as at:
        await at.tell(confirmed(ORDER))
        await at.tell(move("shipped", {"1": 2}, 1))
        outcome = await at.tell(move("cancelled", {"1": 2}, 2))
        assert codes(outcome) == ["called_off"]
        assert codes(await at.tell(again(move("cancelled", {"1": 2}, 2), "cancelled-2"))) == ["called_off"]
        over = await at.tell(move("shipped", {"1": 2}, 3))
        assert codes(over) == ["shipped_after_cancellation"]
        await at.tell(move("shipped", None, 4))
        assert [claim.kind for claim in await claims_of(at)] == ["shipment", "shipment"]
        assert await moved(at) == {"shipment": Counter({"1": 3, "2": 3})}


async def test_a_cancellation_of_more_than_is_left_is_for_a_person_and_changes_nothing() -> None:
    async with bench(ledger_policy(post_when="shipment")) as at:
        await at.tell(confirmed(ORDER))
        await at.tell(move("shipped", {"1": 4}, 1))
        outcome = await at.tell(move("cancelled", {"1": 2}, 2))
        assert codes(outcome) == ["cancelled_after_shipment"]
        assert "enter their return in Commerce" in outcome.ruling.reasons[0].remedy
        assert codes(await at.tell(move("cancelled", {"9": 1}, 3))) == ["unknown_original_line"]
        assert (await at.tell(move("shipped", {"1": 1}, 4))).ruling.kind == "accept"
        assert codes(await at.tell(move("cancelled", {"1": 1}, 5))) == ["cancelled_after_shipment"]


async def test_calling_the_rest_off_leaves_what_had_left_and_a_late_told_shipment_from_before_it() -> None:
    async with bench(ledger_policy(post_when="shipment")) as at:
        await at.tell(confirmed(ORDER))
        await at.tell(move("shipped", {"1": 2}, 1))
        assert codes(await at.tell(move("cancelled", None, 5))) == ["called_off"]
        assert (await at.tell(move("shipped", {"2": 1}, 3))).ruling.kind == "accept"
        assert codes(await at.tell(move("shipped", {"2": 1}, 6))) == ["shipped_after_cancellation"]
        assert len(at.sap.documents) == 2


async def test_everything_shipped_and_then_cancelled_is_for_a_person() -> None:
    async with bench(ledger_policy(post_when="shipment")) as at:
        await at.tell(confirmed(ORDER))
        await at.tell(move("shipped", None, 1))
        assert codes(await at.tell(move("cancelled", None, 2))) == ["cancelled_after_shipment"]


@pytest.mark.parametrize("lines", [{"1": 3}, {"2": 1}])
async def test_a_return_that_overtakes_its_shipment_waits_and_is_a_case_once_that_is_called_off(
    lines: dict[str, int],
) -> None:
    async with bench(ledger_policy(post_when="shipment")) as at:
        await at.tell(confirmed(ORDER))
        await at.tell(move("shipped", {"1": 2}, 1))
        assert codes(await at.tell(move("returned", lines, 2))) == ["before_its_shipment"]
        outcome = await at.tell(move("cancelled", None, 3))
        assert isinstance(outcome.ruling, Hold)
        assert len(at.sap.documents) == 1
