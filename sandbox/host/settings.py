"""host.json, read once: what it leaves out has Azure's default; what it states wrongly is named."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

_DURATION: Final = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2}):(\d{2})(?:\.(\d{1,7}))?")
_SETTING: Final = re.compile(r"%([^%]+)%")
_OVERRIDE: Final = "AzureFunctionsJobHost__"
_LEVELS: Final = {
    "trace": "DEBUG",
    "debug": "DEBUG",
    "information": "INFO",
    "warning": "WARNING",
    "error": "ERROR",
    "critical": "CRITICAL",
    "none": "CRITICAL",
}


class SettingsRefused(Exception):
    """A setting is missing or malformed; the text names it."""


class _Http(msgspec.Struct, rename="camel"):
    route_prefix: str = "api"
    max_concurrent_requests: int = -1
    max_outstanding_requests: int = -1


class _ServiceBus(msgspec.Struct, rename="camel"):
    prefetch_count: int = 0
    auto_complete_messages: bool = True
    max_auto_lock_renewal_duration: str = "00:05:00"
    max_concurrent_calls: int | None = None
    max_concurrent_sessions: int = 8
    max_message_batch_size: int = 1000
    session_idle_timeout: str = "00:01:00"


class _Extensions(msgspec.Struct, rename="camel"):
    http: _Http = msgspec.field(default_factory=_Http)
    service_bus: _ServiceBus = msgspec.field(default_factory=_ServiceBus)


class _Logging(msgspec.Struct, rename="camel"):
    log_level: dict[str, str] = msgspec.field(default_factory=dict)


class _HostJson(msgspec.Struct, rename="camel"):
    version: str
    function_timeout: str = "00:30:00"
    extensions: _Extensions = msgspec.field(default_factory=_Extensions)
    logging: _Logging = msgspec.field(default_factory=_Logging)


@dataclass(frozen=True, slots=True)
class BusSettings:
    """extensions.serviceBus; times in seconds."""

    prefetch_count: int
    auto_complete: bool
    lock_renewal_seconds_max: float
    concurrent_calls_max: int
    concurrent_sessions_max: int
    batch_messages_max: int
    session_idle_seconds: float


@dataclass(frozen=True, slots=True)
class HostSettings:
    """host.json as this host uses it. None = without limit; `body_bytes_max` comes from the environment as on Azure."""

    route_prefix: str
    concurrent_requests_max: int | None
    outstanding_requests_max: int | None
    body_bytes_max: int
    function_timeout_seconds: float | None
    log_level: str
    bus: BusSettings


def read_settings(app_directory: Path, environment: Mapping[str, str] = os.environ) -> HostSettings:
    """Read host.json of the app. Raises SettingsRefused."""
    path = app_directory / "host.json"
    try:
        content = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        _override(content, environment)
        stated = msgspec.convert(
            content, type=_HostJson, strict=False
        )  # settings are texts, also those that are numbers
    except FileNotFoundError:
        raise SettingsRefused(f"there is no host.json in {app_directory}") from None
    except (msgspec.DecodeError, msgspec.ValidationError) as fault:
        raise SettingsRefused(f"host.json: {fault}") from fault
    if stated.version != "2.0":
        raise SettingsRefused(f"host.json: version is {stated.version!r}, not '2.0'")
    http, bus = stated.extensions.http, stated.extensions.service_bus
    level = stated.logging.log_level.get("default", "Information")
    if level.lower() not in _LEVELS:
        raise SettingsRefused(f"host.json: logging.logLevel.default is {level!r}, not one of {sorted(_LEVELS)}")
    return HostSettings(
        route_prefix=http.route_prefix.strip("/"),
        concurrent_requests_max=_limit("extensions.http.maxConcurrentRequests", http.max_concurrent_requests),
        outstanding_requests_max=_limit("extensions.http.maxOutstandingRequests", http.max_outstanding_requests),
        body_bytes_max=_body_bytes_max(environment),
        function_timeout_seconds=(
            None if stated.function_timeout == "-1" else seconds("functionTimeout", stated.function_timeout)
        ),
        log_level=_LEVELS[level.lower()],
        bus=BusSettings(
            prefetch_count=bus.prefetch_count,
            auto_complete=bus.auto_complete_messages,
            lock_renewal_seconds_max=seconds(
                "extensions.serviceBus.maxAutoLockRenewalDuration", bus.max_auto_lock_renewal_duration
            ),
            concurrent_calls_max=_positive(
                "extensions.serviceBus.maxConcurrentCalls",
                16 * (os.cpu_count() or 1) if bus.max_concurrent_calls is None else bus.max_concurrent_calls,
            ),
            concurrent_sessions_max=_positive(
                "extensions.serviceBus.maxConcurrentSessions", bus.max_concurrent_sessions
            ),
            batch_messages_max=_positive("extensions.serviceBus.maxMessageBatchSize", bus.max_message_batch_size),
            session_idle_seconds=seconds("extensions.serviceBus.sessionIdleTimeout", bus.session_idle_timeout),
        ),
    )


def seconds(field: str, text: str) -> float:
    """A .NET time span (`[d.]hh:mm:ss[.fffffff]`) in seconds. Raises SettingsRefused naming `field`."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise SettingsRefused(f"host.json: {field} is {text!r}, not a time span like 00:05:00")
    days, hours, minutes, whole, fraction = found.groups(default="0")
    return int(days) * 86400 + int(hours) * 3600 + int(minutes) * 60 + int(whole) + float(f"0.{fraction}")


def resolve(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Replace each %NAME% by that setting. Raises SettingsRefused when it is not set."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name not in environment:
            raise SettingsRefused(f"%{name}% is used in a trigger and not set")
        return environment[name]

    return _SETTING.sub(value, text)


def is_disabled(function: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the setting AzureWebJobs.<function>.Disabled (or with underscores) turns the function off."""
    stated = environment.get(
        f"AzureWebJobs.{function}.Disabled", environment.get(f"AzureWebJobs_{function}_Disabled", "")
    )
    return stated.lower() in {"1", "true"}


def connection_string(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """The connection string a trigger names, also under the AzureWebJobs prefix. Raises SettingsRefused."""
    for setting in (name, f"AzureWebJobs{name}"):
        if environment.get(setting):
            return environment[setting]
    raise SettingsRefused(f"the connection {name!r} of a Service Bus trigger is not set")


def _override(content: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Lay settings such as AzureFunctionsJobHost__extensions__http__routePrefix over host.json, as Azure does."""
    for setting, text in environment.items():
        if not setting.startswith(_OVERRIDE):
            continue
        *sections, name = setting.removeprefix(_OVERRIDE).split("__")
        place = content
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise SettingsRefused(f"{setting}: host.json has no section {section!r}")
        place[name] = text


def _limit(field: str, value: int) -> int | None:
    return None if value == -1 else _positive(field, value)


def _positive(field: str, value: int) -> int:
    if value < 1:
        raise SettingsRefused(f"host.json: {field} is {value}, not at least 1")
    return value


def _body_bytes_max(environment: Mapping[str, str]) -> int:
    stated = environment.get("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", str(100 * 1024 * 1024))
    if not stated.isdecimal():
        raise SettingsRefused(f"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT is {stated!r}, not a number of bytes")
    return int(stated)
