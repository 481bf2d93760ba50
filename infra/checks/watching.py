"""What is watched, and that each alert leads to a runbook that knows it: logs, alerts, queries, locks, tags, tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from infra.checks.deployment import Deployment
from infra.checks.findings import Finding

ALERTS = (
    "dead-letters", "oldest-message", "failures", "credit-check-p95", "open-cases", "parked-keys", "throttling",
    "bus-backlog", "app-down", "bus-throttling", "table-throttling",
)  # fmt: skip
_LOGGED = (
    "Microsoft.ServiceBus/namespaces", "Microsoft.KeyVault/vaults", "Microsoft.Web/sites",
    "Microsoft.Storage/storageAccounts/blobServices", "Microsoft.Storage/storageAccounts/tableServices",
    "Microsoft.Network/networkSecurityGroups", "Microsoft.Network/virtualNetworks",
)  # fmt: skip
_LOCKED = ("Microsoft.ServiceBus/namespaces", "Microsoft.KeyVault/vaults")


def check_logs(deployment: Deployment) -> Iterator[Finding]:
    """Everything that can tell what happened to it sends that to the workspace."""
    workspace = deployment.one("Microsoft.OperationalInsights/workspaces").id
    told = {
        setting.scope_id
        for setting in deployment.of_type("Microsoft.Insights/diagnosticSettings")
        if setting.body["properties"].get("workspaceId") == workspace
    }
    for setting in deployment.of_type("Microsoft.Insights/diagnosticSettings"):
        for entry in setting.body["properties"].get("logs", []):
            if not {"category", "categoryGroup"} & entry.keys():
                yield Finding(setting.where, "has a log without a category: nothing is sent")
    for kind in _LOGGED:
        for resource in deployment.of_type(kind):
            if resource.id not in told:
                yield Finding(resource.where, "has no diagnostic setting that leads to the workspace")


def check_locks(deployment: Deployment) -> Iterator[Finding]:
    """What cannot be made again is locked against deletion."""
    locked = {lock.scope_id for lock in deployment.of_type("Microsoft.Authorization/locks")}
    state = [a for a in deployment.of_type("Microsoft.Storage/storageAccounts") if a.name.startswith("s")]
    for resource in [*state, *(r for kind in _LOCKED for r in deployment.of_type(kind))]:
        if resource.id not in locked:
            yield Finding(resource.where, "is not locked against deletion")


def check_tags(deployment: Deployment) -> Iterator[Finding]:
    """Every resource that carries tags says whose it is."""
    for resource in deployment.resources:
        tags = resource.body.get("tags")
        if tags is not None and not {"workload", "environment"} <= tags.keys():
            yield Finding(resource.where, "its tags do not name workload and environment")


def check_tables(deployment: Deployment, tables: tuple[str, ...]) -> Iterator[Finding]:
    """The tables the app opens are the tables the deployment makes."""
    made = {table.name for table in deployment.of_type("Microsoft.Storage/storageAccounts/tableServices/tables")}
    for name in sorted(set(tables) - made):
        yield Finding(f"{deployment.label}: tables", f"the app opens the table {name}, the Bicep does not create it")
    for name in sorted(made - set(tables)):
        yield Finding(f"{deployment.label}: tables", f"the Bicep creates the table {name}, the app does not open it")


def check_alerts(deployment: Deployment, runbooks: Path) -> Iterator[Finding]:
    """Each alert there must be is there, reaches people, and names a runbook that names it."""
    (group,) = deployment.of_type("Microsoft.Insights/actionGroups")
    rules = [
        *deployment.of_type("Microsoft.Insights/scheduledQueryRules"),
        *deployment.of_type("Microsoft.Insights/metricAlerts"),
    ]
    base = str(deployment.parameters["runbooksUrl"])
    missing = set(ALERTS)
    for rule in rules:
        name = next((known for known in ALERTS if re.fullmatch(rf"[a-z]+-[a-z]+-{known}", rule.name)), None)
        if name is None:
            yield Finding(rule.where, f"the alert {rule.name} is not in the list of alerts that runbooks answer")
            continue
        missing.discard(name)
        if group.id not in str(rule.body["properties"].get("actions")):
            yield Finding(rule.where, "reaches no action group")
        link = re.search(rf"Runbook: {re.escape(base)}/(\S+\.md)$", str(rule.body["properties"].get("description")))
        if link is None:
            yield Finding(rule.where, "its description does not end with a link to a runbook")
        elif not (runbooks / link[1]).is_file():
            yield Finding(rule.where, f"the runbook {link[1]} does not exist")
        elif f"`{name}`" not in (runbooks / link[1]).read_text(encoding="utf-8"):
            yield Finding(rule.where, f"the runbook {link[1]} does not know the alert {name}")
        for condition in rule.body["properties"]["criteria"].get("allOf", []):
            if "query" in condition and not str(condition["query"]).strip():
                yield Finding(rule.where, "its query is empty")
    for name in sorted(missing):
        yield Finding(f"{deployment.label}: alerts", f"the alert {name} is missing")


def check_queries(deployment: Deployment, queries: Path) -> Iterator[Finding]:
    """Every query in the folder stands behind an alert or a chart."""
    for path in sorted(queries.glob("*.kql")):
        if path.resolve() not in deployment.loaded:
            yield Finding(path.name, "stands behind no alert and no chart")


def check_runbook_links(runbooks: Path) -> Iterator[Finding]:
    """Links between the runbooks and to the rest of the project lead somewhere."""
    for path in sorted(runbooks.glob("*.md")):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
            if "://" not in target and not (path.parent / target).exists():
                yield Finding(path.name, f"links to {target}, which does not exist")
