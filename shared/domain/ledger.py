"""What an order means to the ledger: the posting key, the entry, and the balanced document it becomes.

An entry is what an order asks to be posted, in the order's own signs (a sale positive, a return negative). A document
is the same in debits (positive) and credits (negative), aggregated by account and tax code, because SAP allows 999
lines and real invoices have more. Everything here is pure: the same order under the same policy is the same document.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

from shared import exact_json
from shared.authority.ledger import LegalEntity, PostingKind, TaxCode
from shared.domain.money import Money, unit
from shared.domain.orders import GIFT_CARD, ON_ACCOUNT, Order, Tender
from shared.domain.rulings import Reason

GIFT_CARD_SOLD = "GIFT CARD SOLD"
GIFT_CARD_REDEEMED = "GIFT CARD REDEEMED"
SALES_ORDER = "SO"
"""Stands for the fiscal year where a posting is a sales order: those are numbered without one."""
_POSTING_KEY = re.compile(r"K[A-Z2-7]{15}")


@dataclass(frozen=True, slots=True)
class EntryLine:
    """One line of goods (or a gift card sold) with its tax and the code that tax is posted under."""

    line_id: str
    item: str
    quantity: Decimal
    net: Money
    tax: Money
    tax_code: str
    is_gift_card: bool = False


@dataclass(frozen=True, slots=True)
class EntryCharge:
    """One charge, or, negative, something in the customer's favour."""

    code: str
    amount: Money
    tax: Money
    tax_code: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be posted for one order and event. `customer` is "" for a buyer without a number."""

    kind: PostingKind
    number: str
    customer: str
    currency: str
    business_date: date
    lines: tuple[EntryLine, ...]
    charges: tuple[EntryCharge, ...]
    tenders: tuple[Tender, ...]

    @property
    def total(self) -> Money:
        """Gross: lines, charges and their taxes."""
        parts = [line.net + line.tax for line in self.lines] + [charge.amount + charge.tax for charge in self.charges]
        return sum(parts, Money.zero(self.currency))

    @property
    def tax(self) -> Money:
        parts = [line.tax for line in self.lines] + [charge.tax for charge in self.charges]
        return sum(parts, Money.zero(self.currency))

    @property
    def on_account(self) -> Money:
        """What the customer's receivable takes of it."""
        return sum((t.amount for t in self.tenders if t.type == ON_ACCOUNT), Money.zero(self.currency))

    @property
    def moves_money(self) -> bool:
        """False for zero-price lines alone: they move stock, never the ledger."""
        amounts = [line.net for line in self.lines] + [line.tax for line in self.lines]
        amounts += [charge.amount for charge in self.charges] + [charge.tax for charge in self.charges]
        return any(amounts) or any(tender.amount for tender in self.tenders)


@dataclass(frozen=True, slots=True)
class DocumentLine:
    """One line of a journal entry; `amount` is positive for a debit. `base` is the taxed amount of a tax line."""

    kind: Literal["account", "customer", "tax"]
    account: str
    amount: Money
    tax_code: str = ""
    base: Money | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A journal entry as it is sent: balanced in its one currency, its key in SAP's reference field."""

    key: str
    kind: PostingKind
    order: str
    company_code: str
    document_type: str
    document_date: date
    posting_date: date
    currency: str
    gross: Money
    lines: tuple[DocumentLine, ...]

    @property
    def balance(self) -> Money:
        return sum((line.amount for line in self.lines), Money.zero(self.currency))


def posting_key(legal_entity: str, order: str, kind: str, event: str) -> str:
    """Sixteen characters that fit SAP's reference field and are the same for ever: K and 75 bits of a hash.

    The parts are joined as JSON, so that no two different quadruples read alike.
    """
    digest = hashlib.sha256(exact_json.canonical([legal_entity, order, kind, event])).digest()
    return "K" + base64.b32encode(digest).decode()[:15]


def is_posting_key(text: str) -> bool:
    """Whether a reference has the shape of a posting key, which no document number has."""
    return _POSTING_KEY.fullmatch(text) is not None


