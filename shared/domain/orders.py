"""A Commerce order as the rules see it, read from the Retail Server SalesOrder shape at the edge.

Unknown fields are kept by whoever carries the raw order, not refused. What is read here is exact: amounts must fit
the order's currency, and an order whose amounts do not add up is refused with each difference named, because a
ledger document built from it could not balance.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_DOWN, Decimal
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from shared.domain.moments import day_of, moment_or_utc_of
from shared.domain.money import DECIMALS, Money, decimal_of
from shared.errors import Fault, Malformed

ON_ACCOUNT = "4"
"""Retail Server tender type of a payment on the customer's account."""
GIFT_CARD = "8"
"""Tender type of a gift card or voucher redeemed."""
LINES_MAX = 10_000
_TOTALS = ("SubtotalAmountWithoutTax", "TaxAmount", "TotalAmount")
_LINE_AMOUNTS = {
    "SalesLines": ("NetAmount", "TaxAmount", "TotalAmount"),
    "ChargeLines": ("CalculatedAmount", "TaxAmount"),
    "TenderLines": ("Amount",),
}

Number = Annotated[Decimal, BeforeValidator(decimal_of)]
Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value), Field(max_length=256)]


class DoesNotAddUp(Malformed):
    """Every field can be read, but sums do not hold or a line stands twice."""


