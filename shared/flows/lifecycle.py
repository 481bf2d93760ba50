"""Where an order stands: its steps with the time each took, from the evidence that the flows left; and what is late.

An order is checked (its credit decision), received, firmed (its hold is bound to it), posted and written to CRM. The
credit book keeps the first and third of these, the lineage of the order the others.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from shared.authority.ledger import LegalEntity
from shared.domain.changes import Change
from shared.domain.fiscal import business_day
from shared.errors import Malformed
from shared.mapping.engine import moment
from shared.reports.comparing import compare
from shared.reports.explaining import Explained, explain
from shared.stores.claims import claims_in
from shared.stores.parking import Parked, parked_in
from shared.stores.records import Dossier, Evidence
from shared.stores.recovered import recovered_at
from shared.wiring import Hub

State = Literal["received", "posted", "unchanged", "parked", "case", "retrying"]
LATE = timedelta(minutes=15)
"""Longer than this from receipt to ledger and history is late, where nobody says otherwise."""
LATE_MAX = 500
_DAYS = 2
_LOOKUPS_AT_ONCE = 16
_NAMES = {
    ("order_to_ledger", "order.confirmed"): "posted",
    ("crm_history_update", "order.confirmed"): "written_to_crm",
    ("crm_history_update", "order.posted"): "posting_written_to_crm",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step: `milliseconds` from its message's receipt to its decision, `since_before` from the step before it."""

    name: str
    at: datetime
    milliseconds: int
    flow: str
    ruling: str
    summary: str
    links: dict[str, str]
    since_before: int = 0


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """An order's way. `waiting` are its parked flows, `documents` the ledger documents, `decisions` the credit ones."""

    legal_entity: str
    order_number: str
    state: State
    correlation_id: str
    steps: tuple[Step, ...]
    decisions: tuple[str, ...]
    documents: tuple[str, ...]
    waiting: tuple[Parked, ...]


@dataclass(frozen=True, slots=True)
class Late:
    """An order that should be on the ledger and in the history by now. `missing` names where it is not."""

    legal_entity: str
    order_number: str
    since: datetime
    missing: tuple[str, ...]
    code: str
    reason: str
    case_id: str = ""
    resend: bool = False


async def read_lifecycle(legal_entity: str, order_number: str, hub: Hub) -> Lifecycle | None:
    """Two queries of the order's partition, one for each credit decision; None where nothing of it was ever seen."""
    business_key = f"order|{legal_entity}|{order_number}"
    dossier, evidence = await asyncio.gather(hub.records.read(business_key), hub.records.read_evidence(business_key))
    waiting = _waiting(dossier)
    if not evidence and not waiting and not dossier.by_key:
        return None
    heads = [parked.waiting[0].change for parked in waiting if parked.waiting]
    documents = tuple(dict.fromkeys(one.links["document"] for one in evidence if one.links.get("document")))
    decisions = _decisions(dossier, evidence, heads)
    received = [one.received_at for one in evidence] + [head.received_at for head in heads]
    steps = [_step(one) for one in evidence]
    if received:
        steps.append(Step("received", min(received), 0, "change_intake", "accept", "", {}))
    if (brought := recovered_at(dossier)) is not None:
        steps.append(Step("recovered", brought, 0, "lost_order_sweep", "accept", "its event never came", {}))
    for decision in decisions:
        steps += await _credit_steps(decision, min(received, default=None), hub)
    return Lifecycle(
        legal_entity=legal_entity,
        order_number=order_number,
        state=_state(evidence, waiting, documents),
        correlation_id=_correlation(evidence, heads),
        steps=_in_order(steps),
        decisions=decisions,
        documents=documents,
        waiting=tuple(waiting),
    )


async def late_orders(legal_entity: str, hub: Hub, *, after: timedelta = LATE) -> list[Late]:
    """Orders received (or placed) longer ago than `after` and not where they belong, the oldest first.

    Looked for among parked keys of any age and among the business days up to `_DAYS` ago in the three systems.
    """
    entity = hub.policy.ledger.entity(legal_entity)
    today = business_day(hub.clock(), entity)
    _, joined = await compare(entity, today - timedelta(days=_DAYS), today, hub)
    wanted = [one for one in joined.findings if one.kind in ("missing_in_sap", "missing_in_crm")]
    rows = await explain(replace(joined, findings=tuple(wanted)), entity, hub)
    by_number: dict[str, list[Explained]] = {}
    for row in rows:
        if row.is_in_flight or row.case_id or not row.explained:
            by_number.setdefault(row.finding.number, []).append(row)
    parked = {
        str(row.values["key_"]): datetime.fromisoformat(row.values["noted_at"])
        for row in await hub.parked.list()
        if row.values["entity"] == "order" and row.values["legal_entity"] == legal_entity
    }
    free = asyncio.Semaphore(_LOOKUPS_AT_ONCE)

    async def look(number: str) -> Late | None:
        async with free:
            return await _late(entity, number, by_number.get(number, []), parked.get(number), hub)

    numbers = list(dict.fromkeys([*parked, *by_number]))[:LATE_MAX]
    found = [one for one in await asyncio.gather(*(look(number) for number in numbers)) if one is not None]
    limit = hub.clock() - after
    return sorted((one for one in found if one.since <= limit), key=lambda one: (one.since, one.order_number))


