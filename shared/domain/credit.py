"""The nouns of the credit book: what is asked, what was decided, what is held for it, what SAP said.

Amounts of an order stand in the order's currency; a hold's `value` is the same in the currency of the credit segment,
at the rate of the moment it was granted, and is what counts against the limit.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal, Protocol

from shared.domain.ledger import SALES_ORDER
from shared.domain.money import Money
from shared.domain.rulings import Reason
from shared.errors import Fault, Malformed

DecisionOutcome = Literal["approved", "approval_required", "declined", "referred"]
HoldState = Literal["placed", "firm", "posted", "consumed", "released"]
CANCELLED = "cancelled"
"""Why a hold was released: its order was called off as a whole."""
NOTHING_OWED = "nothing of the order is on account any more"
"""Why a hold was released: its order became smaller, down to what is paid otherwise."""
LIVE: frozenset[HoldState] = frozenset({"placed", "firm", "posted"})


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One line of a checkout: the unit price is net."""

    product: str
    quantity: Decimal
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """One checkout to decide. `total` is gross, `on_account` the part of it that is held; `digest` is the fingerprint
    of everything that was asked, so that the same request id with other content shows."""

    request_id: str
    digest: str
    legal_entity: str
    segment: str
    account: str
    channel: str
    currency: str
    lines: tuple[CheckLine, ...]
    total: Money
    on_account: Money
    requested_by: str
    replaces: str
    correlation_id: str
    traceparent: str = ""

    @property
    def decision_id(self) -> str:
        return decision_id_of(self.segment, self.account, self.legal_entity, self.request_id)


@dataclass(frozen=True, slots=True)
class Decision:
    """The heart of a decision: whom it binds to what. `amount` is what was on account, `traceparent` the trace that the
    order which names this decision goes on with."""

    id: str
    request_id: str
    digest: str
    legal_entity: str
    segment: str
    account: str
    channel: str
    total: Money
    amount: Money
    outcome: DecisionOutcome
    requested_by: str
    replaces: str
    decided_at: datetime
    policy: str
    correlation_id: str
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Posting:
    """One document that an order's hold went into: `key` is what SAP carries as its reference."""

    key: str
    company_code: str
    document: str
    fiscal_year: str
    amount: Money
    posted_at: datetime


@dataclass(frozen=True, slots=True)
class Hold:
    """What is kept of the account's limit for one decision.

    `order` is the order number it became firm for; `family` the first decision of a chain of changes of one checkout,
    whose holds count once together. `closed_because` says why a consumed or released hold ended.
    """

    decision: Decision
    state: HoldState
    amount: Money
    value: Money
    placed_at: datetime
    expires_at: datetime
    family: str
    order: str = ""
    postings: tuple[Posting, ...] = ()
    closed_at: datetime | None = None
    closed_because: str = ""

    @property
    def id(self) -> str:
        return self.decision.id

    def is_expired(self, now: datetime) -> bool:
        """Its time ran out before an order confirmed it. Only an unconfirmed hold can expire."""
        return self.state == "placed" and self.expires_at <= now

    @property
    def posted_amount(self) -> Money:
        return sum((posting.amount for posting in self.postings), Money.zero(self.amount.currency))

    def value_of(self, amount: Money) -> Money:
        """A part of the hold in the segment's currency, at the rate the hold was granted at."""
        if amount == self.amount or not self.amount:
            return self.value
        return Money.rounded(amount.amount * self.value.amount / self.amount.amount, self.value.currency)


@dataclass(frozen=True, slots=True)
class DecisionWithHold:
    """A decision and what is held for it."""

    decision: Decision
    hold: Hold | None


@dataclass(frozen=True, slots=True)
class CreditView:
    """The figures a decision was taken on, in the segment's currency. `available` is limit less exposure less held."""

    limit: Money
    exposure: Money
    held: Money
    as_of: datetime
    source: str

    @property
    def available(self) -> Money:
        return self.limit - self.exposure - self.held


@dataclass(frozen=True, slots=True)
class PriceView:
    """One line's unit prices: what was offered and what SAP charges (None where SAP has no price for it)."""

    product: str
    offered: Decimal
    contract: Decimal | None


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """What a person decides: by whom at the latest when, and in the end who did what through which door."""

    role: str
    amount: Money
    shortfall: Money
    expires_at: datetime
    state: Literal["open", "approved", "refused", "timed_out"] = "open"
    decided_by: str = ""
    decided_at: datetime | None = None
    comment: str = ""
    via: str = ""


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """Everything that was known and decided; kept."""

    decision: Decision
    reasons: tuple[Reason, ...]
    credit: CreditView | None
    prices: tuple[PriceView, ...]
    approval: ApprovalView | None = None


