"""Looking at the stack when it has come to rest: what each system holds, and the product's own word on its cases."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sandbox.day.books import Case, CheckoutAnswer, CrmOrder, Document, Facts, signed
from sandbox.day.figures import Inventory, Latencies, Parking, Period
from sandbox.day.plan import Cancel, Checkout, Day, End, MoveGoods, SetStock
from sandbox.day.replay import Replayed
from sandbox.day.systems import CallRefused, Systems


async def facts_of(day: Day, replayed: Replayed, systems: Systems) -> Facts:
    """What SAP, Commerce and the customer history hold, what checkouts were told, and the open cases."""
    sap, commerce = await asyncio.gather(*(systems.read(name, "/__sim/state") for name in ("sap", "commerce")))
    cases = await systems.read("functions", "/api/cases?state=open&limit=5000")
    return Facts(
        documents=tuple(_document(row) for row in _rows(sap["documents"])),
        crm=await _history(systems),
        cases=tuple(_case(row) for row in _rows(cases["cases"])),
        commerce_orders=frozenset((str(row["legalEntity"]), str(row["SalesId"])) for row in _rows(commerce["orders"])),
        checkouts=_checkouts(replayed),
        cancelled=frozenset(act.number for act in day.acts if isinstance(act, Cancel)),
    )


async def latencies_of(replayed: Replayed, facts: Facts, systems: Systems) -> Latencies:
    """Credit checks as Commerce felt them, orders from their event to SAP's document, stock from SAP to Commerce."""
    commerce = await systems.read("commerce", "/__sim/state")
    stored = {
        (str(row["legalEntity"]), str(row["SalesId"])): datetime.fromisoformat(str(row["storedAt"]))
        for row in _rows(commerce["orders"])
    }
    checks = [
        done.milliseconds
        for done in replayed.done.values()
        if isinstance(done.act, Checkout) and isinstance(done.answer, Mapping) and done.answer.get("decision")
    ]
    posted: dict[tuple[str, str], datetime] = {}
    for document in facts.documents:
        if document.posted_at is not None and document.kind in ("invoice", "return"):
            posted.setdefault((document.legal_entity, document.order), document.posted_at)
    ledger = [(at - stored[key]).total_seconds() * 1000 for key, at in posted.items() if key in stored]
    changed = {
        (str(row["site"]), str(row["product"])): datetime.fromisoformat(str(row["changedAt"]))
        for row in _rows(commerce["on_hand"])
    }
    last_counts = {
        (done.act.stock.plant, done.act.stock.product): done.sent_at
        for done in sorted(replayed.done.values(), key=lambda one: one.sent_at)
        if isinstance(done.act, SetStock | MoveGoods)
    }
    stock = [
        (changed[place] - sent_at).total_seconds() * 1000
        for place, sent_at in last_counts.items()
        if place in changed and changed[place] >= sent_at
    ]
    return Latencies(tuple(checks), tuple(max(0.0, one) for one in ledger), tuple(stock))


async def inventory_of(day: Day, counters: Mapping[str, int], systems: Systems) -> Inventory:
    """How stock travelled, and every figure that Commerce and SAP do not agree on at rest."""
    sap, commerce = await asyncio.gather(*(systems.read(name, "/__sim/state") for name in ("sap", "commerce")))
    told = {
        (str(row["site"]), str(row["product"])): Decimal(str(row["quantities"].get("sap", {}).get("unrestricted", 0)))
        for row in _rows(commerce["on_hand"])
    }
    differences = []
    for row in _rows(sap["stock"]):
        place, figure = (str(row["plant"]), str(row["material"])), Decimal(str(row["quantity"]))
        if place not in told and figure:
            differences.append(f"stock {place[1]} in {place[0]}: SAP has {figure}, Commerce was never told")
        elif told.get(place, Decimal(0)) != figure:
            differences.append(f"stock {place[1]} in {place[0]}: SAP has {figure}, Commerce says {told[place]}")
    changes = sum(isinstance(act, SetStock | MoveGoods) for act in day.acts) + len(day.stock)
    return Inventory(
        changes=changes,
        pushed=counters.get("outcomes.inventory_push.accept", 0),
        stale_rejected=counters.get("outcomes.inventory_push.unchanged", 0),
        differences=tuple(differences),
    )


async def parking_of(systems: Systems) -> Parking:
    """Open cases, and keys that wait for another try; right once the sweep has forgotten those that are free."""
    cases = await systems.read("functions", "/api/cases?state=open&limit=5000")
    health = await systems.read("functions", "/api/health")
    parked = [row for row in _rows(cases["cases"]) if row["parked"]]
    waiting = int(str(health["parkedKeys"])) - len({(row["flow"], row["legalEntity"], row["key"]) for row in parked})
    return Parking(parked=len(_rows(cases["cases"])), retrying=max(0, waiting))


