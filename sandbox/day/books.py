"""The day's own accounts, drawn from what the three systems hold and from nothing the product says about itself.

Every order of the day is followed: what Commerce was told, what documents SAP holds under its number, what row the
customer history has. The product is asked one thing only, its cases: why an order is not posted is its to say.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final

from sandbox.day.plan import UNCONFIRMED, Account, End, Entry

_GIVES_BACK: Final = ("return", "cancel", "credit", "revers")


@dataclass(frozen=True, slots=True)
class Document:
    """An accounting document as SAP holds it; `gross` is signed: what it adds to the customer's side."""

    legal_entity: str
    number: str
    order: str
    reference: str
    kind: str
    currency: str
    gross: Decimal
    posted_at: datetime | None


@dataclass(frozen=True, slots=True)
class CrmOrder:
    """A row of the customer history."""

    legal_entity: str
    order: str
    total: Decimal | None
    lines: int


@dataclass(frozen=True, slots=True)
class Case:
    """An open case of the product about one order."""

    legal_entity: str
    order: str
    code: str
    reason: str
    flow: str


@dataclass(frozen=True, slots=True)
class CheckoutAnswer:
    """What Commerce was told at checkout: confirmed, or the credit decision's outcome and reasons."""

    confirmed: bool
    outcome: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything observed when the stack had come to rest. Orders are known by (legal entity, number)."""

    documents: tuple[Document, ...]
    crm: tuple[CrmOrder, ...]
    cases: tuple[Case, ...]
    commerce_orders: frozenset[tuple[str, str]]
    checkouts: Mapping[str, CheckoutAnswer]
    cancelled: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Finding:
    """How one order ended, what it came to on the ledger, and everything that does not hold."""

    entry: Entry
    end: End | None
    reason: str
    posted: Decimal
    documents: tuple[Document, ...]
    problems: tuple[str, ...]

    @property
    def is_accounted_for(self) -> bool:
        """Nothing about this order is left unexplained."""
        return self.end is not None and not self.problems


@dataclass(frozen=True, slots=True)
class Total:
    """One currency of one legal entity: what Commerce sold and gave back, what SAP and the history say to it."""

    legal_entity: str
    currency: str
    orders: int
    commerce: Decimal
    ledger: Decimal
    crm: Decimal


@dataclass(frozen=True, slots=True)
class Books:
    """The outcome. `strangers` are documents that no order of the day explains."""

    findings: tuple[Finding, ...]
    totals: tuple[Total, ...]
    strangers: tuple[Document, ...]
    duplicates: tuple[str, ...]
    overspent: tuple[str, ...]
    faults: tuple[str, ...] = field(default=())

    @property
    def unexplained(self) -> tuple[str, ...]:
        """Everything that does not hold, one sentence each."""
        return (
            *(
                f"{finding.entry.number}: {problem}"
                for finding in self.findings
                for problem in (finding.problems or (() if finding.end else ("nothing tells how it ended",)))
            ),
            *(f"document {d.number} of {d.legal_entity} belongs to no order of the day" for d in self.strangers),
            *self.duplicates,
            *self.overspent,
            *self.faults,
        )

    def count(self, end: End) -> int:
        """How many orders ended so."""
        return sum(finding.end is end for finding in self.findings)


def draw(entries: Sequence[Entry], facts: Facts, accounts: Iterable[Account]) -> Books:
    """Follow every order of the day and add up what belongs together."""
    documents: defaultdict[tuple[str, str], list[Document]] = defaultdict(list)
    for document in facts.documents:
        documents[document.legal_entity, document.order].append(document)
    crm = {(row.legal_entity, row.order): row for row in facts.crm}
    cases = {(case.legal_entity, case.order): case for case in facts.cases}
    findings = []
    for entry in entries:
        key = (entry.legal_entity, entry.number)
        findings.append(_follow(entry, documents.pop(key, []), crm.get(key), cases.get(key), facts))
    strangers = tuple(document for left in documents.values() for document in left)
    return Books(
        findings=tuple(findings),
        totals=_totals(findings, crm),
        strangers=strangers,
        duplicates=_duplicates(facts.documents),
        overspent=_overspent(findings, accounts),
    )


def signed(kind: str, gross: Decimal) -> Decimal:
    """The gross of a document with its sign: what is given back is negative, however the system writes it."""
    return -abs(gross) if any(word in kind.lower() for word in _GIVES_BACK) else gross


def _follow(
    entry: Entry, documents: Sequence[Document], row: CrmOrder | None, case: Case | None, facts: Facts
) -> Finding:
    posted = sum((document.gross for document in documents), Decimal(0))
    answer = facts.checkouts.get(entry.number)
    problems = [
        f"document {document.number} is in {document.currency}, the order in {entry.currency}"
        for document in documents
        if document.currency != entry.currency
    ]
    end, reason = _end(entry, documents, posted, case, answer, facts)
    if end is None:
        problems.append(reason)
    elif end not in entry.ends:
        problems.append(f"ended as {end}, the day allows {' or '.join(sorted(entry.ends))}: {reason}".rstrip(": "))
    if end is End.CASE:
        problems += [f"its case does not say: {fault}" for fault in entry.faults if fault not in reason]
    if end is End.POSTED:
        problems += _history_differs(entry, row)
        if (entry.legal_entity, entry.number) not in facts.commerce_orders:
            problems.append("is on the ledger, and Commerce does not hold it")
    if end is End.NO_LEDGER_MATTER and (entry.legal_entity, entry.number) in facts.commerce_orders:
        problems += _history_differs(entry, row, "is known to Commerce")
    if end in UNCONFIRMED and row is not None:
        problems.append("was not confirmed, and yet has a row in the customer history")
    return Finding(entry, end, reason, posted, tuple(documents), tuple(problems))


def _end(
    entry: Entry,
    documents: Sequence[Document],
    posted: Decimal,
    case: Case | None,
    answer: CheckoutAnswer | None,
    facts: Facts,
) -> tuple[End | None, str]:
    """How it ended and why, or None and what is wrong."""
    if answer is not None and not answer.confirmed:
        if documents:
            return None, f"was {answer.outcome} at checkout, and yet {posted} {entry.currency} is on the ledger"
        return End(answer.outcome), ", ".join(answer.reasons)
    if entry.number in facts.cancelled:
        if posted:
            return None, f"was cancelled, and yet {posted} {entry.currency} is left on the ledger"
        if case is None:
            return End.CANCELLED, "posted and taken back" if documents else "taken back before it was posted"
    if documents and entry.gross is not None and posted == entry.gross:
        return End.POSTED, case.reason if case is not None else ""
    if documents:
        return None, f"{posted} {entry.currency} is on the ledger, it should be {entry.gross}"
    if case is not None:
        return End.CASE, case.reason
    if entry.gross == 0:
        return End.NO_LEDGER_MATTER, entry.note or "nothing to pay"
    return None, "neither on the ledger, nor a case, nor refused at checkout"


def _history_differs(entry: Entry, row: CrmOrder | None, known: str = "is on the ledger") -> list[str]:
    if row is None:
        return [f"{known}, and the customer history does not know it"]
    problems = []
    if row.total is None or abs(row.total) != abs(entry.gross or Decimal(0)):
        problems.append(f"the customer history has {row.total}, the order {entry.gross} {entry.currency}")
    if row.lines != entry.line_count:
        problems.append(f"the customer history has {row.lines} lines, the order {entry.line_count}")
    return problems


def _totals(findings: Sequence[Finding], crm: Mapping[tuple[str, str], CrmOrder]) -> tuple[Total, ...]:
    """Only what should stand on the ledger is added up, on each side by that side's own figures."""
    sums: dict[tuple[str, str], list[Decimal]] = {}
    counts: defaultdict[tuple[str, str], int] = defaultdict(int)
    for finding in findings:
        entry = finding.entry
        place = (entry.legal_entity, entry.currency)
        parts = sums.setdefault(place, [Decimal(0), Decimal(0), Decimal(0)])
        parts[1] += finding.posted
        if finding.end is End.POSTED and entry.gross is not None:
            row = crm.get((entry.legal_entity, entry.number))
            counts[place] += 1
            parts[0] += entry.gross
            if row is not None and row.total is not None:
                parts[2] += row.total if (row.total < 0) == (entry.gross < 0) else -row.total
    return tuple(
        Total(entity, currency, counts[entity, currency], *parts) for (entity, currency), parts in sorted(sums.items())
    )


def _duplicates(documents: Iterable[Document]) -> tuple[str, ...]:
    """One posting key, one document: a second one is money counted twice."""
    by_reference: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for document in documents:
        by_reference[document.legal_entity, document.reference].append(document.number)
    return tuple(
        f"posting key {reference} of {entity} stands on {len(numbers)} documents: {', '.join(numbers)}"
        for (entity, reference), numbers in sorted(by_reference.items())
        if len(numbers) > 1
    )


def _overspent(findings: Sequence[Finding], accounts: Iterable[Account]) -> tuple[str, ...]:
    """No business customer may owe more than its limit: what it owed before, and everything posted on its account."""
    owed: defaultdict[str, Decimal] = defaultdict(Decimal)
    for finding in findings:
        if finding.end is End.POSTED and finding.entry.on_account:
            owed[finding.entry.customer] += finding.entry.on_account
    return tuple(
        f"account {account.number} owes {account.exposure + owed[account.number]} {account.currency}, "
        f"its limit is {account.limit}"
        for account in accounts
        if owed[account.number] > 0 and account.exposure + owed[account.number] > account.limit
    )
