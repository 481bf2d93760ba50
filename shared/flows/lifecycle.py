"""Where an order stands: its steps with the time each took, read from the evidence that the flows left."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from shared.domain.changes import Change
from shared.stores.parking import Parked, parked_in
from shared.stores.records import Dossier, Evidence
from shared.wiring import Hub

State = Literal["received", "posted", "unchanged", "parked", "case", "retrying"]
_NAMES = {
    ("credit_hold_update", "order.confirmed"): "firmed",
    ("order_to_ledger", "order.confirmed"): "posted",
    ("crm_history_update", "order.confirmed"): "written_to_crm",
    ("crm_history_update", "order.posted"): "posting_written_to_crm",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One decided message: `milliseconds` from its receipt to its decision."""

    name: str
    at: datetime
    milliseconds: int
    flow: str
    ruling: str
    summary: str
    links: dict[str, str]


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


async def read_lifecycle(legal_entity: str, order_number: str, hub: Hub) -> Lifecycle | None:
    """Two queries of the order's partition; None where nothing of that order was ever seen."""
    business_key = f"order|{legal_entity}|{order_number}"
    dossier = await hub.records.read(business_key)
    evidence = await hub.records.read_evidence(business_key)
    waiting = _waiting(dossier)
    if not evidence and not waiting and not dossier.by_key:
        return None
    received = min((one.received_at for one in evidence), default=None)
    heads = [parked.waiting[0].change for parked in waiting if parked.waiting]
    steps = [_step(one) for one in evidence]
    if received is not None:
        steps.insert(0, Step("received", received, 0, "change_intake", "accept", "", {}))
    documents = tuple(dict.fromkeys(one.links["document"] for one in evidence if one.links.get("document")))
    decisions = tuple(dict.fromkeys(one.links["decision"] for one in evidence if one.links.get("decision")))
    return Lifecycle(
        legal_entity=legal_entity,
        order_number=order_number,
        state=_state(evidence, waiting, documents),
        correlation_id=_correlation(evidence, heads),
        steps=tuple(steps),
        decisions=decisions,
        documents=documents,
        waiting=tuple(waiting),
    )


def _waiting(dossier: Dossier) -> list[Parked]:
    flows = [row.key.removeprefix("0|park|") for row in dossier.rows("0|park|")]
    return [parked for flow in flows if (parked := parked_in(dossier, flow)) is not None]


def _step(one: Evidence) -> Step:
    took = int((one.decided_at - one.received_at).total_seconds() * 1000)
    name = _NAMES.get((one.flow, one.kind), f"{one.kind} in {one.flow}")
    if one.ruling == "hold":
        name = f"held in {one.flow}"
    return Step(name, one.decided_at, max(0, took), one.flow, one.ruling, one.summary, one.links)


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
