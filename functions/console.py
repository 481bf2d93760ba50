"""The console: one page for people over the doors that everybody calls; and the description of those doors."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import azure.functions as func

from functions.answers import answer, unavailable
from functions.people import may_read
from functions.traced import traced
from shared.errors import Transient
from shared.wiring import Hub, hub

if TYPE_CHECKING:
    from shared.stores.cases import Case

bp = func.Blueprint()
_CASES_SHOWN = 100
_PERIODS_SHOWN = 12


@bp.function_name("console")
@bp.route(route="console", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def console(req: func.HttpRequest) -> func.HttpResponse:
    from shared.reports.pages import render

    connected = await hub()
    if refused := may_read(req, connected.settings.service_key.get_secret_value()):
        return refused
    nonce = secrets.token_urlsafe(16)
    try:
        page = render("console.html", nonce=nonce, **await _standing(connected))
    except Transient as error:
        return unavailable(error)
    only_ours = (
        f"default-src 'none'; connect-src 'self'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": only_ours,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    return func.HttpResponse(page, mimetype="text/html", charset="utf-8", headers=headers)


@bp.function_name("openapi")
@bp.route(route="openapi.json", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def openapi(req: func.HttpRequest) -> func.HttpResponse:
    from functions.openapi import DOCUMENT

    return answer(DOCUMENT)


async def _standing(connected: Hub) -> dict[str, Any]:
    """What stands at this moment: cases, flows with their parked keys, the last look at each period."""
    from shared.flows.flow_pausing import flow_states
    from shared.stores.cases import Wanted
    from shared.stores.closes import list_looked

    cases = list(reversed(await connected.cases.find(Wanted())))
    states = await flow_states(connected)
    now = connected.clock()
    since: dict[str, datetime] = {}
    for row in await connected.parked.list():
        flow, noted = row.values["flow"], datetime.fromisoformat(row.values["noted_at"])
        since[flow] = min(since.get(flow, noted), noted)
    periods = await list_looked(connected.records)
    return {
        "now": now,
        "digest": connected.policy.digest,
        "legal_entities": sorted(connected.policy.ledger.legal_entities),
        "period": now.strftime("%Y-%m"),
        "cases": [_case(case) for case in cases[:_CASES_SHOWN]],
        "cases_total": len(cases),
        "flows": [
            {
                "name": one.flow,
                "pause": one.pause,
                "pausable": one.pausable,
                "parked": one.parked_keys,
                "oldest": _ago(since.get(one.flow), now),
            }
            for one in states
        ],
        "parked_total": sum(one.parked_keys for one in states),
        "paused_total": sum(one.pause is not None for one in states),
        "periods": periods[:_PERIODS_SHOWN],
        "unexplained_total": sum(one.unexplained for one in periods[:_PERIODS_SHOWN]),
    }


def _case(case: Case) -> dict[str, Any]:
    is_order = case.business_key.startswith("order|")
    wanted = quote(f"{case.legal_entity}|{case.key}", safe="")
    return {
        "id": case.id,
        "key": case.key,
        "legal_entity": case.legal_entity,
        "flow": case.flow,
        "opened_at": case.opened_at,
        "reasons": [{"message": one["message"], "remedy": one.get("remedy", "")} for one in case.reasons],
        "link": f"/api/console?order={wanted}#order-title" if is_order else f"/api/cases/{case.id}",
    }


def _ago(since: datetime | None, now: datetime) -> str:
    if since is None:
        return ""
    minutes = int((now - since).total_seconds() // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"
