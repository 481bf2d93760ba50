"""The sweep behind the scheduled wake-ups: wake what is overdue, forget what is no longer parked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from shared.messaging import WAKE_UP
from shared.stores.parking import may_land_yet, parked_in
from shared.stores.table import RowChanged
from shared.topics import TOPICS
from shared.wiring import Hub

_GRACE = timedelta(seconds=5)
"""A scheduled wake-up is usually on its way: the sweep steps in only after it should have arrived."""


async def parked_sweep(hub: Hub) -> dict[str, int]:
    """Look at every parked key once; returns how many were woken, forgotten, left waiting and wait for a person."""
    counted = {"woken": 0, "forgotten": 0, "waiting": 0, "cases": 0}
    now = hub.clock()
    paused = {pause.flow for pause in await hub.pauses.list()}
    for row in await hub.parked.list_announced():
        flow, business_key = row.key.split("|", 1)
        if flow in paused:
            counted["waiting"] += 1
            continue
        parked = parked_in(await hub.records.read(business_key), flow)
        if parked is None or not parked.waiting:
            if may_land_yet(row, now):
                continue
            try:
                await hub.parked.forget(row)
                counted["forgotten"] += 1
            except RowChanged:
                counted["waiting"] += 1  # parked again at this moment
            continue
        if not row.values["is_certain"]:
            await hub.parked.note(parked.waiting[0].change, flow, now)
        if parked.state == "case" and not parked.decision:
            counted["cases"] += 1
        elif parked.state == "case" or parked.due_at + _GRACE <= now:
            wake_up = replace(parked.waiting[0].change, kind=WAKE_UP, data={})
            await hub.bus.wake(TOPICS[flow], wake_up, flow=flow)
            counted["woken"] += 1
        else:
            counted["waiting"] += 1
    return counted
