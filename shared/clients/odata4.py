"""What OData V4 services share (Dataverse, Commerce): literals, keys in a url, and paging by `@odata.nextLink`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from shared.clients.http import RemoteSystem
from shared.errors import Permanent

Entity = dict[str, Any]
Scalar = str | bool | int | Decimal | datetime | date

_PAGES_MAX = 10_000


async def read_all(
    system: RemoteSystem, path: str, params: Mapping[str, str], headers: Mapping[str, str] | None = None
) -> list[Entity]:
    """Every row of a set."""
    return [row async for page in read_pages(system, path, params, headers) for row in page]


async def read_pages(
    system: RemoteSystem, path: str, params: Mapping[str, str], headers: Mapping[str, str] | None = None
) -> AsyncIterator[list[Entity]]:
    """A set page by page. Of `@odata.nextLink` only the query is used: gateways in between change hosts."""
    query: Mapping[str, str] = params
    for _ in range(_PAGES_MAX):
        response = await system.request("GET", path, params=query, headers=headers, write="read")
        page = system.json(response, "read")
        found = page.get("value") if isinstance(page, dict) else None
        if not isinstance(found, list):
            raise Permanent(f"{system.name}{path} did not answer with a set", code=f"{system.name}_protocol")
        yield found
        following = page.get("@odata.nextLink")
        if not following:
            return
        onward = query_of(str(following))
        if onward == query:
            raise Permanent(f"{system.name}{path} pages in a circle", code=f"{system.name}_protocol")
        query = onward
    raise Permanent(f"{system.name}{path} has more than {_PAGES_MAX} pages", code=f"{system.name}_protocol")


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
            return f"{value:f}"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        case date():
            return value.isoformat()


def where(*terms: tuple[str, str, Scalar]) -> str:
    """`$filter` of terms that must all hold: where(("isocurrencycode", "eq", "KWD"))."""
    return " and ".join(f"{name} {operator} {literal(value)}" for name, operator, value in terms)


def entity_path(entity_set: str, keys: Mapping[str, Scalar]) -> str:
    """The path of one row by its key, percent-encoded: entity_path("accounts", {"accountnumber": "C-1"})."""
    inside = ",".join(f"{name}={literal(value)}" for name, value in keys.items())
    return f"{entity_set}({quote(inside, safe="',=")})"


def query_of(url: str) -> dict[str, str]:
    """The decoded query of a link."""
    pairs = (part.partition("=") for part in urlsplit(url).query.split("&") if part)
    return {unquote(name): unquote(value) for name, _, value in pairs}
