"""Lineage and lifecycle: what was decided about a record and why; where an order stands and how long each step took."""

from __future__ import annotations

from typing import Any

import azure.functions as func

from functions.answers import answer, problem, unavailable
from functions.people import may_read
from functions.traced import traced
from shared.errors import Transient
from shared.flows.lifecycle import Lifecycle, read_lifecycle
from shared.stores.records import Evidence
from shared.wiring import hub

bp = func.Blueprint()


@bp.function_name("lineage")
@bp.route(route="lineage/{entity}/{key}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def lineage(req: func.HttpRequest) -> func.HttpResponse:
    connected = await hub()
    if refused := may_read(req, connected.settings.service_key.get_secret_value()):
        return refused
    entity, key = req.route_params.get("entity", ""), req.route_params.get("key", "")
    asked = req.params.get("legalEntity")
    entities = [asked] if asked is not None else ["", *sorted(connected.policy.ledger.legal_entities)]
    try:
        found = [
            (legal_entity, one)
            for legal_entity in entities
            for one in await connected.records.read_evidence(f"{entity}|{legal_entity}|{key}")
        ]
    except Transient as error:
        return unavailable(error)
    if not found:
        return problem(404, f"nothing was ever decided about {entity} {key}", code="unknown-record")
    rows = [_told(one) | {"legalEntity": legal_entity} for legal_entity, one in found]
    return answer({"entity": entity, "key": key, "lineage": rows})


@bp.function_name("lifecycle")
@bp.route(route="lifecycle/{legalEntity}/{orderNumber}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def lifecycle(req: func.HttpRequest) -> func.HttpResponse:
    connected = await hub()
    if refused := may_read(req, connected.settings.service_key.get_secret_value()):
        return refused
    legal_entity, number = req.route_params.get("legalEntity", ""), req.route_params.get("orderNumber", "")
    try:
        read = await read_lifecycle(legal_entity, number, connected)
    except Transient as error:
        return unavailable(error)
    if read is None:
        return problem(404, f"no order {number} of {legal_entity} was ever received", code="unknown-order")
    return answer(_lifecycle(read))


def _lifecycle(read: Lifecycle) -> dict[str, Any]:
    return {
        "legalEntity": read.legal_entity,
        "orderNumber": read.order_number,
        "state": read.state,
        "correlationId": read.correlation_id,
        "steps": [
            {
                "step": step.name,
                "at": step.at.isoformat(),
                "milliseconds": step.milliseconds,
                "flow": step.flow,
                "ruling": step.ruling,
                "summary": step.summary,
                "links": step.links,
            }
            for step in read.steps
        ],
        "decisions": list(read.decisions),
        "documents": list(read.documents),
        "waiting": [
            {
                "flow": parked.flow,
                "state": parked.state,
                "reason": parked.reason,
                "dueAt": parked.due_at.isoformat(),
                "attempts": parked.attempts,
                "caseId": parked.case_id,
                "messages": len(parked.waiting),
            }
            for parked in read.waiting
        ],
    }


def _told(one: Evidence) -> dict[str, Any]:
    return {
        "flow": one.flow,
        "kind": one.kind,
        "source": one.source,
        "ruling": one.ruling,
        "summary": one.summary,
        "reasons": one.reasons,
        "fields": one.fields,
        "links": one.links,
        "messageId": one.message_id,
        "eventId": one.event_id,
        "correlationId": one.correlation_id,
        "policy": one.policy,
        "occurredAt": one.occurred_at.isoformat(),
        "receivedAt": one.received_at.isoformat(),
        "decidedAt": one.decided_at.isoformat(),
    }
