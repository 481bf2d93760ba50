"""Doors of the credit check: ask, read, give back, and decide on what is over the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import azure.functions as func

from functions.answers import BodyRefused, answer, body_refused, malformed, problem, read_json, unavailable
from functions.people import Person, may_read, require
from functions.traced import traced
from shared import telemetry
from shared.errors import Conflict, Fault, Malformed, Permanent, Transient
from shared.wiring import Hub, hub

if TYPE_CHECKING:
    from shared.approving import Answer
    from shared.authority.credit import CreditPolicy

bp = func.Blueprint()
_STATUS = {
    "unknown_account": 404,
    "unknown_legal_entity": 404,
    "request_reused": 409,
    "unknown_replaced": 404,
    "replaced_elsewhere": 409,
    "wrong_role": 403,
    "own_request": 403,
}


@bp.function_name("checkout_credit_check")
@bp.route(route="credit-checks", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
@traced
async def checkout_credit_check(req: func.HttpRequest) -> func.HttpResponse:
    from shared.domain.credit_request import read_check
    from shared.flows import checkout_credit_check as flow

    connected = await hub()
    correlation_id, _ = telemetry.correlation_of(telemetry.traceparent.get())
    try:
        request, entity = read_check(read_json(req), connected.policy.credit, correlation_id)
        decided = await flow.checkout_credit_check(request, entity, connected)
    except (BodyRefused, Malformed, Permanent, Conflict, Transient) as error:
        return _refusal(error)
    return answer(_told(decided))


@bp.function_name("credit_decision_read")
@bp.route(route="credit-checks/{decisionId}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def credit_decision_read(req: func.HttpRequest) -> func.HttpResponse:
    """Commerce polls it with the service key; whoever approves reads it signed in."""
    from shared.flows import checkout_credit_check as flow

    connected = await hub()
    if refused := may_read(req, connected.settings.service_key.get_secret_value()):
        return refused
    try:
        found = await flow.read_decision(req.route_params.get("decisionId", ""), connected)
    except Malformed:
        return _unknown()
    except Transient as error:
        return unavailable(error)
    return _unknown() if found is None else answer(_told(found))


@bp.function_name("credit_hold_release")
@bp.route(route="credit-checks/{decisionId}/release", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
@traced
async def credit_hold_release(req: func.HttpRequest) -> func.HttpResponse:
    from shared.flows import checkout_credit_check as flow

    connected = await hub()
    try:
        found = await flow.release(req.route_params.get("decisionId", ""), connected)
    except Malformed:
        return _unknown()
    except (Conflict, Transient) as error:
        return _refusal(error)
    return _unknown() if found is None else answer(_told(found))


@bp.function_name("credit_approval")
@bp.route(route="credit-checks/{decisionId}/approval", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def credit_approval(req: func.HttpRequest) -> func.HttpResponse:
    connected = await hub()
    person = require(req, *_approver_roles(connected.policy.credit))
    if not isinstance(person, Person):
        return person
    try:
        approved, comment = _word(read_json(req, bytes_max=20_000))
        found = await _decide(req.route_params.get("decisionId", ""), approved, comment, person, connected)
    except (BodyRefused, Malformed, Permanent, Conflict, Transient) as error:
        return _refusal(error)
    return _unknown() if found is None else answer(_told(found))


async def _decide(decision_id: str, approved: bool, comment: str, person: Person, connected: Hub) -> Answer | None:
    from shared.approving import Approver, decide_approval

    approver = Approver((person.name, person.id), person.roles, "api")
    try:
        return await decide_approval(decision_id, approved=approved, comment=comment, approver=approver, hub=connected)
    except Malformed:
        return None


def _approver_roles(policy: CreditPolicy) -> list[str]:
    """Every role that some band names: which of them counts is decided with the amount."""
    named = {
        band.role
        for code, entity in policy.legal_entities.items()
        for risk_class in ("", *policy.risk_classes, *entity.risk_classes)
        for band in policy.rules_for(code, risk_class).approval.bands
    }
    return sorted(named)


def _word(raw: Any) -> tuple[bool, str]:
    faults = []
    approved = raw.get("approved") if isinstance(raw, dict) else None
    comment = raw.get("comment", "") if isinstance(raw, dict) else ""
    if not isinstance(approved, bool):
        faults.append(Fault("approved", "is not true or false"))
    if not isinstance(comment, str) or len(comment) > 2000:
        faults.append(Fault("comment", "is not text of at most 2,000 characters"))
    if faults:
        raise Malformed(faults)
    return approved is True, str(comment)


def _refusal(error: Exception) -> func.HttpResponse:
    from shared.domain.credit_request import UnknownEntity

    match error:
        case BodyRefused():
            return body_refused(error)
        case Malformed():
            return malformed(error)
        case UnknownEntity():
            faults = (Fault("legalEntity", str(error)),)
            return problem(404, str(error), code=error.code, faults=faults)
        case Permanent():
            return problem(_STATUS.get(error.code, 502), str(error), code=error.code, remedy=error.remedy)
        case Conflict():
            return problem(409, str(error), code="conflict")
        case Transient():
            return unavailable(error)
        case _:
            raise error


def _unknown() -> func.HttpResponse:
    return problem(404, "no such decision", code="unknown-decision")


def _told(decided: Answer) -> dict[str, Any]:
    record, hold = decided.record, decided.hold
    credit, approval = record.credit, record.approval
    return {
        "decisionId": record.decision.id,
        "requestId": record.decision.request_id,
        "outcome": record.decision.outcome,
        "reasons": [
            {"code": one.code, "message": one.message} | ({"remedy": one.remedy} if one.remedy else {})
            for one in record.reasons
        ],
        "hold": None
        if hold is None
        else {
            "id": hold.id,
            "amount": hold.amount.text,
            "currency": hold.amount.currency,
            "expiresAt": hold.expires_at.isoformat(),
            "state": hold.state,
            "order": hold.order or None,
        },
        "credit": None
        if credit is None
        else {
            "limit": credit.limit.text,
            "exposure": credit.exposure.text,
            "held": credit.held.text,
            "available": credit.available.text,
            "currency": credit.limit.currency,
            "asOf": credit.as_of.isoformat(),
            "source": credit.source,
        },
        "prices": [
            {
                "product": price.product,
                "offered": format(price.offered, "f"),
                "contract": None if price.contract is None else format(price.contract, "f"),
            }
            for price in record.prices
        ],
        "approval": None
        if approval is None
        else {
            "state": approval.state,
            "role": approval.role,
            "expiresAt": approval.expires_at.isoformat(),
            "decidedBy": approval.decided_by or None,
            "decidedAt": approval.decided_at.isoformat() if approval.decided_at else None,
            "comment": approval.comment,
        },
        "account": record.decision.account,
        "legalEntity": record.decision.legal_entity,
        "decidedAt": record.decision.decided_at.isoformat(),
        "policy": record.decision.policy,
        "correlationId": record.decision.correlation_id,
    }
