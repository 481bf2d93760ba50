"""What a person does with a case: replay it, resolve it by hand, or discard it. All walk the parked key's own path.

A parked message is never run from here: the decision is written on the key's head row and a wake-up is sent into its
lane, so that order is kept and two people cannot run one message at once. A message kept in the case itself (its flow
parks nothing) is published again for its own flow alone, under a new message id.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from shared.delivery import TOPICS
from shared.domain.changes import Change, decode
from shared.domain.events import topic_of
from shared.errors import Conflict, Permanent
from shared.messaging import WAKE_UP
from shared.stores.cases import OPEN, Case
from shared.stores.parking import parked_in
from shared.stores.table import RowChanged
from shared.wiring import Hub

Decision = Literal["replay", "resolve", "discard"]
_ENDED = {"replay": "replayed", "resolve": "resolved", "discard": "discarded"}


async def decide_case(case: Case, decision: Decision, *, by: str, comment: str, hub: Hub) -> Case:
    """Carry out a person's decision. Raises `Conflict` where the case is no longer open or somebody was faster."""
    if case.state != OPEN:
        raise Conflict(f"the case is {case.state} already, by {case.ended_by}")
    if case.parked:
        dossier = await hub.records.read(case.business_key)
        parked = parked_in(dossier, case.flow)
        if parked is not None and parked.case_id == case.id and parked.waiting:
            head = parked.waiting[0].change
            decided = replace(parked, decision=decision, decided_by=by)
            try:
                await hub.records.write(case.business_key, [decided.operation()])
            except RowChanged as error:
                raise Conflict("the key moved on at this moment: read the case again") from error
            await _end(case, decision, by, comment, hub)
            wake_up = replace(head, kind=WAKE_UP, data={})
            await hub.bus.wake(TOPICS[case.flow], wake_up, flow=case.flow, force=True)
            return await _read_again(case, hub)
    elif decision == "replay":
        await _send_again(case, hub)
    await _end(case, decision, by, comment, hub)
    return await _read_again(case, hub)


async def _send_again(case: Case, hub: Hub) -> None:
    if case.body is None:
        raise Permanent(
            "this case keeps no message to replay", code="nothing_to_replay", remedy="resolve or discard it"
        )
    change: Change = decode(case.body)
    if case.flow in TOPICS:
        await hub.bus.wake(TOPICS[case.flow], change, flow=case.flow)
    else:
        await hub.bus.publish(topic_of(change), change)


async def _end(case: Case, decision: Decision, by: str, comment: str, hub: Hub) -> None:
    try:
        await hub.cases.end(case, state=_ENDED[decision], by=by, comment=comment, now=hub.clock())
    except RowChanged as error:
        raise Conflict("somebody else decided this case at this moment") from error


async def _read_again(case: Case, hub: Hub) -> Case:
    return await hub.cases.read(case.id) or case
