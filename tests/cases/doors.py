"""Doors called with the principal that the platform injects, on a hub of the test's own."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import azure.functions as func
import pytest

from functions import traced
from shared import exact_json
from shared.wiring import Hub


@dataclass(frozen=True, slots=True)
class Answer:
    """What a door said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return exact_json.loads(self.body)


class Doors:
    """The doors of some modules of `functions`, all on one hub."""

    def __init__(self, patch: pytest.MonkeyPatch, hub: Hub, *modules: ModuleType) -> None:
        async def connected() -> Hub:
            return hub

        patch.setattr(traced, "settings_of_process", lambda: hub.settings)
        for module in modules:
            patch.setattr(module, "hub", connected)

    async def call(
        self,
        door: Any,
        method: str = "GET",
        *,
        roles: tuple[str, ...] | None = ("Reader",),
        name: str = "olga@concord.example",
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        **route: str,
    ) -> Answer:
        """Call a door as a person with roles; `roles=None` is nobody."""
        sent = dict(headers or {})
        if roles is not None:
            principal = {"claims": [{"typ": "roles", "val": role} for role in roles], "role_typ": "roles"}
            sent |= {
                "x-ms-client-principal": base64.b64encode(json.dumps(principal).encode()).decode(),
                "x-ms-client-principal-id": name,
                "x-ms-client-principal-name": name,
            }
        request = func.HttpRequest(
            method,
            "http://127.0.0.1/api/of-the-test",
            headers=sent,
            params=dict(params or {}),
            route_params=route,
            body=b"" if body is None else exact_json.dumps(body),
        )
        context = SimpleNamespace(trace_context=SimpleNamespace(trace_parent=""))
        response = await door._function.get_user_function()(request, context)
        return Answer(response.status_code, dict(response.headers), response.get_body())