async def periods_of(day: Day, systems: Systems, out: Path) -> tuple[Period, ...]:
    """The product's reconciliation of each legal entity and month of the day, closed, its month-end report in `out`."""
    return tuple([await _period(entity, month, systems, out) for entity, month in sorted(day.periods)])


async def _period(entity: str, month: str, systems: Systems, out: Path) -> Period:
    path = f"/api/reconciliation/{entity}/{month}"
    told = await systems.read("functions", path)
    status, closed = await systems.call("functions", "POST", f"{path}/close", {}, accept={200, 201, 409})
    assert isinstance(closed, Mapping), "close: a JSON object was expected"
    for form in ("html", "csv"):
        page = await systems.get("functions", f"{path}?format={form}")
        (out / f"month-end-{entity}-{month}.{form}").write_text(str(page), encoding="utf-8")
    difference = told["difference"]
    assert isinstance(difference, Mapping), "reconciliation: difference is not an object"
    return Period(
        legal_entity=entity,
        period=month,
        matched=int(str(told["matched"])),
        explained=int(str(told["explained"])),
        unexplained=int(str(told["unexplained"])),
        difference={str(currency): Decimal(str(amount)) for currency, amount in difference.items()},
        lines=tuple(
            f"{row.get('orderNumber') or row.get('reference')}: {row.get('class')} – {row.get('reason')}"
            for row in _rows(told["rows"])
        ),
        certificate=str(closed["number"]) if status != 409 else "",
        refusal=str(closed["detail"]) if status == 409 else "",
    )


def _document(row: Mapping[str, Any]) -> Document:
    kind = str(row["kind"])
    return Document(
        legal_entity=str(row["company_code"]),
        number=str(row["document"]),
        order=str(row["order"]),
        reference=str(row["reference"]),
        kind=kind,
        currency=str(row["currency"]),
        gross=signed(kind, Decimal(str(row["gross"]))),
        posted_at=datetime.fromisoformat(str(row["created_at"])) if row.get("created_at") else None,
    )


async def _history(systems: Systems) -> tuple[CrmOrder, ...]:
    """The orders of the customer history with the number of their lines; of the lines their keys alone are read."""
    details = await systems.get("dataverse", "/__sim/rows/salesorderdetails?columns=concord_linekey")
    lines = Counter(str(row.get("concord_linekey") or "").rpartition("|")[0] for row in _rows(details))
    orders = await systems.get("dataverse", "/__sim/rows/salesorders?columns=concord_orderkey,totalamount")
    found = []
    for row in _rows(orders):
        key = str(row.get("concord_orderkey") or "")
        entity, _, number = key.partition("|")
        total = row.get("totalamount")
        found.append(CrmOrder(entity, number, None if total is None else Decimal(str(total)), lines[key]))
    return tuple(found)


def _case(row: Mapping[str, Any]) -> Case:
    reasons = "; ".join(str(reason["message"]) for reason in row["reasons"])
    return Case(str(row["legalEntity"]), str(row["key"]), str(row["code"]), reasons, str(row["flow"]))


def _checkouts(replayed: Replayed) -> dict[str, CheckoutAnswer]:
    found: dict[str, CheckoutAnswer] = {}
    for done in replayed.done.values():
        if not isinstance(done.act, Checkout):
            continue
        answer = done.answer
        if not isinstance(answer, Mapping):
            raise CallRefused("commerce", "POST", "/__sim/checkouts", done.status, str(answer))
        decision = answer.get("decision")
        confirmed = bool(answer.get("confirmed"))
        problem = answer.get("problem")
        if not confirmed and isinstance(problem, Mapping) and problem.get("status") == 400:
            # The check does not understand the order: no decision, and no fault of the stack either.
            said = f"the credit check cannot read the order: {problem.get('detail')}"
            found[done.act.order.number] = CheckoutAnswer(False, End.DECLINED, (said,))
            continue
        if not confirmed and not (isinstance(decision, Mapping) and "outcome" in decision):
            raise CallRefused("functions", "POST", "/api/credit-checks", int(answer.get("status", 0)), str(decision))
        outcome = str(decision["outcome"]) if isinstance(decision, Mapping) else "approved"
        reasons = decision.get("reasons", []) if isinstance(decision, Mapping) else []
        found[done.act.order.number] = CheckoutAnswer(
            confirmed, outcome, tuple(str(reason["message"]) for reason in reasons)
        )
    return found


def _rows(value: object) -> Sequence[Mapping[str, Any]]:
    assert isinstance(value, Sequence), "a list was expected"
    return value
