"""A posting bench: the real story, clients and stores; a SAP that answers over HTTP and fails when told to."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from shared.authority.ledger import LedgerPolicy
from shared.clients.http import BasicAuth, RemoteSystem
from shared.clients.odata import ODataV2
from shared.clients.sap_ledger import PATH, SapLedger
from shared.clients.sap_orders import SapOrders
from shared.domain.changes import Change
from shared.flows.order_to_ledger import order_to_ledger
from shared.stores.records import Dossier, Outcome, Records
from shared.stores.table import Op, Row
from shared.telemetry import Counters
from shared.wiring import Hub
from tests.memory_table import MemoryTable

LEDGER_FILE = Path(__file__).parents[2] / "shared" / "authority" / "ledger.yaml"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def ledger_policy(**over: Any) -> LedgerPolicy:
    """The shipped policy; keywords replace values of every legal entity, `sap` those of SAP."""
    raw = yaml.safe_load(LEDGER_FILE.read_text(encoding="utf-8"))
    raw["sap"].update(over.pop("sap", {}))
    raw["defaults"].update(over)
    return LedgerPolicy.model_validate(raw)


@dataclass
class Clock:
    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **delta: float) -> None:
        self.now += timedelta(**delta)


@dataclass
class FakeSap:
    """Documents by key; `faults` are consumed one a posting: "before", "after", "late", "503", "reject:<note>"."""

    documents: list[dict[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    late: list[dict[str, str]] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    probes: int = 0

    async def post(self, request: web.Request) -> web.StreamResponse:
        body = (await request.read()).decode()
        self.bodies.append(body)
        fault = self.faults.pop(0) if self.faults else ""
        document = {
            "CompanyCode": _between(body, "CompanyCode"),
            "FiscalYear": _between(body, "PostingDate")[:4],
            "AccountingDocument": str(1800000000 + len(self.documents) + len(self.late)),
            "DocumentReferenceID": _between(body, "DocumentReferenceID"),
            "order": _between(body, "Reference1InDocumentHeader"),
            "kind": _between(body, "Reference2InDocumentHeader"),
            "PostingDate": _between(body, "PostingDate"),
            "ReverseDocument": "",
        }
        if fault == "503":
            return web.Response(status=503, headers={"Retry-After": "0"})
        if fault.startswith("reject:"):
            return web.Response(text=_rejection(fault.removeprefix("reject:")), content_type="text/xml")
        if fault == "late":
            self.late.append(document)
        elif fault != "before":
            self.documents.append(document)
        if fault in {"before", "after", "late"}:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        return web.Response(text=_confirmation(document), content_type="text/xml")

    async def find(self, request: web.Request) -> web.Response:
        self.probes += 1
        key = re.findall(r"DocumentReferenceID eq '([^']*)'", request.query["$filter"])[0]
        rows = [
            {**document, "AccountingDocumentItem": item}
            for document in self.documents
            if document["DocumentReferenceID"] == key
            for item in ("001", "002")
        ]
        return web.json_response({"d": {"results": rows}})

    def land_what_is_late(self) -> None:
        self.documents += self.late
        self.late = []

    def keys(self) -> list[str]:
        return [document["DocumentReferenceID"] for document in self.documents]


@dataclass
class FakeBus:
    published: list[Change] = field(default_factory=list)

    async def publish(self, topic: str, change: Change) -> None:
        assert topic == "orders"
        self.published.append(change)


@dataclass
class FakeBook:
    """A credit book that knows the decisions it is given."""

    decisions: dict[str, Any] = field(default_factory=dict)

    def bound_lately(self, decision_id: str, order: str) -> None:
        """Nothing was bound by this worker."""

    async def read_decision(self, decision_id: str) -> Any:
        return self.decisions.get(decision_id)


class FakeCommerce:
    def __init__(self) -> None:
        self.orders: dict[str, dict[str, Any]] = {}

    async def read_order(self, legal_entity: str, number: str) -> dict[str, Any] | None:
        return self.orders.get(number)


@dataclass
class Bench:
    hub: Hub
    sap: FakeSap
    bus: FakeBus
    book: FakeBook
    commerce: FakeCommerce
    clock: Clock
    table: MemoryTable

    async def tell(self, change: Change, *, settle: bool = True) -> Outcome:
        """Run the story on a change as delivery does; without `settle` the worker dies before its transaction."""
        dossier = await self.hub.records.read(change.business_key)
        outcome = await order_to_ledger(change, dossier, self.hub)
        if settle:
            lineage = Row(change.business_key, f"1|{change.message_id}", {"ruling": outcome.ruling.kind})
            await self.hub.records.write(change.business_key, [*outcome.operations, Op("upsert", lineage)])
        return outcome


@contextmanager
def reading_together(at: Bench, readers: int, *, times: int = 1) -> Iterator[None]:
    """Whoever reads gets an answer once all have read, so many times: none of them knows of another's write."""
    read, all_have_read = at.hub.records.read, asyncio.Barrier(readers)
    reads = 0

    async def wait_for_others(business_key: str) -> Dossier:
        nonlocal reads
        found = await read(business_key)
        reads += 1
        if reads <= readers * times:
            await all_have_read.wait()
        return found

    object.__setattr__(at.hub.records, "read", wait_for_others)
    try:
        yield
    finally:
        object.__setattr__(at.hub.records, "read", read)


