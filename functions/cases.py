"""Cases, for people: list them, read one, see what a replay would do, replay, resolve or discard; one or many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

import azure.functions as func

from functions.answers import BodyRefused, answer, body_refused, malformed, problem, read_json, unavailable
from functions.case_answers import case_as_data, fault_as_data, message_of, preview_as_data, result_as_data
from functions.people import Person, may_read, require, without_key
from functions.queries import duration, moment, read_query, whole
from functions.traced import traced
from shared.errors import ConcordError, Conflict, Fault, Malformed, Permanent, Transient
from shared.wiring import Hub, hub

if TYPE_CHECKING:
    from shared.flows.case_handling import Decision
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
    service_key = connected.settings.service_key.get_secret_value()
    if refused := may_read(req, service_key):
        return refused
    params = without_key(req.params, service_key)
    try:
        if unknown := sorted(set(params) - {*_FILTER, *_QUERY}):
            raise Malformed(Fault(name, "is no filter of cases") for name in unknown)
        asked = read_query(params, _QUERY)
        limit, after = asked.get("limit", _PAGE), asked.get("after")
        wanted = _wanted(params, connected)
        cases = await connected.cases.find(wanted)
    except Malformed as error:
        return malformed(error)
    except Transient as error:
        return unavailable(error)
    rest = [case for case in cases if after is None or (case.opened_at, case.id) < after]
    page = rest[:limit]
    told: dict[str, Any] = {"cases": [case_as_data(case) for case in page], "count": len(page), "total": len(cases)}
    if len(rest) > limit:
        query = {name: value for name, value in params.items() if name != "after"}
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
        return answer(case_as_data(case) | await message_of(case, connected))
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
        return answer({"id": case.id} | preview_as_data(await _preview(case, connected)))
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
    return answer(case_as_data(decided), 202 if decision == "replay" else 200)


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
    told = [result_as_data(one) for one in results]
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
                told.append({"id": case_id, "ok": True} | preview_as_data(preview))
            except (Conflict, Permanent, Transient) as error:
                told.append({"id": case_id, "ok": False, **fault_as_data(error)})
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
