"""The sweep behind the scheduled expiries: release every unconfirmed hold whose time is up."""

from __future__ import annotations

from shared import telemetry
from shared.domain.credit_transitions import expire
from shared.stores.credit_book.book import swept
from shared.wiring import Hub


async def credit_hold_sweep(hub: Hub) -> dict[str, int]:
    """Returns how many holds were released and how many still stand unconfirmed."""
    counted = {"released": 0, "placed": 0}
    now = hub.clock()
    for held in await hub.credit_book.placed_holds():
        if not held.hold.is_expired(now):
            counted["placed"] += 1
            continue
        moved = await hub.credit_book.move(held.hold.id, expire, cause=swept(held.hold, now), what="expired")
        counted["released"] += moved.changed
    telemetry.log_outcome("credit_hold_sweep", **counted)
    return counted
