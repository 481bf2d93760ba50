"""What every HTTP door shares: read a body within its limit, answer JSON, a fault as problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import azure.functions as func

from shared import exact_json
from shared.errors import Fault, Malformed, RemoteDown, Transient

BODY_BYTES_MAX = 1_000_000


_NEVER_JSON = ("application/xml", "application/pdf", "application/zip", "application/soap+xml", "multipart/", "image/",
               "audio/", "video/", "text/xml", "text/html", "text/csv")  # fmt: skip
"""Said to be something else. Callers that say nothing, or what their HTTP library says by default, are read as JSON."""


class BodyRefused(Exception):
    """The body is larger than this door takes, or says itself that it is no plain JSON: `status` 413 or 415."""

    def __init__(self, message: str, status: HTTPStatus, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def read_json(request: func.HttpRequest, *, bytes_max: int = BODY_BYTES_MAX) -> Any:
    """The body as JSON with exact numbers; raises `BodyRefused` or `Malformed`."""
    body = request.get_body()
    if len(body) > bytes_max:
        text = f"the body has {len(body)} bytes, this door takes {bytes_max}"
        raise BodyRefused(text, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        text = "the body is compressed: send it as it is"
        raise BodyRefused(text, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "compressed")
    kind = request.headers.get("content-type", "").strip().lower()
    if kind.startswith(_NEVER_JSON):
        raise BodyRefused("the body is no JSON: send application/json", HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not-json")
    if not body:
        raise Malformed([Fault("body", "is empty, a JSON object is expected")])
    content = exact_json.loads(body)
    if repeated := exact_json.repeated_names(body):
        raise Malformed([Fault(name, "stands twice in one object") for name in repeated])
    return content


def answer(content: Any, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> func.HttpResponse:
    return func.HttpResponse(
        exact_json.dumps(content), status_code=status, mimetype="application/json", headers=dict(headers or {})
    )


def problem(
    status: int,
    detail: str,
    *,
    code: str = "",
    faults: tuple[Fault, ...] = (),
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> func.HttpResponse:
    """Problem details: what is wrong, where (`errors`, one for each faulty field), and a stable code."""
    body: dict[str, Any] = {
        "type": f"urn:concord:problem:{code}" if code else "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
    }
    if code:
        body["code"] = code
    if faults:
        body["errors"] = [{"field": fault.where, "message": fault.what} for fault in faults]
    body |= more
    return func.HttpResponse(
        exact_json.dumps(body), status_code=status, mimetype="application/problem+json", headers=dict(headers or {})
    )


def malformed(error: Malformed) -> func.HttpResponse:
    return problem(400, f"{len(error.faults)} faulty field(s): {error}"[:4000], code="malformed", faults=error.faults)


def body_refused(error: BodyRefused) -> func.HttpResponse:
    return problem(error.status, str(error), code=error.code, faults=(Fault("body", str(error)),))


def unavailable(error: Transient) -> func.HttpResponse:
    """503 with the time after which a repeat makes sense; nothing was decided."""
    wait = str(max(1, round(error.retry_after_seconds or 1)))
    system = error.system if isinstance(error, RemoteDown) else "a system it needs"
    return problem(
        503, f"{system} does not answer; send the same request again", code="unavailable", headers={"Retry-After": wait}
    )
