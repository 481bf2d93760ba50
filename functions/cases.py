"""Cases, for people: list them, read one with what it is about, replay, resolve or discard it."""

from __future__ import annotations

from typing import Any, cast

import azure.functions as func

from functions.answers import TooLarge, answer, malformed, problem, read_json, too_large, unavailable
from functions.people import Person, may_read, require
from functions.traced import traced
from shared import exact_json
from shared.errors import Conflict, Fault, Malformed, Permanent, Transient
from shared.flows.case_handling import Decision, decide_case
from shared.stores.cases import Case
from shared.stores.parking import parked_in
from shared.wiring import Hub, hub

bp = func.Blueprint()
_STATES = ("open", "replayed", "resolved", "discarded")


@bp.function_name("cases_list")
@bp.route(route="cases", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def cases_list(req: func.HttpRequest) -> func.HttpResponse:
    connected = await hub()
    if refused := may_read(req, connected.settings.service_key.get_secret_value()):
        return refused
    state = req.params.get("state", "open")
    if state not in (*_STATES, "all"):
        return malformed(Malformed([Fault("state", f"is not one of {', '.join(_STATES)}, all")]))
    try:
        cases = await connected.cases.list(state="" if state == "all" else state)
    except Transient as error:
        return unavailable(error)
    return answer({"cases": [_told(case) for case in cases], "count": len(cases)})


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


@bp.function_name("cases_decide")
@bp.route(route="cases/{id}/{decision}", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def cases_decide(req: func.HttpRequest) -> func.HttpResponse:
    person = require(req, "Operator")
    if not isinstance(person, Person):
        return person
    decision = req.route_params.get("decision", "")
    if decision not in ("replay", "resolve", "discard"):
        return problem(404, "a case is replayed, resolved or discarded", code="unknown-decision")
    connected = await hub()
    try:
        comment = _comment(req)
        case = await connected.cases.read(req.route_params.get("id", ""))
        if case is None:
            return problem(404, "no such case", code="unknown-case")
        decided = await decide_case(case, cast(Decision, decision), by=person.name, comment=comment, hub=connected)
    except TooLarge as error:
        return too_large(error)
    except Malformed as error:
        return malformed(error)
    except Conflict as error:
        return problem(409, str(error), code="case-moved-on")
    except Permanent as error:
        return problem(422, str(error), code=error.code, remedy=error.remedy)
    except Transient as error:
        return unavailable(error)
    return answer(_told(decided), 202 if decision == "replay" else 200)


def _comment(req: func.HttpRequest) -> str:
    if not req.get_body():
        return ""
    body = read_json(req, bytes_max=20_000)
    comment = body.get("comment", "") if isinstance(body, dict) else None
    if not isinstance(comment, str) or len(comment) > 2000:
        raise Malformed([Fault("comment", "is not text of at most 2,000 characters")])
    return comment


async def _message_of(case: Case, connected: Hub) -> dict[str, Any]:
    """The message the case is about, and how many wait behind it."""
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
