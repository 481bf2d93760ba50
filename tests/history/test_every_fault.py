"""Each request of an order's history × each way it can fail: in the end the same rows stand as without any fault."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

from shared.clients.http import deadline_after
from shared.domain.changes import Change
from shared.errors import Transient
from shared.flows.crm_history_update import crm_history_update
from tests.history.test_crm_history import landed, posted
from tests.ledger.rig import confirmed, event, line, sales_order
from tests.systems import Systems, systems

TRIES_MAX = 12
PATIENCE_SECONDS = 0.4
LATE_SECONDS = 0.8
WHERE = {
    "the batch": {"path": r"\$batch"},
    "the header": {"method": "PATCH", "path": r"/salesorders\("},
    "the lines": {"path": "UpsertMultiple"},
    "the signal": {"path": "concord_signals"},
    "the version": {"method": "GET", "path": r"/salesorders\("},
}
HOW: dict[str, dict[str, Any]] = {
    "the connection is lost": {"kind": "reset"},
    "nothing arrives": {"kind": "timeout_before"},
    "the answer is lost": {"kind": "timeout_after"},
    "it lands much later": {"kind": "timeout_late", "appliesAfter": LATE_SECONDS},
    "it breaks": {"kind": "status", "status": 500},
    "it is throttled": {"kind": "status", "status": 429},
}


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Systems]:
    async with systems(monkeypatch) as running:
        yield running


@dataclass(frozen=True, slots=True)
class Struck:
    """One order: which of its events meets which fault in which request."""

    number: str
    at: str
    where: str
    how: str

    @property
    def story(self) -> list[Change]:
        """Confirmed, shipped in part, posted."""
        lines = [line("1", "10", "100.00", "20.00"), line("2", "1", "5.00", "1.00")]
        order = sales_order(self.number, lines=lines)
        told = posted(self.number)
        return [
            confirmed(order, event_id=f"confirmed-{self.number}"),
            event("shipped", self.number, lines=[("1", "4")], event_id=f"shipped-{self.number}"),
            replace(told, data={**told.data, "order": order}),
        ]


async def brought(change: Change, world: Systems) -> None:
    """Bring one event into the history as often as it takes, each time from what is remembered of the order."""
    for _ in range(TRIES_MAX):
        dossier = await world.hub.records.read(change.business_key)
        try:
            with deadline_after(PATIENCE_SECONDS):
                outcome = await crm_history_update(change, dossier, world.hub)
        except Transient:
            world.hub.dataverse.system.circuit.succeed(was_probe=True)  # how long to wait is not in question here
            continue
        await world.hub.records.write(change.business_key, list(outcome.operations))
        return
    raise AssertionError(f"{change.kind} of {change.key} never came into the history")


@pytest.mark.timeout(240)
async def test_whatever_fails_in_whichever_request_the_same_rows_stand_in_the_end(world: Systems) -> None:
    cases = [
        Struck(f"S-{number}", at, where, how)
        for number, (at, where, how) in enumerate(
            (at, where, how)
            for at in ("order.confirmed", "order.shipped", "order.posted")
            for where in WHERE
            for how in HOW
            if not (where == "the signal" and at != "order.posted")
            and not (where == "the lines" and at == "order.posted")
        )
    ]
    for case in cases:
        for change in case.story:
            if change.kind == case.at:
                fault = {"match": WHERE[case.where], "count": 1, **HOW[case.how]}
                await world.control("dataverse", "POST", "faults", fault)
            await brought(change, world)
        faults = await world.control("dataverse", "GET", "faults")
        assert [one["hits"] for one in faults["active"]] == [1], f"{case} struck nothing"
        await world.control("dataverse", "DELETE", "faults")
    await landed(world)

    tables = (await world.control("dataverse", "GET", "state"))["tables"]
    heads = {row["ordernumber"]: row for row in tables["salesorders"]}
    signals = [row["concord_orderkey"] for row in tables["concord_signals"]]
    for case in cases:
        head = heads[case.number]
        shown = (head["concord_stage"], "1800000001/2026" in str(head["concord_documents"]))
        lines = sorted(
            (row["concord_lineid"], Decimal(str(row["quantityshipped"] or 0)))
            for row in tables["salesorderdetails"]
            if row["_salesorderid_value"] == head["salesorderid"]
        )
        key = head["concord_orderkey"]
        assert shown == ("partly shipped", True), case
        assert lines == [("1", Decimal(4)), ("2", Decimal(0))], case
        assert signals.count(key) == 1, case
    assert len(heads) == len(cases)
