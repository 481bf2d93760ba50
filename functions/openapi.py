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


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


_TEXT = {"type": "string"}
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
        "/cases": {"get": _operation("Open cases (state=all for every one)", "400", "503")},
        "/cases/{id}": {"parameters": _path("id"), "get": _operation("One case and its message", "404", "503")},
        **{
            f"/cases/{{id}}/{decision}": {
                "parameters": _path("id"),
                "post": _operation(
                    f"{decision.capitalize()} a case", "403", "404", "409", "503", ok=ok, role="Operator"
                ),
            }
            for decision, ok in (("replay", "202"), ("resolve", "200"), ("discard", "200"))
        },
        "/lineage/{entity}/{key}": {
            "parameters": _path("entity", "key"),
            "get": _operation("Every ruling on a record, and why", "404", "503"),
        },
        "/lifecycle/{legalEntity}/{orderNumber}": {
            "parameters": _path("legalEntity", "orderNumber"),
            "get": _operation("Where an order stands, and how long each step took", "404", "503"),
        },
        "/reconciliation/{legalEntity}/{period}": {
            "parameters": _path("legalEntity", "period"),
            "get": _operation("Commerce, SAP and CRM joined for a period (yyyy-mm)", "400", "404", "503"),
        },
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
