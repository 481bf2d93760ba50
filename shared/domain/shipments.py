"""Parts of an order: what one shipment puts on the ledger when a legal entity posts at shipment, and what never will.

A cancellation takes what has not been shipped, and only that: it was never on the ledger, so nothing is credited, and
what it takes cannot be shipped any more. Goods that have left are sold until they come back: crediting them on a
cancellation would give money away for goods that the customer keeps, so a cancellation of more than is left is for a
person to decide. A cancellation by lines counts whenever it arrives; one of everything takes what had not been shipped
when it happened, so a shipment that happened before it and arrives after it still stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from shared.domain.ledger import Entry
from shared.domain.money import Money
from shared.domain.orders import ON_ACCOUNT, Tender
from shared.domain.returns import Taken, credited, left_of, unknown_line
from shared.domain.rulings import Reason

Quantities = Sequence[tuple[str, Decimal]]
"""Quantities by line, positive."""


@dataclass(frozen=True, slots=True)
class CalledOff:
    """A cancellation of quantities by line, or (None) of everything that had not been shipped at that moment."""

    lines: Quantities | None
    at: datetime


def part_of(
    whole: Entry,
    shipped: Sequence[Entry],
    wanted: Quantities | None,
    called_off: Sequence[CalledOff],
    at: datetime,
) -> Entry | list[Reason]:
    """The entry of one shipment that happened at a moment: quantities by line (None: all that is left), charges with
    the first, paid tenders before the account, and with the last part exactly what the parts before it left over.
    """
    before = _shipped(shipped)
    to_ship = _left_to_ship(whole, shipped, called_off, at)
    asked = [(line_id, left) for line_id, left in to_ship.items() if left > 0] if wanted is None else wanted
    if over := _not_there(asked, to_ship, called_off):
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


def _left_to_ship(
    whole: Entry, shipped: Sequence[Entry], called_off: Sequence[CalledOff], at: datetime | None = None
) -> dict[str, Decimal]:
    """What is left to ship of each line at a moment, or after everything that is known."""
    left = dict(left_of(whole, _shipped(shipped)))
    for one in called_off:
        if one.lines is None:
            left = left if at is not None and at < one.at else dict.fromkeys(left, Decimal(0))
            continue
        for line_id, quantity in one.lines:
            if line_id in left:
                left[line_id] = max(Decimal(0), left[line_id] - quantity)
    return left


def against_calling_off(
    whole: Entry, shipped: Sequence[Entry], called_off: Sequence[CalledOff], wanted: Quantities | None
) -> list[Reason]:
    """Why a cancellation cannot be carried out by shipping less: what it takes has left already."""
    # What a cancellation of everything takes does not stand against one by lines: they say the same twice.
    left = _left_to_ship(whole, shipped, [one for one in called_off if one.lines is not None])
    ordered = {line.line_id for line in whole.lines}
    remedy = (
        "goods that have left are credited when they come back: enter their return in Commerce and correct the "
        "cancellation to what was not shipped, then replay; or discard"
    )
    if wanted is None:
        if shipped and not called_off and not any(left.values()):
            return [Reason("cancelled_after_shipment", "everything had been shipped before it was cancelled", remedy)]
        return []
    return [
        Reason(
            "cancelled_after_shipment",
            f"line {line_id}: {quantity.normalize():f} cancelled, {left.get(line_id, Decimal(0)).normalize():f} had "
            "not been shipped",
            remedy,
        )
        if line_id in ordered
        else unknown_line(line_id, whole.number)
        for line_id, quantity in _by_line(wanted).items()
        if quantity > left.get(line_id, Decimal(0))
    ]


def is_to_come(
    whole: Entry,
    shipped: Entry,
    called_off: Sequence[CalledOff],
    returned: Mapping[str, Taken],
    wanted: Quantities,
) -> bool:
    """Whether a return of more than has been shipped has only overtaken a shipment: what it gives back is among what
    was shipped and did not come back, and what is left to ship."""
    left = _left_to_ship(whole, [shipped], called_off)
    for line in shipped.lines:
        taken = returned.get(line.line_id)
        left[line.line_id] = left.get(line.line_id, Decimal(0)) + line.quantity - (taken.quantity if taken else 0)
    return all(quantity <= left.get(line_id, Decimal(0)) for line_id, quantity in _by_line(wanted).items())


def _by_line(quantities: Quantities) -> dict[str, Decimal]:
    """Quantities of one line as one."""
    sums: dict[str, Decimal] = {}
    for line_id, quantity in quantities:
        sums[line_id] = sums.get(line_id, Decimal(0)) + quantity
    return sums


def _not_there(asked: Quantities, to_ship: Mapping[str, Decimal], called_off: Sequence[CalledOff]) -> list[Reason]:
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
