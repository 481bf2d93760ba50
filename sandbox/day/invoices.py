"""A file of invoices as a day: which invoice is an order, a return, a case, or no matter for the ledger.

The file's own conventions, and what they become here:

- An invoice number that begins with C is a credit note. Each of its article lines is matched to the latest earlier
  invoice line of the same customer, article and price that still has that quantity unreturned; where there is none
  the line names no original.
- No CustomerID: a till sale, paid at once in cash. A CustomerID: a business account that the whole invoice goes on.
- A code that is no article becomes a charge (or a gift voucher) of the conventions in `sandbox.day`.
- Prices are net and the file knows no tax: every line is zero-rated.
- A line without a price moves stock and never the ledger. On an invoice with a customer or with priced lines the goods
  went out; on one with neither it is a count: found (positive) or damaged and lost (negative). Commerce knows such an
  invoice as an order of nothing, so that every invoice of the file stands in its month.
- What cannot be understood makes its whole invoice a case: it is delivered with its raw cells and without totals. A row
  without an InvoiceNo is an invoice of its own, named after its place in the file.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from sandbox.day import orders
from sandbox.day.orders import CASH, ON_ACCOUNT, Charge, JsonObject, Line, Order
from sandbox.day.plan import Account, Act, Checkout, Day, Deliver, End, Entry, MoveGoods, Return, Stock
from sandbox.day.retail_file import FaultyRow, Row
from sandbox.kit.entities import LegalEntity, legal_entities

_CREDIT_LIMIT: Final = Decimal(10_000_000)  # ample: a file is about what was sold, not about who may buy
_STOCK: Final = Decimal(100_000)
_ZERO_RATE: Final = Decimal(0)
_CHARGES: Final = {
    "POST": "POSTAGE",
    "DOT": "POSTAGE",
    "C2": "FREIGHT",
    "C3": "FREIGHT",
    "D": "DISCOUNT",
    "M": "ADJUSTMENT",
    "S": "SAMPLE",
    "B": "ADJUSTMENT",
    "PADS": "ADJUSTMENT",
    "CRUK": "ADJUSTMENT",
    "AMAZONFEE": "MARKETPLACE",
    "BANK CHARGES": "BANKCHARGE",
}
_NUMBER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,17}")  # what SAP's assignment field carries whole
_FAULTS_MAX: Final = 50  # of one invoice, told with it
_FAULT_CHARACTERS_MAX: Final = 400
_ROWS_MAX: Final = 1000  # of an invoice that is not understood, delivered with it
_CELL_CHARACTERS_MAX: Final = 1000
_AMOUNT_MAX: Final = Decimal(10) ** 12  # SAP's amounts have fifteen digits, three of them behind the point
_FALLBACK_MOMENT: Final = datetime(2010, 12, 1, 12, 0, tzinfo=UTC)


def day_of(rows: Iterable[Row | FaultyRow], title: str, *, first: int | None = None) -> Day:
    """The day that a file's rows stand for; `first` keeps only that many invoices, in the order of the file."""
    importer = _Importer(legal_entities()["GB01"])
    invoices: dict[str, list[Row | FaultyRow]] = {}
    for row in rows:
        number = row.invoice or f"ROW-{row.number}"  # a row of no invoice is looked at by itself
        if number in invoices:
            invoices[number].append(row)
        elif first is None or len(invoices) < first:
            invoices[number] = [row]
    for number, content in invoices.items():
        importer.add(number, content)
    return importer.day(title)


@dataclass(slots=True)
class _SoldLine:
    order: str
    line_id: str
    unreturned: Decimal


