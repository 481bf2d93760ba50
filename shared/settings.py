"""Every setting of the app, typed, read once from the environment, all faults reported together.

Names are those of the Function App's settings; the README's table says what each is for, and a test holds this file,
the table, `local.settings.example.json` and `infra/modules/functionapp.bicep` together. In the cloud the services are
reached by identity (`…__endpoint`, `…__fullyQualifiedNamespace`); the local stack gives connection strings.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

HOST_JSON = Path(__file__).parent.parent / "host.json"
SESSIONS_PER_PROCESS_MAX = 50
"""Each open session costs a process a connection and a loop: beyond this, more instances serve better."""
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_UNRESOLVED = "@Microsoft.KeyVault("


class SettingsFaulty(Exception):
    """The settings do not allow a start; the message lists every faulty one with what to do, and no secret."""


def _address(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is not an address ({error})") from error
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
        raise ValueError("is not an address: https, a host, at most a path")
    if parts.username is not None:
        raise ValueError("carries a user: credentials have settings of their own")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise ValueError("is not https: credentials would travel in clear")
    return value.rstrip("/")


def _file(value: Path) -> Path:
    if not value.is_file():
        raise ValueError("is not a file that this app can read")
    return value


def _trace_target(value: str) -> str:
    path = Path(value)
    if value != "stdout" and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise ValueError("is neither stdout nor a file in a folder that is there")
    return value


def _bus(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith("Endpoint=sb://"):
        raise ValueError("is not a Service Bus connection string: it begins with Endpoint=sb://")
    return value


def _insights(value: SecretStr) -> SecretStr:
    if "InstrumentationKey=" not in value.get_secret_value():
        raise ValueError("is not a connection string of Application Insights: it names an InstrumentationKey")
    return value


Address = Annotated[str, AfterValidator(_address)]
_NAMESPACE = r"^[A-Za-z0-9][A-Za-z0-9-]*(\.[A-Za-z0-9-]+)+$"
_GUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


class Settings(BaseModel):
    """The app's settings; the alias of each field is its name in the environment, the description says what to set."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    servicebus_connection: Annotated[SecretStr, AfterValidator(_bus)] | None = Field(
        None, alias="ServiceBus", description="connection string of the bus, for the local stack only"
    )
    servicebus_namespace: str | None = Field(
        None,
        alias="ServiceBus__fullyQualifiedNamespace",
        pattern=_NAMESPACE,
        description="host name of the bus, name.servicebus.windows.net",
    )
    tables_connection: SecretStr | None = Field(
        None, alias="Tables__connectionString", description="connection string of the state tables, local stack only"
    )
    tables_endpoint: Address | None = Field(
        None, alias="Tables__endpoint", description="address of the state tables, https://name.table.core.windows.net"
    )
    blobs_connection: SecretStr | None = Field(
        None, alias="Blobs__connectionString", description="connection string of the large bodies, local stack only"
    )
    blobs_endpoint: Address | None = Field(
        None, alias="Blobs__endpoint", description="address of the large bodies, https://name.blob.core.windows.net"
    )
    identity_client_id: str | None = Field(
        None, alias="Identity__clientId", pattern=_GUID, description="client id of the user-assigned identity"
    )
    sap_url: Address = Field(alias="Sap__url", description="address of the SAP gateway")
    sap_client: str = Field("100", alias="Sap__client", pattern=r"^\d{3}$", description="SAP client, three digits")
    sap_user: str = Field(alias="Sap__user", min_length=1, description="communication user in SAP")
    sap_password: SecretStr = Field(alias="Sap__password", min_length=1, description="password of that user")
    sap_concurrent_calls: int = Field(
        64, alias="Sap__concurrentCalls", ge=1, le=1000, description="calls to SAP that one worker lets run at once"
    )
    dataverse_url: Address = Field(alias="Dataverse__url", description="address of the Dataverse organization")
    commerce_retail_url: Address = Field(alias="Commerce__retailUrl", description="address of the Commerce Scale Unit")
    commerce_hq_url: Address = Field(alias="Commerce__hqUrl", description="address of Finance and Operations")
    commerce_inventory_url: Address = Field(
        alias="Commerce__inventoryUrl", description="address of the Inventory Visibility service"
    )
    commerce_inventory_token_url: Address = Field(
        alias="Commerce__inventoryTokenUrl", description="address of the service that issues its tokens"
    )
    commerce_environment_id: str = Field(
        alias="Commerce__environmentId", min_length=1, description="environment id in Inventory Visibility"
    )
    policy_overlay: Annotated[Path, AfterValidator(_file)] | None = Field(
        None, alias="Concord__policyOverlay", description="file of policy values laid over the shipped ones"
    )
    service_key: SecretStr = Field(
        alias="Concord__serviceKey", min_length=16, description="key by which services read people's doors"
    )
    lanes: int = Field(
        32, alias="Concord__lanes", ge=1, le=1024, description="sessions that the keys of messages are spread over"
    )
    guaranteed_instances: int = Field(
        4, alias="Concord__guaranteedInstances", ge=1, le=1000, description="instances of each flow always ready"
    )
    insights_connection: Annotated[SecretStr, AfterValidator(_insights)] | None = Field(
        None, alias="APPLICATIONINSIGHTS_CONNECTION_STRING", description="where traces and metrics go"
    )
    insights_authentication: str | None = Field(
        None,
        alias="APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
        pattern=r"^(ClientId=[0-9a-fA-F-]{36};)?Authorization=AAD$",
        description="the identity that may send there, ClientId=…;Authorization=AAD",
    )
    traces: Annotated[str, AfterValidator(_trace_target)] | None = Field(
        None, alias="Concord__traces", description="stdout or a file: traces as JSON lines on a developer's machine"
    )
    trace_ratio: float = Field(
        1.0, alias="Concord__traceRatio", ge=0, le=1, description="part of all traces that is kept; metrics count all"
    )


