"""The verdict is ours, not the exit code: unparsed files and stale or unreasoned exceptions count as faults."""

from __future__ import annotations

from typing import Any

from infra.checks.scan import judge
from tests.infra.conftest import ROOT

SKIPPED = {"file_path": "/modules/a.bicep", "check_id": "CKV_AZURE_1", "check_name": "x", "resource": "A.a"}
TEXT = "  // checkov:skip=CKV_AZURE_1:the reason that holds for this one\n"


def _report(**changes: Any) -> dict[str, object]:
    summary = {"passed": 3, "failed": 0, "skipped": 1, "parsing_errors": 0, "resource_count": 9}
    results: dict[str, Any] = {"failed_checks": [], "skipped_checks": [SKIPPED], "parsing_errors": []}
    for name, value in changes.items():
        (summary if name in summary else results)[name] = value
    return {"summary": summary, "results": results}


def test_a_clean_report_has_no_faults() -> None:
    assert judge(_report(), {"a.bicep": TEXT}) == []


def test_a_file_that_could_not_be_parsed_is_a_fault() -> None:
    (fault,) = judge(_report(parsing_errors=1), {"a.bicep": TEXT})
    assert "could not be parsed" in fault


def test_a_scan_that_saw_nothing_is_a_fault() -> None:
    assert judge({"passed": 0, "failed": 0}, {}) == ["the report has no summary: nothing was scanned"]
    assert "no resource was seen" in judge(_report(resource_count=0), {"a.bicep": TEXT})


def test_a_failed_check_is_named_with_its_place() -> None:
    failed = {**SKIPPED, "check_id": "CKV_AZURE_2", "check_name": "is shut"}
    assert judge(_report(failed_checks=[failed]), {"a.bicep": TEXT}) == ["a.bicep A.a: CKV_AZURE_2 is shut"]


def test_an_exception_without_a_reason_is_a_fault() -> None:
    (fault,) = judge(_report(), {"a.bicep": "// checkov:skip=CKV_AZURE_1\n"})
    assert "gives no reason" in fault


def test_an_exception_that_excuses_nothing_is_a_fault() -> None:
    (fault,) = judge(_report(skipped_checks=[]), {"a.bicep": TEXT})
    assert "excuses nothing any more" in fault


def test_make_check_runs_the_checks_and_the_scan() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "check: $(READY) $(SCANNER)/.scanned" in makefile
    assert "-m infra.checks\n" in makefile
