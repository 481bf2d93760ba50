"""Webhooks of Commerce, SAP and Dataverse: 202 at once, or what is wrong with the call."""

from __future__ import annotations

from typing import Literal

import azure.functions as func

from functions.answers import BodyRefused, answer, body_refused, malformed, problem, read_json, unavailable
from functions.traced import traced
from shared import telemetry
from shared.errors import Malformed, Transient
from shared.wiring import hub

bp = func.Blueprint()
_BYTES_MAX = 4_000_000
_SERVICE_RATE = "120"


@bp.function_name("intake_commerce")
@bp.route(route="webhooks/commerce", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
@traced
async def intake_commerce(req: func.HttpRequest) -> func.HttpResponse:
    return await _take("commerce", req)


@bp.function_name("intake_sap")
@bp.route(route="webhooks/sap", methods=["POST", "OPTIONS"], auth_level=func.AuthLevel.FUNCTION)
@traced
async def intake_sap(req: func.HttpRequest) -> func.HttpResponse:
    if req.method == "OPTIONS":
        return _validation_handshake(req)
    return await _take("sap", req)


@bp.function_name("intake_dataverse")
@bp.route(route="webhooks/dataverse", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
@traced
async def intake_dataverse(req: func.HttpRequest) -> func.HttpResponse:
    return await _take("dataverse", req)


async def _take(source: Literal["commerce", "sap", "dataverse"], req: func.HttpRequest) -> func.HttpResponse:
    from shared.flows import change_intake as flow

    try:
        raw = read_json(req, bytes_max=_BYTES_MAX)
        if source == "sap":
            raw = _structured(req, raw)
        changes = await flow.change_intake(source, raw, telemetry.traceparent.get(), await hub())
    except BodyRefused as error:
        return body_refused(error)
    except Malformed as error:
        return malformed(error)
    except Transient as error:
        return unavailable(error)
    return answer({"accepted": len(changes), "correlationId": changes[0].correlation_id if changes else ""}, 202)


def _validation_handshake(req: func.HttpRequest) -> func.HttpResponse:
    """CloudEvents' abuse protection: say to whoever asks that we do take events from that origin."""
    origin = req.headers.get("webhook-request-origin", "")
    if not origin:
        return problem(400, "WebHook-Request-Origin is missing", code="malformed")
    return func.HttpResponse(
        status_code=200,
        headers={"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": _SERVICE_RATE, "Allow": "POST, OPTIONS"},
    )


def _structured(req: func.HttpRequest, raw: object) -> object:
    """A CloudEvent in binary mode (attributes as `ce-` headers) in the form of structured mode."""
    if "ce-specversion" not in req.headers:
        return raw
    names = ("specversion", "type", "source", "id", "time", "subject")
    return {name: req.headers[f"ce-{name}"] for name in names if f"ce-{name}" in req.headers} | {"data": raw}
