"""The roles that are needed and no more: who may do what, entity by entity, sender apart from receiver."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.checks.deployment import Deployment
from infra.checks.findings import Finding
from infra.checks.syntax import read_file, text_of

ROLES: Mapping[str, str] = {
    "Storage Blob Data Owner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "Storage Blob Data Contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "Storage Table Data Contributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
    "Storage Table Data Reader": "76199698-9eea-4c19-bc75-cec21354c6b6",
    "Service Bus Data Sender": "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39",
    "Service Bus Data Receiver": "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0",
    "Key Vault Secrets User": "4633458b-17de-408a-b874-0445c86b69e6",
    "Monitoring Metrics Publisher": "3913510d-42f4-4e42-8a64-420c390055eb",
}
_VARIABLES = {name[0].lower() + name.replace(" ", "")[1:]: guid for name, guid in ROLES.items()}
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_APP = "userAssignedIdentities"


def check_roles(deployment: Deployment, topology: Mapping[str, Any], tables: tuple[str, ...]) -> Iterator[Finding]:
    """The role assignments of a deployment against what the app and the export need."""
    found: Counter[tuple[str, str, str]] = Counter()
    names = {guid: name for name, guid in ROLES.items()}
    for assignment in deployment.of_type("Microsoft.Authorization/roleAssignments"):
        guid = str(assignment.body["properties"].get("roleDefinitionId", "")).rpartition("/")[2]
        if guid not in names:
            yield Finding(assignment.where, f"{guid} is the GUID of no role that this project knows")
            continue
        if not assignment.scope_id:
            yield Finding(assignment.where, f"{names[guid]} is assigned on the whole resource group, not on an entity")
            continue
        principal = str(assignment.body["properties"].get("principalId", ""))
        who = "app" if _APP in principal else "export" if principal == _export_of(deployment) else principal
        found[who, names[guid], _short(assignment.scope_id)] += 1
    needed = Counter(_needed(deployment, topology, tables))
    for who, role, scope in sorted((needed - found).elements()):
        yield Finding(f"{deployment.label}: roles", f"the {who} needs {role} on {scope} and does not get it")
    for who, role, scope in sorted((found - needed).elements()):
        yield Finding(f"{deployment.label}: roles", f"{who} gets {role} on {scope}, which it does not need")


def check_role_variables(folder: Path) -> Iterator[Finding]:
    """Role GUIDs stand in variables that carry the role's name, and nowhere else."""
    for path in sorted(folder.rglob("*.bicep")):
        file = read_file(path)
        named = set()
        for name, node in file.variables.items():
            for match in _GUID.finditer(text_of(node)):
                named.add(match.group())
                if _VARIABLES.get(name) != match.group():
                    right = next((known for known, guid in _VARIABLES.items() if guid == match.group()), None)
                    hint = f", which is {right}" if right else f"; the role's GUID is {_VARIABLES.get(name, 'unknown')}"
                    yield Finding(f"{path.name} {name}", f"holds {match.group()}{hint}")
        for match in _GUID.finditer(file.text):
            if match.group() not in named:
                yield Finding(path.name, f"the bare GUID {match.group()} says nothing: name it as a variable")


def _needed(
    deployment: Deployment, topology: Mapping[str, Any], tables: tuple[str, ...]
) -> Iterator[tuple[str, str, str]]:
    host, state = (
        next(_short(a.id) for a in deployment.of_type("Microsoft.Storage/storageAccounts") if a.name.startswith(letter))
        for letter in "ds"
    )
    bus, vault = (
        _short(deployment.one(kind).id) for kind in ("Microsoft.ServiceBus/namespaces", "Microsoft.KeyVault/vaults")
    )
    insights = _short(deployment.one("Microsoft.Insights/components").id)
    yield "app", "Storage Blob Data Owner", host
    yield "app", "Storage Table Data Contributor", host
    yield "app", "Storage Blob Data Contributor", f"{state}/default/bodies"
    yield "app", "Key Vault Secrets User", vault
    yield "app", "Monitoring Metrics Publisher", insights
    for table in tables:
        yield "app", "Storage Table Data Contributor", f"{state}/default/{table}"
    for topic, subscriptions in topology.items():
        yield "app", "Service Bus Data Sender", f"{bus}/{topic}"
        for subscription in subscriptions["subscriptions"]:
            yield "app", "Service Bus Data Receiver", f"{bus}/{topic}/{subscription}"
    if _export_of(deployment):
        yield "export", "Storage Table Data Reader", state
        yield "export", "Storage Blob Data Contributor", f"{host}/default/exports"


def _export_of(deployment: Deployment) -> str:
    return str(deployment.parameters.get("exportPrincipalId", ""))


def _short(resource_id: str) -> str:
    """The names of a resource id without its types: namespace/topic/subscription."""
    return "/".join(resource_id.partition("/providers/")[2].split("/")[2::2])
