"""Intake: authenticate (the door did), stamp, enqueue. Nothing slow happens before the answer.

What cannot be read is refused to the sender with every fault named. An order event whose envelope is good but whose
order cannot be read is also kept as a case, because the sender may never send it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from shared import telemetry
from shared.domain.changes import Change, encode
from shared.domain.events import (
    Envelope,
    OrderRefused,
    commerce_event,
    dataverse_event,
    has_reader,
    sap_event,
    topic_of,
)
from shared.domain.rulings import Reason
from shared.telemetry.names import CORRELATION, OUTCOMES
from shared.telemetry.names import FLOW as FLOW_NAME
from shared.wiring import Hub

FLOW = "change_intake"


async def change_intake(
    source: Literal["commerce", "sap", "dataverse"], raw: Any, traceparent: str, hub: Hub
) -> Sequence[Change]:
    """Enqueue what one webhook call says; returns the changes. Raises `Malformed`, or `RemoteDown` of the bus."""
    checkout = await _checkout_of(raw, hub) if source == "commerce" else ""
    if not checkout:
        return await _take(source, raw, traceparent, hub)
    # Commerce names the credit decision: the order goes on with the trace of its checkout, so that one trace and one
    # correlation id run from there to the CRM row.
    telemetry.note({CORRELATION: telemetry.trace_of(checkout)})
    with telemetry.span(FLOW, parent=checkout, links=[traceparent], attributes={FLOW_NAME: FLOW}):
        return await _take(source, raw, telemetry.traceparent.get(), hub)


async def _checkout_of(raw: Any, hub: Hub) -> str:
    """The traceparent of the checkout whose credit decision an event names, "" where it names none that is known."""
    decision = raw.get("decisionId") if isinstance(raw, dict) else None
    return await hub.credit_book.trace_of(decision) if isinstance(decision, str) and decision else ""


async def _take(
    source: Literal["commerce", "sap", "dataverse"], raw: Any, traceparent: str, hub: Hub
) -> Sequence[Change]:
    correlation_id, onward = telemetry.correlation_of(traceparent)
    envelope = Envelope(hub.clock(), correlation_id, onward)
    match source:
        case "commerce":
            try:
                changes = [commerce_event(raw, envelope, hub.policy.ledger.legal_entities)]
            except OrderRefused as error:
                await _keep(error, hub)
                raise
        case "sap":
            changes = sap_event(raw, envelope)
        case "dataverse":
            changes = [dataverse_event(raw, envelope)]
    for change in changes:
        if has_reader(change):
            await hub.bus.publish(topic_of(change), change)
        else:
            _pass_over(change, hub)
    hub.counters.add(f"received.{source}", len(changes))
    return changes


def _pass_over(change: Change, hub: Hub) -> None:
    """Nothing follows from such an event: that is said once, here, and nothing is enqueued for nobody."""
    hub.counters.add(f"outcomes.{FLOW}.unchanged")
    telemetry.count(OUTCOMES, flow=FLOW, ruling="unchanged")
    telemetry.log_outcome(
        FLOW,
        integration_key=change.business_key,
        correlation_id=change.correlation_id,
        ruling="unchanged",
        reason=["no_reader"],
        policy_version=hub.policy.digest,
    )


async def _keep(error: OrderRefused, hub: Hub) -> None:
    reasons = [
        Reason("malformed", f"{f.where} {f.what}", "correct it in Commerce and send it again") for f in error.faults
    ]
    await hub.cases.open(
        flow=FLOW,
        change=error.change,
        code="malformed_order",
        reasons=reasons,
        now=hub.clock(),
        body=encode(error.change),
    )
    hub.counters.add("refused.commerce")
