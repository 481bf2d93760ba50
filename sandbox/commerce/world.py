"""What Commerce holds: orders as they came, customers, prices, and on-hand figures with their reservations."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

from sandbox.kit.entities import legal_entities
from sandbox.kit.state import State, Table

NEVER = datetime.min.replace(tzinfo=UTC)

type JsonObject = dict[str, Any]
type Place = tuple[str, str, str, str]
"""Organization, product, site, location."""

_NUMBERS: Final = ("SubtotalAmountWithoutTax", "TaxAmount", "TotalAmount")
_NUMBERS_OF_LINES: Final = {
    "SalesLines": ("Quantity", "Price", "NetAmount"), "ChargeLines": ("CalculatedAmount",), "TenderLines": ("Amount",),
}  # fmt: skip
_DIGITS_MAX: Final = 30  # before the point, and after it


class Rejected(ValueError):
    """What was sent is not of the shape that Commerce takes; the text names the field."""


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """One sales order of a legal entity (`company`), kept field by field as it came."""

    company: str
    number: str
    order: JsonObject
    status: str
    stored_at: datetime
    decision_id: str | None = None

    @property
    def business_date(self) -> str:
        return str(self.order.get("BusinessDate") or self.order["OrderPlacedDate"])[:10]

    @property
    def is_return(self) -> bool:
        quantities = [Decimal(str(line["Quantity"])) for line in self.order["SalesLines"]]
        return bool(quantities) and all(quantity <= 0 for quantity in quantities) and any(q < 0 for q in quantities)


@dataclass(frozen=True, slots=True)
class OnHand:
    """An on-hand figure by data source and measure. `set_at` is the modified time of the last absolute figure."""

    place: Place
    quantities: Mapping[str, Mapping[str, Decimal]] = field(default_factory=dict)
    set_at: datetime = NEVER
    changed_at: datetime = NEVER

    def measure(self, source: str, name: str) -> Decimal:
        return self.quantities.get(source, {}).get(name, Decimal(0))

    def added(self, source: str, changes: Mapping[str, Decimal], at: datetime) -> "OnHand":
        own = dict(self.quantities.get(source, {}))
        for name, change in changes.items():
            own[name] = own.get(name, Decimal(0)) + change
        return replace(self, quantities={**self.quantities, source: own}, changed_at=at)


class World:
    """The tables of the simulated Commerce."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.orders: Table[tuple[str, str], StoredOrder] = state.table(
            {"number": lambda stored: stored.number, "folded_number": lambda stored: stored.number.casefold()}
        )
        self.customers: Table[tuple[str, str], JsonObject] = state.table(
            {"account": lambda row: row["CustomerAccount"].casefold()}
        )
        self.price_lines: Table[tuple[str, str, str], JsonObject] = state.table()
        self.prices: Table[int, JsonObject] = state.table()
        self.on_hand: Table[Place, OnHand] = state.table({"product": lambda row: row.place[1]})
        self.inventory_ids: Table[str, str] = state.table()
        self.schedules: Table[Place, Mapping[date, Decimal]] = state.table()
        self.reservations: Table[str, JsonObject] = state.table()

    def order(self, number: str, company: str | None = None) -> StoredOrder | None:
        """An order by its number, of one company where one is named."""
        return next((one for one in self.orders.find("number", number) if company in (None, one.company)), None)

    def store(
        self, company: str, order: Any, *, status: str = "Created", decision_id: str | None = None
    ) -> StoredOrder:
        """Keep an order as it is; raises Rejected for what is no SalesOrder at all."""
        if company not in legal_entities():
            raise Rejected(f"legalEntity: {company!r} is not a company here")
        checked = check_order(order)
        stored = StoredOrder(company, str(checked["SalesId"]), checked, status, self.state.now(), decision_id)
        self.orders.put((company, stored.number), stored)
        return stored

    def customer(self, account: str) -> JsonObject | None:
        """A customer by account, of whatever company."""
        return next(self.customers.find("account", account.casefold()), None)

    def add_agreement(self, price: JsonObject) -> None:
        """A price that is in force from now on."""
        record_id = 5_637_144_576 + len(self.prices)
        self.prices.put(record_id, {**price, "RecordId": record_id})

    def snapshot(self) -> dict[str, object]:
        return {
            "orders": [
                {
                    **one.order, "legalEntity": one.company, "status": one.status, "decisionId": one.decision_id,
                    "storedAt": one.stored_at.isoformat(),
                }
                for one in self.orders.values()
            ],
            "customers": list(self.customers.values()),
            "prices": list(self.prices.values()),
            "open_price_lines": list(self.price_lines.values()),
            "on_hand": [
                {
                    "organization": row.place[0], "product": row.place[1], "site": row.place[2],
                    "location": row.place[3],
                    "quantity": sum((v for m in row.quantities.values() for v in m.values()), Decimal(0))
                    - reserved_of(row),
                    "quantities": row.quantities, "modifiedAt": row.set_at.isoformat(),
                    "changedAt": row.changed_at.isoformat(),
                }
                for row in self.on_hand.values()
            ],
            "reservations": list(self.reservations.values()),
        }  # fmt: skip


RESERVED = ("softreservphysical", "softreservordered")


def reserved_of(row: OnHand) -> Decimal:
    return sum((row.measure("iv", name) for name in RESERVED), Decimal(0))


def _check_number(of: JsonObject, name: str, where: str) -> None:
    value = of.get(name)
    if not isinstance(value, int | Decimal) or isinstance(value, bool):
        raise Rejected(f"{where}.{name}: is missing or not a number")
    if abs(Decimal(value).adjusted()) > _DIGITS_MAX:
        raise Rejected(f"{where}.{name}: is beyond any amount")


def check_order(order: Any) -> JsonObject:
    """The order, when it is a SalesOrder; raises Rejected naming the field. Unknown fields stay."""
    if not isinstance(order, dict):
        raise Rejected("order: is not a SalesOrder object")
    for name in ("SalesId", "CurrencyCode", "OrderPlacedDate"):
        if not isinstance(order.get(name), str) or not order[name]:
            raise Rejected(f"order.{name}: is missing or not text")
    for name in _NUMBERS:
        _check_number(order, name, "order")
    for name in ("SalesLines", "ChargeLines", "TenderLines"):
        lines = order.get(name, [])
        if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
            raise Rejected(f"order.{name}: is not a list of objects")
    for name, numbers in _NUMBERS_OF_LINES.items():
        for index, line in enumerate(order.get(name, [])):
            for number in numbers:
                _check_number(line, number, f"order.{name}[{index}]")
    for index, line in enumerate(order.get("SalesLines", [])):
        if "TaxAmount" in line:
            _check_number(line, "TaxAmount", f"order.SalesLines[{index}]")
    kept: JsonObject = {"SalesLines": [], "ChargeLines": [], "TenderLines": [], **order}
    return kept
