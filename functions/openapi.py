"""The description of the HTTP surface (OpenAPI 3.1), for those who build against it."""

from __future__ import annotations

from typing import Any

_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_DECIMAL = {"type": ["string", "number"], "description": "an exact decimal, as text or as a JSON number"}
_FAULTS = {
    "400": "malformed: every faulty field is named",
    "401": "no or a wrong key, or nobody signed in",
    "403": "the role for this is missing",
    "404": "unknown",
    "409": "it has moved on, or the same id came with other content",
    "413": "too large",
    "422": "it cannot be done with this record; code and remedy say why",
    "503": "a system it needs does not answer; send again after Retry-After",
}


def _operation(
    summary: str, *faults: str, body: str = "", ok: str = "200", schema: str = "", role: str = ""
) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}} if schema else {}
    operation: dict[str, Any] = {
        "summary": summary + (f" (role {role})" if role else ""),
        "security": [{"person": []}] if role else [{"key": []}, {"person": []}],
        "responses": {ok: {"description": "done", "content": content}}
        | {code: {"description": _FAULTS[code], "content": _PROBLEM} for code in ("401", *faults)},
    }
    if body:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{body}"}}},
        }
    return operation


def _path(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query(name: str, description: str = "") -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": "string"}, "description": description}


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


_TEXT = {"type": "string"}
_DONE = {"description": "done"}
_COUNT = {"type": "integer"}
_MOMENT = {"type": "string", "format": "date-time"}
_CASE_FILTER = [
    _query("state", "open (default), replayed, resolved, discarded, all"),
    *(_query(name) for name in ("flow", "code", "legalEntity", "key")),
    *(_query(name, "90s, 15m, 2h, 3d") for name in ("olderThan", "newerThan")),
    _query("limit", "1 to 5000, 1000 by default"),
    _query("after", "as the page before gives it in `next`"),
]
_ORDER_EVENTS = ("confirmed", "changed", "shipped", "returned", "cancelled")

DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Concord", "version": "1", "description": "One truth between Commerce, SAP and Dataverse."},
    "servers": [{"url": "/api"}],
    "paths": {
        "/credit-checks": {
            "post": _operation(
                "Decide a checkout on account and hold its amount", "400", "404", "409", "413", "503",
                body="CreditCheck", schema="Decision",
            )
        },
        "/credit-checks/{decisionId}": {
            "parameters": _path("decisionId"),
            "get": _operation("Read a decision as it stands", "404", "503", schema="Decision"),
        },
        "/credit-checks/{decisionId}/release": {
            "parameters": _path("decisionId"),
            "post": _operation("Give an unconfirmed hold back", "404", "409", "503", schema="Decision"),
        },
        "/credit-checks/{decisionId}/approval": {
            "parameters": _path("decisionId"),
            "post": _operation(
                "Approve or refuse an order over its limit", "400", "403", "404", "409", "503",
                body="Approval", schema="Decision", role="Approver of the amount's band",
            ),
        },
        **{
            f"/webhooks/{system}": {
                "post": _operation(f"Take an event of {title}", "400", "413", "503", ok="202", body=body)
            }
            for system, title, body in (
                ("commerce", "Commerce", "CommerceEvent"),
                ("sap", "SAP (CloudEvents)", "CloudEvent"),
                ("dataverse", "Dataverse (RemoteExecutionContext)", "ExecutionContext"),
            )
        },
        "/availability": {
            "parameters": [
                {"name": name, "in": "query", "required": True, "schema": _TEXT} for name in ("product", "location")
            ],
            "get": _operation("On hand, reserved, available to promise, with the time it was so", "400", "404", "503"),
        },
        "/cases": {
            "parameters": _CASE_FILTER,
            "get": _operation("Cases by filter, newest first, page by page", "400", "503", schema="CaseList"),
        },
        "/cases/{id}": {
            "parameters": _path("id"),
            "get": _operation("One case and its message", "404", "503", schema="Case"),
        },
        "/cases/{id}/preview": {
            "parameters": _path("id"),
            "get": _operation(
                "What a replay would do now, without doing it", "404", "409", "422", "503", schema="Preview"
            ),
        },
        "/cases/preview": {
            "post": _operation("Preview many", "400", "413", "503", body="Choice", schema="Results"),
        },
        "/cases/replay": {
            "post": _operation(
                "Replay many, the oldest first, each with its own result", "400", "403", "413", "503",
                body="Choice", schema="Results", role="Operator",
            ),
        },
        **{
            f"/cases/{{id}}/{decision}": {
                "parameters": _path("id"),
                "post": _operation(
                    f"{decision.capitalize()} a case", "400", "403", "404", "409", "422", "503",
                    ok=ok, body=body, schema="Case", role="Operator",
                ),
            }
            for decision, ok, body in (("replay", "202", ""), ("resolve", "200", "Why"), ("discard", "200", "Why"))
        },
        "/flows": {"get": _operation("Every flow: running or paused, and how many keys of it are parked", "503")},
        **{
            f"/flows/{{flow}}/{what}": {
                "parameters": _path("flow"),
                "post": _operation(f"{what.capitalize()} a flow", "403", "404", "409", "503", role="Operator"),
            }
            for what in ("pause", "resume")
        },
        "/lineage/{entity}/{key}": {
            "parameters": _path("entity", "key"),
            "get": _operation("Every ruling on a record, and why", "404", "503"),
        },
        "/lifecycle/{legalEntity}": {
            "parameters": [*_path("legalEntity"), _query("late", "longer than this is late: 90s, 15m (default), 2h")],
            "get": _operation("Orders that are late, the oldest first", "400", "404", "503"),
        },
        "/lifecycle/{legalEntity}/{orderNumber}": {
            "parameters": _path("legalEntity", "orderNumber"),
            "get": _operation("Where an order stands, and how long each step took", "404", "503"),
        },
        "/lifecycle/{legalEntity}/{orderNumber}/recover": {
            "parameters": _path("legalEntity", "orderNumber"),
            "post": _operation(
                "Bring an order here whose event was lost", "403", "404", "503", ok="202", role="Operator"
            ),
        },
        "/reconciliation/{legalEntity}/{period}": {
            "parameters": [
                *_path("legalEntity", "period"),
                _query("format", "json, html (also by Accept: text/html) or csv"),
            ],
            "get": _operation(
                "Commerce, SAP and CRM joined for a period (yyyy-mm)", "400", "404", "503", schema="Reconciliation"
            ),
        },
        "/reconciliation/{legalEntity}/{period}/close": {
            "parameters": _path("legalEntity", "period"),
            "get": _operation("Certificates and reopenings of a period", "400", "404", "503"),
            "post": _operation(
                "Close a period: the certificate, new (201) or the one there is (200)", "400", "403", "404", "409",
                "503", ok="201", body="Close", schema="Certificate", role="Controller",
            ),
        },
        "/console": {"get": _operation("A page for operations people", "503")},
        "/openapi.json": {"get": {"summary": "This document", "security": [], "responses": {"200": _DONE}}},
        "/health": {"get": _operation("Whether this worker can do its work", "503")},
    },
    "components": {
        "securitySchemes": {
            "key": {"type": "apiKey", "in": "header", "name": "x-functions-key"},
            "person": {"type": "apiKey", "in": "header", "name": "X-ZUMO-AUTH", "description": "App Service sign-in"},
        },
        "schemas": {
            "Problem": _object(
                ("title", "status"), type=_TEXT, title=_TEXT, status={"type": "integer"}, detail=_TEXT, code=_TEXT,
                errors={"type": "array", "items": _object(("field", "message"), field=_TEXT, message=_TEXT)},
            ),
            "CreditCheck": _object(
                ("requestId", "legalEntity", "account", "channel", "currency", "lines", "total"),
                requestId=_TEXT, replaces=_TEXT, requestedBy=_TEXT, legalEntity=_TEXT, account=_TEXT, channel=_TEXT,
                currency=_TEXT,
                lines={"type": "array", "items": _object(
                    ("product", "quantity", "unitPrice"), product=_TEXT, quantity=_DECIMAL, unitPrice=_DECIMAL)},
                charges={"type": "array", "items": _object(("code", "amount"), code=_TEXT, amount=_DECIMAL)},
                tax=_DECIMAL, total=_DECIMAL, onAccount=_DECIMAL,
            ),
            "Decision": _object(
                ("decisionId", "outcome", "reasons", "correlationId"),
                decisionId=_TEXT,
                outcome={"enum": ["approved", "approval_required", "declined", "referred"]},
                reasons={"type": "array", "items": _object(("code", "message"), code=_TEXT, message=_TEXT)},
                hold={"type": ["object", "null"]}, credit={"type": ["object", "null"]}, prices={"type": "array"},
                correlationId=_TEXT,
            ),
            "Case": _object(
                ("id", "state", "flow", "code", "reasons"),
                id=_TEXT, state=_TEXT, flow=_TEXT, entity=_TEXT, legalEntity=_TEXT, key=_TEXT, kind=_TEXT, code=_TEXT,
                reasons={"type": "array", "items": _object(
                    ("code", "message"), code=_TEXT, message=_TEXT, remedy=_TEXT)},
                parked={"type": "boolean"}, correlationId=_TEXT, openedAt=_MOMENT,
                endedAt={"type": ["string", "null"]}, endedBy=_TEXT, comment=_TEXT,
                message={"type": ["object", "string", "null"]}, followers=_COUNT,
            ),
            "CaseList": _object(
                ("cases", "count", "total"),
                cases={"type": "array", "items": {"$ref": "#/components/schemas/Case"}}, count=_COUNT, total=_COUNT,
                next=_TEXT,
            ),
            "Why": _object(("comment",), comment=_TEXT),
            "Choice": _object(
                ids={"type": "array", "items": _TEXT, "maxItems": 500},
                filter={"type": "object", "additionalProperties": _TEXT}, comment=_TEXT,
            ),
            "Results": _object(
                ("results", "count"),
                results={"type": "array", "items": _object(
                    ("id", "ok"), id=_TEXT, ok={"type": "boolean"}, state=_TEXT, code=_TEXT, detail=_TEXT)},
                count=_COUNT, replayed=_COUNT,
            ),
            "Preview": _object(
                ("would", "flow"),
                would={"enum": ["post", "write", "nothing", "hold", "wait"]}, flow=_TEXT, followers=_COUNT,
                reasons={"type": "array"}, documents={"type": "array"}, salesOrders={"type": "array"},
                writes={"type": "array"},
                publishes={"type": "array", "items": _TEXT},
            ),
            "Close": _object(carryOvers={"type": "array", "items": _TEXT, "maxItems": 1000}, comment=_TEXT),
            "Certificate": _object(
                ("number", "legalEntity", "period", "closedAt", "closedBy", "policy", "counts", "systems"),
                number=_TEXT, legalEntity=_TEXT, period=_TEXT, closedAt=_MOMENT, closedBy=_TEXT, comment=_TEXT,
                policy=_TEXT, counts={"type": "object"}, systems={"type": "object"}, bridges={"type": "array"},
                difference={"type": "object"}, carryOvers={"type": "array"}, resultSha256=_TEXT, report=_TEXT,
                follows={"type": ["string", "null"]},
            ),
            "Reconciliation": _object(
                ("legalEntity", "period", "orders", "matched", "explained", "unexplained", "inFlight", "difference"),
                legalEntity=_TEXT, period=_TEXT, orders=_COUNT, matched=_COUNT, explained=_COUNT, unexplained=_COUNT,
                inFlight=_COUNT, difference={"type": "object", "additionalProperties": _TEXT},
                totals={"type": "object", "additionalProperties": _TEXT}, systems={"type": "object"},
                bridges={"type": "array"}, classes={"type": "object"}, rows={"type": "array"},
                state={"enum": ["open", "closed", "reopened"]}, digest=_TEXT, policy=_TEXT, generatedAt=_MOMENT,
            ),
            "Approval": _object(("approved",), approved={"type": "boolean"}, comment=_TEXT),
            "CommerceEvent": _object(
                ("type", "id", "orderNumber", "legalEntity", "occurredAt"),
                type={"enum": [f"order.{what}" for what in _ORDER_EVENTS]},
                id=_TEXT, orderNumber=_TEXT, legalEntity=_TEXT, occurredAt={"type": "string", "format": "date-time"},
                order={"type": ["object", "null"]}, decisionId={"type": ["string", "null"]},
                lines={"type": ["array", "null"], "items": _object(
                    ("lineId", "quantity"), lineId=_TEXT, quantity=_DECIMAL)},
            ),
            "CloudEvent": _object(("specversion", "type", "source", "id", "time", "data")),
            "ExecutionContext": _object(("MessageName", "PrimaryEntityName", "PrimaryEntityId", "OperationCreatedOn")),
        },
    },
}  # fmt: skip
"""Every route, its faults and the shapes it takes."""