PLATFORM: Mapping[str, str] = {
    "AzureWebJobsStorage": "connection string of the host's own storage, for the local stack only",
    "FUNCTIONS_WORKER_RUNTIME": "python, for Core Tools only: Flex Consumption refuses it",
    "AzureWebJobsStorage__accountName": "storage account of the host itself",
    "AzureWebJobsStorage__credential": "how the host signs in there: managedidentity",
    "AzureWebJobsStorage__clientId": "client id of the identity it does so with",
    "ServiceBus__credential": "how the triggers sign in to the bus: managedidentity",
    "ServiceBus__clientId": "client id of the identity they do so with",
}
"""Settings that the Functions host reads; the app does not."""

EITHER = (
    ("ServiceBus", "ServiceBus__fullyQualifiedNamespace"),
    ("Tables__connectionString", "Tables__endpoint"),
    ("Blobs__connectionString", "Blobs__endpoint"),
)
"""Settings that say the same in two places: on the local stack, and in the cloud by identity."""
_OURS = re.compile(r"^(Tables|Blobs|Identity|Sap|Dataverse|Commerce|Concord)__")


def names() -> dict[str, str]:
    """Setting → field of `Settings`."""
    return {str(field.alias): name for name, field in Settings.model_fields.items()}


@cache
def settings_of_process() -> Settings:
    """The settings of this worker; raises `SettingsFaulty`. The app reads them when it is indexed, so that a faulty
    deployment has no functions and says why, instead of failing message by message."""
    return read_settings()


def read_settings(environment: Mapping[str, str] | None = None, host_json: Path = HOST_JSON) -> Settings:
    """Read the settings; raises `SettingsFaulty` with one line for each fault: the name, what is wrong, what to do."""
    given = os.environ if environment is None else environment
    values = {name: value for name, value in given.items() if value.strip()}
    unresolved = [name for name in names() if values.get(name, "").startswith(_UNRESOLVED)]
    settings, found = _read({name: value for name, value in values.items() if name not in unresolved})
    faults = {name: f"{fault}; set it to {_wanted(name)}" for name, fault in found if name not in unresolved}
    for name in unresolved:
        faults[name] = (
            "its Key Vault reference is not resolved; the secret must exist, and the app's identity needs the role "
            "Key Vault Secrets User and a way to the vault"
        )
    lines = [f"{name}: {fault}" for name, fault in faults.items()]
    lines += _between(values)
    lines += _strangers(values)
    lines += _lanes(values, host_json)
    if settings is None or lines:
        raise SettingsFaulty("\n  ".join([f"{len(lines)} fault(s) in the settings:", *lines]))
    return settings


