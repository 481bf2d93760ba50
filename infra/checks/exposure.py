"""Nothing is reached that should not be: keys, networks, doors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from infra.checks.deployment import Deployed, Deployment
from infra.checks.findings import Finding

_KEYS = re.compile(
    r"\b(listKeys|listAccountSas|listServiceSas|listSecrets|getSecret)\b|AccountKey=|SharedAccessKey|"
    r"authorizationRules|accessPolicies|x-functions-key|[?&]code="
)
_STORES = ("Microsoft.Storage/storageAccounts", "Microsoft.ServiceBus/namespaces", "Microsoft.KeyVault/vaults")
_GROUPS = {
    "blob": "privatelink.blob.core.windows.net",
    "table": "privatelink.table.core.windows.net",
    "namespace": "privatelink.servicebus.windows.net",
    "vault": "privatelink.vaultcore.azure.net",
}


def check_no_keys(folder: Path) -> Iterator[Finding]:
    """No key is listed, kept or handed out anywhere in the Bicep."""
    for path in sorted(folder.rglob("*.bicep")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for match in _KEYS.finditer(line):
                yield Finding(f"{path.name}:{number}", f"{match.group()} has to do with keys: identities only")


def check_secrets(deployment: Deployment) -> Iterator[Finding]:
    """Settings that are secret are references into the vault; nothing else looks like a secret."""
    (settings,) = [r for r in deployment.of_type("Microsoft.Web/sites/config") if r.name == "appsettings"]
    for name, value in settings.body["properties"].items():
        secret = re.search(r"password|secret|key$", name, re.IGNORECASE)
        if secret and not str(value).startswith("@Microsoft.KeyVault("):
            yield Finding(f"{settings.where} {name}", "is secret and not a Key Vault reference")
        if name.lower() in {"azurewebjobsstorage", "servicebus", "tables__connectionstring", "blobs__connectionstring"}:
            yield Finding(f"{settings.where} {name}", "is a connection string: the cloud uses identities")


def check_publishing(deployment: Deployment) -> Iterator[Finding]:
    """Neither SCM nor FTP takes a password."""
    kind = "Microsoft.Web/sites/basicPublishingCredentialsPolicies"
    for name in {"scm", "ftp"} - {policy.name for policy in deployment.of_type(kind)}:
        yield Finding(f"{deployment.label}: app", f"basic publishing credentials of {name} are not switched off")


def check_network(deployment: Deployment) -> Iterator[Finding]:
    """With private networking, every store is closed to the public and has its private endpoint and its DNS zone."""
    private = deployment.parameters.get("privateNetworking", False)
    stores = [store for kind in _STORES for store in deployment.of_type(kind)]
    reached = {
        (link["properties"]["privateLinkServiceId"], group)
        for endpoint in deployment.of_type("Microsoft.Network/privateEndpoints")
        for link in endpoint.body["properties"]["privateLinkServiceConnections"]
        for group in link["properties"]["groupIds"]
    }
    for store in stores:
        access = store.body["properties"].get("publicNetworkAccess")
        action = store.body["properties"].get("networkAcls", {}).get("defaultAction", "Deny")
        if private and (access, action) != ("Disabled", "Deny"):
            yield Finding(store.where, f"private networking is chosen, but public access is {access} and {action}")
        if private:
            for group in _groups_of(store):
                if (store.id, group) not in reached:
                    yield Finding(
                        store.where, f"private networking is chosen, but no private endpoint leads to {group}"
                    )
    (app,) = deployment.of_type("Microsoft.Web/sites")
    if private and not app.body["properties"].get("virtualNetworkSubnetId"):
        yield Finding(app.where, "private networking is chosen, but the app is in no subnet")
    zones = {zone.name for zone in deployment.of_type("Microsoft.Network/privateDnsZones")}
    links = deployment.of_type("Microsoft.Network/privateDnsZones/virtualNetworkLinks")
    for _, group in sorted(reached):
        if _GROUPS[group] not in zones:
            yield Finding(f"{deployment.label}: network", f"private endpoint {group} has no zone {_GROUPS[group]}")
    for zone in zones:
        if not any(f"/{zone}/" in link.id for link in links):
            yield Finding(f"{deployment.label}: network", f"the zone {zone} is linked to no network")
    named = {
        group.id.rpartition("/privateDnsZoneGroups/")[0]
        for group in deployment.of_type("Microsoft.Network/privateEndpoints/privateDnsZoneGroups")
    }
    for endpoint in deployment.of_type("Microsoft.Network/privateEndpoints"):
        if endpoint.id not in named:
            yield Finding(endpoint.where, "writes its name into no zone: its store is not found by its name")
    for zone_group in deployment.of_type("Microsoft.Network/privateEndpoints/privateDnsZoneGroups"):
        of = zone_group.id.rpartition("/privateDnsZoneGroups/")[0]
        target = next(e for e in deployment.of_type("Microsoft.Network/privateEndpoints") if e.id == of)
        (wanted,) = target.body["properties"]["privateLinkServiceConnections"][0]["properties"]["groupIds"]
        for config in zone_group.body["properties"]["privateDnsZoneConfigs"]:
            if not str(config["properties"]["privateDnsZoneId"]).endswith(f"/{_GROUPS[wanted]}"):
                yield Finding(zone_group.where, f"the endpoint {wanted} writes its name into another zone")


def check_package_container(deployment: Deployment) -> Iterator[Finding]:
    """The container that packages are taken from is made, and what is exported beside it goes after its time."""
    (app,) = deployment.of_type("Microsoft.Web/sites")
    container = str(app.body["properties"]["functionAppConfig"]["deployment"]["storage"]["value"])
    made = {one.name for one in deployment.of_type("Microsoft.Storage/storageAccounts/blobServices/containers")}
    if not any(container.endswith(name) for name in made):
        yield Finding(app.where, f"takes packages from {container}, which no container of this deployment is")
    if not deployment.of_type("Microsoft.Storage/storageAccounts/managementPolicies"):
        yield Finding(f"{deployment.label}: exports", "are kept for ever: no management policy deletes them")


def check_doors(deployment: Deployment, functions: Path) -> Iterator[Finding]:
    """Paths left out of the platform's sign-in are exactly doors that machines open with a key, or health."""
    (sign_in,) = [r for r in deployment.of_type("Microsoft.Web/sites/config") if r.name == "authsettingsV2"]
    excluded = set(sign_in.body["properties"]["globalValidation"].get("excludedPaths", []))
    doors = dict(_doors(functions))
    machines = {f"/api/{route}" for route, level in doors.items() if level == "FUNCTION" and "{" not in route}
    for path in sorted(excluded - machines - {"/api/health"}):
        yield Finding(sign_in.where, f"{path} is left out of sign-in, but is no door that checks a key")
    for path in sorted(machines - excluded):
        yield Finding(sign_in.where, f"{path} is opened by machines with a key, but sign-in stands before it")


