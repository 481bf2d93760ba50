"""Sales orders that went to SAP and are not billed, or not wholly: each waits, is late, or is gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from shared.clients.sap_ledger import LedgerItem
from shared.clients.sap_orders import Placed
from shared.domain.fiscal import business_day
from shared.reports.explaining.explained import WAITS_FOR_BILLING, Explained, because, in_flight
from shared.reports.explaining.known import LEDGER, Known
from shared.reports.explaining.waiting import waiting_in
from shared.reports.staging import ledger_document
from shared.stores.claims import Claim, claims_in

_CREDIT_BLOCKED = "B"


async def not_billed(row: Explained, known: Known) -> Explained | None:
    """An order that went as sales orders and is not billed, or not wholly: each waits, is late, or is gone.

    None where none is missing from the ledger. What is worst is told.
    """
    if waiting_in(row, LEDGER, known):
        return None
    finding, found = row.finding, []
    for claim in claims_in(known.dossier):
        is_sale = claim.key == finding.reference or claim.kind == "shipment"
        if is_sale and claim.is_settled and claim.way == "sales_order":
            found.append(await _billing_of(claim, row, known))
    missing = [one for one in found if one is not None]
    return min(missing, key=lambda one: one.is_in_flight, default=None)


async def _billing_of(claim: Claim, row: Explained, known: Known) -> Explained | None:
    """What has become of one sales order; None where its billing document stands on the ledger."""
    hub, entity = known.hub, known.entity
    orders, items = known.placed.get(claim.key, ()), list[LedgerItem]()
    is_open = len(orders) == 1 and not orders[0].is_billed and not orders[0].is_rejected
    if not is_open or claim.key in known.joined.reversed_keys or claim.kind == "shipment":
        items = await hub.sap_ledger.items_of(entity.company_code, claim.key)
    standing = [item for item in items if not item.document.is_reversed]
    if standing:
        return None if claim.kind == "shipment" else _billed_elsewhere(standing, row, known)
    name = claim.name
    orders = orders or await hub.sap_orders.find(claim.key)
    if not orders:
        gone = f"placed as sales order {name} ({claim.entry.total}), and that sales order is not in SAP any more"
        return replace(row, code="sales_order_gone", reason=gone)
    order = next((one for one in orders if not one.is_rejected), orders[0])
    if order.is_rejected:
        said = f"sales order {name} was rejected in SAP: it will never be billed"
        return replace(row, code="sales_order_rejected", reason=said)
    return _unbilled(order, items, claim, row, known)


def _unbilled(order: Placed, items: Sequence[LedgerItem], claim: Claim, row: Explained, known: Known) -> Explained:
    """A sales order of which no billing document stands: cancelled, not released to accounting, late, or not due."""
    hub, entity, name = known.hub, known.entity, claim.name
    cancelled = f", its billing document {items[0].document} was cancelled" if items else ""
    blocks = [
        *(["SAP's credit check"] if order.credit_status == _CREDIT_BLOCKED else []),
        *([f"billing block {order.billing_block}"] if order.billing_block else []),
    ]
    held = f"; blocked by {' and '.join(blocks)}" if blocks else ""
    if order.is_billed:
        said = (
            f"sales order {name} is billed, and no document of it is on the ledger: release its billing to accounting"
        )
        return replace(row, code="billed_not_posted", reason=f"{said}, or find out who took the document away")
    if cancelled:
        return replace(row, code="billing_cancelled", reason=f"sales order {name} is not billed{cancelled}{held}")
    days = entity.sales_order.billed_within_days if entity.sales_order else 0
    due = claim.posting_date + timedelta(days=days)
    if business_day(hub.clock(), entity) > due:
        said = f"sales order {name} of {claim.posting_date} was to be billed by {due} and is not{held}"
        return replace(row, code="billing_overdue", reason=said)
    said = f"sales order {name} ({claim.entry.total}) waits for billing, due by {due}{held}"
    return replace(in_flight(row, said), code=WAITS_FOR_BILLING)


def _billed_elsewhere(items: Sequence[LedgerItem], row: Explained, known: Known) -> Explained | None:
    """Billed under another date than the order's: SAP's billing run sets it, in an open period of its own."""
    document = ledger_document([item for item in items if item.document == items[0].document], known.entity)
    if document.gross != row.finding.expected or items[0].document_date == row.finding.business_date:
        return None
    said = f"billed as {document.document} with the date {items[0].document_date}"
    return replace(because(row, "billed_in_other_period", said), row_class="period")
