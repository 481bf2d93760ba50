"""A finding with what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from shared.domain.ledger import Entry
from shared.reports.amounts import told
from shared.reports.three_way import Finding

IN_FLIGHT = "in_flight"
WAITS_FOR_BILLING = "waits_for_billing"
"""Code of what is in flight because SAP has not billed its sales order yet."""


@dataclass(frozen=True, slots=True)
class Explained:
    """A finding with what is known of it. `explained` is False where nothing accounts for it.

    `stands` means that a second look found the finding to be no difference at all (a partial return's own document).
    `case_id` names the case whose replay ends it, `resend` that Commerce's order has only to be brought here. `moved`
    is what was moved inside a document, where its total does not show it; `posted` what a document beside the order's
    own is held against, of which Commerce's amounts know nothing.
    """

    finding: Finding
    row_class: str
    explained: bool
    code: str
    reason: str
    stands: bool = False
    case_id: str = ""
    resend: bool = False
    moved: Decimal | None = None
    posted: Entry | None = None

    @property
    def is_in_flight(self) -> bool:
        return self.row_class == IN_FLIGHT

    @property
    def expected(self) -> tuple[Decimal, Decimal, str]:
        """What the other side has to have: total, tax, currency."""
        if self.posted is not None:
            return self.posted.total.amount, self.posted.tax.amount, self.posted.currency
        return self.finding.expected, self.finding.expected_tax, self.finding.currency

    @property
    def found_text(self) -> str:
        """What the other system has, with its currency."""
        return told(self.finding.found, self.finding.found_currency or self.finding.currency)

    @property
    def differences(self) -> dict[str, Decimal]:
        """By how much the two sides differ, by currency, as absolute amounts: of the total, else of the tax, else of
        what was moved inside the document.
        """
        finding, (total, tax, currency) = self.finding, self.expected
        found_currency = finding.found_currency or currency
        if found_currency != currency:
            return {currency: abs(total), found_currency: abs(finding.found)}
        return {currency: abs(total - finding.found) or abs(tax - finding.found_tax) or self.moved or Decimal(0)}


def because(row: Explained, code: str, reason: str) -> Explained:
    """The finding with what accounts for it."""
    return replace(row, explained=True, code=code, reason=reason)


def in_flight(row: Explained, reason: str) -> Explained:
    """The finding as one that ends by itself: what it is about is under way."""
    return replace(row, explained=True, row_class=IN_FLIGHT, code=IN_FLIGHT, reason=reason)
