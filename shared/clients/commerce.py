"""Dynamics 365 Commerce: orders from Retail Server, and entities from headquarters' OData."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from shared import exact_json
from shared.clients.http import RemoteRefused, RemoteSystem
from shared.clients.odata4 import Entity, Scalar, entity_path, read_all, read_pages, where

HEADER_FIELDS = (
    "SalesOrderNumber",
    "SalesOrderOriginCode",
    "SalesOrderStatus",
    "CurrencyCode",
    "OrderTotalAmount",
    "OrderTotalTaxAmount",
    "BusinessDate",
    "OrderCreationDateTime",
)
"""What reconciling and looking for lost orders read of an order."""


class Commerce:
    """`retail` is Retail Server (base url of the scale unit), `headquarters` the Finance and Operations side."""

    def __init__(self, retail: RemoteSystem, headquarters: RemoteSystem) -> None:
        self.retail = retail
        self.headquarters = headquarters

    async def read_order(self, legal_entity: str, number: str) -> Entity | None:
        """The SalesOrder of a sales id as Retail Server holds it, or None; one of another company is none of ours."""
        try:
            response = await self.retail.request(
                "GET", f"/Commerce/{entity_path('SalesOrders', {'SalesId': number})}", write="read"
            )
        except RemoteRefused as refusal:
            if refusal.status == 404:
                return None
            raise
        order: Entity = self.retail.json(response, "read")
        return order

    def header_pages(self, legal_entity: str, first: date, last: date) -> AsyncIterator[list[Entity]]:
        """SalesOrderHeadersV2 of a legal entity whose business date lies in days, both included, by order number.

        `BusinessDate` is the retail extension's field and carries a time of day, so the end is the day after.
        """
        filter_ = where(
            ("dataAreaId", "eq", legal_entity),
            ("BusinessDate", "ge", _midnight(first)),
            ("BusinessDate", "lt", _midnight(last + timedelta(days=1))),
        )
        params = {
            "cross-company": "true",
            "$filter": filter_,
            "$select": ",".join(HEADER_FIELDS),
            "$orderby": "SalesOrderNumber",
        }
        return read_pages(self.headquarters, "/data/SalesOrderHeadersV2", params)

    async def find_header(self, legal_entity: str, number: str) -> Entity | None:
        """The header of one order, whatever its business date."""
        filter_ = where(("dataAreaId", "eq", legal_entity), ("SalesOrderNumber", "eq", number))
        rows = await self.read_entities("SalesOrderHeadersV2", filter_, HEADER_FIELDS)
        return rows[0] if rows else None

    async def read_entities(self, entity_set: str, filter_: str, select: Sequence[str] = ()) -> list[Entity]:
        """Rows of a headquarters entity over all companies, all pages: `$top` would end them, the server cuts them."""
        params = {"cross-company": "true", "$filter": filter_}
        if select:
            params["$select"] = ",".join(select)
        return await read_all(self.headquarters, f"/data/{entity_set}", params)

    async def change_entity(self, entity_set: str, key: Mapping[str, Scalar], values: Mapping[str, object]) -> None:
        """Set properties of one headquarters row; raises RemoteRefused, 404 where there is no such row."""
        await self.headquarters.request(
            "PATCH", f"/data/{entity_path(entity_set, key)}", params={"cross-company": "true"},
            headers={"Content-Type": "application/json"}, body=exact_json.dumps(values), write="idempotent",
        )  # fmt: skip


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