def entry_of(order: Order, entity: LegalEntity, kind: PostingKind) -> Entry | list[Reason]:
    """The entry of a whole order, or every reason why policy cannot say how to post it."""
    reasons: list[Reason] = []
    if not order.customer and order.on_account:
        reasons.append(
            Reason(
                "on_account_without_customer",
                f"{order.on_account} is on account, but the order names no customer",
                "name the customer in Commerce, then replay",
            )
        )

    def coded(where: str, net: Money, tax: Money) -> str:
        found = tax_code_of(net, tax, entity)
        if found is None:
            reasons.append(
                Reason(
                    "unknown_tax_code",
                    f"{where}: {tax} of tax on {net} matches no tax code of {entity.code}",
                    "add the rate to tax_codes of the legal entity in ledger.yaml, or correct the order, then replay",
                )
            )
            return ""
        return found.code

    lines = tuple(
        EntryLine(
            line.line_id,
            line.item,
            line.quantity,
            line.net,
            line.tax,
            coded(f"line {line.line_id}", line.net, line.tax),
            line.is_gift_card,
        )
        for line in order.lines
    )
    charges = tuple(
        EntryCharge(charge.code, charge.amount, charge.tax, coded(f"charge {charge.code}", charge.amount, charge.tax))
        for charge in order.charges
    )
    reasons += [
        Reason(
            "unknown_charge_code",
            f"charge {code} has no account",
            "add it to charge_accounts in ledger.yaml, then replay",
        )
        for code in sorted({charge.code for charge in charges} - set(entity.charge_accounts))
    ]
    if reasons:
        return reasons
    return Entry(kind, order.number, order.customer, order.currency, order.business_date, lines, charges, order.tenders)


def tax_code_of(net: Money, tax: Money, entity: LegalEntity) -> TaxCode | None:
    """The tax code whose rate explains this tax to the smallest unit; None where none does.

    Channels round tax per line or per order and from net or from gross, so one unit of difference is theirs; of
    several codes that explain it the nearest wins.
    """
    own = [code for code in entity.tax_codes if code.jurisdiction.startswith(entity.country)]
    if not tax:
        return next((code for code in own if code.rate == 0), None)
    distances = [(abs(net.amount * code.rate - tax.amount), code) for code in own if code.rate != 0]
    distances = [(distance, code) for distance, code in distances if distance <= unit(net.currency)]
    return min(distances, key=lambda one: one[0])[1] if distances else None


def document_of(entry: Entry, key: str, posting_date: date, entity: LegalEntity) -> Document | list[Reason]:
    """The balanced journal entry of an entry, or the reason why it does not balance."""
    lines = [
        *_settlement(entry, entity),
        *_goods(entry, entity),
        *_charges(entry, entity),
        *_taxes(entry),
    ]
    document = Document(
        key=key,
        kind=entry.kind,
        order=entry.number,
        company_code=entity.company_code,
        document_type=entity.document_types[entry.kind],
        document_date=entry.business_date,
        posting_date=posting_date,
        currency=entry.currency,
        gross=entry.total,
        lines=tuple(line for line in lines if line.amount),
    )
    if document.balance:
        return [
            Reason(
                "unbalanced",
                f"debits and credits differ by {document.balance}",
                "correct the order's tenders or amounts in Commerce, then replay",
            )
        ]
    return document


def content_of(entry: Entry) -> str:
    """An entry as text that reads back to the same entry; its hash says whether two are the same."""
    return exact_json.canonical(
        {
            "kind": entry.kind,
            "number": entry.number,
            "customer": entry.customer,
            "currency": entry.currency,
            "date": entry.business_date.isoformat(),
            "lines": [
                [o.line_id, o.item, str(o.quantity.normalize()), o.net.text, o.tax.text, o.tax_code, o.is_gift_card]
                for o in entry.lines
            ],
            "charges": [[o.code, o.amount.text, o.tax.text, o.tax_code] for o in entry.charges],
            "tenders": [[o.type, o.amount.text] for o in entry.tenders],
        }
    ).decode()


