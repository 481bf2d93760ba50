"""Availability of a product at a location, from the one model that Commerce sells from, with a freshness stamp."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from shared.errors import Fault, Malformed
from shared.stores.stock import organization_of, read_snapshot
from shared.wiring import Hub

_LENGTH_MAX = 60


@dataclass(frozen=True, slots=True)
class Stand:
    """What may be sold: quantities in the product's base `unit`, as SAP had them at `as_of` (aware UTC).

    `promise` is None where Inventory Visibility keeps no available-to-promise figure.
    """

    product: str
    location: str
    legal_entity: str
    on_hand: Decimal
    reserved: Decimal
    promise: Decimal | None
    unit: str
    as_of: datetime


async def availability(product: str, location: str, hub: Hub) -> Stand | None:
    """The stand of one product at one location, or None where nobody ever heard of it. Raises Malformed."""
    faults = [
        Fault(name, "is missing" if not value else f"is longer than {_LENGTH_MAX} characters or not printable")
        for name, value in (("product", product), ("location", location))
        if not value or len(value) > _LENGTH_MAX or not value.isprintable()
    ]
    if faults:
        raise Malformed(faults)
    organization = organization_of(location, hub.policy.ledger)
    if organization is None:
        return None
    asked_at = hub.clock()
    found = await hub.inventory.read_availability(organization, product, location, location, today=asked_at.date())
    if found is None:
        return None
    pushed = read_snapshot(await hub.records.read(f"stock||{location}|{product}"))
    return Stand(
        product=product,
        location=location,
        legal_entity=organization,
        on_hand=found.on_hand,
        reserved=found.reserved,
        promise=found.promise,
        unit=pushed.unit if pushed else "",
        # A figure that did not come through here is as fresh as the question, as far as anybody can tell.
        as_of=pushed.read_at if pushed else asked_at,
    )
