"""The sweep behind the scheduled expiries: release every unconfirmed hold whose time is up, close what nobody approved.

A request that still waits is shown in CRM again, in case the first message about it was lost.
"""

from __future__ import annotations

from shared import telemetry
from shared.approving import show_in_crm, time_out
from shared.domain.credit_transitions import expire
from shared.errors import Conflict
from shared.stores.credit_book.book import swept
from shared.wiring import Hub


async def credit_hold_sweep(hub: Hub) -> dict[str, int]:
    """Returns how many holds were released or still stand unconfirmed, how many approvals timed out or still wait."""
    counted = {"released": 0, "placed": 0, "timed_out": 0, "waiting": 0}
    now = hub.clock()
    for held in await hub.credit_book.placed_holds():
        if not held.hold.is_expired(now):
            counted["placed"] += 1
            continue
        moved = await hub.credit_book.move(held.hold.id, expire, cause=swept(held.hold, now), what="expired")
        counted["released"] += moved.changed
    for kept in await hub.credit_book.waiting_records():
        try:
            if await time_out(kept, hub):
                counted["timed_out"] += 1
                continue
        except Conflict:
            continue  # a person decided at this very moment
        counted["waiting"] += 1
        if kept.record is not None:
            await show_in_crm(kept.record, hub)
    telemetry.log_outcome("credit_hold_sweep", **counted)
    return counted
