"""Parts of an order: what one shipment puts on the ledger when a legal entity posts at shipment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from shared.domain.ledger import Entry
from shared.domain.money import Money
from shared.domain.orders import ON_ACCOUNT, Tender
from shared.domain.returns import Taken, credited, left_of
from shared.domain.rulings import Reason


def part_of(
    whole: Entry,
    shipped: Sequence[Entry],
    wanted: Sequence[tuple[str, Decimal]] | None,
    called_off: Sequence[Sequence[tuple[str, Decimal]] | None] = (),
) -> Entry | list[Reason]:
    """The entry of one shipment: quantities by line (None: all that is left), charges with the first, paid tenders
    before the account, and with the last part exactly what the parts before it left over.

    `called_off` are cancellations that came before anything was shipped (None: of everything): they were never on the
    ledger, so they credit nothing, and what they took off cannot be shipped.
    """
    before = _shipped(shipped)
    to_ship = _to_ship(whole, before, called_off)
    asked = [(line_id, left) for line_id, left in to_ship.items() if left > 0] if wanted is None else wanted
    if over := _called_off(asked, to_ship, called_off):
        return over
    result = credited(whole, asked, before)
    if isinstance(result, list):
        return [
            Reason("more_than_ordered", reason.message, "correct the shipment in Commerce, then replay")
            if reason.code == "more_than_sold"
            else reason
            for reason in result
        ]
    credits, _ = result
    lines = tuple(replace(line, quantity=-line.quantity, net=-line.net, tax=-line.tax) for line in credits)
    part = replace(whole, lines=lines, charges=() if shipped else whole.charges, tenders=())
    earlier = [tender for entry in shipped for tender in entry.tenders]
    return replace(part, tenders=_paid(whole.tenders, earlier, part.total))


def _to_ship(
    whole: Entry, before: Mapping[str, Taken], called_off: Sequence[Sequence[tuple[str, Decimal]] | None]
) -> dict[str, Decimal]:
    """What is left to ship of each line."""
    left = dict(left_of(whole, before))
    for lines in called_off:
        for line_id, quantity in left.items() if lines is None else lines:
            if line_id in left:
                left[line_id] = max(Decimal(0), left[line_id] - quantity)
    return left


def _called_off(
    asked: Sequence[tuple[str, Decimal]],
    to_ship: Mapping[str, Decimal],
    called_off: Sequence[Sequence[tuple[str, Decimal]] | None],
) -> list[Reason]:
    """Why a shipment cannot be what Commerce wants: it was cancelled before."""
    remedy = "find out whether the goods went out: correct the shipment in Commerce, then replay; or discard"
    if called_off and not asked:
        return [Reason("shipped_after_cancellation", "everything that was left was cancelled before", remedy)]
    return [
        Reason(
            "shipped_after_cancellation",
            f"line {line_id}: {quantity.normalize():f} shipped, {to_ship[line_id].normalize():f} left after what was "
            "cancelled",
            remedy,
        )
        for line_id, quantity in asked
        if called_off and quantity > to_ship.get(line_id, quantity)
    ]


def _shipped(parts: Sequence[Entry]) -> dict[str, Taken]:
    totals: dict[str, Taken] = {}
    for part in parts:
        for line in part.lines:
            taken = Taken(line.quantity, line.net, line.tax)
            totals[line.line_id] = totals[line.line_id] + taken if line.line_id in totals else taken
    return totals


def _paid(tenders: Iterable[Tender], earlier: Iterable[Tender], amount: Money) -> tuple[Tender, ...]:
    left: dict[str, Money] = {}
    for tender in tenders:
        left[tender.type] = left.get(tender.type, Money.zero(amount.currency)) + tender.amount
    for tender in earlier:
        left[tender.type] = left.get(tender.type, Money.zero(amount.currency)) - tender.amount
    used: list[Tender] = []
    for tender_type in sorted(left, key=lambda one: one == ON_ACCOUNT):
        part = min(left[tender_type], amount, key=lambda money: money.amount)
        if part:
            used.append(Tender(tender_type, part))
            amount = amount - part
    return tuple(used)
