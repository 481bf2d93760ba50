"""Dataverse Web API v9.2: rows by alternate key, every write of ours marked so that its echo is known.

Writes by alternate key are upserts and so may be sent again; a conditional write says which version it was decided on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared import exact_json
from shared.clients.http import RemoteRefused, RemoteSystem, Response
from shared.clients.odata4 import Entity, Scalar, entity_path, read_all, read_pages
from shared.clients.single_flight import SingleFlight
from shared.errors import Conflict, Permanent

TAG = "concord"
"""Stands in the SharedVariables of every webhook that a write of ours causes."""
CONCURRENCY_MAX = 52
"""Dataverse answers 429 (0x80072326) to one user's 53rd concurrent request."""
ROWS_MAX = 100
"""Rows in one UpsertMultiple: standard tables are all or nothing, and small batches run side by side."""

_ROOT = "/api/data/v9.2"
_UNADDRESSABLE = frozenset('/#<>*%&:\\?+"~')


class NoSuchRow(Permanent):
    """A row that had to exist does not; or a row that this one points to."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a write left behind: its row's id and version ("" where Dataverse did not say)."""

    id: str
    etag: str


class Dataverse:
    """The tables of one organization."""

    def __init__(self, system: RemoteSystem) -> None:
        self.system = system
        self._currencies: dict[str, str] = {}
        self._flights: SingleFlight[None] = SingleFlight()

    async def read(self, entity_set: str, key: Mapping[str, Scalar], *, select: Sequence[str] = ()) -> Entity | None:
        """One row with its `@odata.etag`, or None."""
        return await self._get(entity_path(entity_set, key), select)

    async def read_by_id(self, entity_set: str, row_id: str, *, select: Sequence[str] = ()) -> Entity | None:
        """One row by its GUID, or None."""
        return await self._get(f"{entity_set}({row_id})", select)

    async def find(self, entity_set: str, params: Mapping[str, str]) -> list[Entity]:
        """Every row that a query finds, page by page."""
        return await read_all(self.system, f"{_ROOT}/{entity_set}", params, _headers())

    def find_pages(self, entity_set: str, params: Mapping[str, str]) -> AsyncIterator[list[Entity]]:
        """The same one page at a time, for sets that are not to be held whole."""
        return read_pages(self.system, f"{_ROOT}/{entity_set}", params, _headers())

    async def upsert(self, entity_set: str, key: Mapping[str, Scalar], row: Mapping[str, Any]) -> None:
        """Create the row of an alternate key or set the given columns of it.

        Raises NoSuchRow when it binds to a row that does not exist.
        """
        await self._patch(entity_path(entity_set, key), row, {})

    async def create_once(self, entity_set: str, key: Mapping[str, Scalar], row: Mapping[str, Any]) -> bool:
        """Create the row of an alternate key; False, and nothing changed, when it exists already."""
        try:
            await self._patch(entity_path(entity_set, key), row, {"If-None-Match": "*"})
        except Conflict:
            return False
        return True

    async def change(
        self, entity_set: str, row_id: str, row: Mapping[str, Any], *, etag: str, version_column: str = "versionnumber"
    ) -> Written:
        """Set columns of one row if it is still at `etag`, and give its new version; raises Conflict, NoSuchRow."""
        response = await self._patch(
            f"{entity_set}({row_id})", row, {"If-Match": etag, "Prefer": "return=representation"},
            params={"$select": version_column},
        )  # fmt: skip
        content = self.system.json(response, "idempotent")
        return Written(row_id, str(content.get("@odata.etag", "")) if isinstance(content, dict) else "")

    async def delete(self, entity_set: str, key: Mapping[str, Scalar]) -> bool:
        """Delete the row of an alternate key; False where there is none."""
        try:
            await self.system.request(
                "DELETE",
                f"{_ROOT}/{entity_path(entity_set, key)}",
                params={"tag": TAG},
                headers=_headers(),
                write="idempotent",
            )
        except RemoteRefused as refusal:
            if refusal.status == 404:
                return False
            raise
        return True

    async def upsert_many(
        self, entity_set: str, logical_name: str, key_column: str, rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """Upsert rows by their alternate key `key_column`, which each row carries; chunks run side by side."""
        chunks = [rows[start : start + ROWS_MAX] for start in range(0, len(rows), ROWS_MAX)]
        done = await asyncio.gather(
            *(self._upsert_chunk(entity_set, logical_name, key_column, chunk) for chunk in chunks),
            return_exceptions=True,  # every chunk has ended before the first fault is told
        )
        for fault in done:
            if fault is not None:
                raise fault

    async def currency_id(self, code: str) -> str:
        """The id of an ISO currency; read once. Raises NoSuchRow for one that the organization does not have."""
        if code not in self._currencies:
            await self._flights.run("currencies", self._read_currencies)
        if code not in self._currencies:
            raise NoSuchRow(f"Dataverse has no currency {code}", code="crm_currency_missing",
                            remedy="add the currency in Dataverse, then replay")  # fmt: skip
        return self._currencies[code]

    async def _get(self, path: str, select: Sequence[str]) -> Entity | None:
        params = {"$select": ",".join(select)} if select else {}
        try:
            response = await self.system.request(
                "GET", f"{_ROOT}/{path}", params=params, headers=_headers(), write="read"
            )
        except RemoteRefused as refusal:
            if refusal.status == 404:
                return None
            raise
        row: Entity = self.system.json(response, "read")
        return row

    async def currency_code(self, currency_id: str) -> str:
        """The ISO code of a currency row, "" for one that the organization does not have."""
        if currency_id not in self._currencies.values():
            await self._flights.run("currencies", self._read_currencies)
        return next((code for code, known in self._currencies.items() if known == currency_id), "")

    async def _read_currencies(self) -> None:
        rows = await self.find("transactioncurrencies", {"$select": "transactioncurrencyid,isocurrencycode"})
        self._currencies = {str(row["isocurrencycode"]): str(row["transactioncurrencyid"]) for row in rows}

    async def _upsert_chunk(
        self, entity_set: str, logical_name: str, key_column: str, rows: Sequence[Mapping[str, Any]]
    ) -> None:
        targets = [
            {
                "@odata.type": f"Microsoft.Dynamics.CRM.{logical_name}",
                "@odata.id": entity_path(entity_set, {key_column: row[key_column]}),
                **{name: value for name, value in row.items() if name != key_column},
            }
            for row in rows
        ]
        try:
            await self.system.request(
                "POST", f"{_ROOT}/{entity_set}/Microsoft.Dynamics.CRM.UpsertMultiple", params={"tag": TAG},
                headers=_headers({"Content-Type": "application/json"}), body=exact_json.dumps({"Targets": targets}),
                write="idempotent",
            )  # fmt: skip
        except RemoteRefused as refusal:
            raise _translated(refusal) from refusal

    async def _patch(
        self, path: str, row: Mapping[str, Any], headers: Mapping[str, str], params: Mapping[str, str] | None = None
    ) -> Response:
        try:
            return await self.system.request(
                "PATCH", f"{_ROOT}/{path}", params={"tag": TAG, **(params or {})},
                headers=_headers({"Content-Type": "application/json", **headers}), body=exact_json.dumps(row),
                write="idempotent",
            )  # fmt: skip
        except RemoteRefused as refusal:
            raise _translated(refusal) from refusal


def key_text(*parts: str) -> str:
    """A value for an alternate key of ours: parts joined by `|`, characters that Dataverse cannot address escaped.

    Documented: a key value with any of / # < > * % & : \\ ? + " cannot be used in a url; `~` and two hex digits stand
    for them here, so that different parts never give the same key.
    """
    return "|".join(
        "".join(f"~{ord(one):02X}" if one in _UNADDRESSABLE or one == "|" else one for one in part) for part in parts
    )


def bind(entity_set: str, key: Mapping[str, Scalar]) -> str:
    """The value of an `@odata.bind`: a row by its alternate key."""
    return f"/{entity_path(entity_set, key)}"


def _headers(more: Mapping[str, str] | None = None) -> dict[str, str]:
    return {"OData-Version": "4.0", "OData-MaxVersion": "4.0", **(more or {})}


def _translated(refusal: RemoteRefused) -> Permanent | Conflict:
    """412 is another writer (or an existing row); 404 is a missing row, by address or by binding."""
    if refusal.status == 412:
        return Conflict(str(refusal))
    if refusal.status == 404:
        return NoSuchRow(str(refusal), code="crm_row_missing", remedy="create the row in Dataverse, then replay")
    return refusal
