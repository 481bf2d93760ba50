"""Every setting of the app, typed, read once from the environment, all faults reported together.

Names are those of the Function App's settings (`local.settings.example.json` lists them). In the cloud the services
are reached by identity (`…__endpoint`, `…__fullyQualifiedNamespace`); the local stack gives connection strings.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator


class SettingsFaulty(Exception):
    """The settings do not allow a start; the message lists every faulty one."""


class Settings(BaseModel):
    """The app's settings; the alias of each field is its name in the environment."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    servicebus_connection: SecretStr | None = Field(None, alias="ServiceBus")
    servicebus_namespace: str | None = Field(None, alias="ServiceBus__fullyQualifiedNamespace")
    tables_connection: SecretStr | None = Field(None, alias="Tables__connectionString")
    tables_endpoint: str | None = Field(None, alias="Tables__endpoint")
    blobs_connection: SecretStr | None = Field(None, alias="Blobs__connectionString")
    blobs_endpoint: str | None = Field(None, alias="Blobs__endpoint")
    identity_client_id: str | None = Field(None, alias="Identity__clientId")
    sap_url: str = Field(alias="Sap__url", min_length=1)
    sap_client: str = Field("100", alias="Sap__client", pattern=r"^\d{3}$")
    sap_user: str = Field(alias="Sap__user", min_length=1)
    sap_password: SecretStr = Field(alias="Sap__password")
    sap_concurrent_calls: int = Field(32, alias="Sap__concurrentCalls", ge=1, le=1000)
    dataverse_url: str = Field(alias="Dataverse__url", min_length=1)
    commerce_retail_url: str = Field(alias="Commerce__retailUrl", min_length=1)
    commerce_hq_url: str = Field(alias="Commerce__hqUrl", min_length=1)
    commerce_inventory_url: str = Field(alias="Commerce__inventoryUrl", min_length=1)
    commerce_inventory_token_url: str = Field(alias="Commerce__inventoryTokenUrl", min_length=1)
    commerce_environment_id: str = Field(alias="Commerce__environmentId", min_length=1)
    policy_overlay: Path | None = Field(None, alias="Concord__policyOverlay")
    service_key: SecretStr = Field(alias="Concord__serviceKey", min_length=16)
    lanes: int = Field(32, alias="Concord__lanes", ge=1, le=1024)
    guaranteed_instances: int = Field(4, alias="Concord__guaranteedInstances", ge=1, le=1000)

    @model_validator(mode="after")
    def _one_way_to_each_service(self) -> Self:
        for service, one, other in (
            ("ServiceBus", self.servicebus_connection, self.servicebus_namespace),
            ("Tables", self.tables_connection, self.tables_endpoint),
            ("Blobs", self.blobs_connection, self.blobs_endpoint),
        ):
            if (one is None) == (other is None):
                raise ValueError(f"{service}: set either its connection string or its endpoint, not both and not none")
        return self


SESSIONS_PER_PROCESS_MAX = 50
"""Each open session costs a process a connection and a loop: beyond this, more instances serve better."""


def check_lanes(settings: Settings, host_json: Path) -> None:
    """Every lane must find a session slot at once; raises `SettingsFaulty` naming the figures that do not fit.

    A lane without a slot waits until another session has been idle, which costs seconds for each of its messages.
    """
    service_bus = json.loads(host_json.read_text(encoding="utf-8"))["extensions"]["serviceBus"]
    slots = int(service_bus["maxConcurrentSessions"])
    hours, minutes, seconds = (float(part) for part in service_bus["sessionIdleTimeout"].split(":"))
    idle_seconds = hours * 3600 + minutes * 60 + seconds
    faults = []
    if settings.lanes > slots * settings.guaranteed_instances:
        faults.append(
            f"  Concord__lanes is {settings.lanes}, but {settings.guaranteed_instances} guaranteed instances with "
            f"maxConcurrentSessions {slots} serve {slots * settings.guaranteed_instances} at once"
        )
    if not 1 <= idle_seconds <= 2:
        faults.append(f"  host.json sessionIdleTimeout is {idle_seconds:g} s, between 1 and 2 s keeps lanes moving")
    if slots > SESSIONS_PER_PROCESS_MAX:
        faults.append(f"  host.json maxConcurrentSessions is {slots}, a process serves {SESSIONS_PER_PROCESS_MAX} well")
    if faults:
        raise SettingsFaulty("\n".join(["settings and host.json do not fit:", *faults]))


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; raises `SettingsFaulty` with one line for each faulty setting and no secret in it."""
    values = {name: value for name, value in (environment or os.environ).items() if value != ""}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        lines = [
            f"  {problem['loc'][0] if problem['loc'] else 'settings'}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_input=False, include_url=False)
        ]
        raise SettingsFaulty("\n".join(["settings are faulty:", *lines])) from error
