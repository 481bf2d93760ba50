"""A case, its preview and what became of a decision on it, as the JSON that people read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared import exact_json
from shared.errors import ConcordError, Conflict, Malformed, Permanent

if TYPE_CHECKING:
    from shared.clients.http import WouldSend
    from shared.domain.ledger import Document
    from shared.domain.sales_orders import SalesOrder
    from shared.flows.case_handling import Decided
    from shared.flows.case_preview import Preview
    from shared.stores.cases import Case
    from shared.wiring import Hub


async def message_of(case: Case, connected: Hub) -> dict[str, Any]:
    """The message the case is about, and how many wait behind it."""
    from shared.stores.parking import parked_in

    if case.body is not None:
        try:
            return {"message": exact_json.loads(case.body), "followers": 0}
        except Malformed:
            return {"message": case.body[:4000].decode("utf-8", "backslashreplace"), "followers": 0}
    parked = parked_in(await connected.records.read(case.business_key), case.flow)
    if parked is None or parked.case_id != case.id or not parked.waiting:
        return {"message": None, "followers": 0}
    return {"message": exact_json.loads(parked.waiting[0].body), "followers": len(parked.waiting) - 1}


def case_as_data(case: Case) -> dict[str, Any]:
    return {
        "id": case.id,
        "state": case.state,
        "flow": case.flow,
        "entity": case.business_key.split("|", 1)[0],
        "legalEntity": case.legal_entity,
        "key": case.key,
        "kind": case.kind,
        "code": case.code,
        "reasons": case.reasons,
        "parked": case.parked,
        "correlationId": case.correlation_id,
        "openedAt": case.opened_at.isoformat(),
        "endedAt": case.ended_at.isoformat() if case.ended_at else None,
        "endedBy": case.ended_by,
        "comment": case.comment,
    }


def preview_as_data(preview: Preview) -> dict[str, Any]:
    from shared.stores.records import reasons_as_data

    return {
        "would": preview.would,
        "flow": preview.flow,
        "reasons": reasons_as_data(preview.reasons),
        "documents": [_document(one) for one in preview.documents],
        "salesOrders": [_sales_order(one) for one in preview.sales_orders],
        "writes": [_write(one) for one in preview.writes],
        "publishes": [change.kind for change in preview.published],
        "followers": preview.followers,
    }


def _document(document: Document) -> dict[str, Any]:
    """The journal entry as it would be sent: debits positive, their sum with the credits zero."""
    return {
        "postingKey": document.key,
        "kind": document.kind,
        "order": document.order,
        "companyCode": document.company_code,
        "documentType": document.document_type,
        "documentDate": document.document_date.isoformat(),
        "postingDate": document.posting_date.isoformat(),
        "currency": document.currency,
        "gross": document.gross.text,
        "balance": document.balance.text,
        "lines": [
            {
                "kind": line.kind,
                "account": line.account,
                "side": "debit" if line.amount.amount > 0 else "credit",
                "amount": line.amount.text,
                "taxCode": line.tax_code,
                "text": line.text,
            }
            for line in document.lines
        ],
    }


def _sales_order(order: SalesOrder) -> dict[str, Any]:
    """The sales order as it would be placed: each item's net and tax as SAP would have to compute them."""
    return {
        "postingKey": order.key,
        "order": order.order,
        "companyCode": order.company_code,
        "type": order.rules.type,
        "salesOrganization": order.rules.sales_organization,
        "customer": order.customer,
        "pricingDate": order.day.isoformat(),
        "currency": order.currency,
        "net": order.net.text,
        "tax": order.tax.text,
        "gross": order.gross.text,
        "items": [
            {
                "item": item.number,
                "lineId": item.line_id,
                "material": item.material,
                "quantity": f"{item.quantity:f}",
                "price": f"{item.price.rate:f}",
                "per": item.price.per,
                "conditions": [{"type": kind, "amount": amount.text} for kind, amount in item.conditions],
                "taxClassification": item.tax_classification,
                "net": item.net.text,
                "tax": item.tax.text,
            }
            for item in order.items
        ],
    }


def _write(write: WouldSend) -> dict[str, Any]:
    try:
        body = exact_json.loads(write.body) if write.body else None
    except Malformed:
        body = write.body[:4000].decode("utf-8", "backslashreplace")
    return {"system": write.system, "method": write.method, "path": write.path, "body": body}


def result_as_data(one: Decided) -> dict[str, Any]:
    if one.fault is not None:
        return {"id": one.id, "ok": False, **fault_as_data(one.fault)}
    return {"id": one.id, "ok": True, "state": one.case.state if one.case else ""}


def fault_as_data(error: ConcordError) -> dict[str, Any]:
    match error:
        case Permanent():
            return {"code": error.code, "detail": str(error), "remedy": error.remedy}
        case Conflict():
            return {"code": "case-moved-on", "detail": str(error)}
        case _:
            return {"code": "unavailable", "detail": str(error)}
