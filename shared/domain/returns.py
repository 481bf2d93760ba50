"""What goes back: credits at the original's own prices and tax, never more than was sold.

An original is what stands on the ledger under an order's number: one invoice, or the parts it was shipped in. What
was already taken back of each of its lines is remembered line by line; a credit takes the proportion, and the last
one takes exactly what is left, so that rounding never leaves a penny behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from shared.domain.ledger import Entry, EntryCharge, EntryLine
from shared.domain.money import Money, unit
from shared.domain.orders import ON_ACCOUNT, OrderLine, Tender
from shared.domain.rulings import Reason


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken back of one original line so far, positive."""

    quantity: Decimal
    net: Money
    tax: Money

    def __add__(self, other: Taken) -> Taken:
        return Taken(self.quantity + other.quantity, self.net + other.net, self.tax + other.tax)


def merged(parts: Sequence[Entry]) -> Entry:
    """The original as a whole: its parts with the quantities and amounts of each line added up."""
    first = parts[0]
    lines: dict[str, EntryLine] = {}
    for part in parts:
        for line in part.lines:
            known = lines.get(line.line_id)
            lines[line.line_id] = (
                line
                if known is None
                else replace(
                    known, quantity=known.quantity + line.quantity, net=known.net + line.net, tax=known.tax + line.tax
                )
            )
    return replace(
        first,
        lines=tuple(lines.values()),
        charges=tuple(charge for part in parts for charge in part.charges),
        tenders=tuple(tender for part in parts for tender in part.tenders),
    )


def credit_line(original: EntryLine, quantity: Decimal, taken: Taken | None) -> Taken | Reason:
    """What `quantity` (positive) of an original line is worth now, or why it cannot be taken back."""
    before = taken or Taken(Decimal(0), Money.zero(original.net.currency), Money.zero(original.net.currency))
    left = original.quantity - before.quantity
    if quantity <= 0 or quantity > left:
        return Reason(
            "more_than_sold",
            f"line {original.line_id}: {quantity.normalize():f} to take back, {left.normalize():f} left of "
            f"{original.quantity.normalize():f} sold",
            "correct the quantity in Commerce, then replay; or discard",
        )
    if quantity == left:
        return Taken(quantity, original.net - before.net, original.tax - before.tax)
    share = (before.quantity + quantity) / original.quantity
    return Taken(quantity, _further(original.net, share, before.net), _further(original.tax, share, before.tax))


def _further(whole: Money, share: Decimal, before: Money) -> Money:
    """What a share of it is worth beyond what went before: many small parts never come to more than the whole."""
    further = Money.rounded(whole.amount * share, whole.currency) - before
    return further if further.amount * whole.amount > 0 else Money.zero(whole.currency)


def differs(line: OrderLine, worth: Taken) -> Reason | None:
    """Whether a return's own amounts disagree with what the original's prices make of it; one unit is rounding."""
    allowed = unit(line.net.currency)
    if abs(-line.net.amount - worth.net.amount) <= allowed and abs(-line.tax.amount - worth.tax.amount) <= allowed:
        return None
    return Reason(
        "return_amount_differs",
        f"line {line.line_id}: gives back {-line.net} and {-line.tax} tax, the original's prices make it "
        f"{worth.net} and {worth.tax}",
        "correct the return in Commerce, or post the difference by hand and discard",
    )


def credited(
    original: Entry, wanted: Iterable[tuple[str, Decimal]], taken: Mapping[str, Taken]
) -> tuple[tuple[EntryLine, ...], dict[str, Taken]] | list[Reason]:
    """The negative entry lines of quantities by original line, and what each takes; or every reason against it."""
    by_id = {line.line_id: line for line in original.lines}
    lines: list[EntryLine] = []
    takes: dict[str, Taken] = {}
    reasons: list[Reason] = []
    for line_id, quantity in wanted:
        sold = by_id.get(line_id)
        if sold is None:
            reasons.append(unknown_line(line_id, original.number))
            continue
        before = [part for part in (taken.get(line_id), takes.get(line_id)) if part is not None]
        worth = credit_line(sold, quantity, sum(before[1:], before[0]) if before else None)
        if isinstance(worth, Reason):
            reasons.append(worth)
            continue
        takes[line_id] = takes[line_id] + worth if line_id in takes else worth
        lines.append(replace(sold, quantity=-quantity, net=-worth.net, tax=-worth.tax))
    return reasons or (tuple(lines), takes)