@asynccontextmanager
async def bench(policy: LedgerPolicy | None = None) -> AsyncIterator[Bench]:
    sap, bus, book, commerce, clock, table = FakeSap(), FakeBus(), FakeBook(), FakeCommerce(), Clock(), MemoryTable()
    app = web.Application()
    app.router.add_post(PATH, sap.post)
    app.router.add_get("/sap/opu/odata/sap/API_OPLACCTGDOCITEMCUBE_SRV/A_OperationalAcctgDocItemCube", sap.find)
    async with TestServer(app) as server:
        system = RemoteSystem("sap", str(server.make_url("")), auth=BasicAuth("CONCORD", "x"), failures_max=1000)
        odata = ODataV2(system, client="100")
        unused = cast(Any, None)
        hub = Hub(
            settings=unused,
            policy=cast(Any, _Policy(policy or ledger_policy())),
            clock=clock,
            counters=Counters(),
            records=Records(table),
            recollections=unused,
            cases=unused,
            parked=unused,
            pauses=unused,
            bodies=unused,
            bus=cast(Any, bus),
            credit_book=cast(Any, book),
            credit_desk=unused,
            sap_credit=unused,
            sap_ledger=SapLedger(odata, client="100"),
            sap_orders=SapOrders(odata),
            sap_stock=unused,
            dataverse=unused,
            commerce=cast(Any, commerce),
            inventory=unused,
        )
        try:
            yield Bench(hub, sap, bus, book, commerce, clock, table)
        finally:
            await system.close()


@dataclass(frozen=True)
class _Policy:
    ledger: LedgerPolicy


