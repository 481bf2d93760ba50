"""Doors: the reconciliation of a legal entity and period (JSON, page, CSV), its closing, and the daily look at both."""

from __future__ import annotations

import secrets
from typing import Any

import azure.functions as func

from functions.answers import BodyRefused, answer, body_refused, malformed, problem, read_json, unavailable
from functions.people import Person, may_read, require
from functions.traced import traced, traced_timer
from shared import telemetry
from shared.errors import Conflict, Fault, Malformed, Permanent, Transient
from shared.wiring import Hub, hub

bp = func.Blueprint()
_ROUTE = "reconciliation/{legalEntity}/{period}"
_FORMATS = ("json", "html", "csv")
_CARRIED_MAX = 1000


@bp.function_name("reconciliation")
@bp.route(_ROUTE, methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def reconciliation(req: func.HttpRequest) -> func.HttpResponse:
    from shared.flows.reconciliation import reconcile  # DuckDB loads when somebody reconciles

    connected = await hub()
    if refused := _refused(req, connected):
        return refused
    wanted = req.params.get("format") or ("html" if "text/html" in req.headers.get("accept", "") else "json")
    if wanted not in _FORMATS:
        return malformed(Malformed([Fault("format", f"is not one of {', '.join(_FORMATS)}")]))
    try:
        report, closes = await reconcile(*_period(req), connected)
    except Malformed as error:
        return malformed(error)
    except Transient as error:
        return unavailable(error)
    except Permanent as error:
        return problem(502, str(error), code=error.code)
    return _told(wanted, report, closes)


@bp.function_name("reconciliation_close")
@bp.route(f"{_ROUTE}/close", methods=["GET", "POST"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def reconciliation_close(req: func.HttpRequest) -> func.HttpResponse:
    return await (_close(req) if req.method == "POST" else _certificates(req))


@bp.function_name("reconciliation_sweep")
@bp.timer_trigger(arg_name="timer", schedule="0 30 2 * * *")
@traced_timer
async def reconciliation_sweep(timer: func.TimerRequest) -> None:
    from shared.flows import reconciliation as flow  # DuckDB loads when somebody reconciles

    counted = await flow.reconciliation_sweep(await hub())
    telemetry.log_outcome("reconciliation_sweep", **counted)


async def _close(req: func.HttpRequest) -> func.HttpResponse:
    from shared.flows.reconciliation import NotClosable, close_period  # as above

    person = require(req, "Controller")
    if not isinstance(person, Person):
        return person
    connected = await hub()
    if unknown := _unknown_entity(req, connected):
        return unknown
    try:
        carried, comment = _wishes(req)
        closed = await close_period(*_period(req), by=person.name, carried=carried, comment=comment, hub=connected)
    except BodyRefused as error:
        return body_refused(error)
    except Malformed as error:
        return malformed(error)
    except NotClosable as error:
        return problem(409, str(error), code="not-closable", items=error.items)
    except Conflict as error:
        return problem(409, str(error), code="close-moved-on")
    except Transient as error:
        return unavailable(error)
    except Permanent as error:
        return problem(502, str(error), code=error.code)
    return answer(closed.certificate, 201 if closed.issued else 200)


async def _certificates(req: func.HttpRequest) -> func.HttpResponse:
    from shared.domain.fiscal import read_month  # beside its use
    from shared.stores.closes import read_closes  # as above

    connected = await hub()
    if refused := _refused(req, connected):
        return refused
    legal_entity, period = _period(req)
    try:
        closes = await read_closes(legal_entity, str(read_month(period)), connected.records)
    except Malformed as error:
        return malformed(error)
    except Transient as error:
        return unavailable(error)
    return answer(
        {
            "legalEntity": legal_entity,
            "period": period,
            "state": closes.state,
            "certificate": closes.latest,
            "certificates": list(closes.certificates),
            "reopenings": list(closes.reopenings),
        }
    )


def _told(wanted: str, report: Any, closes: Any) -> func.HttpResponse:
    from shared.reports.month_end import as_csv, as_html  # Jinja2 loads when somebody asks for a page
    from shared.reports.reconciliation import as_json

    if wanted == "json":
        return answer(as_json(report, closes))
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    if wanted == "csv":
        name = f"reconciliation-{report.legal_entity}-{report.period}.csv"
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return func.HttpResponse(as_csv(report), mimetype="text/csv", charset="utf-8", headers=headers)
    nonce = secrets.token_urlsafe(16)
    headers["Content-Security-Policy"] = (
        f"default-src 'none'; connect-src 'self'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return func.HttpResponse(as_html(report, closes, nonce), mimetype="text/html", charset="utf-8", headers=headers)


def _wishes(req: func.HttpRequest) -> tuple[list[str], str]:
    """Named carry-overs and a comment; an empty body names none."""
    body = read_json(req, bytes_max=200_000) if req.get_body() else {}
    if not isinstance(body, dict):
        raise Malformed([Fault("body", "is not a JSON object")])
    carried, comment = body.get("carryOvers", []), body.get("comment", "")
    faults = []
    if not isinstance(carried, list) or not all(isinstance(one, str) for one in carried) or len(carried) > _CARRIED_MAX:
        faults.append(Fault("carryOvers", f"is not a list of at most {_CARRIED_MAX} order numbers"))
    if not isinstance(comment, str) or len(comment) > 2000:
        faults.append(Fault("comment", "is not text of at most 2,000 characters"))
    if faults:
        raise Malformed(faults)
    return list(dict.fromkeys(carried)), comment


def _refused(req: func.HttpRequest, connected: Hub) -> func.HttpResponse | None:
    return may_read(req, connected.settings.service_key.get_secret_value()) or _unknown_entity(req, connected)


def _unknown_entity(req: func.HttpRequest, connected: Hub) -> func.HttpResponse | None:
    legal_entity, _ = _period(req)
    if legal_entity in connected.policy.ledger.legal_entities:
        return None
    return problem(404, f"{legal_entity!r} is no legal entity of this ledger", code="unknown-legal-entity")


def _period(req: func.HttpRequest) -> tuple[str, str]:
    return req.route_params.get("legalEntity", ""), req.route_params.get("period", "")