@dataclass(frozen=True, slots=True)
class OrderLine:
    line_id: str
    item: str
    quantity: Decimal
    unit: str
    price: Decimal
    net: Money
    tax: Money
    total: Money
    is_gift_card: bool = False
    original_transaction: str = ""
    original_line: str = ""


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge (or, negative, something in the customer's favour) with its tax."""

    code: str
    amount: Money
    tax: Money


@dataclass(frozen=True, slots=True)
class Tender:
    type: str
    amount: Money


@dataclass(frozen=True, slots=True)
class Order:
    """One order or return, amounts in `currency`, `placed_at` aware UTC, `business_date` of the legal entity."""

    number: str
    transaction_id: str
    legal_entity: str
    channel: str
    customer: str
    currency: str
    placed_at: datetime
    business_date: date
    net: Money
    tax: Money
    total: Money
    lines: tuple[OrderLine, ...]
    charges: tuple[Charge, ...]
    tenders: tuple[Tender, ...]

    @property
    def on_account(self) -> Money:
        """What the customer owes for this order after every other tender."""
        paid = (tender.amount for tender in self.tenders if tender.type == ON_ACCOUNT)
        return sum(paid, Money.zero(self.currency))

    @property
    def is_return(self) -> bool:
        """Goods or money go back: every line that moves anything is negative, or nothing moves and money is given."""
        moving = [line.quantity for line in self.lines if line.quantity]
        return all(quantity < 0 for quantity in moving) if moving else self.total.amount < 0


def on_account_of(order: Order, quantities: Mapping[str, Decimal]) -> Money:
    """The part on account of some of an order's lines: their gross, in the proportion that was not paid otherwise.

    Rounded down, so that of several parts together never more is given free than was held. Lines that the order does
    not have come to nothing.
    """
    gross = Decimal(0)
    for line in order.lines:
        if line.quantity and (part := min(abs(quantities.get(line.line_id, Decimal(0))), abs(line.quantity))):
            gross += abs(line.total.amount) * part / abs(line.quantity)
    if not order.total.amount:
        return Money.zero(order.currency)
    share = gross * order.on_account.amount / order.total.amount
    return Money(share.quantize(Decimal(1).scaleb(-DECIMALS[order.currency]), rounding=ROUND_DOWN), order.currency)


def read_order(raw: object, legal_entity: str) -> Order:
    """Read one SalesOrder; raises `Malformed` naming every faulty field, `DoesNotAddUp` naming every sum."""
    try:
        order = _SalesOrder.model_validate(raw)
    except ValidationError as error:
        unread = faults_of(error, "order")
        raise Malformed([*unread, *_amounts_that_fail(raw, {fault.where for fault in unread})]) from error
    currency = order.CurrencyCode
    faults: list[Fault] = []

    def money(amount: Decimal, where: str) -> Money:
        try:
            return Money(amount, currency)
        except ValueError as error:
            faults.append(Fault(where, str(error)))
            return Money.zero(currency)

    lines = tuple(
        OrderLine(
            line_id=line.LineId,
            item=line.ItemId,
            quantity=line.Quantity,
            unit=line.UnitOfMeasureSymbol,
            price=line.Price,
            net=money(line.NetAmount, f"order.SalesLines[{index}].NetAmount"),
            tax=money(line.TaxAmount, f"order.SalesLines[{index}].TaxAmount"),
            total=money(line.TotalAmount, f"order.SalesLines[{index}].TotalAmount"),
            is_gift_card=line.IsGiftCardLine,
            original_transaction=line.ReturnTransactionId,
            original_line=_plain(line.ReturnLineNumber),
        )
        for index, line in enumerate(order.SalesLines)
    )
    charges = tuple(
        Charge(
            code=charge.ChargeCode.upper(),
            amount=money(charge.CalculatedAmount, f"order.ChargeLines[{index}].CalculatedAmount"),
            tax=money(charge.TaxAmount, f"order.ChargeLines[{index}].TaxAmount"),
        )
        for index, charge in enumerate(order.ChargeLines)
    )
    tenders = tuple(
        Tender(type=tender.TenderTypeId, amount=money(tender.Amount, f"order.TenderLines[{index}].Amount"))
        for index, tender in enumerate(order.TenderLines)
    )
    for index, tender_line in enumerate(order.TenderLines):
        if tender_line.Currency and tender_line.Currency != currency:
            faults.append(
                Fault(f"order.TenderLines[{index}].Currency", f"is {tender_line.Currency}, the order is in {currency}")
            )
    read = Order(
        number=order.SalesId,
        transaction_id=order.Id or order.SalesId,
        legal_entity=legal_entity,
        channel=order.ChannelId,
        customer=order.CustomerId,
        currency=currency,
        placed_at=order.OrderPlacedDate.astimezone(UTC),
        business_date=order.BusinessDate or order.OrderPlacedDate.date(),
        net=money(order.SubtotalAmountWithoutTax, "order.SubtotalAmountWithoutTax"),
        tax=money(order.TaxAmount, "order.TaxAmount"),
        total=money(order.TotalAmount, "order.TotalAmount"),
        lines=lines,
        charges=charges,
        tenders=tenders,
    )
    if faults:
        raise Malformed(faults)
    if wrong := [*_sums_that_fail(read), *_repeated_lines(lines)]:
        raise DoesNotAddUp(wrong)
    return read


def faults_of(error: ValidationError, root: str = "") -> list[Fault]:
    """Each pydantic complaint as a fault with its path and no input value (which may be personal)."""
    return [
        Fault(_path(root, problem["loc"]), _complaint(problem["type"], problem["msg"]))
        for problem in error.errors(include_input=False, include_url=False)
    ]


def _complaint(kind: str, message: str) -> str:
    """In words that mean something to who sent it; pydantic names our own classes."""
    return "is not a JSON object" if kind == "model_type" else message.removeprefix("Value error, ")


def known_currency(value: str) -> str:
    """For pydantic: raises ValueError for what is no currency."""
    if value not in DECIMALS:
        raise ValueError("is not an ISO 4217 currency")
    return value


def misfits(amounts: Iterable[tuple[str, object]], currency: object, named: Container[str]) -> list[Fault]:
    """Amounts, each with its path, that do not fit the currency, for input of which other fields are faulty too.

    So that one answer names all of them. `named` are paths that somebody else has found faulty already.
    """
    if not isinstance(currency, str) or currency not in DECIMALS:
        return []
    faults = []
    for where, value in amounts:
        if value is None or where in named:
            continue
        try:
            Money(decimal_of(value), currency)
        except ValueError as error:
            faults.append(Fault(where, str(error)))
    return faults


def _amounts_that_fail(raw: object, named: Container[str]) -> list[Fault]:
    if not isinstance(raw, dict):
        return []
    amounts: list[tuple[str, object]] = [(f"order.{name}", raw.get(name)) for name in _TOTALS]
    for lines, names in _LINE_AMOUNTS.items():
        rows = raw.get(lines)
        for index, row in enumerate(rows if isinstance(rows, list) else ()):
            if isinstance(row, dict):
                amounts += [(f"order.{lines}[{index}].{name}", row.get(name)) for name in names]
    return misfits(amounts, raw.get("CurrencyCode"), named)


def _path(root: str, location: Sequence[int | str]) -> str:
    path = root
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path or "body"


def _sums_that_fail(order: Order) -> list[Fault]:
    zero = Money.zero(order.currency)
    faults = []
    for index, line in enumerate(order.lines):
        if line.net + line.tax != line.total:
            faults.append(
                Fault(f"order.SalesLines[{index}].TotalAmount", f"is {line.total}, net + tax is {line.net + line.tax}")
            )
    gross = sum((line.total for line in order.lines), zero) + sum((c.amount + c.tax for c in order.charges), zero)
    if gross != order.total:
        faults.append(Fault("order.TotalAmount", f"is {order.total}, lines and charges add up to {gross}"))
    tax = sum((line.tax for line in order.lines), zero) + sum((charge.tax for charge in order.charges), zero)
    if tax != order.tax:
        faults.append(Fault("order.TaxAmount", f"is {order.tax}, the taxes of lines and charges add up to {tax}"))
    if order.net + order.tax != order.total:
        faults.append(
            Fault("order.SubtotalAmountWithoutTax", f"is {order.net}, total less tax is {order.total - order.tax}")
        )
    if order.tenders or order.total:
        paid = sum((tender.amount for tender in order.tenders), zero)
        if paid != order.total:
            faults.append(Fault("order.TenderLines", f"add up to {paid}, the order's total is {order.total}"))
    return faults


def _repeated_lines(lines: Sequence[OrderLine]) -> list[Fault]:
    seen: set[str] = set()
    faults = []
    for index, line in enumerate(lines):
        if line.line_id in seen:
            faults.append(Fault(f"order.SalesLines[{index}].LineId", f"{line.line_id!r} stands twice"))
        seen.add(line.line_id)
    return faults


def _plain(value: str | int | Decimal | None) -> str:
    """Commerce sends line numbers as numbers with decimals (1.0000): the line they mean is "1"."""
    if value is None or value == "":
        return ""
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    return str(value)


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="allow", str_strip_whitespace=True)