@dataclass(frozen=True, slots=True)
class CreditAccount:
    """SAP's credit account of a business partner in one segment. `limit` is None where SAP names no currency."""

    account: str
    segment: str
    limit: Money | None
    limit_valid_to: date | None
    blocked: bool
    block_reason: str
    critical: bool
    risk_class: str


@dataclass(frozen=True, slots=True)
class Item:
    """One open receivable that is part of an exposure figure, in the segment's currency (credits are negative).

    An `exposure` item is a line of the customer's own service: `order` is then that line's key, in which a document
    can be recognized, but no reference of ours; `company_code` is set where the segment has only one.
    """

    reference: str
    company_code: str
    document: str
    fiscal_year: str
    legal_entity: str
    order: str
    kind: str
    due: date | None
    amount: Money


@dataclass(frozen=True, slots=True)
class Figure:
    """Exposure as SAP told it, read from `as_of` on: the sum, and the items it is known to contain.

    `lag` is set for a source of totals: a posting counts as contained when it is that much older than `as_of`.
    `overdue` are late items that were read beside the figure, where it does not consist of receivables itself.
    `cleared` are posting keys that SAP knows as paid or reversed, so neither the figure nor a hold needs to hold them.
    `billed` are posting keys of sales orders whose billing document is among the items of a figure without references.
    `invoices` are the items that are invoices, by legal entity and order.
    """

    as_of: datetime
    source: str
    exposure: Money
    items: tuple[Item, ...] = ()
    lag: timedelta | None = None
    cleared: frozenset[str] = frozenset()
    billed: frozenset[str] = frozenset()
    overdue: tuple[Item, ...] = ()
    references: frozenset[str] = field(init=False)
    documents: frozenset[tuple[str, str, str]] = field(init=False)
    invoices: Mapping[tuple[str, str], tuple[Item, ...]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "references", frozenset(item.reference for item in self.items if item.reference))
        object.__setattr__(
            self,
            "documents",
            frozenset((item.company_code, item.document, item.fiscal_year) for item in self.items if item.document),
        )
        invoices: dict[tuple[str, str], tuple[Item, ...]] = {}
        for item in self.items:
            if item.kind == "invoice":
                order = (item.legal_entity, item.order)
                invoices[order] = (*invoices.get(order, ()), item)
        object.__setattr__(self, "invoices", invoices)

    def contains(self, posting: Posting) -> bool:
        """Whether this figure is seen to contain the posting; not seen is not contained."""
        if self.lag is not None and posting.posted_at + self.lag <= self.as_of:
            return True
        return (
            posting.key in self.references
            or posting.key in self.cleared
            or posting.key in self.billed
            or (posting.company_code, posting.document, posting.fiscal_year) in self.documents
            or any(_is_line_of(item, posting) for item in self.items if item.kind == "exposure")
        )


def with_billed(figure: Figure, receivables: Iterable[Item]) -> Figure:
    """A figure that tells no references, with the posting keys of those receivables that are among its items.

    A sales order's own number is gone from SAP's exposure once it is billed, and its billing document has another.
    """
    lines = [item for item in figure.items if item.kind == "exposure"]
    found = {
        one.reference
        for one in receivables
        if one.document
        and any(one.document in line.order and line.company_code in {one.company_code, ""} for line in lines)
    }
    return replace(figure, billed=figure.billed | found)


_OPEN_ORDERS = "100"
"""The category of open orders, with which a line's key may begin."""


def _is_line_of(item: Item, posting: Posting) -> bool:
    """Whether a line of the customer's service is the posting's: two company codes may use one document number."""
    is_of_company = item.company_code == posting.company_code or posting.company_code in item.order
    if posting.fiscal_year == SALES_ORDER:  # short numbers: one inside another line's key says nothing
        return item.order.removeprefix(_OPEN_ORDERS).startswith(posting.document.zfill(10)) and is_of_company
    return bool(posting.document) and posting.document in item.order and is_of_company


