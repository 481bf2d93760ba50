"""`python -m infra.checks.scan <checkov>`: a policy scanner over the Bicep, with every exception justified in place.

checkov exits 0 on a file it cannot parse and counts an exception whether or not it still excuses anything, so its JSON
summary decides, not its exit code: every file parsed, no check failed, every exception used.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

_SKIP = re.compile(r"checkov:skip=(\w+)(?::(.*))?$", re.MULTILINE)
_REASON_LENGTH_MIN = 15


def main() -> int:
    """Scan, report, and fail on anything that is not in order."""
    folder = Path("infra")
    command = [sys.argv[1], "-d", str(folder), "--framework", "bicep", "--skip-download", "--compact", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - the scanner's own path
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError:
        print(f"checkov gave no report (exit {done.returncode}): {done.stderr.strip()[-500:]}", file=sys.stderr)
        return 1
    faults = list(judge(report, {path.name: path.read_text(encoding="utf-8") for path in folder.rglob("*.bicep")}))
    for fault in faults:
        print(f"checkov: {fault}")
    summary = report.get("summary", report)
    print(f"checkov: {summary.get('passed')} passed, {summary.get('skipped')} excused in place, {len(faults)} faults")
    return 1 if faults else 0


def judge(report: dict[str, object], texts: dict[str, str]) -> list[str]:
    """What stands against the files (name → text) in checkov's report."""
    summary, results = report.get("summary"), report.get("results")
    if not isinstance(summary, dict) or not isinstance(results, dict):
        return ["the report has no summary: nothing was scanned"]
    faults = []
    if summary["parsing_errors"]:
        faults.append(f"{summary['parsing_errors']} files could not be parsed: {results.get('parsing_errors')}")
    if not summary["resource_count"]:
        faults.append("no resource was seen")
    faults += [
        f"{check['file_path'].rsplit('/', 1)[-1]} {check['resource']}: {check['check_id']} {check['check_name']}"
        for check in results.get("failed_checks", [])
    ]
    used = Counter(
        (check["file_path"].rsplit("/", 1)[-1], check["check_id"]) for check in results.get("skipped_checks", [])
    )
    for name, text in sorted(texts.items()):
        for check, reason in _SKIP.findall(text):
            if len(reason.strip()) < _REASON_LENGTH_MIN:
                faults.append(f"{name}: the exception {check} gives no reason")
            used[name, check] -= 1
            if used[name, check] < 0:
                faults.append(f"{name}: the exception {check} excuses nothing any more")
    return faults


if __name__ == "__main__":
    sys.exit(main())
