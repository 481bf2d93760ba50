"""Every query behind an alert or a chart asks for names that the app tells, and says what it answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.telemetry import names

QUERIES = sorted((Path(__file__).resolve().parents[2] / "infra" / "queries").glob("*.kql"))
TABLES = {"AppMetrics", "AppRequests", "AppDependencies", "AppTraces"}


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.stem)
def test_a_query_names_only_what_the_app_tells(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("// "), "a query begins with the question that it answers"
    code = "\n".join(line for line in text.splitlines() if not line.startswith("//"))
    assert set(re.findall(r'Name == "([^"]+)"', code)) <= names.METRICS
    asked = set(re.findall(r'Properties\["([^"]+)"\]', code))
    assert asked <= names.DIMENSIONS | names.ATTRIBUTES
    assert set(re.findall(r"\bApp[A-Z][A-Za-z]+\b", code)) <= TABLES
    for metric, after in re.findall(r'Name == "([^"]+)"(.*?)(?=Name ==|\Z)', code, re.S):
        assert "ItemCount" in after or "Sum" in after or "Max" in after, metric


def test_an_alert_asks_for_metrics_alone_because_traces_are_sampled() -> None:
    alerts = (QUERIES[0].parents[1] / "modules" / "alerts.bicep").read_text(encoding="utf-8")
    behind = re.findall(r"queries/([\w-]+)\.kql", alerts)
    assert len(behind) == 6
    for name in behind:
        code = (QUERIES[0].parent / f"{name}.kql").read_text(encoding="utf-8")
        assert set(re.findall(r"\bApp[A-Z][A-Za-z]+\b", code)) == {"AppMetrics"}, name


def test_the_threshold_of_a_slow_checkout_is_the_one_that_its_query_tells_of() -> None:
    text = (QUERIES[0].parent / "credit-check-p95.kql").read_text(encoding="utf-8")
    assert "a second and a half" in text
    assert names.SLOW_CHECK_MS == 1500


def test_there_are_queries() -> None:
    assert len(QUERIES) == 13
