"""A customer as SAP knows it: the business partner, its credit standing and its credit account in one segment."""

from __future__ import annotations

import asyncio
from typing import Any

from shared.clients.odata import Entity, ODataV2, entity_path, where

_PARTNER = "API_BUSINESS_PARTNER"
_CREDIT = "API_CRDTMBUSINESSPARTNER"


class SapCustomer:
    """Reads customers; a view on SAP's connection that keeps nothing of its own."""

    def __init__(self, odata: ODataV2) -> None:
        self._odata = odata

    async def read(self, account: str, segment: str = "") -> Entity | None:
        """SAP's properties of a customer, flat, or None for an unknown one.

        Credit properties are those of `segment`; without one they are given only where the customer has just one
        credit account, because a limit of some segment would be a guess.
        """
        partner, standing, accounts = await asyncio.gather(
            self._odata.read_or_none(
                _PARTNER,
                entity_path("A_BusinessPartner", account),
                {"$select": "BusinessPartner,BusinessPartnerFullName"},
            ),
            self._odata.read_or_none(_CREDIT, entity_path("CreditMgmtBusinessPartner", account)),
            self._odata.read_all(
                _CREDIT, "CreditManagementAccount", {"$filter": where(("BusinessPartner", "eq", account))}
            ),
        )
        if partner is None:
            return None
        own = [one for one in accounts if not segment or one.get("CreditSegment") == segment]
        flat: dict[str, Any] = {**(standing or {}), **partner}
        return flat | (own[0] if len(own) == 1 else {})
