"""Posting: the checks the ledger makes, document numbers, reversal, payment and clearing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from sandbox.kit.entities import legal_entities
from sandbox.sap.configuration import (
    BANK,
    CARRY_FORWARD,
    DOCUMENT_TYPES,
    RECEIVABLES,
    TAX_CODES,
    account_kind,
    convert,
    decimals,
    is_gl_account,
)
from sandbox.sap.records import Document, Draft, Line
from sandbox.sap.world import World

OPENING: Final = "OPENING"
_OPENING_DATE: Final = date(2000, 1, 1)
_TERMS: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the ledger refuses: a message number (message class in brackets) and its text."""

    type_id: str
    note: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A journal entry to be posted. `reverses` is the original reference (number, company code, year) of a reversal."""

    company_code: str
    type: str
    posting_date: date
    document_date: date
    drafts: Sequence[Draft]
    reference: str = ""
    header_text: str = ""
    reference1: str = ""
    reference2: str = ""
    created_by: str = "CONCORD"
    original_type: str = "BKPFF"
    original_reference: str = ""
    logical_system: str = ""
    business_transaction: str = "RFBU"
    reversal_reason: str = ""
    reverses: str = ""
    billing_document: str = ""
    sales_document: str = ""


def problems(world: World, entry: Entry) -> list[Problem]:
    """Everything the ledger has against an entry; empty when it may be posted."""
    entity = legal_entities().get(entry.company_code)
    if entity is None:
        return [Problem("165(F5)", f"Company code {entry.company_code} is not defined")]
    found: list[Problem] = []
    if entry.type not in DOCUMENT_TYPES:
        found.append(Problem("814(F5)", f"Document type {entry.type} is not defined"))
    if not world.is_period_open(entry.company_code, entry.posting_date):
        found.append(
            Problem(
                "201(F5)",
                f"Posting period {entry.posting_date:%m %Y} is not open in company code {entry.company_code}",
            )
        )
    if entry.reverses:
        found += _reversal_problems(world, entry)
    if not entry.reverses and len(entry.drafts) < 2:
        found.append(Problem("719(F5)", "The document has fewer than two line items"))
    for position, draft in enumerate(entry.drafts, start=1):
        found += _line_problems(world, entry.company_code, position, draft)
    for currency, balance in _balances(entry.drafts).items():
        if balance:
            found.append(Problem("702(F5)", f"Balance in transaction currency {currency}: {balance} is not zero"))
    if len({draft.currency for draft in entry.drafts}) > 1:
        found.append(Problem("609(RW)", "All lines of a document must have one transaction currency"))
    return found


def post(world: World, entry: Entry) -> Document:
    """Post a checked entry, tell of it, and mark what it reverses."""
    original = find_original(world, entry.company_code, entry.reverses) if entry.reverses else None
    drafts = entry.drafts or (_mirror(world, original) if original else ())
    document = _document(world, entry, drafts[0].currency)
    world.documents.put(document.key, document)
    local_currency = legal_entities()[entry.company_code].currency
    local = [convert(draft.amount, draft.currency, local_currency) for draft in drafts]
    local[-1] -= sum(local, Decimal(0))  # a conversion difference goes to the last line, so local amounts balance too
    for item, (draft, local_amount) in enumerate(zip(drafts, local, strict=True), start=1):
        line = _line(document, item, draft, local_amount, local_currency)
        world.lines.put(line.key, line)
    if original is not None:
        _reverse(world, original, document)
    keys = {"CompanyCode": document.company_code, "FiscalYear": document.fiscal_year}
    world.emit("journalentry.v1.JournalEntry.Created.v1", {**keys, "AccountingDocument": document.number})
    return document


def find_original(world: World, company_code: str, reference: str) -> Document | None:
    """The document with this original reference: its own, or number (10), company code (4) and year (4)."""
    own = next(iter(world.documents.find("original", (company_code, reference))), None)
    if own is not None or len(reference) != 18:
        return own
    return world.documents.get((reference[10:14], reference[14:18], reference[:10]))


def lines_of(world: World, document: Document) -> list[Line]:
    """The lines of a document, in order."""
    found = [line for line in world.lines.find("document", document.number) if line.document.key == document.key]
    return sorted(found, key=lambda line: line.item)


def gross(lines: Sequence[Line]) -> Decimal:
    """What the document is worth to the customer: receivables and payment lines, not revenue, not tax.

    A liability (a gift card) settles where it goes the way of the payment; against it, it is what was sold. A document
    of nothing but settlement (a payment) is worth its debits.
    """
    settlement = [line for line in lines if _is_settlement(line)]
    paid = [line.amount for line in settlement if not _is_liability(line)]
    owed = [line.amount for line in settlement if _is_liability(line)]
    if len(settlement) == len(lines) and not owed:
        return sum((amount for amount in paid if amount > 0), Decimal(0))
    direction = sum(paid, Decimal(0)) or sum(owed, Decimal(0))
    return sum(paid, Decimal(0)) + sum((amount for amount in owed if amount * direction > 0), Decimal(0))


def set_opening(
    world: World, account: str, company_code: str, amount: Decimal, currency: str, overdue_days: int
) -> None:
    """Replace an account's opening receivable: one open item; overdue without exposure, a pair that nets to zero."""
    for line in [*world.lines.find("customer", account)]:
        if line.document.reference == OPENING and line.document.company_code == company_code:
            remove(world, line.document)
    today = world.today(company_code)
    due = today - timedelta(days=overdue_days) if overdue_days > 0 else today + _TERMS
    if amount:
        drafts = [Draft(amount, currency, customer=account, gl_account=RECEIVABLES, due=due)]
    elif overdue_days > 0:
        drafts = [
            Draft(Decimal(1), currency, customer=account, gl_account=RECEIVABLES, due=due),
            Draft(Decimal(-1), currency, customer=account, gl_account=RECEIVABLES, due=today + _TERMS),
        ]
    else:
        return
    total = sum((draft.amount for draft in drafts), Decimal(0))
    drafts.append(Draft(-total, currency, gl_account=CARRY_FORWARD))
    # Dated before every open period: it is a balance carried forward, no posting of any month that is reconciled.
    entry = Entry(
        company_code, "UE", _OPENING_DATE, _OPENING_DATE, drafts, reference=OPENING, header_text="Opening balance"
    )
    document = _document(world, entry, currency)
    document = replace(document, visible_at=0.0)
    world.documents.put(document.key, document)
    local_currency = legal_entities()[company_code].currency
    for item, draft in enumerate(drafts, start=1):
        line = _line(document, item, draft, convert(draft.amount, currency, local_currency), local_currency)
        world.lines.put(line.key, line)


