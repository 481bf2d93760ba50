"""One real stack with traces on: an order is one tree from checkout to the CRM row, and nothing said names a person."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from sandbox.stack import Stack
from sandbox.trace import Node, Span, forest, read_spans, shown, spans_of_order
from shared.telemetry import names

PERSON = {
    "CustomerName": "Philippa Quillfeather",
    "Email": "p.quillfeather@mailbox.example",
    "ReceiptEmail": "receipts.quillfeather@mailbox.example",
    "ContactPhone": "+44 20 7946 0991",
    "ShippingAddress": {
        "Name": "Philippa Quillfeather",
        "Street": "7 Marigold Crescent",
        "City": "Little Snoring",
        "ZipCode": "NR21 0HX",
        "Phone": "020 7946 0991",
    },
}
PERSONAL = (
    "Philippa", "Quillfeather", "quillfeather", "mailbox.example", "7946 0991", "Marigold", "Snoring", "NR21",
)  # fmt: skip


def order(number: str, *, account: str = "C-77", **other: Any) -> dict[str, Any]:
    line = {
        "LineId": "1", "ItemId": "A", "Quantity": 10, "UnitOfMeasureSymbol": "ea", "Price": 10.00, "NetAmount": 100.00,
        "TaxAmount": 20.00, "TotalAmount": 120.00, "Comment": "for Philippa Quillfeather, 7 Marigold Crescent",
    }  # fmt: skip
    return {
        "SalesId": number, "ChannelId": "web", "CustomerId": account, "CurrencyCode": "GBP",
        "OrderPlacedDate": "2026-11-23T10:00:00Z", "BusinessDate": "2026-11-23", "SubtotalAmountWithoutTax": 100.00,
        "TaxAmount": 20.00, "TotalAmount": 120.00, "SalesLines": [line], "ChargeLines": [],
        "TenderLines": [{"TenderTypeId": "4", "Amount": 120.00, "Currency": "GBP"}], **PERSON, **other,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Told:
    """What a stack told about its work: spans, metrics, and every word of its files; `secrets` must not be among."""

    spans: Sequence[Span]
    metrics: Sequence[dict[str, Any]]
    words: str
    secrets: Sequence[str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Told]:
    """Two checkouts, a case, an edit of a person's data in the CRM, a throttling CRM: then the stack stops."""
    folder = tmp_path_factory.mktemp("traced")
    traces = folder / "traces.jsonl"
    stack = Stack(out=folder / "stack.json", settings={"Concord__traces": str(traces)})
    async with stack, aiohttp.ClientSession() as session:
        caller = _Caller(session, stack)
        await caller.put("sap", "credit-accounts/C-77", _account("C-77"))
        busy = {"match": {"method": "PATCH", "path": "salesorders"}, "kind": "status", "status": 429, "retryAfter": 1}
        await caller.post("dataverse", "faults", busy | {"count": 1})
        first = {"legalEntity": "GB01", "order": order("S-77"), "requestId": "first"}
        assert (await caller.post("commerce", "checkouts", first))["confirmed"]
        await caller.until_in_crm("S-77")
        await caller.post("commerce", "checkouts", {"legalEntity": "GB01", "order": order("S-78")})
        await caller.put(
            "commerce", "orders/S-79", order("S-79", TotalAmount=121.00) | {"emit": True, "legalEntity": "GB01"}
        )
        await caller.edit_a_contact()
        await caller.until_in_crm("S-78")
        await caller.fire("parked_sweep")
        await caller.until_written(traces)
        secrets = [
            stack.secrets.default_key,
            stack.secrets.sap_password,
            stack.secrets.storage_key,
            stack.secrets.token,
        ]
    text = traces.read_text(encoding="utf-8")
    logs = (folder / "logs" / "functions.log").read_text(encoding="utf-8")
    assert '"flow": "order_to_ledger"' in logs, "the log lines are looked at too"
    lines = text.splitlines()
    metrics = [json.loads(line) for line in lines if line.startswith('{"metric":')]
    yield Told(read_spans(lines), metrics, text + logs, secrets)


pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]


async def test_one_order_is_one_unbroken_tree_from_checkout_to_the_crm_row(told: Told) -> None:
    spans = spans_of_order(told.spans, "GB01/S-77")
    roots = forest(spans)
    assert [root.span.name for root in roots] == ["checkout_credit_check"]
    (root,) = roots
    assert len({span.trace for span in spans}) == 1
    for name, kind, system in (
        ("change_intake", "internal", ""),
        ("send orders", "producer", "bus"),
        ("credit_hold_update", "consumer", ""),
        ("order_to_ledger", "consumer", ""),
        ("crm_history_update", "consumer", ""),
    ):
        assert [
            one for one in spans if (one.name, one.kind, one.attributes.get("peer.service", "")) == (name, kind, system)
        ], name
    posted = _way(root, "journalentrycreaterequestconfi")
    assert [name for name in posted if "send" not in name] == [
        "checkout_credit_check", "change_intake", "order_to_ledger", "POST journalentrycreaterequestconfi"
    ]  # fmt: skip
    told_of_posting = [way for way in _ways(root) if way[-1] == "POST $batch" and way.count("send orders") == 2]
    assert told_of_posting, "the posting's row in the CRM hangs below the posting"
    assert "order_to_ledger" in told_of_posting[0]


