"""Orders that add up: from quantities and prices to a Retail Server SalesOrder whose every sum holds exactly."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Final
from zoneinfo import ZoneInfo

from sandbox.kit.entities import LegalEntity

CASH: Final = "1"
CARD: Final = "3"
ON_ACCOUNT: Final = "4"
GIFT_VOUCHER: Final = "8"

CHARGE_CODES: Final = frozenset(
    {
        "FREIGHT", "POSTAGE", "BANKCHARGE", "MARKETPLACE", "DISCOUNT", "VOUCHER", "ADJUSTMENT", "SAMPLE", "ROUNDING",
    }
)  # fmt: skip

type JsonObject = dict[str, object]


@dataclass(frozen=True, slots=True)
class Line:
    """Goods on an order. `net` and `tax` are in the currency's decimals; `original` is (order, line id) of a return."""

    item: str
    quantity: Decimal
    price: Decimal
    net: Decimal
    tax: Decimal
    rate: Decimal
    name: str = ""
    gift_voucher: bool = False
    original: tuple[str, str] | None = None

    @property
    def total(self) -> Decimal:
        """What the customer pays for the line, tax included."""
        return self.net + self.tax


@dataclass(frozen=True, slots=True)
class Charge:
    """Something billed beside the goods; negative in the customer's favour."""

    code: str
    amount: Decimal
    tax: Decimal
    rate: Decimal

    @property
    def total(self) -> Decimal:
        """The charge with its tax."""
        return self.amount + self.tax


@dataclass(frozen=True, slots=True)
class Order:
    """One order or return of the day. `placed_at` is aware UTC; tenders are (type, amount) and add up to `total`."""

    number: str
    entity: LegalEntity
    channel: str
    customer: str
    placed_at: datetime
    lines: tuple[Line, ...]
    charges: tuple[Charge, ...]
    tenders: tuple[tuple[str, Decimal], ...]

    @property
    def total(self) -> Decimal:
        """What the customer pays, or is given back (negative)."""
        return total_of(self.lines, self.charges)

    @property
    def tax(self) -> Decimal:
        """The taxes of lines and charges."""
        parts: tuple[Line | Charge, ...] = (*self.lines, *self.charges)
        return sum((part.tax for part in parts), Decimal(0))

    @property
    def on_account(self) -> Decimal:
        """The part that the customer's account carries."""
        return sum((amount for tender, amount in self.tenders if tender == ON_ACCOUNT), Decimal(0))

    @property
    def business_date(self) -> str:
        """The day in the legal entity's own calendar."""
        return business_day(self.placed_at, self.entity)

    def as_sales_order(self) -> JsonObject:
        """The order as Commerce holds it, amounts as exact numbers."""
        currency = self.entity.currency
        return {
            "Id": self.number,
            "SalesId": self.number,
            "ChannelId": self.channel,
            "CustomerId": self.customer,
            "CurrencyCode": currency,
            "OrderPlacedDate": self.placed_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "BusinessDate": self.business_date,
            "SubtotalAmountWithoutTax": self.total - self.tax,
            "TaxAmount": self.tax,
            "TotalAmount": self.total,
            "SalesLines": [_sales_line(number, line) for number, line in enumerate(self.lines, 1)],
            "ChargeLines": [
                {
                    "ChargeCode": charge.code,
                    "CalculatedAmount": charge.amount,
                    "TaxAmount": charge.tax,
                    "TaxRatePercent": charge.rate * 100,
                }
                for charge in self.charges
            ],
            "TenderLines": [
                {"TenderTypeId": tender, "Amount": amount, "Currency": currency} for tender, amount in self.tenders
            ],
        }


def line(
    entity: LegalEntity,
    item: str,
    quantity: Decimal,
    price: Decimal,
    *,
    rate: Decimal | None = None,
    name: str = "",
    gift_voucher: bool = False,
    original: tuple[str, str] | None = None,
) -> Line:
    """A line at a net unit price, taxed at `rate` (the entity's own where none is given, 0 for a gift voucher)."""
    taxed = Decimal(0) if gift_voucher else entity.tax_rate if rate is None else rate
    net = rounded(quantity * price, entity)
    return Line(item, quantity, price, net, rounded(net * taxed, entity), taxed, name, gift_voucher, original)


def charge(entity: LegalEntity, code: str, amount: Decimal, *, rate: Decimal | None = None) -> Charge:
    """A charge of the conventions above. Raises ValueError for a code that nobody agreed on."""
    if code not in CHARGE_CODES:
        raise ValueError(f"charge code {code!r} is none of {', '.join(sorted(CHARGE_CODES))}")
    taxed = entity.tax_rate if rate is None else rate
    net = rounded(amount, entity)
    return Charge(code, net, rounded(net * taxed, entity), taxed)


def order(
    number: str,
    entity: LegalEntity,
    channel: str,
    placed_at: datetime,
    *,
    customer: str = "",
    lines: Iterable[Line] = (),
    charges: Iterable[Charge] = (),
    paid: Sequence[tuple[str, Decimal]] = (),
    rest: str | None = None,
) -> Order:
    """An order whose tenders are `paid` and, for what is left, `rest`. Raises ValueError when they do not add up."""
    goods, billed = tuple(lines), tuple(charges)
    total = total_of(goods, billed)
    open_amount = total - sum((amount for _, amount in paid), Decimal(0))
    tenders = tuple(paid)
    if open_amount:
        if rest is None:
            raise ValueError(f"{number}: {open_amount} of {total} {entity.currency} is not paid")
        tenders = (*tenders, (rest, open_amount))
    return Order(number, entity, channel, customer, placed_at, goods, billed, tenders)


def total_of(lines: Iterable[Line], charges: Iterable[Charge]) -> Decimal:
    """The sum of lines and charges, taxes included."""
    parts: tuple[Line | Charge, ...] = (*lines, *charges)
    return sum((part.total for part in parts), Decimal(0))


def business_day(at: datetime, entity: LegalEntity) -> str:
    """The day of an aware moment in the legal entity's own calendar, YYYY-MM-DD."""
    return at.astimezone(ZoneInfo(entity.time_zone)).date().isoformat()


def rounded(amount: Decimal, entity: LegalEntity) -> Decimal:
    """Half up to the smallest unit of the entity's currency."""
    return amount.quantize(Decimal(1).scaleb(-entity.decimals), rounding=ROUND_HALF_UP)


def _sales_line(number: int, line: Line) -> JsonObject:
    sales_line: JsonObject = {
        "LineId": str(number),
        "ItemId": line.item,
        "Quantity": line.quantity,
        "UnitOfMeasureSymbol": "ea",
        "Price": line.price,
        "NetAmount": line.net,
        "TaxAmount": line.tax,
        "TaxRatePercent": line.rate * 100,
        "TotalAmount": line.total,
    }
    if line.name:
        sales_line["Description"] = line.name
    if line.gift_voucher:
        sales_line["IsGiftCardLine"] = True
    if line.original is not None:
        sales_line["ReturnTransactionId"], sales_line["ReturnLineNumber"] = line.original
    return sales_line