def read_content(text: str) -> Entry:
    """The entry that `content_of` wrote."""
    raw = exact_json.loads(text)
    currency = raw["currency"]

    def money(amount: str) -> Money:
        return Money(Decimal(amount), currency)

    return Entry(
        kind=raw["kind"],
        number=raw["number"],
        customer=raw["customer"],
        currency=currency,
        business_date=date.fromisoformat(raw["date"]),
        lines=tuple(
            EntryLine(line_id, item, Decimal(quantity), money(net), money(tax), code, gift)
            for line_id, item, quantity, net, tax, code, gift in raw["lines"]
        ),
        charges=tuple(EntryCharge(code, money(amount), money(tax), tc) for code, amount, tax, tc in raw["charges"]),
        tenders=tuple(Tender(kind, money(amount)) for kind, amount in raw["tenders"]),
    )


def digest_of(content: str) -> str:
    """What two contents are compared by."""
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def customer_of(entry: Entry, entity: LegalEntity) -> str:
    """The account that the buyer has in SAP: their own, or the legal entity's one-time account."""
    return entry.customer or entity.one_time_account


def _settlement(entry: Entry, entity: LegalEntity) -> Iterable[DocumentLine]:
    """How it is paid: the receivable, a gift card's liability, or clearing by tender type.

    A buyer without a number passes through the one-time account, sold and paid in one document; the order number in
    both lines' assignment lets SAP clear the pair by itself.
    """
    if not entry.customer:
        yield DocumentLine("customer", entity.one_time_account, entry.total, text="SOLD")
        yield DocumentLine("customer", entity.one_time_account, -entry.total, text="PAID")
    for tender_type, amount in _summed((tender.type, tender.amount) for tender in entry.tenders):
        if tender_type == ON_ACCOUNT:
            yield DocumentLine("customer", customer_of(entry, entity), amount, text="ON ACCOUNT")
        elif tender_type == GIFT_CARD:
            yield DocumentLine("account", entity.accounts["gift_card_liability"], amount, text=GIFT_CARD_REDEEMED)
        else:
            account = entity.tender_accounts.get(tender_type, entity.accounts["tender_clearing"])
            yield DocumentLine("account", account, amount, text=f"TENDER {tender_type}")


def _goods(entry: Entry, entity: LegalEntity) -> Iterable[DocumentLine]:
    sold = [line for line in entry.lines if not line.is_gift_card]
    for code, amount in _summed((line.tax_code, line.net) for line in sold):
        yield DocumentLine("account", entity.accounts["revenue"], -amount, tax_code=code, text="GOODS")
    gift_cards = sum((line.net for line in entry.lines if line.is_gift_card), Money.zero(entry.currency))
    yield DocumentLine("account", entity.accounts["gift_card_liability"], -gift_cards, text=GIFT_CARD_SOLD)


def _charges(entry: Entry, entity: LegalEntity) -> Iterable[DocumentLine]:
    by_account = (((charge.code, charge.tax_code), charge.amount) for charge in entry.charges)
    for (charge_code, tax_code), amount in _summed(by_account):
        account = entity.accounts[entity.charge_accounts[charge_code]]
        yield DocumentLine("account", account, -amount, tax_code=tax_code, text=charge_code[:50])


def _taxes(entry: Entry) -> Iterable[DocumentLine]:
    parts = [(line.tax_code, line.net, line.tax) for line in entry.lines]
    parts += [(charge.tax_code, charge.amount, charge.tax) for charge in entry.charges]
    bases = dict(_summed((code, net) for code, net, _ in parts))
    for code, tax in _summed((code, tax) for code, _, tax in parts):
        yield DocumentLine("tax", "", -tax, tax_code=code, base=-bases[code], text="TAX")


def _summed[Key](parts: Iterable[tuple[Key, Money]]) -> Sequence[tuple[Key, Money]]:
    """Amounts added up by key, in the order in which the keys first appear."""
    sums: dict[Key, Money] = {}
    for key, amount in parts:
        sums[key] = sums[key] + amount if key in sums else amount
    return list(sums.items())
