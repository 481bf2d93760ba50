"""`python -m infra.checks [folder]`: every check of the Bicep; a line for each finding, exit 1 when there are any."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from infra.checks.deployment import Deployment, deploy
from infra.checks.exposure import (
    check_always_ready,
    check_doors,
    check_network,
    check_no_keys,
    check_package_container,
    check_publishing,
    check_secrets,
)
from infra.checks.findings import Finding
from infra.checks.roles import check_role_variables, check_roles
from infra.checks.settings import check_example, check_settings, check_table
from infra.checks.topology import check_topology, read_topology
from infra.checks.types import check_types
from infra.checks.watching import (
    check_alerts,
    check_locks,
    check_logs,
    check_queries,
    check_runbook_links,
    check_tables,
    check_tags,
)
from infra.checks.wiring import check_all_deployed, check_all_used, check_outputs
from shared.wiring import TABLES

ENVIRONMENTS = ("dev", "prod")


def check(root: Path) -> tuple[list[Finding], list[Deployment]]:
    """Everything that is wrong with the project's `infra/` in this root, and what was evaluated for it."""
    infra = root / "infra"
    deployments = [deploy(infra / "main.bicep", infra / "parameters" / f"{name}.json") for name in ENVIRONMENTS]
    findings = set(check_all_used(infra)) | set(check_no_keys(infra)) | set(check_role_variables(infra))
    findings |= set(check_all_deployed(deployments)) | set(check_runbook_links(root / "docs" / "runbooks"))
    findings |= set(check_example(root)) | set(check_outputs(root))
    for deployment in deployments:
        findings |= set(deployment.findings)
        if not deployment.findings:  # a deployment that cannot be worked out says nothing about what it lacks
            findings |= set(_check_one(root, deployment))
    return sorted(findings), deployments


def _check_one(root: Path, deployment: Deployment) -> Iterator[Finding]:
    topology = read_topology(root / "sandbox" / "broker" / "Config.json")
    host = json.loads((root / "host.json").read_text(encoding="utf-8"))
    sessions = int(host["extensions"]["serviceBus"]["maxConcurrentSessions"])
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        partial(check_types, deployment),
        partial(check_roles, deployment, topology, TABLES),
        partial(check_topology, deployment, topology),
        partial(check_settings, deployment),
        partial(check_table, root, deployment),
        partial(check_secrets, deployment),
        partial(check_publishing, deployment),
        partial(check_network, deployment),
        partial(check_package_container, deployment),
        partial(check_doors, deployment, root / "functions"),
        partial(check_always_ready, deployment, root / "functions", sessions),
        partial(check_logs, deployment),
        partial(check_locks, deployment),
        partial(check_tags, deployment),
        partial(check_tables, deployment, TABLES),
        partial(check_alerts, deployment, root / "docs" / "runbooks"),
        partial(check_queries, deployment, root / "infra" / "queries"),
    )
    for each in checks:
        try:
            yield from each()
        except (KeyError, ValueError, StopIteration) as fault:  # what it looks at is missing: that is a finding too
            name = each.func.__name__ if isinstance(each, partial) else "check"
            yield Finding(f"{deployment.label}: {name}", f"finds nothing to check: {type(fault).__name__} {fault}")


def main() -> int:
    """Check, report, and say what was not done."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    findings, deployments = check(root)
    for finding in findings:
        print(f"infra: {finding}")
    counts = ", ".join(f"{len(deployment.resources)} resources for {deployment.label}" for deployment in deployments)
    files = len(list((root / "infra").rglob("*.bicep")))
    print(f"infra: {files} Bicep files parsed and evaluated: {counts}; {len(findings)} findings.")
    print("infra: the Bicep compiler was not run; `az deployment group what-if` is what runs it.")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