@dataclass(slots=True)
class _Importer:
    entity: LegalEntity
    accounts: dict[str, Account] = field(default_factory=dict)
    stocked: dict[str, None] = field(default_factory=dict)
    acts: list[Act] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    owed: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    sold: defaultdict[tuple[str, str, Decimal], list[_SoldLine]] = field(default_factory=lambda: defaultdict(list))
    matched: int = 0
    unmatched: int = 0
    unpriced: int = 0

    def add(self, number: str, rows: Sequence[Row | FaultyRow]) -> None:
        faulty = [row for row in rows if isinstance(row, FaultyRow)]
        understood = [row for row in rows if isinstance(row, Row)]
        reasons = [f"row {row.number}: {reason}" for row in faulty for reason in row.reasons]
        reasons += _contradictions(number, understood, self.entity)
        if reasons:
            self._case(number, rows, reasons)
            return
        order = self._order(number, understood)
        if order.total or any(line.net for line in order.lines) or any(charge.amount for charge in order.charges):
            self._replay(order, understood)
        else:
            self._without_a_price(order, understood)

    def day(self, title: str) -> Day:
        plant = self.entity.plants[0]
        remarks = [
            f"{self.matched} return lines name their original, {self.unmatched} have none in the file",
            f"{self.unpriced} lines without a price moved stock only",
        ]
        return Day(
            title=title,
            accounts=tuple(self.accounts.values()),
            stock=tuple(Stock(plant, article, _STOCK) for article in self.stocked),
            acts=tuple(self.acts),
            entries=tuple(self.entries),
            periods=frozenset(
                (entry.legal_entity, entry.business_date[:7]) for entry in self.entries if entry.business_date
            ),
            remarks=tuple(remarks),
        )

    def _order(self, number: str, rows: Sequence[Row]) -> Order:
        """The invoice as an order, also one on which nothing has an amount."""
        lines: list[Line] = []
        charges: list[Charge] = []
        for row in rows:
            code = charge_code(row.item)
            if code is not None:
                charges.append(orders.charge(self.entity, code, row.quantity * row.price, rate=_ZERO_RATE))
            else:
                lines.append(self._line(row))
        customer = rows[0].customer
        return orders.order(
            number,
            self.entity,
            "portal" if customer else "till",
            rows[0].placed_at,
            customer=customer,
            lines=lines,
            charges=charges,
            rest=ON_ACCOUNT if customer else CASH,
        )

    def _line(self, row: Row) -> Line:
        original = self._original(row) if row.quantity < 0 and row.price and is_credit_note(row.invoice) else None
        return orders.line(
            self.entity,
            row.item,
            row.quantity,
            row.price,
            rate=_ZERO_RATE,
            name=row.description,
            gift_voucher=is_gift_voucher(row.item),
            original=original,
        )

    def _original(self, row: Row) -> tuple[str, str] | None:
        for sold in reversed(self.sold[_terms(row)]):
            if sold.unreturned >= -row.quantity:
                sold.unreturned += row.quantity
                return sold.order, sold.line_id
        return None

    def _replay(self, order: Order, rows: Sequence[Row]) -> None:
        credit = is_return(order)
        if order.customer and order.customer not in self.accounts:
            self.accounts[order.customer] = Account(
                order.customer, self.entity.code, self.entity.currency, limit=_CREDIT_LIMIT
            )
        if credit:
            originals = sorted({line.original[0] for line in order.lines if line.original is not None})
            self.acts.append(Return(name=order.number, after=tuple(originals), order=order))
            linked = sum(1 for line in order.lines if line.original is not None)
            self.matched += linked
            self.unmatched += sum(1 for line in order.lines if line.net) - linked
        else:
            self.acts.append(Checkout(name=order.number, order=order))
            self._remember(order)
        self._move_stock(order.number, [row for row in rows if not row.price], out=True)
        ends = {End.POSTED, End.CASE}
        self.owed[order.customer] += max(order.on_account, Decimal(0))
        if order.customer and self.owed[order.customer] > _CREDIT_LIMIT:
            ends.add(End.APPROVAL_REQUIRED)  # a customer of a file can buy a great deal, and not everything
        self.entries.append(
            Entry(
                number=order.number,
                legal_entity=self.entity.code,
                channel=order.channel,
                kind="return" if credit else "sale",
                currency=self.entity.currency,
                gross=order.total,
                ends=frozenset(ends),
                line_count=len(order.lines),
                customer=order.customer,
                placed_at=order.placed_at,
                business_date=order.business_date,
                on_account=order.on_account,
            )
        )

    def _remember(self, order: Order) -> None:
        for number, line in enumerate(order.lines, 1):
            if line.net > 0:
                terms = (order.customer, line.item, line.price)
                self.sold[terms].append(_SoldLine(order.number, str(number), line.quantity))

    def _without_a_price(self, order: Order, rows: Sequence[Row]) -> None:
        """An invoice like any other to Commerce, and nothing to the ledger: it only moves stock."""
        given = bool(order.customer)
        if any(line.quantity < 0 for line in order.lines):
            self.acts.append(Return(name=order.number, after=(), order=order))
        else:
            self.acts.append(Checkout(name=order.number, order=order))
        self._move_stock(order.number, rows, out=given)
        self.entries.append(
            Entry(
                number=order.number,
                legal_entity=self.entity.code,
                channel=order.channel,
                kind="stock",
                currency=self.entity.currency,
                gross=Decimal(0),
                ends=frozenset({End.NO_LEDGER_MATTER}),
                note="given away: goods without a price" if given else "a stock count: goods without a price",
                line_count=len(order.lines),
                customer=order.customer,
                placed_at=order.placed_at,
                business_date=order.business_date,
            )
        )

    def _move_stock(self, number: str, rows: Sequence[Row], *, out: bool) -> None:
        plant = self.entity.plants[0]
        for row in rows:
            self.unpriced += 1
            if charge_code(row.item) is None:
                self.stocked.setdefault(row.item)
                moved = -row.quantity if out else row.quantity
                stock = Stock(plant, row.item, moved)
                self.acts.append(MoveGoods(name=f"{number}/{row.number}", stock=stock, reason=row.description))

    def _case(self, number: str, rows: Sequence[Row | FaultyRow], reasons: Sequence[str]) -> None:
        placed_at = next((row.placed_at for row in rows if isinstance(row, Row)), _FALLBACK_MOMENT)
        self.acts.append(Deliver(name=number, envelope=_envelope_of_raw(number, rows, reasons, placed_at, self.entity)))
        self.entries.append(
            Entry(
                number=number,
                legal_entity=self.entity.code,
                channel="unknown",
                kind="not understood",
                currency=self.entity.currency,
                gross=None,
                ends=frozenset({End.CASE}),
                note="; ".join(reasons),
                faults=_told(reasons),
                line_count=len(rows),
                placed_at=placed_at,
            )
        )


