"""A document that was posted and does not stand where it was: gone, reversed, altered, or just posted."""

from __future__ import annotations

from dataclasses import replace

from shared.reports.explaining.alteration import alteration_in_sap
from shared.reports.explaining.explained import Explained, in_flight
from shared.reports.explaining.known import Known
from shared.reports.three_way import Finding
from shared.stores.claims import Claim, claim_in


async def gone_document(row: Explained, claim: Claim, known: Known) -> Explained:
    """An order's document that does not stand in its month under its key any more, and what became of it."""
    items = await known.hub.sap_ledger.items_of(known.entity.company_code, claim.key)
    items = [item for item in items if item.document.name == claim.name]
    posted = f"posted as {claim.name} ({claim.entry.total})"
    if claim.way == "sales_order":
        return replace(row, code="billed_differently", reason=f"{posted}, and is not billed in this period as it was")
    if not items:
        said = f"{posted}, and that document is not on the ledger any more"
        return replace(row, code="document_gone", reason=said)
    if any(item.document.is_reversed for item in items):
        return replace(row, code="reversed", reason=f"{posted}, and that document is reversed")
    altered = alteration_in_sap(claim, items, known.entity)
    if altered is not None:
        said = f"SAP was altered: {posted} and stands with {altered.words}"
        return replace(row, row_class="period", code="altered_in_sap", reason=said)
    business_date = claim.entry.business_date
    if row.finding.business_date != business_date:
        said = f"Commerce was altered after posting: {posted} for {business_date}, it has {row.finding.business_date}"
        return replace(row, row_class="period", code="altered_in_commerce", reason=said)
    if claim.key != row.finding.reference:
        return row  # an exchange, which `paired` finds
    return in_flight(row, f"{claim.name} was posted while this was read: reconcile again")


async def gone_beside(finding: Finding, known: Known) -> Explained | None:
    """A document beside the order's own that is not where it was posted; None where none was, or in another month."""
    claim = claim_in(known.dossier, finding.reference)
    if claim is None or claim.way == "sales_order":  # the order's own row says what is not billed
        return None
    if not known.joined.first <= claim.entry.business_date <= known.joined.last:
        return None
    entry = claim.entry
    named = replace(
        finding,
        currency=entry.currency,
        document=claim.name if claim.is_settled else "",
        business_date=entry.business_date,
        message=f"{claim.kind} of {entry.total}: {finding.message}",
    )
    row = Explained(named, named.kind, False, named.kind, named.message, posted=entry)
    if known.is_under_way(claim):
        return in_flight(row, f"the posting of its {claim.kind} is under way")
    return await gone_document(row, claim, known) if claim.is_settled else None
