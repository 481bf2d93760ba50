"""Inventory Visibility: absolute on-hand figures in, one model of availability out.

Its token is bought with the app's own: the security service takes an Entra token as assertion, answers 307 to the
region that issues, and the same POST there gives the token that the service accepts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from shared import exact_json
from shared.clients.http import RemoteSystem
from shared.clients.single_flight import SingleFlight
from shared.clients.tokens import Tokens
from shared.domain.money import decimal_of
from shared.errors import Fault, Malformed, Permanent

ENTRA_SCOPE = "0cdb527f-a8d1-4bf8-9436-b352c68682b2/.default"
SERVICE_SCOPE = "https://inventoryservice.operations365.dynamics.com/.default"
RECORDS_MAX = 512
"""Records in one bulk call."""
SYSTEM = "sap"
"""The data source under which SAP's figures stand in Inventory Visibility."""
MEASURE = "unrestricted"
"""The physical measure of that data source."""

RESERVED = ("softreservphysical", "softreservordered")
"""Measures of soft reservations, under the service's own data source `iv`."""
PROMISED = "availabletopromise"
"""The calculated measure that ATP is configured on."""

_MARGIN_SECONDS = 120


class InventoryAuth:
    """The exchanged token: cached until shortly before its end, bought once for all callers."""

    def __init__(
        self, tokens: Tokens, security: RemoteSystem, environment_id: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._tokens = tokens
        self._security = security
        self._environment_id = environment_id
        self._clock = clock
        self._token = ""
        self._ends_at = 0.0
        self._flights: SingleFlight[None] = SingleFlight()

    async def headers(self) -> Mapping[str, str]:
        if self._ends_at - self._clock() <= _MARGIN_SECONDS:
            await self._flights.run("token", self._buy)
        return {"Authorization": f"Bearer {self._token}", "Api-Version": "1.0"}

    def refused(self) -> bool:
        had_one, self._token, self._ends_at = bool(self._token), "", 0.0
        return had_one

    async def _buy(self) -> None:
        assertion = await self._tokens.token(ENTRA_SCOPE)
        response = await self._security.request(
            "POST", "/token", headers={"Api-Version": "1.0", "Content-Type": "application/json"},
            body=exact_json.dumps({
                "grant_type": "client_credentials",
                "client_assertion_type": "aad_app",
                "client_assertion": assertion,
                "scope": SERVICE_SCOPE,
                "context": self._environment_id,
                "context_type": "finops-env",
            }),
            write="read", redirects=True,
        )  # fmt: skip
        content = self._security.json(response, "read")
        if not isinstance(content, dict) or not content.get("access_token"):
            raise Permanent("the inventory security service gave no token", code="inventory_protocol")
        self._token = str(content["access_token"])
        self._ends_at = self._clock() + float(str(content.get("expires_in", 3600)))


@dataclass(frozen=True, slots=True)
class OnHand:
    """An absolute figure: `quantity` of a product at a site and location, as read at `read_at` (aware UTC).

    `id` is the idempotency key: the same id again changes nothing.
    """

    id: str
    organization: str
    product: str
    site: str
    location: str
    quantity: Decimal
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Availability:
    """What one model says of a product at a location; `promise` is None where ATP is not kept for it."""

    product: str
    site: str
    location: str
    on_hand: Decimal
    reserved: Decimal
    promise: Decimal | None


class Inventory:
    """Inventory Visibility of one environment."""

    def __init__(self, system: RemoteSystem, environment_id: str) -> None:
        self.system = system
        self._root = f"/api/environment/{environment_id}"

    async def set_on_hand(self, figures: Sequence[OnHand]) -> None:
        """Write absolute figures. The service ignores one whose `read_at` is older than what it holds."""
        for start in range(0, len(figures), RECORDS_MAX):
            records = [
                {
                    "id": figure.id,
                    "organizationId": figure.organization,
                    "productId": figure.product,
                    "dimensionDataSource": SYSTEM,
                    "dimensions": {"siteId": figure.site, "locationId": figure.location},
                    "quantities": {SYSTEM: {MEASURE: figure.quantity}},
                    "modifiedDateTimeUTC": figure.read_at.astimezone(UTC).isoformat(timespec="microseconds"),
                }
                for figure in figures[start : start + RECORDS_MAX]
            ]
            await self.system.request(
                "POST", f"{self._root}/setonhand/{SYSTEM}/bulk", headers={"Content-Type": "application/json"},
                body=exact_json.dumps(records), write="idempotent",
            )  # fmt: skip

    async def read_availability(
        self, organization: str, product: str, site: str, location: str, *, today: date
    ) -> Availability | None:
        """On hand, reserved and available to promise of one product at one location, or None if it knows none."""
        response = await self.system.request(
            "POST", f"{self._root}/onhand/indexquery", headers={"Content-Type": "application/json"},
            body=exact_json.dumps({
                "filters": {
                    "organizationId": [organization], "productId": [product], "siteId": [site],
                    "locationId": [location],
                },
                "groupByValues": [],
                "returnNegative": True,
                "QueryATP": True,
                "ATPFromDate": today.isoformat(),
                "ATPToDate": today.isoformat(),
            }),
            write="read",
        )  # fmt: skip
        rows = self.system.json(response, "read")
        if not isinstance(rows, list):
            raise Permanent("Inventory Visibility did not answer with a list", code="inventory_protocol")
        if not rows:
            return None
        return _availability(rows, product, site, location)


def _availability(rows: list[object], product: str, site: str, location: str) -> Availability:
    on_hand = reserved = promised = Decimal(0)
    has_promise = False
    for row in rows:
        if not isinstance(row, dict):
            raise Malformed([Fault("indexquery", "an entry is not an object")])
        quantities = row.get("quantities")
        on_hand += _measure(quantities, SYSTEM, MEASURE)
        reserved += sum((_measure(quantities, "iv", name) for name in RESERVED), Decimal(0))
        days = row.get("atpQuantities")
        if isinstance(days, dict) and days:
            has_promise = True
            promised += _measure(days[min(days)], "iv", PROMISED)
    return Availability(product, site, location, on_hand, reserved, promised if has_promise else None)


def _measure(quantities: object, source: str, name: str) -> Decimal:
    measures = quantities.get(source) if isinstance(quantities, dict) else None
    value = measures.get(name) if isinstance(measures, dict) else None
    return Decimal(0) if value is None else decimal_of(value)