def charge_code(item: str) -> str | None:
    """The charge that a code stands for; None for an article (and for a gift voucher, which is sold like one)."""
    code = item.upper()
    if code.startswith("ADJUST"):
        return "ADJUSTMENT"
    return _CHARGES.get(code)


def is_gift_voucher(item: str) -> bool:
    """Whether the code is a voucher sold: a debt to its bearer."""
    return item.lower().startswith("gift_") or item.lower() == "gift"


def is_credit_note(invoice: str) -> bool:
    """Whether the invoice number is that of a cancellation."""
    return invoice[:1].upper() == "C"


def is_return(order: Order) -> bool:
    """Goods come back, or the customer is given money without any goods."""
    return any(line.quantity < 0 for line in order.lines) or order.total < 0


def _terms(row: Row) -> tuple[str, str, Decimal]:
    return row.customer, row.item, row.price


def _contradictions(number: str, rows: Sequence[Row], entity: LegalEntity) -> list[str]:
    """What each row says well and the invoice says badly."""
    reasons = []
    if not _NUMBER.fullmatch(number):
        reasons.append(f"InvoiceNo {number[:40]!r} is not an order number: up to 18 letters, digits and hyphens")
    customers = sorted({row.customer for row in rows})
    if len(customers) > 1:
        named = ", ".join(customer or "none" for customer in customers)
        reasons.append(f"rows {rows[0].number}-{rows[-1].number}: one invoice with several customers: {named}")
    days = sorted({orders.business_day(row.placed_at, entity) for row in rows})
    if len(days) > 1:
        reasons.append(f"rows {rows[0].number}-{rows[-1].number}: one invoice on several days: {', '.join(days)}")
    for row in rows:
        if charge_code(row.item) is not None or not row.price:
            continue
        if is_credit_note(number) and row.quantity > 0:
            reasons.append(f"row {row.number}: Quantity {row.quantity} is positive on a credit note")
        if not is_credit_note(number) and row.quantity < 0:
            reasons.append(f"row {row.number}: Quantity {row.quantity} is negative at a price, on no credit note")
    reasons += [
        f"row {row.number}: Quantity {row.quantity} at UnitPrice {row.price} is more than a ledger can hold"
        for row in rows
        if abs(row.quantity * row.price) >= _AMOUNT_MAX
    ]
    goods = any(row.price and charge_code(row.item) is None for row in rows)
    total = sum((row.quantity * row.price for row in rows), Decimal(0))
    if not reasons and abs(total) >= _AMOUNT_MAX:
        reasons.append(f"the invoice comes to {total}, more than a ledger can hold")
    if goods and not reasons and is_credit_note(number) and total > 0:
        reasons.append(f"the credit note takes goods back and yet charges {total}")
    if goods and not reasons and not is_credit_note(number) and total < 0:
        reasons.append(f"the invoice sells goods and yet gives the customer {-total}")
    return reasons


