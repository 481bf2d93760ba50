"""SAP's OData V2, as SAP Gateway speaks it.

A write needs a CSRF token and the cookies of the session it belongs to; both are fetched once for all callers, because
parallel fetches break each other. Decimals travel as text, dates as `/Date(ms)/`, and an error may hide in a success.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from http.cookies import SimpleCookie
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

from multidict import CIMultiDictProxy

from shared import exact_json
from shared.clients.http import RemoteError, RemoteRefused, RemoteSystem, Response, Write
from shared.clients.single_flight import SingleFlight
from shared.domain.money import decimal_of
from shared.errors import Fault, Malformed, OutcomeUnknown, Permanent
from shared.mapping.sap_values import day, moment, stamp

__all__ = [
    "Entity",
    "ODataV2",
    "any_of",
    "day",
    "decimal",
    "entity_path",
    "literal",
    "moment",
    "stamp",
    "where",
]

Entity = dict[str, Any]
Scalar = str | bool | int | Decimal | datetime | date

_ROOT = "/sap/opu/odata/sap"
_PAGES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Session:
    """A CSRF token and the cookies it is valid with."""

    token: str
    cookies: str


@dataclass(frozen=True, slots=True)
class Answered:
    """What stands under `d` of an answer, and the answer's headers."""

    content: Entity
    headers: CIMultiDictProxy[str]


