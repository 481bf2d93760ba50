"""Parts of an order: what one shipment puts on the ledger when a legal entity posts at shipment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

from shared.domain.ledger import Entry
from shared.domain.money import Money
from shared.domain.orders import ON_ACCOUNT, Tender
from shared.domain.returns import Taken, credited, left_of
from shared.domain.rulings import Reason


def part_of(
    whole: Entry, shipped: Sequence[Entry], wanted: Sequence[tuple[str, Decimal]] | None
) -> Entry | list[Reason]:
    """The entry of one shipment: quantities by line (None: all that is left), charges with the first, paid tenders
    before the account, and with the last part exactly what the parts before it left over."""
    before = _shipped(shipped)
    asked = left_of(whole, before) if wanted is None else wanted
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
