"""Approvals: what the rules leave to a person, decided through the API or in CRM, at most once.

approval_required ──▶ row in CRM, answer to Commerce ──▶ a person with the band's role, not the one who asked
      │                                                     │ yes                          │ no
      │ nobody in time                                      ▼                              ▼
      ▼                                        weighed again on the live record         declined
   declined                                    ──▶ approved and held, or refused
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared import telemetry
from shared.domain.changes import Change
from shared.domain.credit import ApprovalView, DecisionRecord, Hold
from shared.domain.credit_request import request_of_record
from shared.domain.rulings import Reason
from shared.errors import Conflict, Permanent, Transient
from shared.messaging import WAKE_UP
from shared.stores.credit_book.book import Kept
from shared.wiring import Hub

ENTITY = "concord_creditapproval"
"""The table in CRM, and the entity of changes about it on the bus."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision as the caller sees it."""

    record: DecisionRecord
    hold: Hold | None


@dataclass(frozen=True, slots=True)
class Approver:
    """Who decides: `names` are all names the person is known under, the first is the one that is kept."""

    names: tuple[str, ...]
    roles: frozenset[str]
    via: str


async def decide_approval(
    decision_id: str, *, approved: bool, comment: str, approver: Approver, hub: Hub
) -> Answer | None:
    """A person's word on an order that asked for approval; the live record is weighed again before anything is held.

    None for a decision that is not there. Raises `Permanent` (wrong_role, own_request), `Conflict` (no longer open).
    """
    kept = await hub.credit_book.read_record(decision_id)
    if kept.record is None:
        return None
    record = as_of_now(kept.record, hub.clock())
    approval = record.approval
    if approval is None:
        raise Conflict(f"decision {decision_id} asks for no approval: it is {record.decision.outcome}")
    if approval.state != "open":
        raise Conflict(f"the approval is {approval.state.replace('_', ' ')} already")
    if approval.role not in approver.roles:
        raise Permanent(f"an order of {approval.amount} needs the role {approval.role}", code="wrong_role")
    asked_by = record.decision.requested_by.casefold()
    if asked_by and asked_by in {name.casefold() for name in approver.names}:
        raise Permanent("whoever requested the order cannot approve it", code="own_request")
    decided = replace(
        approval,
        state="approved" if approved else "refused",
        decided_by=approver.names[0],
        decided_at=hub.clock(),
        comment=comment,
        via=approver.via,
    )
    if not approved:
        return Answer(await _close(kept, replace(record, approval=decided), "refused_by_person", hub), None)
    entity = hub.policy.credit.legal_entities[record.decision.legal_entity]
    deadline = asyncio.get_running_loop().time() + float(entity.deadline_seconds)
    request = request_of_record(record)
    again, hold = await hub.credit_desk.decide_again(request, entity, decided, kept.record_etag, deadline)
    if hold is not None:
        await schedule_expiry(hold, hub)
    await show_in_crm(again, hub)
    return Answer(again, hold)


async def time_out(kept: Kept, hub: Hub) -> bool:
    """Close an approval that nobody gave in time; True where it was closed now."""
    if kept.record is None or kept.record.approval is None or kept.record.approval.state != "open":
        return False
    record = as_of_now(kept.record, hub.clock())
    if record is kept.record:
        return False
    await hub.credit_book.rewrite(record, kept.record_etag)
    await show_in_crm(record, hub)
    return True


def as_of_now(record: DecisionRecord, now: datetime) -> DecisionRecord:
    """The record as it stands: an approval that nobody gave in time is declined, whether or not a sweep came by."""
    approval = record.approval
    if approval is None or approval.state != "open" or approval.expires_at > now:
        return record
    ended: ApprovalView = replace(approval, state="timed_out")
    late = Reason("approval_timed_out", f"nobody decided by {approval.expires_at.isoformat(timespec='seconds')}")
    return replace(
        record, decision=replace(record.decision, outcome="declined"), reasons=(late, *record.reasons), approval=ended
    )


async def show_in_crm(record: DecisionRecord, hub: Hub) -> None:
    """Have the request's row in CRM brought to where the book stands; the sweep repeats it where this gets lost."""
    state = record.approval.state if record.approval else ""
    change = credit_cause(record.decision.id, f"approval.{state}", hub, entity=ENTITY)
    try:
        await hub.bus.publish("changes", replace(change, correlation_id=record.decision.correlation_id))
    except Transient as error:
        telemetry.log_fault("credit_approval_sync", error, decision=record.decision.id)


async def schedule_expiry(hold: Hold, hub: Hub) -> None:
    """A wake-up at the end of the hold's life; the sweep does the same for one that got lost."""
    change = replace(credit_cause(hold.id, WAKE_UP, hub), correlation_id=hold.decision.correlation_id)
    try:
        await hub.bus.wake("orders", change, flow="credit_hold_update", due=hold.expires_at + timedelta(seconds=1))
    except Transient as error:
        telemetry.log_fault("checkout_credit_check", error, decision=hold.id)


def credit_cause(decision_id: str, kind: str, hub: Hub, *, entity: str = "credit_hold") -> Change:
    """A change that the app itself causes to a decision; the same kind for the same decision is the same message."""
    now = hub.clock()
    return Change(
        id=f"{kind}-{decision_id}",
        source="concord",
        entity=entity,
        kind=kind,
        legal_entity="",
        key=decision_id,
        occurred_at=now,
        received_at=now,
        correlation_id=telemetry.correlation_of(telemetry.traceparent.get())[0],
    )


async def _close(kept: Kept, record: DecisionRecord, code: str, hub: Hub) -> DecisionRecord:
    by = record.approval.decided_by if record.approval else ""
    declined = replace(
        record,
        decision=replace(record.decision, outcome="declined"),
        reasons=(Reason(code, f"refused by {by}"), *record.reasons),
    )
    await hub.credit_book.rewrite(declined, kept.record_etag)
    await show_in_crm(declined, hub)
    return declined
