"""The doors of the month-end and the console on the running stack: who may, in what form, under which protection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox.kit import exact_json
from sandbox.stack import Stack
from tests.ledger.rig import sales_order

NOW = datetime.now(UTC)
DAY = (NOW - timedelta(hours=3)).date()
PERIOD = f"{DAY:%Y-%m}"


@dataclass(slots=True)
class Running:
    """A stack and a session with it."""

    stack: Stack
    session: aiohttp.ClientSession

    async def call(
        self, method: str, url: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        data = None if body is None else exact_json.dumps(body)
        async with self.session.request(method, url, data=data, headers=headers) as answer:
            content = await answer.read()
            told = exact_json.loads(content) if "json" in answer.content_type else content.decode()
            return answer.status, told, dict(answer.headers)

    async def door(
        self, method: str, path: str, body: object = None, *, person: str | None = "operator", **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        own = self.stack.headers_of(person) if person else {}
        return await self.call(method, f"{self.stack.functions_url}/api/{path}", body, own | headers)

    async def sim(self, system: str, method: str, path: str, body: object = None) -> Any:
        status, told, _ = await self.call(method, f"{self.stack.simulator_url(system)}/__sim/{path}", body)
        assert status == 200, told
        return told

    async def fire(self, timer: str) -> None:
        headers = {"x-functions-key": self.stack.secrets.master_key}
        url = f"{self.stack.functions_url}/admin/functions/{timer}?wait"
        status, told, _ = await self.call("POST", url, {"input": ""}, headers)
        assert status < 300 and told.get("succeeded") is not False, told

    async def until_posted(self, number: str) -> None:
        async with asyncio.timeout(30):
            while True:
                status, told, _ = await self.door("GET", f"lifecycle/GB01/{number}")
                if status == 200 and {"posted", "written_to_crm", "posting_written_to_crm"} <= {
                    step["step"] for step in told["steps"]
                }:
                    return
                await asyncio.sleep(0.2)  # between two looks at a stack that works


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with Stack(out=tmp_path / "stack.json") as stack, aiohttp.ClientSession() as session:
        yield Running(stack, session)


def order(number: str) -> dict[str, Any]:
    placed = (NOW - timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return sales_order(number, OrderPlacedDate=placed, BusinessDate=DAY.isoformat())


async def test_a_month_is_reconciled_closed_and_looked_at_over_http(running: Running) -> None:
    await running.sim("sap", "PUT", f"periods/GB01/{PERIOD}", {"open": True})
    await running.sim("commerce", "PUT", "orders/S-1", {"order": order("S-1"), "legalEntity": "GB01", "emit": True})
    await running.sim("commerce", "PUT", "events", {"lose": 1.0, "seed": 1})
    await running.sim("commerce", "PUT", "orders/S-2", {"order": order("S-2"), "legalEntity": "GB01", "emit": True})
    await running.sim("commerce", "PUT", "events", {})
    await running.until_posted("S-1")

    path = f"reconciliation/GB01/{PERIOD}"
    refused, told, _ = await running.door("POST", f"{path}/close")
    assert (refused, told["code"], {item["orderNumber"] for item in told["items"]}) == (409, "not-closable", {"S-2"})
    await running.fire("lost_order_sweep")
    await running.until_posted("S-2")

    assert (await running.door("POST", f"{path}/close", person=None))[0] == 401
    assert (await running.door("POST", f"{path}/close", person="approver"))[0] == 403
    assert (await running.door("POST", f"{path}/close", {"carryOvers": "S-1"}))[0] == 400
    status, certificate, _ = await running.door("POST", f"{path}/close", {"comment": "all there"})
    assert (status, certificate["counts"]["matched"]) == (201, 2)
    assert (await running.door("POST", f"{path}/close"))[:2] == (200, certificate)
    status, kept, _ = await running.door("GET", f"{path}/close")
    assert (status, kept["state"], kept["certificate"]) == (200, "closed", certificate)

    status, page, headers = await running.door("GET", path, Accept="text/html,application/xhtml+xml")
    assert (status, "The period is closed" in page) == (200, True)
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "http://" not in page and "https://" not in page
    status, table, headers = await running.door("GET", f"{path}?format=csv")
    assert (status, headers["Content-Type"].partition(";")[0]) == (200, "text/csv")
    assert table.lstrip("\ufeff").startswith("legalEntity,period,class")
    assert (await running.door("GET", f"{path}?format=pdf"))[0] == 400
    assert (await running.door("GET", "reconciliation/GB01/2026-13"))[0] == 400
    assert (await running.door("GET", f"reconciliation/XX01/{PERIOD}"))[0] == 404
    assert (await running.door("GET", path, person=None))[0] == 401

    await running.fire("reconciliation_sweep")
    status, page, headers = await running.door("GET", "console")
    assert (status, "nothing waits for anybody" in page) == (200, True)
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert (await running.door("GET", "console", person=None))[0] == 401
    status, late, _ = await running.door("GET", "lifecycle/GB01?late=1m")
    assert (status, late["orders"]) == (200, [])
