"""The checkout's question: may this order go on account? Decided live, held, and answered before the deadline.

SAP slow or down is a business answer by written policy, never an error; only our own tables being away is a 503.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from shared import telemetry
from shared.approving import Answer, as_of_now, credit_cause, schedule_expiry, show_in_crm
from shared.authority.credit import Entity
from shared.domain.credit import CheckRequest
from shared.domain.credit_transitions import give_up
from shared.errors import Conflict
from shared.telemetry.names import CREDIT_CHECK, CREDIT_CHECK_SLOW, DECISION, RULING, SLOW_CHECK_MS
from shared.wiring import Hub

FLOW = "checkout_credit_check"
_ANSWER_SECONDS = 0.1
"""Of the time a check may take, what is left for deciding and writing once SAP has answered, or has not."""
_BACKGROUND: set[asyncio.Task[None]] = set()


async def checkout_credit_check(request: CheckRequest, entity: Entity, hub: Hub) -> Answer:
    """Decide one checkout. Raises `Permanent` (request_reused, unknown_account) and `Transient` (tables away)."""
    request = replace(request, traceparent=telemetry.traceparent.get())
    began = asyncio.get_running_loop().time()
    deadline = began + float(entity.deadline_seconds) - _ANSWER_SECONDS
    record, hold = await hub.credit_desk.decide(request, entity, deadline)
    outcome = record.decision.outcome
    took_ms = (asyncio.get_running_loop().time() - began) * 1000
    telemetry.measure(CREDIT_CHECK, took_ms, outcome=outcome, legal_entity=request.legal_entity)
    if took_ms > SLOW_CHECK_MS:
        telemetry.count(CREDIT_CHECK_SLOW, legal_entity=request.legal_entity)
    telemetry.note({DECISION: record.decision.id, RULING: outcome})
    if hold is not None and hold.state == "placed":
        _later(schedule_expiry(hold, hub))
    elif record.approval is not None and record.approval.state == "open":
        _later(show_in_crm(record, hub))
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
    return Answer(as_of_now(kept.record, hub.clock()), kept.held.hold if kept.held else None)


async def release(decision_id: str, hub: Hub) -> Answer | None:
    """Give an unconfirmed hold back. Raises `Conflict` where an order is bound to it or it is consumed."""
    cause = credit_cause(decision_id, "hold.given_up", hub)
    moved = await hub.credit_book.move(decision_id, give_up, cause=cause, what="released")
    if moved.refused is not None:
        raise Conflict(f"{moved.refused.message}: {moved.refused.remedy}")
    return await read_decision(decision_id, hub)


def _later(work: Any) -> None:
    """Work that the caller does not wait for; kept referenced until it is done."""
    task: asyncio.Task[None] = asyncio.create_task(work)
    _BACKGROUND.add(task)
    task.add_done_callback(_BACKGROUND.discard)
