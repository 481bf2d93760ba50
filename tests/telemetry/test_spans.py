"""Spans and lines by themselves: what they cost where nobody records, what they hand on, what they never say."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import azure.functions as func
import pytest

from shared import telemetry
from shared.delivery import settle
from shared.domain.changes import Change
from shared.errors import RemoteDown, Unexpected
from shared.settings import read_settings
from shared.stores.records import Dossier, Outcome
from shared.telemetry import export, names
from shared.wiring import Hub
from tests.hub import hub_in_memory

CHECKOUT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def nothing_recorded() -> Iterator[None]:
    """Telemetry starts once for each process: what another test started ends here."""
    export.stop()
    yield
    export.stop()


def test_without_a_recorder_a_span_hands_its_parent_on_and_puts_back_what_was() -> None:
    with telemetry.span("order_to_ledger", "consumer", parent=CHECKOUT):
        assert telemetry.traceparent.get() == CHECKOUT
        with telemetry.span("GET A_Customer", "client"):
            assert telemetry.traceparent.get() == CHECKOUT
    assert telemetry.traceparent.get() == ""


@pytest.mark.parametrize("nonsense", ["", "00-short-1-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 300])
def test_a_caller_without_a_valid_trace_begins_one(nonsense: str) -> None:
    trace, onward = telemetry.correlation_of(nonsense)
    assert len(trace) == 32
    assert telemetry.trace_of(onward) == trace


def test_a_valid_trace_is_kept_with_the_span_that_is_its_parent() -> None:
    assert telemetry.correlation_of(CHECKOUT) == ("0af7651916cd43dd8448eb211c80319c", CHECKOUT)


async def test_what_runs_side_by_side_keeps_its_own_trace() -> None:
    async def work(number: int) -> str:
        with telemetry.span("work", parent=f"00-{number:032x}-b7ad6b7169203331-01"):
            await asyncio.sleep(0)
            return telemetry.trace_of(telemetry.traceparent.get())

    assert await asyncio.gather(*map(work, range(1, 20))) == [f"{number:032x}" for number in range(1, 20)]


def test_the_words_of_an_exception_are_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    error = RemoteDown("sap: 503 Philippa Quillfeather, p.quillfeather@mailbox.example", system="sap")
    with caplog.at_level(logging.INFO, "concord"):
        telemetry.log_fault("order_to_ledger", error, integration_key="order|GB01|S-1")
    (line,) = caplog.messages
    assert json.loads(line)["error"] == "RemoteDown"
    assert json.loads(line)["system"] == "sap"
    assert "Quillfeather" not in line


async def test_what_a_story_lets_out_reaches_the_host_without_its_words(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connected = hub_in_memory()

    async def there() -> Hub:
        return connected

    async def story(change: Change, dossier: Dossier, hub: Hub) -> Outcome:
        raise KeyError("Philippa Quillfeather")

    monkeypatch.setattr("shared.delivery.hub", there)
    body = json.dumps(
        {
            "id": "e-1", "source": "commerce", "entity": "order", "kind": "order.confirmed", "legalEntity": "GB01",
            "key": "S-1", "occurredAt": "2026-11-23T10:00:00Z", "receivedAt": "2026-11-23T10:00:01Z",
            "correlationId": "c", "traceparent": CHECKOUT, "data": {},
        }
    ).encode()  # fmt: skip
    message = func.ServiceBusMessage(body=body)
    with caplog.at_level(logging.INFO, "concord"), pytest.raises(Unexpected) as handed:
        await settle(message, "order_to_ledger", story)
    assert str(handed.value).startswith("KeyError at test_spans.py")
    assert "Quillfeather" not in caplog.text
    assert handed.value.__suppress_context__, "a traceback printed by the host ends here"


def test_nothing_of_opentelemetry_is_loaded_where_no_setting_asks_for_it() -> None:
    script = (
        "import json, sys\n"
        "from shared.settings import read_settings\n"
        "from shared.telemetry import export, span\n"
        "export.start(read_settings(json.load(open('local.settings.example.json'))['Values']))\n"
        "with span('x', 'server', parent=''): pass\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_json_lines_hold_the_tree_and_the_metrics(tmp_path: Path) -> None:
    example = json.loads((ROOT / "local.settings.example.json").read_text(encoding="utf-8"))["Values"]
    target = tmp_path / "traces.jsonl"
    export.start(read_settings(example | {"Concord__traces": str(target)}))
    with telemetry.span("order_to_ledger", "consumer", parent=CHECKOUT, attributes={names.FLOW: "order_to_ledger"}):
        with (
            pytest.raises(RemoteDown),
            telemetry.remote_call("sap", "GET", "/x/Orders('S-1')/Items(Order='a(b)')") as call,
        ):
            assert telemetry.trace_of(telemetry.traceparent.get()) == telemetry.trace_of(CHECKOUT)
            call.answered(503)
            raise RemoteDown("busy", system="sap")
        telemetry.count(names.OUTCOMES, flow="order_to_ledger", ruling="accept")
    export.stop()
    lines = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    spans = {line["name"]: line for line in lines if "span" in line}
    assert spans["order_to_ledger"]["parent"] == "b7ad6b7169203331"
    client = spans["GET Items()"]
    assert client["parent"] == spans["order_to_ledger"]["span"]
    assert client["attributes"][names.PATH] == "/x/Orders()/Items()"
    assert client["failed"] == "throttled"
    metrics = {line["metric"] for line in lines if "metric" in line}
    assert metrics == {names.OUTCOMES, names.THROTTLED, names.REMOTE_CALL}