class ODataV2:
    """The OData V2 services of one SAP system; `client` is the SAP client (Mandant), e.g. "100"."""

    def __init__(self, system: RemoteSystem, *, client: str) -> None:
        self.system = system
        self._client = client
        self._session: Session | None = None
        self._flights: SingleFlight[Session] = SingleFlight()

    async def read(self, service: str, path: str, params: Mapping[str, str] | None = None) -> Entity:
        """What stands under `d`: an entity, or a page `{"results": […], "__next"?, "__count"?}`."""
        response = await self._send("GET", service, path, params or {}, None, "read", {})
        return self._content(response, "read")

    async def read_or_none(self, service: str, path: str, params: Mapping[str, str] | None = None) -> Entity | None:
        """An entity, or None where SAP knows no such key (404)."""
        try:
            return await self.read(service, path, params)
        except RemoteRefused as refusal:
            if refusal.status == 404:
                return None
            raise

    async def read_all(self, service: str, entity_set: str, params: Mapping[str, str] | None = None) -> list[Entity]:
        """Every row of a set."""
        return [row async for page in self.read_pages(service, entity_set, params) for row in page]

    async def read_pages(
        self, service: str, entity_set: str, params: Mapping[str, str] | None = None
    ) -> AsyncIterator[list[Entity]]:
        """A set page by page, following `__next`, of which only the query is used: gateways in between change hosts."""
        query: Mapping[str, str] = params or {}
        for _ in range(_PAGES_MAX):
            page = await self.read(service, entity_set, query)
            found = page.get("results")
            if not isinstance(found, list):
                raise Permanent(f"{service}/{entity_set} did not answer with a set", code="sap_protocol")
            yield found
            following = page.get("__next")
            if not following:
                return
            onward = query_of(str(following))
            if onward == query:
                raise Permanent(f"{service}/{entity_set} pages in a circle", code="sap_protocol")
            query = onward
        raise Permanent(f"{service}/{entity_set} has more than {_PAGES_MAX} pages", code="sap_protocol")

    async def create(
        self,
        service: str,
        path: str,
        body: Mapping[str, Any],
        *,
        write: Write = "effect",
        deadline: float | None = None,
    ) -> Entity:
        """POST an entity (deep insert where it nests) and give back what stands under `d`.

        `write="read"` for a simulation, which saves nothing.
        """
        response = await self._write("POST", service, path, body, write, {}, deadline)
        return self._content(response, write)

    async def post(
        self, service: str, path: str, body: Mapping[str, Any], *, headers: Mapping[str, str] | None = None
    ) -> Answered:
        """POST an entity with headers of its own, whose effect must not happen twice, and give the whole answer."""
        response = await self._write("POST", service, path, body, "effect", headers or {}, None)
        return Answered(self._content(response, "effect"), response.headers)

    async def update(
        self,
        service: str,
        path: str,
        body: Mapping[str, Any],
        *,
        etag: str,
        method: Literal["PATCH", "MERGE"] = "PATCH",
    ) -> None:
        """Change the given properties of one entity, if it is still at version `etag`; 412 is a RemoteRefused."""
        await self._write(method, service, path, body, "idempotent", {"If-Match": etag}, None)

    async def _write(
        self,
        method: str,
        service: str,
        path: str,
        body: Mapping[str, Any],
        write: Write,
        headers: Mapping[str, str],
        deadline: float | None,
    ) -> Response:
        content = exact_json.dumps(_outgoing(body))
        session = await self._session_for(service)
        try:
            return await self._send(method, service, path, {}, content, write, _with(session, headers), deadline)
        except RemoteRefused as refusal:
            if refusal.status != 403 or refusal.response.headers.get("X-CSRF-Token", "").lower() != "required":
                raise
        # The session ended: SAP did nothing. Whoever notices first drops it, the others use the new one.
        if self._session is session:
            self._session = None
        session = await self._session_for(service)
        return await self._send(method, service, path, {}, content, write, _with(session, headers), deadline)

    async def _session_for(self, service: str) -> Session:
        return self._session or await self._flights.run("csrf", lambda: self._fetch_session(service))

    async def _fetch_session(self, service: str) -> Session:
        response = await self._send("GET", service, "", {}, None, "read", {"X-CSRF-Token": "Fetch"})
        token = response.headers.get("X-CSRF-Token", "")
        if not token or token.lower() in {"fetch", "required"}:
            raise Permanent(
                "SAP gave no CSRF token",
                code="sap_protocol",
                remedy="check the communication user and that the service is active",
            )
        self._session = Session(token, cookies_of(response.headers))
        return self._session

    async def _send(
        self,
        method: str,
        service: str,
        path: str,
        params: Mapping[str, str],
        body: bytes | None,
        write: Write,
        headers: Mapping[str, str],
        deadline: float | None = None,
    ) -> Response:
        sent = {"Accept": "application/json", "Accept-Language": "en", **headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
        response = await self.system.request(
            method,
            f"{_ROOT}/{service}/{path}",
            write=write,
            params={**params, "sap-client": self._client},
            headers=sent,
            body=body,
            deadline=deadline,
        )
        if hidden := hidden_errors(response.headers):
            raise RemoteRefused(self.system.name, response, hidden)
        return response

    def _content(self, response: Response, write: Write) -> Entity:
        raw = self.system.json(response, write)
        content = raw.get("d") if isinstance(raw, dict) else None
        if isinstance(content, list):  # older gateways answer a set as a bare list
            return {"results": content}
        if not isinstance(content, dict):
            if write == "effect":
                raise OutcomeUnknown("SAP answered a write without `d`")
            raise Permanent("SAP answered without `d`", code="sap_protocol")
        return content


def literal(value: Scalar) -> str:
    """A value as it stands in `$filter` or a key; a quote inside text is doubled, so text stays text."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case int():
            return str(value)
        case Decimal():
            return f"{value:f}M"
        case datetime():
            return f"datetime'{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='seconds')}'"
        case date():
            return f"datetime'{value.isoformat()}T00:00:00'"


def where(*terms: tuple[str, str, Scalar]) -> str:
    """`$filter` of terms that must all hold: where(("Customer", "eq", "C-1"), ("IsCleared", "eq", False))."""
    return " and ".join(f"{name} {operator} {literal(value)}" for name, operator, value in terms)


def any_of(name: str, values: Sequence[Scalar]) -> str:
    """`$filter` of one property against several values; V2 has no `in`."""
    return "(" + " or ".join(f"{name} eq {literal(value)}" for value in values) + ")"


def entity_path(entity_set: str, *single: Scalar, **keys: Scalar) -> str:
    """The path of one entity, percent-encoded: entity_path("A_Customer", "C-1"), entity_path("A", X="1", Y="2")."""
    inside = literal(single[0]) if single else ",".join(f"{name}={literal(value)}" for name, value in keys.items())
    return f"{entity_set}({quote(inside, safe="',=")})"


def decimal(entity: Mapping[str, Any], name: str) -> Decimal:
    """A decimal property; raises Malformed naming it when it is absent or no number."""
    try:
        return decimal_of(entity.get(name))
    except ValueError as error:
        raise Malformed([Fault(name, str(error))]) from error


def query_of(url: str) -> dict[str, str]:
    """The decoded query of a `__next`, without the client, which is added to every call anyway."""
    pairs = (part.partition("=") for part in urlsplit(url).query.split("&") if part)
    decoded = {unquote(name): unquote(value) for name, _, value in pairs}
    decoded.pop("sap-client", None)
    return decoded


def cookies_of(headers: CIMultiDictProxy[str]) -> str:
    """The Cookie header that answers the Set-Cookie headers of a response."""
    pairs = []
    for line in headers.getall("Set-Cookie", ()):
        pairs += [f"{name}={morsel.coded_value}" for name, morsel in SimpleCookie(line).items()]
    return "; ".join(pairs)


def hidden_errors(headers: Mapping[str, str]) -> tuple[RemoteError, ...]:
    """Errors that `sap-message` reports on an answer whose status says success."""
    raw = headers.get("sap-message")
    if not raw:
        return ()
    try:
        head = exact_json.loads(raw)
    except Malformed:
        return ()  # SAP also sends XML here when asked for it; without JSON nothing can be told from it
    if not isinstance(head, dict):
        return ()
    details = head.get("details")
    said = [head, *(details if isinstance(details, list) else ())]
    return tuple(
        RemoteError(str(one.get("code", "")), str(one.get("message", "")), str(one.get("target") or ""))
        for one in said
        if isinstance(one, dict) and one.get("severity") in {"error", "abort"}
    )


def _with(session: Session, headers: Mapping[str, str]) -> dict[str, str]:
    sent = {**headers, "X-CSRF-Token": session.token}
    if session.cookies:
        sent["Cookie"] = session.cookies
    return sent


def _outgoing(value: Any) -> Any:
    """Decimals as text and times as `/Date(ms)/`, as V2 wants them in JSON."""
    match value:
        case Decimal():
            return f"{value:f}"
        case datetime() | date():
            return stamp(value)
        case Mapping():
            return {name: _outgoing(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_outgoing(inner) for inner in value]
        case _:
            return value
