"""Flows, for people: which run, which are paused; pause one, resume one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import azure.functions as func

from functions.answers import BodyRefused, answer, body_refused, malformed, problem, read_json, unavailable
from functions.people import Person, may_read, require
from functions.traced import traced
from shared.errors import Fault, Malformed, Permanent, Transient
from shared.topics import TOPICS
from shared.wiring import hub

if TYPE_CHECKING:
    from shared.flows.flow_pausing import FlowState

bp = func.Blueprint()


@bp.function_name("flows_list")
@bp.route(route="flows", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def flows_list(req: func.HttpRequest) -> func.HttpResponse:
    from shared.flows.flow_pausing import flow_states

    connected = await hub()
    if refused := may_read(req, connected.settings.service_key.get_secret_value()):
        return refused
    try:
        return answer({"flows": [_told(state) for state in await flow_states(connected)]})
    except Transient as error:
        return unavailable(error)


@bp.function_name("flows_pause")
@bp.route(route="flows/{flow}/pause", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def flows_pause(req: func.HttpRequest) -> func.HttpResponse:
    from shared.flows.flow_pausing import pause_flow

    person = require(req, "Operator")
    if not isinstance(person, Person):
        return person
    flow = req.route_params.get("flow", "")
    if flow not in TOPICS:
        return problem(404, f"no such flow; there are {', '.join(TOPICS)}", code="unknown-flow")
    connected = await hub()
    try:
        pause = await pause_flow(flow, by=person.name, comment=_comment(req), hub=connected)
    except BodyRefused as error:
        return body_refused(error)
    except Malformed as error:
        return malformed(error)
    except Permanent as error:
        return problem(409, str(error), code=error.code, remedy=error.remedy)
    except Transient as error:
        return unavailable(error)
    return answer(
        {"flow": flow, "state": "paused", "pausedBy": pause.paused_by, "pausedAt": pause.paused_at.isoformat()}
    )


@bp.function_name("flows_resume")
@bp.route(route="flows/{flow}/resume", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def flows_resume(req: func.HttpRequest) -> func.HttpResponse:
    from shared.flows.flow_pausing import resume_flow

    person = require(req, "Operator")
    if not isinstance(person, Person):
        return person
    flow = req.route_params.get("flow", "")
    if flow not in TOPICS:
        return problem(404, f"no such flow; there are {', '.join(TOPICS)}", code="unknown-flow")
    try:
        woken = await resume_flow(flow, hub=await hub())
    except Transient as error:
        return unavailable(error)
    return answer({"flow": flow, "state": "running", "wokenKeys": woken}, 202)


def _comment(req: func.HttpRequest) -> str:
    if not req.get_body():
        return ""
    body = read_json(req, bytes_max=20_000)
    comment = body.get("comment", "") if isinstance(body, dict) else None
    if not isinstance(comment, str) or len(comment) > 2000:
        raise Malformed([Fault("comment", "is not text of at most 2,000 characters")])
    return comment


def _told(state: FlowState) -> dict[str, Any]:
    return {
        "flow": state.flow,
        "topic": state.topic,
        "state": state.state,
        "pausable": state.pausable,
        "parkedKeys": state.parked_keys,
        "pausedBy": state.pause.paused_by if state.pause else "",
        "pausedAt": state.pause.paused_at.isoformat() if state.pause else None,
        "comment": state.pause.comment if state.pause else "",
    }