def check_always_ready(deployment: Deployment, functions: Path, host_json_sessions: int) -> Iterator[Finding]:
    """Always-ready groups are checkout's and those of real message flows, and fit under the maximum and the lanes."""
    (app,) = deployment.of_type("Microsoft.Web/sites")
    (settings,) = [r for r in deployment.of_type("Microsoft.Web/sites/config") if r.name == "appsettings"]
    scale = app.body["properties"]["functionAppConfig"]["scaleAndConcurrency"]
    groups = {entry["name"]: entry["instanceCount"] for entry in scale["alwaysReady"]}
    for flow in sorted(_message_flows(functions)):
        if f"function:{flow}" not in groups:
            yield Finding(app.where, f"no instance is always ready for {flow}: its lanes would wait for a cold start")
    for name in sorted(groups.keys() - {"http"} - {f"function:{flow}" for flow in _message_flows(functions)}):
        yield Finding(app.where, f"{name} is always ready, but no message flow is called so")
    if "http" not in groups:
        yield Finding(app.where, "no instance is always ready for checkout")
    if sum(groups.values()) > scale["maximumInstanceCount"]:
        yield Finding(
            app.where, f"{sum(groups.values())} instances are always ready, of at most {scale['maximumInstanceCount']}"
        )
    lanes = int(settings.body["properties"]["Concord__lanes"])
    for name, count in groups.items():
        if name != "http" and lanes > count * host_json_sessions:
            yield Finding(settings.where, f"{lanes} lanes, but {name} has slots for {count * host_json_sessions}")
    calls = int(settings.body["properties"]["Sap__concurrentCalls"]) * scale["maximumInstanceCount"]
    if calls > deployment.parameters["sapConcurrentCalls"]:
        yield Finding(
            app.where,
            f"{scale['maximumInstanceCount']} instances may make {calls} calls to SAP at once, which takes"
            f" {deployment.parameters['sapConcurrentCalls']}",
        )


def _groups_of(store: Deployed) -> tuple[str, ...]:
    return {"storageAccounts": ("blob", "table"), "namespaces": ("namespace",), "vaults": ("vault",)}[
        store.type.rpartition("/")[2]
    ]


def _doors(functions: Path) -> Iterator[tuple[str, str]]:
    for call in _calls(functions, "route"):
        arguments = {keyword.arg: keyword.value for keyword in call.keywords}
        route = arguments.get("route") or call.args[0]
        level = arguments["auth_level"]
        if isinstance(route, ast.Constant) and isinstance(level, ast.Attribute):
            yield str(route.value), level.attr


def _message_flows(functions: Path) -> set[str]:
    found = set()
    for call in _calls(functions, "service_bus_topic_trigger"):
        for keyword in call.keywords:
            name = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            if keyword.arg == "subscription_name" and isinstance(name, str) and "$" not in name:
                found.add(name)
    return found


def _calls(functions: Path, name: str) -> Iterator[ast.Call]:
    for path in sorted(functions.glob("*.py")):
        for call in _method_calls(path.read_text(encoding="utf-8")):
            if isinstance(call.func, ast.Attribute) and call.func.attr == name:
                yield call


@cache
def _method_calls(source: str) -> tuple[ast.Call, ...]:
    """Calls of methods in a source; the doors are asked for more than once in a run."""
    nodes = ast.walk(ast.parse(source))
    return tuple(node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))