class _SalesLine(_Lenient):
    LineId: Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)] = Field(
        min_length=1, max_length=64
    )
    ItemId: str = Field(min_length=1, max_length=64)
    Quantity: Number
    UnitOfMeasureSymbol: Text = "ea"
    Price: Number
    NetAmount: Number
    TaxAmount: Number = Decimal(0)
    TotalAmount: Number
    IsGiftCardLine: bool = False
    ReturnTransactionId: Text = ""
    ReturnLineNumber: str | int | Decimal | None = None


class _ChargeLine(_Lenient):
    ChargeCode: str = Field(min_length=1, max_length=64)
    CalculatedAmount: Number
    TaxAmount: Number = Decimal(0)


class _TenderLine(_Lenient):
    TenderTypeId: Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)] = (
        Field(min_length=1, max_length=32)
    )
    Amount: Number
    Currency: Text = ""


class _SalesOrder(_Lenient):
    Id: Text = ""
    SalesId: str = Field(min_length=1, max_length=64)
    ChannelId: Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)] = Field(
        max_length=64
    )
    CustomerId: Text = ""
    CurrencyCode: Annotated[str, AfterValidator(known_currency)]
    OrderPlacedDate: Annotated[datetime, BeforeValidator(moment_or_utc_of)]
    BusinessDate: Annotated[date | None, BeforeValidator(lambda value: None if value is None else day_of(value))] = None
    SubtotalAmountWithoutTax: Number
    TaxAmount: Number
    TotalAmount: Number
    SalesLines: list[_SalesLine] = Field(max_length=LINES_MAX)
    ChargeLines: list[_ChargeLine] = Field(default_factory=list, max_length=LINES_MAX)
    TenderLines: list[_TenderLine] = Field(default_factory=list, max_length=LINES_MAX)
