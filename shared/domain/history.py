"""What is known of one order for the CRM history, whatever order its events come in.

Nothing here depends on which event came first: the content is that of the newest version, movements and postings are
sets by their own key, and everything shown is computed from those. So any order of arrival ends in the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from shared.domain.ledger import SALES_ORDER
from shared.domain.orders import Order, OrderLine

MoveKind = Literal["shipped", "returned", "cancelled"]
MOVES: dict[str, MoveKind] = {
    "order.shipped": "shipped",
    "order.returned": "returned",
    "order.cancelled": "cancelled",
}
CONTENT_EVENTS = frozenset({"order.confirmed", "order.changed"})
_FREIGHT = frozenset({"FREIGHT", "POSTAGE"})
_DISCOUNT = frozenset({"DISCOUNT", "VOUCHER"})
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """How new a content is. What a posting carries is what was posted, perhaps changed since: it ranks below all."""

    rank: int
    occurred_at: datetime
    event_id: str


@dataclass(frozen=True, slots=True)
class Movement:
    """Goods moved or taken back, by line; `lines` None is the whole order."""

    kind: MoveKind
    event_id: str
    occurred_at: datetime
    lines: Mapping[str, Decimal] | None


@dataclass(frozen=True, slots=True)
class Posting:
    """One document on the ledger; `key` is its posting key."""

    key: str
    kind: str
    document: str
    fiscal_year: str
    company_code: str
    gross: Decimal
    currency: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Known:
    """Everything known of one order: its newest content in short, movements, postings.

    `quantities` are those ordered, by line; `customer` is "" for a guest; all of them stand for `version`.
    `row_etag` is the version of the order's row in CRM as our last write left it, "" before the first.
    """

    version: Version | None = None
    is_return: bool = False
    customer: str = ""
    currency: str = ""
    total: Decimal = _ZERO
    quantities: Mapping[str, Decimal] = field(default_factory=dict)
    confirmed_at: datetime | None = None
    movements: tuple[Movement, ...] = ()
    postings: tuple[Posting, ...] = ()
    signalled: bool = False
    row_etag: str = ""


def is_newer(version: Version, known: Known) -> bool:
    """Whether a content of this version replaces what is there."""
    return known.version is None or version > known.version


def with_content(known: Known, order: Order, version: Version) -> Known:
    """What is known with this content in the place of any older one."""
    if not is_newer(version, known):
        return known
    return replace(
        known,
        version=version,
        is_return=order.is_return,
        customer=order.customer,
        currency=order.currency,
        total=order.total.amount,
        quantities={line.line_id: line.quantity for line in order.lines},
    )


def moved_by_line(known: Known) -> dict[str, dict[str, Decimal]]:
    """Line → how much was shipped, returned, cancelled; never more than was ordered."""
    ordered = known.quantities
    totals: dict[str, dict[str, Decimal]] = {
        line: {"shipped": _ZERO, "returned": _ZERO, "cancelled": _ZERO} for line in ordered
    }
    for movement in known.movements:
        for line, quantity in (ordered if movement.lines is None else movement.lines).items():
            if line in totals:
                so_far = totals[line][movement.kind]
                totals[line][movement.kind] = min(so_far + abs(quantity), abs(ordered[line]))
    return totals


def stage_of(known: Known) -> str:
    """How far the order has come, in one word for people: what happened last in its life, not what arrived last."""
    moved = moved_by_line(known)
    ordered = known.quantities

    def whole(kind: MoveKind) -> bool:
        if not moved:
            return any(one.kind == kind and one.lines is None for one in known.movements)
        return all(moved[line][kind] == abs(quantity) for line, quantity in ordered.items())

    kinds = {movement.kind for movement in known.movements}
    if "cancelled" in kinds and whole("cancelled"):
        return "cancelled"
    if "returned" in kinds:
        return "returned" if whole("returned") else "partly returned"
    if "shipped" in kinds:
        return "shipped" if whole("shipped") else "partly shipped"
    if known.postings:
        return "posted"
    return "confirmed" if known.version is not None else "announced"


def documents_text(postings: Iterable[Posting]) -> str:
    """The posted documents, a line each, in the order of their numbers."""
    lines = sorted(
        (one.company_code, one.fiscal_year, one.document, f"{one.kind} {one.gross:f} {one.currency}")
        for one in {posting.key: posting for posting in postings}.values()
    )
    return "\n".join(
        f"{company} sales order {document} {rest}" if year == SALES_ORDER else f"{company} {document}/{year} {rest}"
        for company, year, document, rest in lines
    )


def purchase_completed_at(known: Known) -> datetime | None:
    """When the purchase was complete: confirmed, and its invoice on the ledger. None while either is missing."""
    invoices = [one.occurred_at for one in known.postings if one.kind == "invoice"]
    if known.is_return or known.confirmed_at is None or known.version is None or not invoices:
        return None
    return max(known.confirmed_at, *invoices)


def order_facts(order: Order) -> dict[str, str | Decimal | date | datetime | None]:
    """The governed values of an order's content."""
    return {
        "number": order.number,
        "title": f"{'Return' if order.is_return else 'Order'} {order.number}",
        "legal_entity": order.legal_entity,
        "kind": "return" if order.is_return else "order",
        "channel": order.channel,
        "customer": order.customer,
        "currency": order.currency,
        "placed_at": order.placed_at,
        "business_date": order.business_date,
        "net": order.net.amount,
        "tax": order.tax.amount,
        "total": order.total.amount,
        "freight": sum((one.amount.amount for one in order.charges if one.code in _FREIGHT), _ZERO),
        "discount": -sum((one.amount.amount for one in order.charges if one.code in _DISCOUNT), _ZERO),
        "original": next((one.original_transaction for one in order.lines if one.original_transaction), ""),
    }


def line_facts(line: OrderLine, sequence: int) -> dict[str, str | Decimal | None]:
    """The governed values of one line, apart from what moved of it."""
    return {
        "line_id": line.line_id,
        "item": line.item,
        "title": line.item,
        "sequence": Decimal(sequence),
        "quantity": line.quantity,
        "unit": line.unit,
        "price": line.price,
        "net": line.net.amount,
        "tax": line.tax.amount,
        "total": line.total.amount,
        "original": line.original_transaction,
    }