def remove(world: World, document: Document) -> None:
    """Take a document away without a trace, as no real ledger would: only the control surface does this."""
    for line in lines_of(world, document):
        world.lines.delete(line.key)
    world.documents.delete(document.key)


def pay(world: World, account: str, company_code: str, amount: Decimal, currency: str) -> Document:
    """Post an incoming payment and clear the oldest open items it covers in full; the rest stays on account."""
    today = world.today(company_code)
    open_items = [
        line
        for line in world.lines.find("open", account)
        if line.document.company_code == company_code and line.currency == currency and line.amount > 0
    ]
    covered: list[Line] = []
    rest = amount
    for line in sorted(open_items, key=lambda line: (line.due or today, line.key)):
        if line.amount <= rest:
            covered.append(line)
            rest -= line.amount
    drafts = [Draft(amount, currency, gl_account=BANK)]
    if amount - rest:
        drafts.append(Draft(rest - amount, currency, customer=account, gl_account=RECEIVABLES, due=today))
    if rest:
        drafts.append(Draft(-rest, currency, customer=account, gl_account=RECEIVABLES, due=today))
    entry = Entry(company_code, "DZ", today, today, drafts, reference2="payment", header_text="Incoming payment")
    document = post(world, entry)
    clearing = [*covered, *(line for line in lines_of(world, document) if line.item == 2 and amount - rest)]
    for line in clearing:
        world.lines.put(line.key, replace(line, cleared_by=document.number, cleared_on=today))
    return document


def _line_problems(world: World, company_code: str, position: int, draft: Draft) -> list[Problem]:
    found: list[Problem] = []
    where = f"line {position}"
    allowed = decimals(draft.currency)
    if allowed is None:
        found.append(Problem("016(RW)", f"Currency {draft.currency} is not defined ({where})"))
    elif -int(draft.amount.normalize().as_tuple().exponent) > allowed:
        found.append(
            Problem("072(F5)", f"Amount {draft.amount} {draft.currency}: currency has {allowed} decimals ({where})")
        )
    if draft.customer:
        customer = world.customers.get(draft.customer)
        if customer is None or (draft.customer, company_code) not in world.customer_companies:
            found.append(
                Problem("102(F5)", f"Customer {draft.customer} is not defined in company code {company_code} ({where})")
            )
        elif customer.get("PostingIsBlocked"):
            found.append(Problem("103(F5)", f"Customer {draft.customer} is blocked for posting ({where})"))
    elif not is_gl_account(draft.gl_account):
        found.append(
            Problem("506(F5)", f"G/L account {draft.gl_account or '(none)'} is not in the chart of accounts ({where})")
        )
    if draft.tax_code and draft.tax_code not in TAX_CODES[company_code]:
        found.append(Problem("720(FF)", f"Tax code {draft.tax_code} is not defined for {company_code} ({where})"))
    if len(draft.assignment) > 18:
        found.append(Problem("001(GB)", f"AssignmentReference is longer than 18 characters ({where})"))
    if len(draft.text) > 50:
        found.append(Problem("001(GB)", f"DocumentItemText is longer than 50 characters ({where})"))
    return found