async def test_the_correlation_id_of_the_evidence_is_the_trace_of_the_checkout(told: Told) -> None:
    trace = spans_of_order(told.spans, "S-77")[0].trace
    assert f'"flow": "order_to_ledger", "integration_key": "order|GB01|S-77", "correlation_id": "{trace}"' in told.words


async def test_the_tree_can_be_looked_at(told: Told) -> None:
    table = shown(forest(spans_of_order(told.spans, "S-77")))
    assert table.row_count > 10
    assert "spans in" in str(table.title)


async def test_nothing_told_names_a_person(told: Told) -> None:
    assert [word for word in PERSONAL if word in told.words] == []


async def test_nothing_told_holds_a_key_or_a_token(told: Told) -> None:
    assert [secret for secret in told.secrets if secret in told.words] == []
    assert "Bearer " not in told.words
    assert "AccountKey=" not in told.words


async def test_every_name_that_a_working_app_tells_is_a_known_one(told: Told) -> None:
    assert {metric["metric"] for metric in told.metrics} <= names.METRICS
    assert {name for metric in told.metrics for name in metric["dimensions"]} <= names.DIMENSIONS
    assert {name for span in told.spans for name in span.attributes} <= names.ATTRIBUTES


async def test_a_day_with_a_throttled_system_and_a_case_tells_its_metrics(told: Told) -> None:
    heard = {metric["metric"] for metric in told.metrics}
    expected = {
        names.OUTCOMES, names.LAG, names.MESSAGE_AGE, names.FRESHNESS, names.CREDIT_CHECK, names.REMOTE_CALL,
        names.THROTTLED, names.PUBLISHED, names.PARKED_KEYS, names.PARKED_AGE, names.OPEN_CASES, names.CASE_AGE,
        names.PARKED, names.INVOCATIONS,
    }  # fmt: skip
    assert expected - heard == set()


def _account(account: str) -> dict[str, Any]:
    return {"legalEntity": "GB01", "limit": "10000.00", "currency": "GBP", "exposure": "0"}


def _ways(node: Node) -> Iterable[list[str]]:
    yield [node.span.name]
    for child in node.below:
        for way in _ways(child):
            yield [node.span.name, *way]


def _way(root: Node, name: str) -> list[str]:
    return next(way for way in _ways(root) if name in way[-1])


class _Caller:
    """The world around the app."""

    def __init__(self, session: aiohttp.ClientSession, stack: Stack) -> None:
        self._session = session
        self._stack = stack

    async def put(self, system: str, path: str, body: object) -> Any:
        return await self._call("PUT", f"{self._stack.simulator_url(system)}/__sim/{path}", body)

    async def post(self, system: str, path: str, body: object) -> Any:
        return await self._call("POST", f"{self._stack.simulator_url(system)}/__sim/{path}", body)

    async def fire(self, timer: str) -> None:
        headers = {"x-functions-key": self._stack.secrets.master_key}
        url = f"{self._stack.functions_url}/admin/functions/{timer}"
        async with self._session.post(url, json={}, headers=headers) as answer:
            assert answer.status < 300

    async def edit_a_contact(self) -> None:
        url = self._stack.simulator_url("dataverse")
        async with self._session.get(f"{url}/__sim/state") as answer:
            accounts = json.loads(await answer.read())["tables"]["accounts"]
        changed = {"name": "Philippa Quillfeather", "emailaddress1": PERSON["Email"], "telephone1": "+44 20 7946 0991"}
        await self._call("PATCH", f"{url}/__sim/rows/accounts/{accounts[0]['accountid']}", changed)

    async def until_in_crm(self, number: str) -> None:
        url = f"{self._stack.simulator_url('dataverse')}/__sim/state"
        async with asyncio.timeout(30):
            while True:
                async with self._session.get(url) as answer:
                    rows = json.loads(await answer.read())["tables"].get("salesorders", [])
                if any(number in str(row.get("concord_orderkey")) and row.get("concord_documents") for row in rows):
                    return
                await asyncio.sleep(0.1)  # between two looks at another process

    async def until_written(self, traces: Path) -> None:
        """Spans and metrics are written now and then, by a thread of their own."""
        async with asyncio.timeout(30):
            while names.OPEN_CASES not in await asyncio.to_thread(traces.read_text, encoding="utf-8"):
                await asyncio.sleep(0.1)  # between two looks at a file

    async def _call(self, method: str, url: str, body: object) -> Any:
        async with self._session.request(method, url, json=body) as answer:
            said = await answer.read()
            assert answer.status < 300, said
            return json.loads(said) if said else None
