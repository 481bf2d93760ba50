"""Dynamics 365 Commerce: orders from Retail Server, and entities from headquarters' OData."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from shared import exact_json
from shared.clients.http import RemoteRefused, RemoteSystem
from shared.clients.odata4 import Entity, Scalar, entity_path, read_all, where

_PAGE_ROWS = "10000"


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

    async def read_headers(self, legal_entity: str, first: date, last: date) -> list[Entity]:
        """SalesOrderHeadersV2 of a legal entity whose business date lies in a period, both days included."""
        return await self.read_entities(
            "SalesOrderHeadersV2",
            where(
                ("dataAreaId", "eq", legal_entity),
                ("RequestedReceiptDate", "ge", first),
                ("RequestedReceiptDate", "le", last),
            ),
        )

    async def read_entities(self, entity_set: str, filter_: str, select: Sequence[str] = ()) -> list[Entity]:
        """Rows of a headquarters entity over all companies, page by page."""
        params = {"cross-company": "true", "$filter": filter_, "$top": _PAGE_ROWS}
        if select:
            params["$select"] = ",".join(select)
        return await read_all(self.headquarters, f"/data/{entity_set}", params)

    async def change_entity(self, entity_set: str, key: Mapping[str, Scalar], values: Mapping[str, object]) -> None:
        """Set properties of one headquarters row; raises RemoteRefused, 404 where there is no such row."""
        await self.headquarters.request(
            "PATCH", f"/data/{entity_path(entity_set, key)}", params={"cross-company": "true"},
            headers={"Content-Type": "application/json"}, body=exact_json.dumps(values), write="idempotent",
        )  # fmt: skip
