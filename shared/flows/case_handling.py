"""What a person does with a case: replay it, resolve it by hand, or discard it. All walk the parked key's own path.

A parked message is never run from here: the decision is written on the key's head row and a wake-up is sent into its
lane, so that order is kept and two people cannot run one message at once. A message kept in the case itself (its flow
parks nothing) is published again for its own flow alone, under a new message id, by whoever took the case first.
The same decision made again is answered with the case as it stands; another decision is a conflict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from shared.domain.changes import Change, decode
from shared.domain.events import topic_of
from shared.errors import ConcordError, Conflict, Malformed, Permanent, Transient
from shared.messaging import WAKE_UP
from shared.stores.cases import OPEN, Case
from shared.stores.parking import Parked, parked_in
from shared.stores.table import RowChanged
from shared.topics import TOPICS
from shared.wiring import Hub

Decision = Literal["replay", "resolve", "discard"]
_RACES_MAX = 8
ENDED: dict[Decision, str] = {"replay": "replayed", "resolve": "resolved", "discard": "discarded"}


@dataclass(frozen=True, slots=True)
class Decided:
    """One case of many: as it stands now, or the fault that kept it from being decided."""

    id: str
    case: Case | None
    fault: ConcordError | None = None


async def decide_case(case: Case, decision: Decision, *, by: str, comment: str, hub: Hub) -> Case:
    """Carry out a person's decision. Raises `Conflict` where the case was decided otherwise or somebody is at it."""
    if case.state != OPEN:
        if case.state == ENDED[decision]:
            return case
        raise Conflict(f"the case is {case.state} already, by {case.ended_by}")
    if case.parked:
        parked = await _decide_head(case, decision, by, hub)
        if parked is not None:
            if await _end(case, decision, by, comment, hub):  # whoever ends it wakes the key, once
                wake_up = replace(parked.waiting[0].change, kind=WAKE_UP, data={})
                await hub.bus.wake(TOPICS[case.flow], wake_up, flow=case.flow, force=True)
            return await _read_again(case, hub)
    elif decision == "replay":
        case = await _send_again(case, by, hub)
    await _end(case, decision, by, comment, hub)
    return await _read_again(case, hub)


async def decide_cases(ids: Sequence[str], decision: Decision, *, by: str, comment: str, hub: Hub) -> list[Decided]:
    """The same for many, the oldest first, so that cases of one key go in the order they were opened."""
    found = {case_id: await hub.cases.read(case_id) for case_id in dict.fromkeys(ids)}
    known = sorted((case for case in found.values() if case is not None), key=lambda case: (case.opened_at, case.id))
    results: dict[str, Decided] = {
        case_id: Decided(case_id, None, Permanent("no such case", code="unknown-case"))
        for case_id, case in found.items()
        if case is None
    }
    for case in known:
        try:
            decided = await decide_case(case, decision, by=by, comment=comment, hub=hub)
            results[case.id] = Decided(case.id, decided)
        except (Conflict, Permanent, Malformed, Transient) as error:
            results[case.id] = Decided(case.id, case, error)
    return [results[case_id] for case_id in found]


async def _decide_head(case: Case, decision: Decision, by: str, hub: Hub) -> Parked | None:
    """Write the decision on the key's head row; None where the key is not parked by this case any more.

    One that stands there was made by somebody whose work was cut off. A message that queues behind the head at this
    moment changes nothing about it: the decision is written again on what stands then.
    """
    for _ in range(_RACES_MAX):
        parked = parked_in(await hub.records.read(case.business_key), case.flow)
        if parked is None or parked.case_id != case.id or not parked.waiting:
            return None
        if parked.decision == decision:
            return parked
        if parked.decision:
            raise Conflict(f"{parked.decided_by} is about to {parked.decision} it")
        decided = replace(parked, decision=decision, decided_by=by)
        try:
            await hub.records.write(parked.business_key, [decided.operation()])
        except RowChanged:
            continue
        return parked
    raise Conflict("the key moved on at this moment: read the case again")


async def _send_again(case: Case, by: str, hub: Hub) -> Case:
    """Take the case, then publish its message: of two who replay at once only one sends."""
    if case.body is None:
        raise Permanent(
            "this case keeps no message to replay", code="nothing_to_replay", remedy="resolve or discard it"
        )
    try:
        change: Change = decode(case.body)
    except Malformed as error:
        raise Permanent(f"its message cannot be read: {error}", code="unreadable", remedy="discard it") from error
    if case.is_taken(hub.clock()):
        raise Conflict(f"{case.taken_by} is replaying it")
    try:
        taken = await hub.cases.take(case, by=by, now=hub.clock())
    except RowChanged as error:
        raise Conflict("somebody else decided this case at this moment") from error
    if case.flow in TOPICS:
        await hub.bus.wake(TOPICS[case.flow], change, flow=case.flow)
    else:
        await hub.bus.publish(topic_of(change), change)
    return taken


async def _end(case: Case, decision: Decision, by: str, comment: str, hub: Hub) -> bool:
    """End the case; False where the same decision ended it at this moment, by whomever."""
    try:
        await hub.cases.end(case, state=ENDED[decision], by=by, comment=comment, now=hub.clock())
    except RowChanged as error:
        now = await hub.cases.read(case.id)
        if now is not None and now.state == ENDED[decision]:
            return False
        raise Conflict("somebody else decided this case at this moment") from error
    return True


async def _read_again(case: Case, hub: Hub) -> Case:
    return await hub.cases.read(case.id) or case
