"""The console: one page for people over the doors that everybody calls; and the description of those doors."""

from __future__ import annotations

import secrets

import azure.functions as func

from functions.answers import answer
from functions.openapi import DOCUMENT
from functions.people import may_read
from functions.traced import traced
from shared.reports.pages import render
from shared.wiring import hub

bp = func.Blueprint()


@bp.function_name("console")
@bp.route(route="console", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def console(req: func.HttpRequest) -> func.HttpResponse:
    connected = await hub()
    if refused := may_read(req, connected.settings.service_key.get_secret_value()):
        return refused
    nonce = secrets.token_urlsafe(16)
    page = render(
        "console.html",
        nonce=nonce,
        digest=connected.policy.digest,
        legal_entities=sorted(connected.policy.ledger.legal_entities),
        period=connected.clock().strftime("%Y-%m"),
    )
    only_ours = (
        f"default-src 'self'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; style-src-attr 'unsafe-inline'"
    )
    headers = {
        "Content-Security-Policy": only_ours,
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return func.HttpResponse(page, mimetype="text/html", headers=headers)


@bp.function_name("openapi")
@bp.route(route="openapi.json", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@traced
async def openapi(req: func.HttpRequest) -> func.HttpResponse:
    return answer(DOCUMENT)
