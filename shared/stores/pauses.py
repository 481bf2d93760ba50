"""Paused flows: a row for each, set by a person and lifted by a person.

While a flow is paused its messages are parked key by key, in order, instead of run: a queue that waits for days would
lose messages to their time to live and to the delivery count, a parked key loses nothing. A worker believes for a
moment that a flow runs (`CACHE_SECONDS`), so a pause takes hold within that time; a pause it knows of it asks for anew
each time, so that nothing is parked after the flow was resumed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from shared.stores.table import Op, Row, RowChanged, RowExists, Table

CACHE_SECONDS = 2.0
_PARTITION = "pauses"


@dataclass(frozen=True, slots=True)
class Pause:
    """One paused flow: who paused it, when (aware UTC) and why."""

    flow: str
    paused_by: str
    paused_at: datetime
    comment: str
    etag: str = ""


class Pauses:
    """The paused flows, in the table of parked keys. `clock` gives monotonic seconds for the cache."""

    def __init__(self, table: Table, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._table = table
        self._clock = clock
        self._running_until: dict[str, float] = {}

    async def read(self, flow: str) -> Pause | None:
        """The pause of one flow as it stands, None while it runs."""
        row = await self._table.read(_PARTITION, flow)
        return None if row is None else _pause(row)

    async def list(self) -> list[Pause]:
        """All paused flows, by name."""
        return [_pause(row) for row in await self._table.query(_PARTITION)]

    async def is_paused(self, flow: str) -> bool:
        """Whether the flow is paused; "no" may be `CACHE_SECONDS` old, "yes" never is."""
        now = self._clock()
        if self._running_until.get(flow, now) > now:
            return False
        if await self._table.read(_PARTITION, flow) is not None:
            return True
        self._running_until[flow] = now + CACHE_SECONDS
        return False

    async def pause(self, flow: str, *, by: str, comment: str, now: datetime) -> Pause:
        """Pause a flow; one that is paused stays as it is, with the name of the person who was first."""
        row = Row(_PARTITION, flow, {"paused_by": by, "paused_at": now.isoformat(), "comment": comment})
        self._running_until.pop(flow, None)
        try:
            await self._table.insert(row)
        except RowExists:
            return await self.read(flow) or await self.pause(flow, by=by, comment=comment, now=now)
        return _pause(row)

    async def resume(self, flow: str) -> bool:
        """Lift the pause; False where there was none."""
        known = await self.read(flow)
        if known is None:
            return False
        try:
            await self._table.transact(_PARTITION, [Op("delete", Row(_PARTITION, flow, {}), known.etag)])
        except RowChanged:
            return False  # somebody else resumed it at this moment
        return True


def _pause(row: Row) -> Pause:
    values = row.values
    return Pause(row.key, values["paused_by"], datetime.fromisoformat(values["paused_at"]), values["comment"], row.etag)
