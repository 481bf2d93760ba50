"""Pausing one flow and resuming it: while it is paused its messages wait parked, in order, for as long as it takes.

    pause ──▶ row in the table ──▶ every delivery parks its key, followers queue behind it
    resume ─▶ row gone ──▶ a wake-up for each parked key, the longest parked first; the sweep sends what gets lost

`credit_hold_update` cannot be paused: it firms the holds of confirmed orders, and a hold that is not firm expires.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

from shared.domain.changes import Change
from shared.errors import Permanent
from shared.messaging import WAKE_UP
from shared.stores.pauses import Pause
from shared.stores.table import Row
from shared.topics import TOPICS
from shared.wiring import Hub

PAUSABLE = tuple(flow for flow in TOPICS if flow != "credit_hold_update")
_WAKE_UPS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class FlowState:
    """One flow as people see it; `parked_keys` counts the keys that are noted as parked, whatever for."""

    flow: str
    topic: str
    pausable: bool
    pause: Pause | None
    parked_keys: int

    @property
    def state(self) -> str:
        return "running" if self.pause is None else "paused"


async def flow_states(hub: Hub) -> list[FlowState]:
    """Every flow that reads the bus, with its pause and how many keys of it are parked."""
    paused = {pause.flow: pause for pause in await hub.pauses.list()}
    parked = [row.key.split("|", 1)[0] for row in await hub.parked.list()]
    return [
        FlowState(flow, topic, flow in PAUSABLE, paused.get(flow), parked.count(flow)) for flow, topic in TOPICS.items()
    ]


async def pause_flow(flow: str, *, by: str, comment: str, hub: Hub) -> Pause:
    """Pause a flow. Raises `Permanent` (not_pausable) for one that must not wait."""
    if flow not in PAUSABLE:
        raise Permanent(
            f"{flow} cannot be paused: a hold whose order's confirmation waits would expire",
            code="not_pausable",
            remedy=f"pause one of {', '.join(PAUSABLE)}",
        )
    return await hub.pauses.pause(flow, by=by, comment=comment, now=hub.clock())


async def resume_flow(flow: str, *, hub: Hub) -> int:
    """Lift the pause and wake what is parked, the longest parked first; how many keys were woken.

    Resuming a flow that runs wakes its keys too: whoever lost the answer repeats the call.
    """
    await hub.pauses.resume(flow)
    rows = sorted(await hub.parked.list(flow), key=lambda row: str(row.values["noted_at"]))
    for start in range(0, len(rows), _WAKE_UPS_AT_ONCE):
        chunk = rows[start : start + _WAKE_UPS_AT_ONCE]
        await asyncio.gather(
            *(hub.bus.wake(TOPICS[flow], _wake_up(row, flow, hub.clock()), flow=flow) for row in chunk)
        )
    return len(rows)


def _wake_up(row: Row, flow: str, now: datetime) -> Change:
    values = row.values
    return Change(
        id=f"resume-{flow}",
        source="concord",
        entity=values["entity"],
        kind=WAKE_UP,
        legal_entity=values["legal_entity"],
        key=values["key_"],
        occurred_at=now,
        received_at=now,
        correlation_id=values["correlation_id"],
    )