@dataclass(frozen=True, slots=True)
class Simulation:
    """SAP's simulation of the order: net amount by line index, and its own credit verdict ("" = unchecked)."""

    net: Mapping[int, Decimal]
    currency: str
    credit_status: str


class OnAccountOrder(Protocol):
    """What `covers` needs of an order."""

    @property
    def number(self) -> str: ...

    @property
    def legal_entity(self) -> str: ...

    @property
    def customer(self) -> str: ...

    @property
    def currency(self) -> str: ...

    @property
    def on_account(self) -> Money: ...

    @property
    def posting_key(self) -> str: ...


def decision_id_of(segment: str, account: str, legal_entity: str, request_id: str) -> str:
    """The same request always has the same decision id, and the id tells which partition of the book it is in."""
    place = base64.b32encode(f"{segment}|{account}".encode()).decode().rstrip("=").lower()
    digest = hashlib.sha256(f"{legal_entity}\n{request_id}".encode()).hexdigest()
    return f"{place}.{digest[:20]}"


def place_of(decision_id: str) -> tuple[str, str]:
    """The partition of a decision and its key in there; raises `Malformed` for what is no decision id of ours."""
    place, dot, key = decision_id.partition(".")
    try:
        partition = base64.b32decode(place.upper() + "=" * (-len(place) % 8)).decode()
    except ValueError as error:
        raise Malformed([Fault("decisionId", "is not a decision id")]) from error
    if not dot or "|" not in partition or len(key) != 20 or not set(key) <= set("0123456789abcdef"):
        raise Malformed([Fault("decisionId", "is not a decision id")])
    return partition, key


def plain_account(account: str) -> str:
    """One spelling for one account: SAP pads numeric ones with zeros, and two spellings would be two books."""
    bare = account.strip()
    return bare.lstrip("0") or "0" if bare.isdigit() else bare


def covers(known: DecisionWithHold, order: OnAccountOrder) -> tuple[Reason, ...]:
    """Why a decision does not cover an order; nothing when it does.

    A hold without an order covers only once it is bound to this one: until then any other order may claim it too.
    """
    decision, hold, owed = known.decision, known.hold, order.on_account
    wrong: list[Reason] = []
    if decision.outcome != "approved":
        wrong.append(Reason("decision_not_approved", f"decision {decision.id} is {decision.outcome}", "check again"))
    if decision.legal_entity != order.legal_entity:
        wrong.append(
            Reason("other_legal_entity", f"the decision is {decision.legal_entity}'s, the order {order.legal_entity}'s")
        )
    if decision.account != plain_account(order.customer):
        wrong.append(
            Reason("other_account", f"the decision is for account {decision.account}, the order for {order.customer}")
        )
    if decision.amount.currency != order.currency:
        wrong.append(
            Reason("other_currency", f"the decision is in {decision.amount.currency}, the order in {order.currency}")
        )
    elif owed > (left := _left_of(decision, hold, order)):
        wrong.append(Reason("amount_not_covered", f"{owed} is on account, {left} is held", "check the changed order"))
    if hold is None:
        if owed and not wrong:
            wrong.append(Reason("nothing_held", f"{owed} is on account and nothing is held for it", "check again"))
        return tuple(wrong)
    if hold.order and hold.order != order.number:
        wrong.append(
            Reason("decision_used_twice", f"the decision is bound to order {hold.order}", "check this order on its own")
        )
    if hold.state == "released" and hold.closed_because == CANCELLED and hold.order == order.number:
        return (Reason("order_cancelled", f"order {order.number} was cancelled before it was posted"),)
    if hold.state == "released" and not (hold.closed_because == NOTHING_OWED and hold.order == order.number):
        wrong.append(Reason("hold_released", f"the hold was released: {hold.closed_because}", "check again"))
    return tuple(wrong)


def _left_of(decision: Decision, hold: Hold | None, order: OnAccountOrder) -> Money:
    """What may still be posted under a decision.

    Cancelled lines shrink the hold of their order at once, even before the order is posted, which happens in full
    first: the order counts on what was approved for it, and its cancellations are credited right after. What stands
    under this very posting key is this posting, done already by somebody who was quicker.
    """
    if hold is None:
        return decision.amount
    whole = decision.amount if hold.order == order.number else hold.amount
    others = (one.amount for one in hold.postings if one.key != order.posting_key)
    return whole - sum(others, Money.zero(whole.currency))
