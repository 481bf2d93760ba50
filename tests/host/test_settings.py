"""host.json: defaults are Azure's, faults are named, and settings of the environment lie over it."""

import json
from pathlib import Path

import pytest

from sandbox.host.settings import HostSettings, SettingsRefused, read_settings


def read(tmp_path: Path, stated: object, environment: dict[str, str] | None = None) -> HostSettings:
    (tmp_path / "host.json").write_text(json.dumps(stated))
    return read_settings(tmp_path, environment or {})


def test_what_host_json_leaves_out_has_the_default_of_azure(tmp_path: Path) -> None:
    settings = read(tmp_path, {"version": "2.0"})
    assert settings.route_prefix == "api"
    assert settings.function_timeout_seconds == 1800
    assert settings.body_bytes_max == 104_857_600
    assert settings.bus.concurrent_sessions_max == 8
    assert settings.bus.session_idle_seconds == 60
    assert settings.bus.lock_renewal_seconds_max == 300
    assert settings.bus.prefetch_count == 0
    assert settings.bus.auto_complete


def test_what_host_json_states_is_taken(tmp_path: Path) -> None:
    bus = {"maxConcurrentSessions": 32, "sessionIdleTimeout": "00:00:01.5", "autoCompleteMessages": False}
    http = {"routePrefix": "v1/", "maxConcurrentRequests": 3}
    settings = read(
        tmp_path, {"version": "2.0", "functionTimeout": "-1", "extensions": {"http": http, "serviceBus": bus}}
    )
    assert settings.route_prefix == "v1"
    assert settings.concurrent_requests_max == 3
    assert settings.function_timeout_seconds is None
    assert settings.bus.concurrent_sessions_max == 32
    assert settings.bus.session_idle_seconds == 1.5
    assert not settings.bus.auto_complete


@pytest.mark.parametrize(
    ("stated", "named"),
    [
        ({}, "version"),
        ({"version": "1.0"}, "version"),
        ({"version": "2.0", "functionTimeout": "soon"}, "functionTimeout"),
        ({"version": "2.0", "extensions": {"serviceBus": {"maxConcurrentSessions": 0}}}, "maxConcurrentSessions"),
        ({"version": "2.0", "extensions": {"serviceBus": {"prefetchCount": "many"}}}, "prefetchCount"),
        ({"version": "2.0", "logging": {"logLevel": {"default": "Loud"}}}, "logLevel"),
    ],
)
def test_a_fault_in_host_json_is_named(tmp_path: Path, stated: object, named: str) -> None:
    with pytest.raises(SettingsRefused, match=named):
        read(tmp_path, stated)


def test_a_host_json_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsRefused, match=r"no host\.json"):
        read_settings(tmp_path, {})


def test_settings_of_the_job_host_lie_over_host_json(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        {"version": "2.0", "extensions": {"serviceBus": {"maxConcurrentSessions": 2}}},
        {
            "AzureFunctionsJobHost__extensions__serviceBus__maxConcurrentSessions": "50",
            "AzureFunctionsJobHost__functionTimeout": "00:00:02",
        },
    )
    assert settings.bus.concurrent_sessions_max == 50
    assert settings.function_timeout_seconds == 2
