"""How much waits for a person, told as metrics each minute: keys that are parked and cases that are open."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from shared import telemetry
from shared.stores.cases import OPEN
from shared.telemetry.names import CASE_AGE, OPEN_CASES, PARKED_AGE, PARKED_KEYS
from shared.topics import TOPICS
from shared.wiring import Hub


async def tell_standing(hub: Hub) -> None:
    """Read the index of parked keys and the open cases. A flow without any tells zero, so that an alert ends."""
    if not telemetry.is_recording():
        return
    parked = await hub.parked.list()
    cases = await hub.cases.list(state=OPEN)
    since_parked = _by_flow((row.values["flow"], datetime.fromisoformat(row.values["noted_at"])) for row in parked)
    since_opened = _by_flow((case.flow, case.opened_at) for case in cases)
    now = hub.clock()
    for flow in {*TOPICS, *since_parked, *since_opened}:
        telemetry.state(PARKED_KEYS, len(since_parked[flow]), flow=flow)
        telemetry.state(PARKED_AGE, _oldest(since_parked[flow], now), flow=flow)
        telemetry.state(CASE_AGE, _oldest(since_opened[flow], now), flow=flow)
    codes: dict[tuple[str, str], int] = dict.fromkeys(((flow, "") for flow in TOPICS), 0)
    for case in cases:
        codes[case.flow, case.code] = codes.get((case.flow, case.code), 0) + 1
    for (flow, code), count in codes.items():
        telemetry.state(OPEN_CASES, count, flow=flow, code=code)


def _by_flow(since: Iterable[tuple[str, datetime]]) -> defaultdict[str, list[datetime]]:
    told: defaultdict[str, list[datetime]] = defaultdict(list)
    for flow, moment in since:
        told[flow].append(moment)
    return told


def _oldest(since: list[datetime], now: datetime) -> float:
    """Seconds; zero where there is none."""
    return max(((now - moment).total_seconds() for moment in since), default=0.0)