def _read(values: Mapping[str, str]) -> tuple[Settings | None, list[tuple[str, str]]]:
    try:
        return Settings.model_validate(values), []
    except ValidationError as error:
        return None, [
            (str(fault["loc"][0]), _said(fault["type"], fault["msg"]))
            for fault in error.errors(include_input=False, include_url=False)
        ]


def _said(kind: str, message: str) -> str:
    if kind == "missing":
        return "is missing"
    return message.removeprefix("Value error, ") if kind == "value_error" else f"is wrong: {message}"


def _wanted(name: str) -> str:
    return f"the {Settings.model_fields[names()[name]].description}"


def _between(values: Mapping[str, str]) -> Iterator[str]:
    """What no setting says alone."""
    for one, other in EITHER:
        if one in values and other in values:
            yield f"{other}: {one} is set too; keep {other} in the cloud, {one} on the local stack"
        if one not in values and other not in values:
            yield f"{other}: is missing; set it to the {_what(other)}; or set {one}, the {_what(one)}"
    if "Concord__traces" in values and "APPLICATIONINSIGHTS_CONNECTION_STRING" in values:
        yield "Concord__traces: is set beside APPLICATIONINSIGHTS_CONNECTION_STRING; traces go one way, remove one"
    if "APPLICATIONINSIGHTS_AUTHENTICATION_STRING" in values and "APPLICATIONINSIGHTS_CONNECTION_STRING" not in values:
        yield "APPLICATIONINSIGHTS_AUTHENTICATION_STRING: means nothing without APPLICATIONINSIGHTS_CONNECTION_STRING"


def _what(name: str) -> str:
    return str(Settings.model_fields[names()[name]].description)


def _strangers(values: Mapping[str, str]) -> Iterator[str]:
    """A setting with one of our prefixes that is none: almost always a slip of the pen."""
    known = names()
    for name in sorted(values):
        if _OURS.match(name) and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            yield f"{name}: is no setting of this app; " + (f"{near[0]} is meant?" if near else "remove it")


def _lanes(values: Mapping[str, str], host_json: Path) -> Iterator[str]:
    """Every lane must find a session slot at once: without one, each of its messages waits for another to be idle."""
    lanes, instances = (_number(values, name) for name in ("lanes", "guaranteed_instances"))
    service_bus = json.loads(host_json.read_text(encoding="utf-8"))["extensions"]["serviceBus"]
    slots = int(service_bus["maxConcurrentSessions"])
    hours, minutes, seconds = (float(part) for part in service_bus["sessionIdleTimeout"].split(":"))
    idle_seconds = hours * 3600 + minutes * 60 + seconds
    if lanes is not None and instances is not None and lanes > slots * instances:
        yield (
            f"Concord__lanes: is {lanes}, but Concord__guaranteedInstances {instances} times maxConcurrentSessions "
            f"{slots} of host.json serve {slots * instances} at once; raise the instances or lower the lanes"
        )
    if not 1 <= idle_seconds <= 2:
        yield f"host.json: sessionIdleTimeout is {idle_seconds:g} s; between 1 and 2 s keeps lanes moving"
    if slots > SESSIONS_PER_PROCESS_MAX:
        yield f"host.json: maxConcurrentSessions is {slots}; a process serves {SESSIONS_PER_PROCESS_MAX} well"


def _number(values: Mapping[str, str], field: str) -> int | None:
    """A number as set or by default; None where it is none, which is told already."""
    known = Settings.model_fields[field]
    text = values.get(str(known.alias), str(known.default)).strip()
    return int(text) if text.isdecimal() else None
