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


def test_there_are_queries() -> None:
    assert len(QUERIES) == 13
