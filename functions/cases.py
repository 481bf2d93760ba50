"""Cases, for people: list them, read one, see what a replay would do, replay, resolve or discard; one or many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

import azure.functions as func

from functions.answers import BodyRefused, answer, body_refused, malformed, problem, read_json, unavailable
from functions.people import Person, may_read, require
from functions.queries import duration, moment, read_query, whole
from functions.traced import traced
from shared import exact_json
from shared.errors import ConcordError, Conflict, Fault, Malformed, Permanent, Transient
from shared.wiring import Hub, hub

if TYPE_CHECKING:
    from shared.clients.http import WouldSend
    from shared.domain.ledger import Document
    from shared.domain.sales_orders import SalesOrder
    from shared.flows.case_handling import Decided, Decision
    from shared.flows.case_preview import Preview
    from shared.stores.cases import Case, Wanted

bp = func.Blueprint()
_STATES = ("open", "replayed", "resolved", "discarded")
_DECISIONS = ("replay", "resolve", "discard")
_PAGE, _PAGE_MAX = 1000, 5000
_BULK_MAX = 500
_FILTER = ("state", "flow", "code", "legalEntity", "key", "olderThan", "newerThan")


@bp.function_name("cases_list")
@bp.route(route="cases", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def cases_list(req: func.HttpRequest) -> func.HttpResponse:
    connected = await hub()
    if refused := may_read(req, connected.settings.service_key.get_secret_value()):
        return refused
    try:
        asked = read_query(req.params, _QUERY)
        limit, after = asked.get("limit", _PAGE), asked.get("after")
        wanted = _wanted(req.params, connected)
        cases = await connected.cases.find(wanted)
    except Malformed as error:
        return malformed(error)
    except Transient as error:
        return unavailable(error)
    rest = [case for case in cases if after is None or (case.opened_at, case.id) < after]
    page = rest[:limit]
    told: dict[str, Any] = {"cases": [_told(case) for case in page], "count": len(page), "total": len(cases)}
    if len(rest) > limit:
        query = {name: value for name, value in req.params.items() if name in (*_FILTER, "limit")}
        onward = {**query, "after": f"{page[-1].opened_at.isoformat()},{page[-1].id}"}
        told["next"] = f"/api/cases?{urlencode(onward)}"
    return answer(told)


@bp.function_name("cases_read")
@bp.route(route="cases/{id}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def cases_read(req: func.HttpRequest) -> func.HttpResponse:
    connected = await hub()
    if refused := may_read(req, connected.settings.service_key.get_secret_value()):
        return refused
    try:
        case = await connected.cases.read(req.route_params.get("id", ""))
        if case is None:
            return problem(404, "no such case", code="unknown-case")
        return answer(_told(case) | await _message_of(case, connected))
    except Transient as error:
        return unavailable(error)


@bp.function_name("cases_preview")
@bp.route(route="cases/{id}/preview", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def cases_preview(req: func.HttpRequest) -> func.HttpResponse:
    connected = await hub()
    if refused := may_read(req, connected.settings.service_key.get_secret_value()):
        return refused
    try:
        case = await connected.cases.read(req.route_params.get("id", ""))
        if case is None:
            return problem(404, "no such case", code="unknown-case")
        return answer({"id": case.id} | _previewed(await _preview(case, connected)))
    except ConcordError as error:
        return _faulted(error)


@bp.function_name("cases_decide")
@bp.route(route="cases/{id}/{decision}", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def cases_decide(req: func.HttpRequest) -> func.HttpResponse:
    from shared.flows.case_handling import decide_case

    person = require(req, "Operator")
    if not isinstance(person, Person):
        return person
    decision = req.route_params.get("decision", "")
    if decision not in _DECISIONS:
        return problem(404, "a case is replayed, resolved or discarded", code="unknown-decision")
    connected = await hub()
    try:
        comment = _comment(_body(req), decision)
        case = await connected.cases.read(req.route_params.get("id", ""))
        if case is None:
            return problem(404, "no such case", code="unknown-case")
        decided = await decide_case(case, cast("Decision", decision), by=person.name, comment=comment, hub=connected)
    except BodyRefused as error:
        return body_refused(error)
    except ConcordError as error:
        return _faulted(error)
    return answer(_told(decided), 202 if decision == "replay" else 200)


@bp.function_name("cases_replay_many")
@bp.route(route="cases/replay", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def cases_replay_many(req: func.HttpRequest) -> func.HttpResponse:
    from shared.flows.case_handling import decide_cases

    person = require(req, "Operator")
    if not isinstance(person, Person):
        return person
    connected = await hub()
    try:
        body = _body(req)
        comment = _comment(body, "replay")
        ids = await _chosen(body, connected)
        results = await decide_cases(ids, "replay", by=person.name, comment=comment, hub=connected)
    except BodyRefused as error:
        return body_refused(error)
    except ConcordError as error:
        return _faulted(error)
    told = [_result(one) for one in results]
    return answer({"results": told, "replayed": sum(one["ok"] for one in told), "count": len(told)})


@bp.function_name("cases_preview_many")
@bp.route(route="cases/preview", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def cases_preview_many(req: func.HttpRequest) -> func.HttpResponse:
    connected = await hub()
    if refused := may_read(req, connected.settings.service_key.get_secret_value()):
        return refused
    told: list[dict[str, Any]] = []
    try:
        for case_id in await _chosen(_body(req), connected):
            case = await connected.cases.read(case_id)
            try:
                if case is None:
                    raise Permanent("no such case", code="unknown-case")
                preview = await _preview(case, connected)
                told.append({"id": case_id, "ok": True} | _previewed(preview))
            except (Conflict, Permanent, Transient) as error:
                told.append({"id": case_id, "ok": False, **_fault(error)})
    except BodyRefused as error:
        return body_refused(error)
    except ConcordError as error:
        return _faulted(error)
    return answer({"results": told, "count": len(told)})


async def _preview(case: Case, connected: Hub) -> Preview:
    from shared.flows.account_sync import account_sync
    from shared.flows.case_preview import preview_case
    from shared.flows.crm_history_update import crm_history_update
    from shared.flows.inventory_push import inventory_push
    from shared.flows.order_to_ledger import order_to_ledger

    stories = {
        "order_to_ledger": order_to_ledger,
        "crm_history_update": crm_history_update,
        "inventory_push": inventory_push,
        "account_sync": account_sync,
    }
    return await preview_case(case, stories, connected)


def _body(req: func.HttpRequest) -> dict[str, Any]:
    body = read_json(req, bytes_max=200_000) if req.get_body() else {}
    if not isinstance(body, dict):
        raise Malformed([Fault("body", "is not a JSON object")])
    return body


def _comment(body: Mapping[str, Any], decision: str) -> str:
    """What the person says to it; who takes a case off the record without a replay has to say why."""
    comment = body.get("comment", "")
    if not isinstance(comment, str) or len(comment) > 2000:
        raise Malformed([Fault("comment", "is not text of at most 2,000 characters")])
    if decision != "replay" and not comment.strip():
        raise Malformed([Fault("comment", f"is missing: say why you {decision} it")])
    return comment


async def _chosen(body: Mapping[str, Any], connected: Hub) -> list[str]:
    """The ids a body names, or those of the cases that its filter finds, the oldest first."""
    ids, filtered = body.get("ids"), body.get("filter")
    if (ids is None) == (filtered is None):
        raise Malformed([Fault("ids", "give either ids or a filter")])
    if ids is not None:
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids) or not 0 < len(ids) <= _BULK_MAX:
            raise Malformed([Fault("ids", f"is not a list of 1 to {_BULK_MAX} case ids")])
        return list(dict.fromkeys(ids))
    if not isinstance(filtered, dict) or not all(isinstance(one, str) for one in filtered.values()):
        raise Malformed([Fault("filter", "is not an object of text values")])
    if unknown := sorted(set(filtered) - set(_FILTER)):
        raise Malformed(Fault(f"filter.{name}", "is unknown") for name in unknown)
    found = await connected.cases.find(_wanted(filtered, connected))
    if len(found) > _BULK_MAX:
        raise Malformed([Fault("filter", f"finds {len(found)} cases, at most {_BULK_MAX} are done at once")])
    return [case.id for case in reversed(found)]


def _wanted(params: Mapping[str, str], connected: Hub) -> Wanted:
    from shared.stores.cases import Wanted

    read = read_query(params, _FILTERS)
    state = read.get("state", "open")
    now = connected.clock()
    return Wanted(
        state="" if state == "all" else state,
        flow=params.get("flow", ""),
        code=params.get("code", ""),
        legal_entity=params.get("legalEntity", ""),
        key=params.get("key", ""),
        opened_before=now - read["olderThan"] if "olderThan" in read else None,
        opened_after=now - read["newerThan"] if "newerThan" in read else None,
    )


def _state(text: str) -> str:
    if text not in (*_STATES, "all"):
        raise ValueError(f"is not one of {', '.join(_STATES)}, all")
    return text


def _cursor(text: str) -> tuple[datetime, str]:
    at, comma, case_id = text.partition(",")
    if not comma:
        raise ValueError("is not the cursor of a page")
    return moment(at.replace(" ", "+")), case_id


_FILTERS: Mapping[str, Callable[[str], Any]] = {"state": _state, "olderThan": duration, "newerThan": duration}
_QUERY: Mapping[str, Callable[[str], Any]] = {
    **_FILTERS,
    "limit": whole(1, _PAGE_MAX),
    "after": _cursor,
}


async def _message_of(case: Case, connected: Hub) -> dict[str, Any]:
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


def _told(case: Case) -> dict[str, Any]:
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


def _previewed(preview: Preview) -> dict[str, Any]:
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


def _result(one: Decided) -> dict[str, Any]:
    if one.fault is not None:
        return {"id": one.id, "ok": False, **_fault(one.fault)}
    return {"id": one.id, "ok": True, "state": one.case.state if one.case else ""}


def _fault(error: ConcordError) -> dict[str, Any]:
    match error:
        case Permanent():
            return {"code": error.code, "detail": str(error), "remedy": error.remedy}
        case Conflict():
            return {"code": "case-moved-on", "detail": str(error)}
        case _:
            return {"code": "unavailable", "detail": str(error)}


def _faulted(error: ConcordError) -> func.HttpResponse:
    match error:
        case Malformed():
            return malformed(error)
        case Conflict():
            return problem(409, str(error), code="case-moved-on")
        case Permanent():
            return problem(422, str(error), code=error.code, remedy=error.remedy)
        case Transient():
            return unavailable(error)
        case _:
            raise error