def unknown_line(line_id: str, order: str) -> Reason:
    return Reason(
        "unknown_original_line",
        f"order {order} has no line {line_id!r} on the ledger",
        "correct ReturnLineNumber in Commerce, then replay",
    )


def left_of(original: Entry, taken: Mapping[str, Taken]) -> list[tuple[str, Decimal]]:
    """Every line with what is left of it."""
    left = []
    for line in original.lines:
        before = taken.get(line.line_id)
        rest = line.quantity - (before.quantity if before else Decimal(0))
        if rest > 0:
            left.append((line.line_id, rest))
    return left


def charges_back(
    original: Entry, earlier: Iterable[Entry], lines: Iterable[EntryLine], *, everything: bool
) -> tuple[EntryCharge, ...]:
    """What of the original's charges goes back with credited lines (negative), in the credit's signs.

    With everything, all of them that were not given back before. With goods alone, what was charged stays (freight was
    carried), and what was in the customer's favour goes back as far as the goods do: whoever returns half of a
    discounted order returns half of the discount, and nobody gets back more than was paid.
    """
    given = _summed(charge for entry in earlier for charge in entry.charges)
    zero = Money.zero(original.currency)
    sold = sum((line.net for line in original.lines if line.quantity > 0), zero)
    credited_before = sum((-line.net for entry in earlier for line in entry.lines), zero)
    back = sum((-line.net for line in lines), credited_before)
    share = Decimal(1) if everything else back.amount / sold.amount if sold else Decimal(0)
    found: list[EntryCharge] = []
    for key, charge in _summed(original.charges).items():
        if not everything and charge.amount > zero:
            continue
        before = given.get(key, replace(charge, amount=zero, tax=zero))
        amount = -Money.rounded(charge.amount.amount * share, original.currency) - before.amount
        tax = -Money.rounded(charge.tax.amount * share, original.currency) - before.tax
        if amount or tax:
            found.append(replace(charge, amount=amount, tax=tax))
    return tuple(found)


def _summed(charges: Iterable[EntryCharge]) -> dict[tuple[str, str], EntryCharge]:
    """Charges of one code and tax code as one, by both."""
    sums: dict[tuple[str, str], EntryCharge] = {}
    for charge in charges:
        key = (charge.code, charge.tax_code)
        known = sums.get(key)
        sums[key] = (
            charge if known is None else replace(known, amount=known.amount + charge.amount, tax=known.tax + charge.tax)
        )
    return sums


def refunded(original: Entry, earlier: Iterable[Tender], amount: Money) -> tuple[Tender, ...]:
    """How `amount` (positive) goes back: first off what the customer owes, then the way it was paid.

    `earlier` are the (negative) tenders of credits already given. What exceeds the original's tenders cannot happen
    while credits stay within the original and take its discounts along; were it so, the document would not balance and
    become a case.
    """
    left: dict[str, Money] = {}
    for tender in (*original.tenders, *earlier):
        left[tender.type] = left.get(tender.type, Money.zero(amount.currency)) + tender.amount
    zero = Money.zero(amount.currency)
    given: list[Tender] = []
    for tender_type in sorted(left, key=lambda one: one != ON_ACCOUNT):
        part = min(left[tender_type], amount, key=lambda money: money.amount)
        if part > zero:
            given.append(Tender(tender_type, -part))
            amount = amount - part
    return tuple(given)
