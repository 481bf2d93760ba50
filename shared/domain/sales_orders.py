"""A sale as a sales order that SAP bills: which sales go that way, the order that is sent, and what SAP made of it.

Billing makes a receivable out of a sales order and nothing else. So only a sale wholly on account of a customer with a
number can go this way; one that was paid otherwise would leave an open item that nothing clears. The customer has seen
the amounts already, so each item brings its net amount along as a manual price, exact to the unit, and what SAP
computes from it is compared before the order counts as posted. Everything here is pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext

from shared.authority.ledger import LegalEntity, PostingWay, SalesOrderPosting
from shared.domain.ledger import Entry, EntryCharge, EntryLine
from shared.domain.money import DECIMALS, Money, unit
from shared.domain.orders import ON_ACCOUNT
from shared.domain.rulings import Reason

PER_MAX = 99_999
"""A condition is a rate for so many units, in a field of five digits."""
ORDER_NUMBER_MAX = 35
_MATERIAL_MAX = 40
_QUANTITY_STEP = Decimal("0.001")
_QUANTITY_MAX = Decimal(10) ** 12
_RATE_STEP = Decimal("0.000000001")
_RATE_MAX = Decimal(10) ** 15
_NET_MAX = Decimal(10) ** 13
_TAX_MAX = Decimal(10) ** 11
_EXACT = Context(prec=60)


@dataclass(frozen=True, slots=True)
class Way:
    """How a sale reaches the ledger; `because` says why not by sales order where the legal entity posts so."""

    name: PostingWay
    because: str = ""


@dataclass(frozen=True, slots=True)
class Price:
    """A price condition: `rate` in the order's currency for `per` units."""

    rate: Decimal
    per: int

    def net_of(self, quantity: Decimal, currency: str) -> Decimal:
        """What SAP makes of it: rate times quantity over units, rounded half up to the currency's unit."""
        with localcontext(_EXACT):
            return (self.rate * quantity / self.per).quantize(unit(currency), rounding=ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class SalesOrderItem:
    """One item. `net` and `tax` are what SAP has to come to, `conditions` (type, amount) included."""

    number: str
    line_id: str
    material: str
    quantity: Decimal
    tax_classification: str
    price: Price
    conditions: tuple[tuple[str, Money], ...]
    net: Money
    tax: Money


@dataclass(frozen=True, slots=True)
class SalesOrder:
    """A sales order as it is sent; `key` is the posting key, which billing hands on to the ledger's reference."""

    key: str
    order: str
    company_code: str
    customer: str
    currency: str
    day: date
    rules: SalesOrderPosting
    items: tuple[SalesOrderItem, ...]

    @property
    def net(self) -> Money:
        return sum((item.net for item in self.items), Money.zero(self.currency))

    @property
    def tax(self) -> Money:
        return sum((item.tax for item in self.items), Money.zero(self.currency))

    @property
    def gross(self) -> Money:
        return self.net + self.tax


@dataclass(frozen=True, slots=True)
class ComputedItem:
    """Net and tax of one item as SAP has them."""

    net: Decimal
    tax: Decimal


@dataclass(frozen=True, slots=True)
class Computed:
    """What SAP says of a sales order: currency, net in all, and each item by its number."""

    currency: str
    net: Decimal
    items: Mapping[str, ComputedItem]


def way_of(entry: Entry, entity: LegalEntity) -> Way:
    """Whether a sale becomes a sales order or a journal entry."""
    rules = entity.sales_order
    if entity.posting == "journal_entry" or rules is None:
        return Way("journal_entry")
    against = next(_against(entry, entity, rules), None)
    return Way("sales_order") if against is None else Way("journal_entry", against)


def sales_order_of(entry: Entry, key: str, posting_date: date, entity: LegalEntity) -> SalesOrder | list[Reason]:
    """The sales order of an entry whose way it is, or every reason why SAP's fields cannot carry it."""
    rules = entity.sales_order
    if rules is None:
        said = f"{entity.code} has no sales_order section, and {key} was begun as a sales order"
        return [Reason("sales_order_policy", said, "put the section back into ledger.yaml, then replay")]
    hosts = _hosts(entry, rules)
    reasons: list[Reason] = []
    items: list[SalesOrderItem] = []
    for place, line in enumerate(_moving(entry), start=1):
        price = price_of(line.net, line.quantity)
        reasons += _unfit(line, price)
        conditions = _conditions(hosts.get(line.line_id, ()), rules)
        net = sum((amount for _, amount in conditions), line.net)
        tax = sum((charge.tax for charge in hosts.get(line.line_id, ())), line.tax)
        if abs(net.amount) >= _NET_MAX or abs(tax.amount) >= _TAX_MAX:
            said = f"line {line.line_id}: {net} with {tax} of tax is more than a sales order item can carry"
            reasons.append(Reason("amount_too_large", said, "split the order in Commerce, then replay"))
        items.append(
            SalesOrderItem(
                number=str(place * 10),
                line_id=line.line_id,
                material=line.item,
                quantity=line.quantity,
                tax_classification=_classification(line.tax_code, entity),
                price=price or Price(Decimal(0), 1),
                conditions=conditions,
                net=net,
                tax=tax,
            )
        )
    if reasons:
        return reasons
    return SalesOrder(
        key, entry.number, entity.company_code, entry.customer, entry.currency, posting_date, rules, tuple(items)
    )


def price_of(net: Money, quantity: Decimal) -> Price | None:
    """A price whose product with the quantity is the net amount to the unit, None where SAP's fields hold none.

    The net amount for the whole quantity is exact wherever the quantity, scaled to a whole number, fits five digits.
    Beyond that the rate for 99,999 units is rounded: to the currency's decimals as long as that error stays below half
    a unit of the net amount, else to the nine decimals that the field has.
    """
    if not net:
        return Price(Decimal(0), 1)
    if quantity <= 0:
        return None
    for price in _candidates(net, quantity):
        if price.per and abs(price.rate) < _RATE_MAX and price.net_of(quantity, net.currency) == net.amount:
            return price
    return None


def differences(order: SalesOrder, computed: Computed) -> list[str]:
    """Where SAP's figures are not those that the customer saw, one sentence each; a unit of tax is a difference.

    Items that SAP adds by itself (the parts of a set, goods free of charge) are none as long as they cost nothing.
    """
    if computed.currency != order.currency:
        return [f"SAP has it in {computed.currency}, the order is in {order.currency}"]
    found: list[str] = []
    for item in order.items:
        there = computed.items.get(item.number)
        if there is None:
            found.append(f"line {item.line_id}: SAP has no item {item.number}")
            continue
        for what, own, theirs in (("net", item.net, there.net), ("tax", item.tax, there.tax)):
            if theirs != own.amount:
                found.append(f"line {item.line_id}: {what} is {own} here and {theirs} in SAP")
    own_numbers = {item.number for item in order.items}
    found += [
        f"SAP has an item {number} of {there.net} with {there.tax} of tax that was not sent"
        for number, there in sorted(computed.items.items())
        if number not in own_numbers and (there.net or there.tax)
    ]
    if computed.net != order.net.amount and not found:
        found.append(f"net in all is {order.net} here and {computed.net} in SAP")
    return found


def _against(entry: Entry, entity: LegalEntity, rules: SalesOrderPosting) -> Iterator[str]:
    """What keeps a sale from being a sales order."""
    if entry.kind != "invoice":
        yield "the sales order service takes no returns"
    if not entry.customer:
        yield "the buyer has no customer number"
    if entry.on_account != entry.total or any(t.amount for t in entry.tenders if t.type != ON_ACCOUNT):
        yield "it is not wholly on account"
    if entry.total <= Money.zero(entry.currency):
        yield "nothing is owed for it, and billing makes a receivable"
    if any(line.is_gift_card for line in entry.lines):
        yield "it sells a gift card, which is a liability and no revenue"
    zero = Money.zero(entry.currency)
    if any(line.quantity < 0 or line.net < zero or (line.net and not line.quantity) for line in entry.lines):
        yield "a line gives something back, or has no quantity"
    charges = [charge for charge in entry.charges if charge.amount or charge.tax]
    yield from (
        f"charge {charge.code} has no condition type"
        for charge in charges
        if charge.code not in rules.charge_conditions
    )
    codes = {line.tax_code for line in _moving(entry) if line.net}
    yield from (f"charge {charge.code} is taxed as no item is" for charge in charges if charge.tax_code not in codes)
    yield from _rounded_otherwise(entry, entity, rules)


def _rounded_otherwise(entry: Entry, entity: LegalEntity, rules: SalesOrderPosting) -> Iterator[str]:
    """SAP taxes each item by itself and rounds it; a channel that rounds over the order comes to other units."""
    rates = {code.code: code.rate for code in entity.tax_codes}
    hosts = _hosts(entry, rules)
    for line in _moving(entry):
        hosted = hosts.get(line.line_id, ())
        net = sum((charge.amount for charge in hosted), line.net)
        tax = sum((charge.tax for charge in hosted), line.tax)
        if tax != Money.rounded(net.amount * rates[line.tax_code], net.currency):
            yield f"line {line.line_id} is taxed with {tax} on {net}, which a billing document would round otherwise"


def _moving(entry: Entry) -> list[EntryLine]:
    """The lines that become items: also goods without a price, not lines without a quantity."""
    return [line for line in entry.lines if line.quantity]


def _hosts(entry: Entry, rules: SalesOrderPosting) -> dict[str, list[EntryCharge]]:
    """Line → the charges that its item carries: of the items that are taxed like the charge, the dearest, so that a
    discount does not turn an item's amount around."""
    hosts: dict[str, list[EntryCharge]] = {}
    for charge in entry.charges:
        lines = [line for line in _moving(entry) if line.net and line.tax_code == charge.tax_code]
        if lines and charge.code in rules.charge_conditions:
            dearest = max(lines, key=lambda line: line.net.amount)
            hosts.setdefault(dearest.line_id, []).append(charge)
    return hosts


def _conditions(charges: Iterable[EntryCharge], rules: SalesOrderPosting) -> tuple[tuple[str, Money], ...]:
    """One condition for each type, in the order in which they first appear."""
    sums: dict[str, Money] = {}
    for charge in charges:
        kind = rules.charge_conditions[charge.code]
        sums[kind] = sums[kind] + charge.amount if kind in sums else charge.amount
    return tuple((kind, amount) for kind, amount in sums.items() if amount)


def _classification(tax_code: str, entity: LegalEntity) -> str:
    return next((code.tax_classification or "" for code in entity.tax_codes if code.code == tax_code), "")


def _unfit(line: EntryLine, price: Price | None) -> Sequence[Reason]:
    where = f"line {line.line_id}"
    found: list[Reason] = []
    if line.quantity != line.quantity.quantize(_QUANTITY_STEP) or line.quantity >= _QUANTITY_MAX:
        said = f"{where}: quantity {line.quantity:f} has more digits than a sales order item (12 and 3 decimals)"
        found.append(Reason("quantity_does_not_fit", said, "correct the quantity in Commerce, then replay"))
    elif price is None:
        said = f"{where}: no price of SAP's makes exactly {line.net} of {line.quantity:f}"
        found.append(Reason("price_does_not_fit", said, "split the line in Commerce, then replay"))
    if not line.item or len(line.item) > _MATERIAL_MAX:
        said = f"{where}: product {line.item!r} is no material number of 1 to {_MATERIAL_MAX} characters"
        found.append(Reason("material_does_not_fit", said, "correct the product in Commerce, then replay"))
    return found


def _candidates(net: Money, quantity: Decimal) -> Iterator[Price]:
    with localcontext(_EXACT):
        exponent = quantity.normalize().as_tuple().exponent
        scale = Decimal(10) ** max(0, -int(exponent))
        if quantity * scale <= PER_MAX:
            yield Price(net.amount * scale, int(quantity * scale))
        whole = net.amount * PER_MAX / quantity
        for step in (Decimal(1).scaleb(-DECIMALS[net.currency]), _RATE_STEP):
            yield Price(whole.quantize(step, rounding=ROUND_HALF_UP), PER_MAX)