async def _late(
    entity: LegalEntity, number: str, rows: list[Explained], noted_at: datetime | None, hub: Hub
) -> Late | None:
    life = await read_lifecycle(entity.code, number, hub)
    began = [step.at for step in life.steps if step.name == "received"] if life else []
    if not began and noted_at is not None:
        began = [noted_at]
    if not began:
        header = await hub.commerce.find_header(entity.code, number)
        began = [moment.read(header["OrderCreationDateTime"])] if header else []
    waiting = life.waiting if life else ()
    if not began or not (rows or waiting):
        return None
    missing = {"sap": "ledger", "crm": "history"}
    where = [missing[row.finding.system] for row in rows] or [parked.flow for parked in waiting]
    case_id = next((row.case_id for row in rows if row.case_id), "") or next((p.case_id for p in waiting), "")
    return Late(
        entity.code,
        number,
        began[0],
        tuple(dict.fromkeys(where)),
        rows[0].code if rows else "waiting",
        rows[0].reason if rows else waiting[0].reason,
        case_id,
        any(row.resend for row in rows),
    )


def _decisions(dossier: Dossier, evidence: list[Evidence], heads: list[Change]) -> tuple[str, ...]:
    named = [one.links["decision"] for one in evidence if one.links.get("decision")]
    named += [claim.decision for claim in claims_in(dossier) if claim.decision]
    named += [str(head.data["decisionId"]) for head in heads if head.data.get("decisionId")]
    return tuple(dict.fromkeys(named))


async def _credit_steps(decision: str, received: datetime | None, hub: Hub) -> list[Step]:
    """When the checkout was decided, and when the hold was bound to the order."""
    try:
        kept = await hub.credit_book.read_record(decision)
    except Malformed:
        return []  # the event named a decision that is none of ours: a case says so
    if kept.record is None:
        return []
    own = kept.record.decision
    links = {"decision": own.id}
    steps = [
        Step("checked", own.decided_at, 0, "checkout_credit_check", own.outcome, f"{own.amount} on account", links)
    ]
    firmed = next((step for step in kept.steps if step.after == "firm"), None)
    if firmed is not None:
        took = _milliseconds(firmed.at - (received or firmed.at))
        steps.append(Step("firmed", firmed.at, took, "credit_hold_update", "accept", firmed.reason, links))
    return steps


def _in_order(steps: list[Step]) -> tuple[Step, ...]:
    """By time, each with the time since the one before."""
    ordered = sorted(steps, key=lambda step: step.at)
    return tuple(
        replace(step, since_before=_milliseconds(step.at - before.at)) if before is not None else step
        for before, step in zip([None, *ordered], ordered, strict=False)
    )


def _waiting(dossier: Dossier) -> list[Parked]:
    flows = [row.key.removeprefix("0|park|") for row in dossier.rows("0|park|")]
    return [parked for flow in flows if (parked := parked_in(dossier, flow)) is not None]


def _step(one: Evidence) -> Step:
    name = _NAMES.get((one.flow, one.kind), f"{one.kind} in {one.flow}")
    if one.ruling == "hold":
        name = f"held in {one.flow}"
    if one.ended_by_hand:
        name = f"{one.ended_by_hand} in {one.flow}"
    took = _milliseconds(one.decided_at - one.received_at)
    return Step(name, one.decided_at, took, one.flow, one.ruling, one.summary, one.links)


def _milliseconds(took: timedelta) -> int:
    return max(0, int(took.total_seconds() * 1000))


def _state(evidence: list[Evidence], waiting: list[Parked], documents: tuple[str, ...]) -> State:
    """The ledger's word counts: a case or a retry of its flow first, then what it decided."""
    ledger = next((parked for parked in waiting if parked.flow == "order_to_ledger"), None)
    if ledger is not None:
        return "case" if ledger.state == "case" else "retrying"
    if waiting:
        return "case" if any(parked.state == "case" for parked in waiting) else "retrying"
    if documents:
        return "posted"
    decided = [one for one in evidence if one.flow == "order_to_ledger"]
    return "unchanged" if decided and decided[-1].ruling == "unchanged" else "received"


def _correlation(evidence: list[Evidence], heads: list[Change]) -> str:
    if evidence:
        return evidence[0].correlation_id
    return heads[0].correlation_id if heads else ""
