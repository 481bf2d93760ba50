"""Orders that Commerce has and that never arrived here: a webhook was lost. They are brought here as it would have.

Commerce and the ledger are compared over the last business days; of an order without a document, of which nothing is
remembered, the content is read and published as the event that Commerce should have sent. Its message has an identity
of its own that is the same at each attempt, and the order's posting key is what it always is: where the lost event
arrives after all, whichever is second finds the work done and settles as unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from shared import telemetry
from shared.authority.ledger import LegalEntity
from shared.clients.odata4 import Entity
from shared.domain.changes import Change, encode
from shared.domain.credit import decision_id_of
from shared.domain.events import Envelope, OrderRefused, commerce_event, topic_of
from shared.domain.fiscal import business_day
from shared.domain.orders import read_order
from shared.domain.rulings import Reason
from shared.errors import ConcordError, Malformed, Permanent
from shared.mapping.engine import moment
from shared.reports.comparing import compare
from shared.stores.recovered import is_unknown, note_recovered, recovered_at
from shared.wiring import Hub

FLOW = "lost_order_sweep"
DAYS = 2
"""Business days before today that are looked at."""
_YOUNG = timedelta(minutes=2)
"""An event this young is on its way."""
_AGAIN = timedelta(hours=1)
"""What was brought here and is still unknown waits in a lane; only after this long it is brought again."""
_CANCELED = 4


async def lost_order_sweep(hub: Hub) -> dict[str, int]:
    """Look at every legal entity; returns how many orders were brought here, were refused, and entities that failed."""
    counted = {"recovered": 0, "refused": 0, "failed": 0}
    for code, entity in sorted(hub.policy.ledger.legal_entities.items()):
        try:
            for number in await _lost(entity, hub):
                brought = await recover_order(code, number, hub)
                counted["recovered" if brought else "refused"] += 1
        except ConcordError as error:
            telemetry.log_fault(FLOW, error, legal_entity=code)
            counted["failed"] += 1
    return counted


async def recover_order(legal_entity: str, number: str, hub: Hub) -> bool:
    """Publish an order as Commerce should have; False where it cannot be read and became a case.

    Raises `Permanent` for an order that Commerce does not have.
    """
    raw = await hub.commerce.read_order(legal_entity, number)
    if raw is None:
        raise Permanent(f"Commerce has no order {number}", code="unknown-order")
    correlation_id, onward = telemetry.correlation_of("")
    envelope = Envelope(hub.clock(), correlation_id, onward)
    try:
        changes = [
            commerce_event(event, envelope, hub.policy.ledger.legal_entities)
            for event in await _events(legal_entity, number, raw, hub)
        ]
    except OrderRefused as error:
        await _keep(error, hub)
        return False
    for change in changes:
        await hub.bus.publish(topic_of(change), change)
    business_key = changes[0].business_key
    await hub.records.write(business_key, [note_recovered(business_key, hub.clock())])
    hub.counters.add("recovered.commerce")
    return True


async def _lost(entity: LegalEntity, hub: Hub) -> list[str]:
    today = business_day(hub.clock(), entity)
    _, joined = await compare(entity, today - timedelta(days=DAYS), today, hub)
    missing = [one.number for one in joined.findings if one.system == "sap" and one.kind == "missing_in_sap"]
    return [number for number in missing if await _is_lost(entity, number, hub)]


async def _is_lost(entity: LegalEntity, number: str, hub: Hub) -> bool:
    business_key = f"order|{entity.code}|{number}"
    dossier = await hub.records.read(business_key)
    brought = recovered_at(dossier)
    if not is_unknown(dossier) or (brought is not None and hub.clock() - brought < _AGAIN):
        return False
    if await hub.records.read_evidence(business_key):
        return False
    header = await hub.commerce.find_header(entity.code, number)
    placed = _placed(header)
    return header is not None and (placed is None or hub.clock() - placed >= _YOUNG)


def _placed(header: Entity | None) -> datetime | None:
    text = (header or {}).get("OrderCreationDateTime")
    return moment.read(text) if text else None


async def _events(legal_entity: str, number: str, raw: Mapping[str, Any], hub: Hub) -> list[dict[str, Any]]:
    """What Commerce should have told: the order or return, and its cancellation where it is cancelled by now."""
    told: dict[str, Any] = {
        "type": "order.confirmed",
        "id": f"{FLOW}:{legal_entity}:{number}",
        "orderNumber": number,
        "legalEntity": legal_entity,
        "occurredAt": raw.get("OrderPlacedDate"),
        "order": dict(raw),
        "decisionId": None,
    }
    try:
        order = read_order(raw, legal_entity)
    except Malformed:
        return [told]  # read again, and refused with every fault named, as its own event would have been
    if order.is_return:
        return [told | {"type": "order.returned"}]
    if order.on_account and order.customer:
        segment = hub.policy.ledger.entity(legal_entity).credit_segment
        # Commerce asks under the sales id; the decision it got is found by that.
        decision = decision_id_of(segment, order.customer, legal_entity, number)
        if await hub.credit_book.read_decision(decision) is not None:
            told["decisionId"] = decision
    if raw.get("StatusValue") != _CANCELED:
        return [told]
    return [told, told | {"type": "order.cancelled", "id": f"{told['id']}:cancelled", "order": None}]


async def _keep(error: OrderRefused, hub: Hub) -> None:
    change: Change = error.change
    reasons = [
        Reason("malformed", f"{fault.where} {fault.what}", "correct it in Commerce and send it again")
        for fault in error.faults
    ]
    await hub.cases.open(
        flow=FLOW, change=change, code="malformed_order", reasons=reasons, now=hub.clock(), body=encode(change)
    )
    hub.counters.add("refused.commerce")