def _told(reasons: Sequence[str]) -> tuple[str, ...]:
    """The reasons that go with an invoice; of very many the first, and how many more there are."""
    if len(reasons) <= _FAULTS_MAX:
        return tuple(reasons)
    return (*reasons[: _FAULTS_MAX - 1], f"and {len(reasons) - _FAULTS_MAX + 1} more faults")


def _envelope_of_raw(
    number: str, rows: Sequence[Row | FaultyRow], reasons: Sequence[str], placed_at: datetime, entity: LegalEntity
) -> JsonObject:
    """An order event that carries the raw cells; it has no totals, because nobody can know them."""
    cells = [_cells(row) for row in rows[:_ROWS_MAX]]
    customers = sorted({row.get("CustomerID", "") for row in cells})
    occurred_at = placed_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": "order.returned" if is_credit_note(number) else "order.confirmed",
        "id": f"file-{number}",
        "orderNumber": number,
        "legalEntity": entity.code,
        "occurredAt": occurred_at,
        "decisionId": None,
        "order": {
            "Id": number,
            "SalesId": number,
            "ChannelId": "file",
            "CustomerId": " and ".join(customers),
            "CurrencyCode": entity.currency,
            "OrderPlacedDate": cells[0].get("InvoiceDate", ""),
            "SalesLines": [
                {
                    "LineId": str(position),
                    "ItemId": row.get("StockCode", ""),
                    "Description": row.get("Description", ""),
                    "Quantity": row.get("Quantity", ""),
                    "Price": row.get("UnitPrice", ""),
                }
                for position, row in enumerate(cells, 1)
            ],
            "ChargeLines": [],
            "TenderLines": [],
            "ExtensionProperties": [
                {"Key": "ImportFault", "Value": {"StringValue": reason[:_FAULT_CHARACTERS_MAX]}}
                for reason in _told(reasons)
            ],
        },
    }


def _cells(row: Row | FaultyRow) -> dict[str, str]:
    if isinstance(row, FaultyRow):
        return {column: cell[:_CELL_CHARACTERS_MAX] for column, cell in row.cells.items()}
    return {
        "StockCode": row.item,
        "Description": row.description,
        "Quantity": str(row.quantity),
        "InvoiceDate": row.placed_at.isoformat(),
        "UnitPrice": str(row.price),
        "CustomerID": row.customer,
    }
