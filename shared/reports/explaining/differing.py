"""Two systems that have an order and do not say the same of it: which side was altered."""

from __future__ import annotations

from dataclasses import replace

from shared.reports.amounts import told
from shared.reports.explaining.alteration import Alteration, alteration_in_sap
from shared.reports.explaining.explained import Explained, because
from shared.reports.explaining.known import HISTORY, LEDGER, Known
from shared.reports.explaining.waiting import held_by_case, waiting_in
from shared.reports.three_way import Finding
from shared.stores.claims import Claim


async def differs_in_sap(row: Explained, known: Known) -> Explained:
    """Which side was altered: the claim keeps what was posted, to the cent and the line."""
    claim = known.claim_of(row.finding.reference)
    if claim is None:
        said = f"{_differing(row.finding)}; nothing says what was posted"
        waiting = waiting_in(row, LEDGER, known)
        if waiting is None:
            return replace(row, reason=said)
        return replace(row, reason=f"{said}; {waiting.reason}", case_id=waiting.case_id)
    in_sap = await against_the_claim(row, claim, known)
    if in_sap is not None:
        return in_sap
    if row.finding.kind == "lines":
        return replace(row, explained=True, stands=True, code="header_text", reason="its lines are those posted")
    return _altered_in_commerce(row, claim, known)


async def late_posting(row: Explained, known: Known) -> Explained:
    """A posting date out of the period: the one that policy gave it, or one that somebody gave it in SAP."""
    claim = known.claim_of(row.finding.reference)
    if claim is None:
        return row
    if claim.posting_date == row.finding.posting_date:
        return because(row, "posting_date", f"posted with the date {claim.posting_date} that policy gave it")
    return await against_the_claim(row, claim, known) or row


def differs_in_crm(row: Explained, known: Known) -> Explained:
    """Which side was altered: what was posted says it, else what was last written to the customer history."""
    finding = row.finding
    if waiting := waiting_in(row, HISTORY, known):
        return waiting
    claim = known.claim_of(finding.reference) or known.own_claim
    if claim is not None and _is_altered(finding, claim):
        return _altered_in_commerce(row, claim, known)
    written = None if claim is not None else known.written_to_crm
    if claim is None and written is None:
        return replace(row, reason=f"{_differing(finding)}; nothing says what was written")
    if written is not None and written != (finding.expected, finding.expected_tax, str(finding.business_date)):
        said = f"Commerce was altered after it was written to the customer history: {_differing(finding)}"
        return replace(row, code="altered_in_commerce", reason=said)
    said = f"the customer history was altered: {_differing(finding)}"
    return replace(row, code="altered_in_crm", reason=said)


async def against_the_claim(row: Explained, claim: Claim, known: Known) -> Explained | None:
    """The document as it stands against what was posted; None where it is the same. What SAP bills has lines of SAP's
    own making, so a billing document is held against the total and the tax that were ordered.
    """
    finding, entry = row.finding, claim.entry
    if claim.way == "sales_order":
        if (finding.found, finding.found_tax, finding.found_currency) == (
            entry.total.amount,
            entry.tax.amount,
            entry.currency,
        ):
            return None
        said = f"{finding.document} bills {row.found_text} for sales order {claim.name} of {entry.total}"
        return replace(row, code="altered_in_sap", reason=f"SAP was altered: {said}")
    items = await known.hub.sap_ledger.items_of(known.entity.company_code, claim.key)
    items = [item for item in items if item.document.name == row.finding.document]
    altered = alteration_in_sap(claim, items, known.entity)
    if altered is None:
        return None
    said = f"SAP was altered: {altered.words}"
    if row.finding.system == "sap" and row.finding.kind != "missing_in_commerce" and _is_altered(row.finding, claim):
        said += f"; Commerce was altered too: {_differing(row.finding)}"
    return _with(row, altered, code="altered_in_sap", reason=said)


def _altered_in_commerce(row: Explained, claim: Claim, known: Known) -> Explained:
    if known.case is not None and known.case.code == "changed_after_posting":
        return held_by_case(row, known) or row
    was = f"{claim.entry.total} with {claim.entry.tax} of tax was posted for {claim.entry.business_date}"
    said = f"Commerce was altered after posting: {was}; {_differing(row.finding)}"
    return replace(row, code="altered_in_commerce", reason=said)


def _with(row: Explained, altered: Alteration, *, code: str, reason: str) -> Explained:
    row_class = "amount" if row.row_class == "missing_in_commerce" else row.row_class
    return replace(row, row_class=row_class, code=code, reason=reason, moved=altered.moved)


def _is_altered(finding: Finding, claim: Claim) -> bool:
    """Whether Commerce no longer has what was posted."""
    entry = claim.entry
    return (finding.expected, finding.expected_tax, finding.currency, finding.business_date) != (
        entry.total.amount,
        entry.tax.amount,
        entry.currency,
        entry.business_date,
    )


def _differing(finding: Finding) -> str:
    """What the two sides have, in words; only what is not the same."""
    here, there = "Commerce", {"sap": "SAP", "crm": "the customer history"}[finding.system]
    amounts = (finding.expected, finding.currency), (finding.found, finding.found_currency or finding.currency)
    taxes = (finding.expected_tax, finding.currency), (finding.found_tax, finding.found_currency or finding.currency)
    parts = [
        f"{here} has {told(*mine)}{word}, {there} {told(*theirs)}"
        for (mine, theirs), word in ((amounts, ""), (taxes, " of tax"))
        if mine != theirs
    ]
    if finding.system == "crm" and finding.found_date != finding.business_date:
        parts.append(f"{here} has the business date {finding.business_date}, {there} {finding.found_date or 'none'}")
    return "; ".join(parts) or finding.message