def _reversal_problems(world: World, entry: Entry) -> list[Problem]:
    original = find_original(world, entry.company_code, entry.reverses)
    if original is None or original.company_code != entry.company_code:
        return [Problem("395(F5)", f"Document {entry.reverses} to be reversed does not exist")]
    found = []
    if original.reversed_by:
        found.append(Problem("361(F5)", f"Document {original.number} is already reversed"))
    if any(line.cleared_by for line in lines_of(world, original)):
        found.append(Problem("308(F5)", f"Document {original.number} contains cleared items"))
    if not entry.reversal_reason:
        found.append(Problem("369(F5)", "Enter a reason for reversal"))
    return found


def _balances(drafts: Sequence[Draft]) -> Mapping[str, Decimal]:
    balances: dict[str, Decimal] = {}
    for draft in drafts:
        balances[draft.currency] = balances.get(draft.currency, Decimal(0)) + draft.amount
    return balances


def _mirror(world: World, original: Document) -> tuple[Draft, ...]:
    return tuple(
        Draft(
            -line.amount, line.currency, line.gl_account, line.customer, line.text, line.assignment, line.tax_code,
            -line.tax_base, line.is_tax, line.due, line.profit_center, line.cost_center, line.reference_key,
        )
        for line in lines_of(world, original)
    )  # fmt: skip


def _document(world: World, entry: Entry, currency: str) -> Document:
    year = str(entry.posting_date.year)
    first = DOCUMENT_TYPES[entry.type]
    number = world.number(f"{entry.company_code} {year} {first}", first)
    now = world.stamp()
    return Document(
        company_code=entry.company_code,
        fiscal_year=year,
        number=number,
        type=entry.type,
        posting_date=entry.posting_date,
        document_date=entry.document_date,
        currency=currency,
        reference=entry.reference,
        header_text=entry.header_text,
        reference1=entry.reference1,
        reference2=entry.reference2,
        created_by=entry.created_by,
        created_at=now,
        changed_at=now,
        visible_at=world.state.clock() + world.lag_seconds,
        original_type=entry.original_type,
        original_reference=entry.original_reference or f"{number}{entry.company_code}{year}",
        business_transaction=entry.business_transaction,
        logical_system=entry.logical_system,
        reversal_reason=entry.reversal_reason,
        reverses=entry.reverses,
        billing_document=entry.billing_document,
        sales_document=entry.sales_document,
    )


def _line(document: Document, item: int, draft: Draft, local_amount: Decimal, local_currency: str) -> Line:
    due = draft.due or (document.posting_date + _TERMS if draft.customer else None)
    return Line(
        document=document,
        item=item,
        gl_account=RECEIVABLES if draft.customer else draft.gl_account.lstrip("0"),
        customer=draft.customer,
        amount=draft.amount,
        currency=draft.currency,
        local_amount=local_amount,
        local_currency=local_currency,
        text=draft.text,
        assignment=draft.assignment,
        tax_code=draft.tax_code,
        tax_base=draft.tax_base,
        is_tax=draft.is_tax,
        due=due,
        profit_center=draft.profit_center,
        cost_center=draft.cost_center,
        reference_key=draft.reference_key,
    )


def _reverse(world: World, original: Document, reversal: Document) -> None:
    """Mark the original reversed and clear both documents' customer lines against each other."""
    now = world.stamp()
    world.documents.put(original.key, replace(original, reversed_by=reversal.number, changed_at=now))
    for line in [*lines_of(world, original), *lines_of(world, reversal)]:
        if line.is_open:
            world.lines.put(line.key, replace(line, cleared_by=reversal.number, cleared_on=reversal.posting_date))


def _is_liability(line: Line) -> bool:
    return not line.customer and line.gl_account.lstrip("0").startswith("2")


def _is_settlement(line: Line) -> bool:
    kind = account_kind(line.gl_account)
    return bool(line.customer) or (kind.balance_sheet and not kind.tax and not line.is_tax)
