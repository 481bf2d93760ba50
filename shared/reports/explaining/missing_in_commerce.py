"""What stands on the ledger or in the customer history without an order of Commerce in that month."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from shared.reports.explaining.differing import against_the_claim
from shared.reports.explaining.duplicates import repeats_another
from shared.reports.explaining.explained import Explained, because
from shared.reports.explaining.known import Known
from shared.reports.staging import commerce_order
from shared.stores.claims import Claim


async def missing_in_commerce(row: Explained, known: Known) -> Explained:
    """A document of its own right stands; else Commerce has its order on another day, or nobody there knows it."""
    if row.finding.system == "sap":
        row = await _own_document(row, known)
    return row if row.stands or row.code != row.finding.kind else await _elsewhere(row, known)


async def _own_document(row: Explained, known: Known) -> Explained:
    """A document beside the order's own: a return, cancellation or shipment stands when our claim says so."""
    claim, finding = known.claim_of(row.finding.reference), row.finding
    if claim is None:
        return row
    if repeats := repeats_another(row, claim, known):
        return repeats
    if not claim.event and claim.kind != "cancellation":
        return await _without_order(row, claim, known)
    row = replace(row, posted=claim.entry)
    differs = claim.entry.total.amount != finding.found or claim.entry.currency != finding.found_currency
    if differs or not finding.is_as_posted:
        altered = await against_the_claim(row, claim, known)
        if altered is not None:
            return altered
    return replace(row, explained=True, stands=True, code=claim.kind, reason=f"{claim.kind} of the order")


async def _without_order(row: Explained, claim: Claim, known: Known) -> Explained:
    """An order's own document, and its order is not among those of the period."""
    posted = f"posted as {claim.name} ({claim.entry.total})"
    header = await known.hub.commerce.find_header(known.entity.code, row.finding.number or claim.entry.number)
    if header is None:
        return replace(row, code="order_gone", reason=f"{posted}, and Commerce has no such order any more")
    day, entry = commerce_order(header, known.entity).business_date, claim.entry
    if claim.way == "sales_order" and (day, row.finding.found) == (entry.business_date, entry.total.amount):
        said = f"Commerce has the order on {day}, it is billed in this period"
        return replace(because(row, "billed_in_other_period", said), row_class="period")
    return _another_day(row, day, known)


async def _elsewhere(row: Explained, known: Known) -> Explained:
    """Whether Commerce has the order on another business day; else nobody there knows it."""
    finding, entity = row.finding, known.entity
    header = await known.hub.commerce.find_header(entity.code, finding.number) if finding.number else None
    if header is not None:
        order = commerce_order(header, entity)
        if finding.system == "sap" and order.key != finding.reference:
            said = f"{finding.document} bears the order's number and a posting key that nothing here gave"
            return replace(row, code="forged_in_sap", reason=said)
        return _another_day(row, order.business_date, known)
    if finding.system == "crm" and (known.own_claim is not None or known.written_to_crm is not None):
        was = f"posted as {known.own_claim.name}" if known.own_claim else "it was written to the customer history"
        return replace(row, code="order_gone", reason=f"{was}, and Commerce has no such order any more")
    side = "on the ledger" if finding.system == "sap" else "in the customer history"
    said = f"{row.found_text} stands {side} as {finding.document or finding.number}; Commerce has no such order"
    if finding.system == "sap":
        said += ", and nothing here posted it"
    return replace(row, code=f"forged_in_{finding.system}", reason=said)


def _another_day(row: Explained, business_date: date, known: Known) -> Explained:
    """Commerce has the order, on a day out of the period; unchanged where that is not the difference."""
    if known.joined.first <= business_date <= known.joined.last:
        return row
    kept = known.own_claim
    if kept is None:
        side = "on the ledger" if row.finding.system == "sap" else "in the customer history"
        said = f"Commerce has the order on {business_date}, it stands {side} in this period"
        return replace(row, row_class="period", code="other_period", reason=said)
    said = f"Commerce was altered after posting: it has the business date {business_date}, {kept.entry.business_date}"
    return replace(row, row_class="period", code="altered_in_commerce", reason=f"{said} was posted")
