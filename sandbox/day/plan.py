"""The day as a plan: what is known before it begins, what happens in which order, and how each order may end."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from sandbox.day.orders import JsonObject, Order


class End(StrEnum):
    """How an order may end; nothing else counts as accounted for."""

    POSTED = "posted"
    CASE = "case"
    CANCELLED = "cancelled"
    APPROVAL_REQUIRED = "approval_required"
    DECLINED = "declined"
    REFERRED = "referred"
    NO_LEDGER_MATTER = "no ledger matter"


UNCONFIRMED = frozenset({End.APPROVAL_REQUIRED, End.DECLINED, End.REFERRED})


@dataclass(frozen=True, slots=True)
class Account:
    """A business customer as SAP knows it before the day: amounts in `currency`, prices net by product."""

    number: str
    legal_entity: str
    currency: str
    limit: Decimal
    exposure: Decimal = Decimal(0)
    blocked: bool = False
    risk_class: str = "B"
    prices: dict[str, Decimal] = field(default_factory=dict)
    overdue_days: int = 0


@dataclass(frozen=True, slots=True)
class Stock:
    """Goods on hand in a plant."""

    plant: str
    product: str
    quantity: Decimal
    unit: str = "EA"


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One thing that happens; `after` names the acts that must be over before (so that a return follows its order)."""

    name: str
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout(Act):
    """An order at a till, a shop or a portal. The same act twice is the same request repeated."""

    order: Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Return(Act):
    """Goods or money back, as an order of its own."""

    order: Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Ship(Act):
    """An order leaves the warehouse."""

    legal_entity: str
    number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel(Act):
    """An order is called off, perhaps before it is known."""

    legal_entity: str
    number: str
    occurred_at: datetime
    before_order: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver(Act):
    """An event delivered to the product as it is, because Commerce itself could not hold its order."""

    envelope: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class SetStock(Act):
    """A count in SAP: the new quantity on hand."""

    stock: Stock


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveGoods(Act):
    """A goods movement in SAP: `stock.quantity` is added (negative: taken away)."""

    stock: Stock
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPrice(Act):
    """A contract price that changes in SAP during the day."""

    account: str
    product: str
    price: Decimal
    currency: str
    valid_from: str
    valid_to: str = "9999-12-31"


@dataclass(frozen=True, slots=True)
class Entry:
    """One order of the day in the books of the day itself: what it should come to, and how it may end.

    `gross` is what the ledger shows for it when it ends posted, negative for a return; None where nobody can know.
    `faults` are what its input was told to have wrong with it: its case has to say each.
    """

    number: str
    legal_entity: str
    channel: str
    kind: str
    currency: str
    gross: Decimal | None
    ends: frozenset[End]
    note: str = ""
    line_count: int = 0
    customer: str = ""
    placed_at: datetime | None = None
    business_date: str = ""
    on_account: Decimal = Decimal(0)
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Day:
    """Everything to replay."""

    title: str
    accounts: tuple[Account, ...]
    stock: tuple[Stock, ...]
    acts: tuple[Act, ...]
    entries: tuple[Entry, ...]
    periods: frozenset[tuple[str, str]]
    remarks: tuple[str, ...] = ()
    disorder: JsonObject | None = None
