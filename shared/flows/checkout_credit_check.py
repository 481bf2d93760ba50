"""The checkout's question: may this order go on account? Decided live, held, and answered before the deadline.

SAP slow or down is a business answer by written policy, never an error; only our own tables being away is a 503.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from shared import telemetry
from shared.authority.credit import Entity
from shared.domain.changes import Change
from shared.domain.credit import ApprovalView, CheckRequest, DecisionRecord, Hold
from shared.domain.credit_request import request_of_record
from shared.domain.credit_transitions import give_up
from shared.domain.rulings import Reason
from shared.errors import Conflict, Permanent, Transient
from shared.messaging import WAKE_UP
from shared.stores.credit_book.book import Kept
from shared.telemetry.names import CREDIT_CHECK, DECISION, RULING
from shared.wiring import Hub

FLOW = "checkout_credit_check"
_BACKGROUND: set[asyncio.Task[None]] = set()


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision as the caller sees it."""

    record: DecisionRecord
    hold: Hold | None


async def checkout_credit_check(request: CheckRequest, entity: Entity, hub: Hub) -> Answer:
    """Decide one checkout. Raises `Permanent` (request_reused, unknown_account) and `Transient` (tables away)."""
    request = replace(request, traceparent=telemetry.traceparent.get())
    began = asyncio.get_running_loop().time()
    record, hold = await hub.credit_desk.decide(request, entity, began + float(entity.deadline_seconds))
    outcome = record.decision.outcome
    took_ms = (asyncio.get_running_loop().time() - began) * 1000
    telemetry.measure(CREDIT_CHECK, took_ms, outcome=outcome, legal_entity=request.legal_entity)
    telemetry.note({DECISION: record.decision.id, RULING: outcome})
    if hold is not None and hold.state == "placed":
        _later(_schedule_expiry(hold, hub))
    telemetry.log_outcome(
        FLOW,
        integration_key=record.decision.id,
        correlation_id=request.correlation_id,
        ruling=record.decision.outcome,
        reason=[reason.code for reason in record.reasons],
        policy_version=record.decision.policy,
    )
    return Answer(record, hold)


async def read_decision(decision_id: str, hub: Hub) -> Answer | None:
    """A decision as it stands now, an approval that nobody gave in time included."""
    kept = await hub.credit_book.read_record(decision_id)
    if kept.record is None:
        return None
    return Answer(_as_of_now(kept.record, hub), kept.held.hold if kept.held else None)


async def release(decision_id: str, hub: Hub) -> Answer | None:
    """Give an unconfirmed hold back. Raises `Conflict` where an order is bound to it or it is consumed."""
    cause = _cause(decision_id, "hold.given_up", hub)
    moved = await hub.credit_book.move(decision_id, give_up, cause=cause, what="released")
    if moved.refused is not None:
        raise Conflict(f"{moved.refused.message}: {moved.refused.remedy}")
    return await read_decision(decision_id, hub)


async def decide_approval(
    decision_id: str, *, approved: bool, comment: str, person: str, roles: frozenset[str], via: str, hub: Hub
) -> Answer | None:
    """A person's word on an order that asked for approval; the live record is weighed again before anything is held.

    Raises `Permanent` (wrong_role, own_request) and `Conflict` (no longer open).
    """
    kept = await hub.credit_book.read_record(decision_id)
    if kept.record is None:
        return None
    record = _as_of_now(kept.record, hub)
    approval = record.approval
    if approval is None or record.decision.outcome != "approval_required":
        raise Conflict(f"decision {decision_id} asks for no approval: it is {record.decision.outcome}")
    if approval.state != "open":
        raise Conflict(f"the approval is {approval.state.replace('_', ' ')} already")
    if approval.role not in roles:
        raise Permanent(f"an order of {approval.amount} needs the role {approval.role}", code="wrong_role")
    if person.casefold() == record.decision.requested_by.casefold():
        raise Permanent("whoever requested the order cannot approve it", code="own_request")
    decided = replace(
        approval,
        state="approved" if approved else "refused",
        decided_by=person,
        decided_at=hub.clock(),
        comment=comment,
        via=via,
    )
    if not approved:
        await _refuse(kept, replace(record, approval=decided), hub)
        return await read_decision(decision_id, hub)
    entity = hub.policy.credit.legal_entities[record.decision.legal_entity]
    deadline = asyncio.get_running_loop().time() + float(entity.deadline_seconds)
    request = request_of_record(record)
    again, hold = await hub.credit_desk.decide_again(request, entity, decided, kept.record_etag, deadline)
    if hold is not None:
        _later(_schedule_expiry(hold, hub))
    return Answer(again, hold)


async def _refuse(kept: Kept, record: DecisionRecord, hub: Hub) -> None:
    refused = Reason("refused_by_person", f"refused by {record.approval.decided_by if record.approval else ''}")
    declined = replace(
        record, decision=replace(record.decision, outcome="declined"), reasons=(refused, *record.reasons)
    )
    await hub.credit_book.rewrite(declined, kept.record_etag)


def _as_of_now(record: DecisionRecord, hub: Hub) -> DecisionRecord:
    approval = record.approval
    if approval is None or approval.state != "open" or approval.expires_at > hub.clock():
        return record
    ended: ApprovalView = replace(approval, state="timed_out")
    late = Reason("approval_timed_out", f"nobody decided by {approval.expires_at.isoformat(timespec='seconds')}")
    return replace(
        record, decision=replace(record.decision, outcome="declined"), reasons=(late, *record.reasons), approval=ended
    )


async def _schedule_expiry(hold: Hold, hub: Hub) -> None:
    """A wake-up at the end of the hold's life; the sweep does the same for one that got lost."""
    change = replace(_cause(hold.id, WAKE_UP, hub), correlation_id=hold.decision.correlation_id)
    try:
        await hub.bus.wake("orders", change, flow="credit_hold_update", due=hold.expires_at + timedelta(seconds=1))
    except Transient as error:
        telemetry.log_fault(FLOW, error, decision=hold.id)


def _cause(decision_id: str, kind: str, hub: Hub) -> Change:
    now = hub.clock()
    return Change(
        id=f"{kind}-{decision_id}",
        source="concord",
        entity="credit_hold",
        kind=kind,
        legal_entity="",
        key=decision_id,
        occurred_at=now,
        received_at=now,
        correlation_id=telemetry.correlation_of(telemetry.traceparent.get())[0],
    )


def _later(work: Any) -> None:
    """Work that the caller does not wait for; kept referenced until it is done."""
    task: asyncio.Task[None] = asyncio.create_task(work)
    _BACKGROUND.add(task)
    task.add_done_callback(_BACKGROUND.discard)