def sales_order(
    number: str = "S-1",
    *,
    currency: str = "GBP",
    customer: str = "C-1",
    lines: list[dict[str, Any]] | None = None,
    charges: list[tuple[str, str, str]] = (),  # type: ignore[assignment]
    tenders: list[tuple[str, str]] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A SalesOrder that adds up; paid by card where no tenders are given."""
    lines = lines if lines is not None else [line("1", "10", "100.00", "20.00")]
    charge_lines = [
        {"ChargeCode": code, "CalculatedAmount": Decimal(amount), "TaxAmount": Decimal(tax)}
        for code, amount, tax in charges
    ]
    zero = Decimal(0)
    charge_taxes = [Decimal(vat) for _, _, vat in charges]
    tax: Decimal = sum((one["TaxAmount"] for one in lines), zero) + sum(charge_taxes, zero)
    charged = sum((Decimal(amount) for _, amount, _ in charges), zero) + sum(charge_taxes, zero)
    total: Decimal = sum((one["TotalAmount"] for one in lines), zero) + charged
    paid = tenders if tenders is not None else [("3", str(total))] if total else []
    return {
        "SalesId": number,
        "ChannelId": "web",
        "CustomerId": customer,
        "CurrencyCode": currency,
        "OrderPlacedDate": "2026-11-23T10:00:00Z",
        "BusinessDate": "2026-11-23",
        "SubtotalAmountWithoutTax": total - tax,
        "TaxAmount": tax,
        "TotalAmount": total,
        "SalesLines": lines,
        "ChargeLines": charge_lines,
        "TenderLines": [{"TenderTypeId": kind, "Amount": Decimal(amount)} for kind, amount in paid],
        **more,
    }


def line(
    line_id: str,
    quantity: str,
    net: str,
    tax: str = "0",
    *,
    original: tuple[str, str] | None = None,
    gift_card: bool = False,
) -> dict[str, Any]:
    content: dict[str, Any] = {
        "LineId": line_id,
        "ItemId": f"ITEM-{line_id}",
        "Quantity": Decimal(quantity),
        "Price": abs(Decimal(net) / Decimal(quantity)).quantize(Decimal("0.0001")),
        "NetAmount": Decimal(net),
        "TaxAmount": Decimal(tax),
        "TotalAmount": Decimal(net) + Decimal(tax),
    }
    if gift_card:
        content["IsGiftCardLine"] = True
    if original:
        content["ReturnTransactionId"], content["ReturnLineNumber"] = original
    return content


def event(
    kind: str,
    key: str = "S-1",
    *,
    order: dict[str, Any] | None = None,
    lines: list[tuple[str, str]] | None = None,
    event_id: str = "",
    legal_entity: str = "GB01",
    decision: str | None = None,
    at: datetime = NOW,
) -> Change:
    return Change(
        id=event_id or f"{kind}-{key}",
        source="commerce",
        entity="order",
        kind=f"order.{kind}",
        legal_entity=legal_entity,
        key=key,
        occurred_at=at,
        received_at=at,
        correlation_id="c0ffee",
        data={
            "order": order,
            "lines": None if lines is None else [{"lineId": one, "quantity": Decimal(q)} for one, q in lines],
            "decisionId": decision,
            "eventId": event_id or f"{kind}-{key}",
        },
    )


def confirmed(order: dict[str, Any], **more: Any) -> Change:
    return event("confirmed", str(order["SalesId"]), order=order, **more)


def again(change: Change, event_id: str) -> Change:
    """The same happening told once more under another event id."""
    return replace(change, id=event_id, data={**change.data, "eventId": event_id})


def codes(outcome: Outcome) -> list[str]:
    return [reason.code for reason in outcome.ruling.reasons]


def _between(body: str, name: str) -> str:
    found = re.search(f"<{name}>(.*?)</{name}>", body)
    return found[1] if found else ""


def _confirmation(document: dict[str, str]) -> str:
    fields = "".join(
        f"<{name}>{document[name]}</{name}>" for name in ("AccountingDocument", "CompanyCode", "FiscalYear")
    )
    return _bulk(
        f"<JournalEntryCreateConfirmation><JournalEntryCreateConfirmation>{fields}</JournalEntryCreateConfirmation>"
        "<Log><MaximumLogItemSeverityCode>1</MaximumLogItemSeverityCode></Log></JournalEntryCreateConfirmation>"
    )


def _rejection(note: str) -> str:
    return _bulk(
        "<JournalEntryCreateConfirmation><JournalEntryCreateConfirmation>"
        "<AccountingDocument>0000000000</AccountingDocument></JournalEntryCreateConfirmation>"
        "<Log><MaximumLogItemSeverityCode>3</MaximumLogItemSeverityCode><Item><TypeID>201(F5)</TypeID>"
        f"<SeverityCode>3</SeverityCode><Note>{note}</Note></Item></Log></JournalEntryCreateConfirmation>"
    )


def _bulk(inside: str) -> str:
    return (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
        '<n:JournalEntryBulkCreateConfirmation xmlns:n="http://sap.com/xi/SAPSCORE/SFIN">'
        f"{inside}</n:JournalEntryBulkCreateConfirmation></e:Body></e:Envelope>"
    )
