"""Lineage and lifecycle: what was decided about a record and why; where an order stands and how long each step took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import azure.functions as func

from functions.answers import answer, malformed, problem, unavailable
from functions.people import Person, may_read, require
from functions.queries import duration, read_query
from functions.traced import traced
from shared.errors import Malformed, Permanent, Transient
from shared.wiring import hub

if TYPE_CHECKING:
    from shared.flows.lifecycle import Late, Lifecycle
    from shared.stores.records import Evidence

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
    from shared.flows.lifecycle import read_lifecycle

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


@bp.function_name("lifecycle_late")
@bp.route(route="lifecycle/{legalEntity}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def lifecycle_late(req: func.HttpRequest) -> func.HttpResponse:
    from shared.flows.lifecycle import LATE, late_orders

    connected = await hub()
    if refused := may_read(req, connected.settings.service_key.get_secret_value()):
        return refused
    legal_entity = req.route_params.get("legalEntity", "")
    if legal_entity not in connected.policy.ledger.legal_entities:
        return problem(404, f"{legal_entity!r} is no legal entity of this ledger", code="unknown-legal-entity")
    try:
        after = read_query(req.params, {"late": duration}).get("late", LATE)
        late = await late_orders(legal_entity, connected, after=after)
    except Malformed as error:
        return malformed(error)
    except Transient as error:
        return unavailable(error)
    except Permanent as error:
        return problem(502, str(error), code=error.code)
    now = connected.clock()
    return answer(
        {
            "legalEntity": legal_entity,
            "lateAfterSeconds": int(after.total_seconds()),
            "orders": [_late(one, int((now - one.since).total_seconds())) for one in late],
            "count": len(late),
        }
    )


@bp.function_name("lifecycle_recover")
@bp.route(route="lifecycle/{legalEntity}/{orderNumber}/recover", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def lifecycle_recover(req: func.HttpRequest) -> func.HttpResponse:
    from shared.flows.lost_order_sweep import recover_order

    person = require(req, "Operator")
    if not isinstance(person, Person):
        return person
    connected = await hub()
    legal_entity, number = req.route_params.get("legalEntity", ""), req.route_params.get("orderNumber", "")
    if legal_entity not in connected.policy.ledger.legal_entities:
        return problem(404, f"{legal_entity!r} is no legal entity of this ledger", code="unknown-legal-entity")
    try:
        brought = await recover_order(legal_entity, number, connected)
    except Malformed as error:
        return malformed(error)
    except Permanent as error:
        return problem(404 if error.code == "unknown-order" else 502, str(error), code=error.code)
    except Transient as error:
        return unavailable(error)
    return answer({"legalEntity": legal_entity, "orderNumber": number, "sent": brought}, 202)


def _late(one: Late, seconds: int) -> dict[str, Any]:
    links = {"lifecycle": f"/api/lifecycle/{one.legal_entity}/{quote(one.order_number, safe='')}"}
    if one.case_id:
        links |= {"case": f"/api/cases/{one.case_id}", "replay": f"/api/cases/{one.case_id}/replay"}
    elif one.resend:
        links["replay"] = f"{links['lifecycle']}/recover"
    return {
        "orderNumber": one.order_number,
        "since": one.since.isoformat(),
        "lateSeconds": seconds,
        "missing": list(one.missing),
        "code": one.code,
        "reason": one.reason,
        "links": links,
    }


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
                "sincePreviousMilliseconds": step.since_before,
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
