"""One running stack of two workers, seen as anybody outside sees it: through stack.json and the fixed surfaces."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox.day.quiet import fire_timers, until_quiet
from sandbox.day.systems import System, Systems, systems_of
from sandbox.kit import exact_json
from tests.host.conftest import READY_SECONDS, ROOT

QUIET_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, numbers exact."""
        return exact_json.loads(self.body)

    @property
    def fields(self) -> set[str]:
        """The faulty fields that a problem document names."""
        return {error["field"] for error in self.json.get("errors", [])}


@dataclass(frozen=True, slots=True)
class Outside:
    """Somebody outside the stack. `described` is the content of stack.json when the stack came up."""

    path: Path
    described: dict[str, Any]
    session: aiohttp.ClientSession
    systems: Systems

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        worker: int = 0,
    ) -> Reply:
        """A call of the app with the default key (unless headers say otherwise); bytes are sent as they are."""
        data = body if isinstance(body, bytes) else None if body is None else exact_json.dumps(body)
        sent = {"x-functions-key": self.described["functions"]["keys"]["default"], "Content-Type": "application/json"}
        url = f"{self.described['functions']['urls'][worker]}{path}"
        async with self.session.request(method, url, data=data, headers={**sent, **(headers or {})}) as answer:
            return Reply(answer.status, dict(answer.headers), await answer.read())

    def person(self, name: str) -> dict[str, str]:
        """What a signed-in person sends, without any key."""
        return {**self.described[name]["headers"], "x-functions-key": ""}

    async def control(self, system: System, method: str, path: str, body: object = None) -> Any:
        """A call of a simulator's control surface."""
        return (await self.systems.call(system, method, f"/__sim/{path}", body))[1]

    async def rest(self) -> None:
        """Until nothing moves any more, sweeps included."""
        await until_quiet(self.systems, deadline_seconds=QUIET_SECONDS, look=lambda _: None)

    async def sweep(self) -> None:
        """Fire every timer, and wait for what they set going."""
        await fire_timers(self.systems)
        await self.rest()

    async def evidence(self, entity: str, key: str) -> list[dict[str, Any]]:
        """The lineage of a record; empty where nothing was ever decided about it."""
        reply = await self.ask("GET", f"/api/lineage/{entity}/{key}")
        return list(reply.json["lineage"]) if reply.status == 200 else []

    async def cases_about(self, key: str, state: str = "all") -> list[dict[str, Any]]:
        """Cases about one record."""
        cases = (await self.ask("GET", f"/api/cases?state={state}")).json["cases"]
        return [case for case in cases if case["key"] == key]

    async def documents_of(self, *numbers: str) -> list[dict[str, Any]]:
        """SAP's documents for orders."""
        state = await self.control("sap", "GET", "state")
        return [one for one in state["documents"] if one["order"] in numbers]

    def processes(self, role: str) -> list[int]:
        """The pids of a role, as stack.json says now."""
        pids: list[int] = json.loads(self.path.read_bytes())["processes"][role]
        return pids


@contextmanager
def two_workers(folder: Path, *arguments: str) -> Iterator[Path]:
    """`make up WORKERS=2`, and its stack.json; `arguments` are further ones of its command line."""
    told = folder / "stack.json"
    line = [sys.executable, "-m", "sandbox.stack", "up", "--workers", "2", "--out", str(told), *arguments]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first.startswith("ready "), first
            yield told
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(READY_SECONDS)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In this stack KW01 posts by sales order, the others as shipped."""
    folder = tmp_path_factory.mktemp("stack")
    overlay = folder / "overlay.yaml"
    overlay.write_text("ledger: {legal_entities: {KW01: {posting: sales_order}}}\n", encoding="utf-8")
    with two_workers(folder, "--overlay", str(overlay)) as told:
        yield told


@pytest.fixture
async def outside(stack: Path) -> AsyncIterator[Outside]:
    described = json.loads(stack.read_bytes())
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        seen = Outside(stack, described, session, systems_of(described, session))
        for entity, period in (("GB01", "2026-11"), ("JP01", "2026-11"), ("KW01", "2026-11")):
            await seen.control("sap", "PUT", f"periods/{entity}/{period}", {"open": True})
        yield seen


@pytest.fixture
def data() -> Path:
    """The folder of other people's data."""
    folder = os.environ.get("CONCORD_TEST_DATA")
    if not folder:
        pytest.skip("CONCORD_TEST_DATA is not set: no captured input to send")
    return Path(folder)
