"""An order of Commerce that has no document on the ledger in its month, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from shared.reports.amounts import told
from shared.reports.explaining.billing import not_billed
from shared.reports.explaining.explained import Explained, because, in_flight
from shared.reports.explaining.gone import gone_document
from shared.reports.explaining.known import LEDGER, Known
from shared.reports.explaining.waiting import held_by_case, never_received, waiting_in
from shared.reports.staging import ledger_document
from shared.stores.claims import Claim, claims_in
from shared.stores.early import early_in

_SHIPPED = ("Delivered", "Invoiced")
"""States of an order in headquarters by which nothing is left to ship."""
_CONTENT = ("order.confirmed", "order.returned")


async def missing_in_sap(row: Explained, known: Known) -> Explained:
    """Why an order is not on the ledger: it waits, a person has to decide, nothing was to be posted, or it is gone."""
    row = await not_billed(row, known) or await _not_posted(row, known)
    return row if row.explained or row.code != row.finding.kind else await _elsewhere(row, known)


async def _not_posted(row: Explained, known: Known) -> Explained:
    """What the flows recorded of its posting."""
    if waiting := waiting_in(row, LEDGER, known):
        return waiting
    claims = claims_in(known.dossier)
    if any(known.is_under_way(claim) for claim in claims):
        return in_flight(row, "its posting is under way")
    claim = known.claim_of(row.finding.reference) or known.own_claim
    if claim is not None:
        return await gone_document(row, claim, known)
    shipped = [claim for claim in claims if claim.kind == "shipment" and claim.is_settled]
    if shipped:
        return await _in_parts(row, shipped, known)
    decided = [one for one in known.evidence if one.flow == LEDGER and one.ruling == "unchanged" and one.reasons]
    # What was ruled on the order itself says more than what overtook it.
    decided.sort(key=lambda one: one.kind in _CONTENT)
    if decided:
        reason = decided[-1].reasons[0]
        if reason["code"] == "no_ledger_matter" and (row.finding.expected or row.finding.expected_tax):
            now = told(row.finding.expected, row.finding.currency)
            said = f"Commerce was altered: {reason['message']}, and now it comes to {now}"
            return replace(row, code="altered_in_commerce", reason=said)
        return because(row, reason["code"], reason["message"])
    return held_by_case(row, known) or row


async def _in_parts(row: Explained, shipped: Sequence[Claim], known: Known) -> Explained:
    """An order that posts at shipment: what has left is on the ledger, the rest is no revenue yet and may never be."""
    finding = row.finding
    parts = sum((claim.entry.total.amount for claim in shipped), Decimal(0))
    said = f"posted in {len(shipped)} shipments of {told(parts, finding.currency)} together"
    if parts == finding.expected:
        return because(row, "posted_in_parts", said)
    if not 0 < parts < finding.expected:
        return replace(
            row, code="posted_in_parts", reason=f"{said}, the order is {told(finding.expected, finding.currency)}"
        )
    rest = f"{said}; of {told(finding.expected - parts, finding.currency)} nothing was shipped"
    if any(one.kind == "order.cancelled" for one in early_in(known.dossier)):
        return because(row, "partly_shipped", f"{rest}, and it was called off or waits")
    header = await known.hub.commerce.find_header(known.entity.code, finding.number)
    if header is not None and str(header.get("SalesOrderStatus")) in _SHIPPED:
        return replace(row, code="shipment_missing", reason=f"{rest}; Commerce says that all of it was")
    return because(row, "partly_shipped", f"{rest} yet")


async def _elsewhere(row: Explained, known: Known) -> Explained:
    """By key over all periods and also among what was reversed; an order that is very young is still coming."""
    finding, entity, hub = row.finding, known.entity, known.hub
    items = await hub.sap_ledger.items_of(entity.company_code, finding.reference)
    if items:
        document = ledger_document(items, entity)
        if document.is_reversed:
            return replace(row, code="reversed", reason=f"{document.document} was posted and is reversed")
        if document.gross == finding.expected and items[0].document_date == finding.business_date:
            return in_flight(row, f"{document.document} was posted while this was read: reconcile again")
        said = f"{document.document} stands with the business date {items[0].document_date}, gross {document.gross}"
        return replace(row, row_class="period", code="other_period", reason=said)
    return await never_received(row, known)
