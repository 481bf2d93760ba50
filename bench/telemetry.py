"""What telemetry costs at checkout: credit checks on two stacks, one telling nothing, one telling all to Azure Monitor.

Microsoft's exporter is the real one and keeps every trace; what it sends to is a small server here, which counts what
arrives, so that a ratio of 1 cannot come from telemetry that was off. Each turn checks once on either stack, the first
of them by turns, so that what the machine does meanwhile falls on both.
"""

from __future__ import annotations

import gzip
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from bench.report import Report, median
from sandbox.stack import Stack

CHECKS = 600
_WARM_UP = 60
_ACCOUNTS = 40
_KEY = "InstrumentationKey=00000000-0000-0000-0000-000000000001"


async def run(report: Report) -> None:
    report.say(f"{CHECKS} credit checks on each of two stacks, in turns")
    async with AsyncExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="concord-bench-")))
        ingestion = await running.enter_async_context(_Ingestion())
        told = {
            "APPLICATIONINSIGHTS_CONNECTION_STRING": f"{_KEY};IngestionEndpoint={ingestion.url}",
            "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",  # nothing leaves this machine
        }
        session = await running.enter_async_context(aiohttp.ClientSession())
        off, on = [
            await running.enter_async_context(Stack(out=folder / name / "stack.json", settings=settings))
            for name, settings in (("off", {}), ("on", told))
        ]
        checkouts = (_Checkout(session, off), _Checkout(session, on))
        for one in checkouts:
            await one.open_accounts()
        for turn in range(_WARM_UP + CHECKS):
            for one in checkouts if turn % 2 else checkouts[::-1]:
                await one.check(turn, counted=turn >= _WARM_UP)
    without, with_all = (median(one.milliseconds) for one in checkouts)
    spans = ingestion.arrived.get("RequestData", 0)
    if spans < CHECKS:
        raise RuntimeError(f"{spans} spans of requests arrived for {CHECKS} checks: telemetry was not on")
    detail = f"{with_all:.1f} ms over {without:.1f} ms"
    report.ratio(
        "credit check with telemetry / without, p50", with_all / without, "at most", 1.1, runs=CHECKS, detail=detail
    )
    total = sum(ingestion.arrived.values())
    report.figure("telemetry items of a credit check", total / (_WARM_UP + CHECKS), "items")


@dataclass(slots=True)
class _Checkout:
    session: aiohttp.ClientSession
    stack: Stack
    milliseconds: list[float] = field(default_factory=list)

    async def open_accounts(self) -> None:
        for number in range(_ACCOUNTS):
            url = f"{self.stack.simulator_url('sap')}/__sim/credit-accounts/B-{number}"
            account = {"legalEntity": "GB01", "limit": "10000000.00", "currency": "GBP", "exposure": "0"}
            async with self.session.put(url, json=account) as answer:
                answer.raise_for_status()

    async def check(self, turn: int, *, counted: bool) -> None:
        body: dict[str, Any] = {
            "requestId": f"bench-{turn}", "legalEntity": "GB01", "account": f"B-{turn % _ACCOUNTS}", "channel": "web",
            "currency": "GBP", "lines": [{"product": "A", "quantity": "10", "unitPrice": "10.00"}], "charges": [],
            "tax": "20.00", "total": "120.00",
        }  # fmt: skip
        headers = {"x-functions-key": self.stack.secrets.default_key}
        began = time.perf_counter()
        url = f"{self.stack.functions_url}/api/credit-checks"
        async with self.session.post(url, json=body, headers=headers) as answer:
            told = await answer.read()
        took = (time.perf_counter() - began) * 1000
        if answer.status != 200 or msgspec.json.decode(told)["outcome"] != "approved":
            raise RuntimeError(f"a check was answered with {answer.status}: {told[:500]!r}")
        if counted:
            self.milliseconds.append(took)


class _Ingestion:
    """Takes what the exporter sends, as Azure Monitor does, and counts the items by their kind."""

    def __init__(self) -> None:
        self.arrived: dict[str, int] = {}
        self.url = ""
        application = web.Application(client_max_size=2**26)
        application.router.add_post("/{version}/track", self._take)
        self._runner = web.AppRunner(application)

    async def __aenter__(self) -> _Ingestion:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        items = msgspec.json.decode(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        for item in items:
            kind = str(item.get("data", {}).get("baseType"))
            self.arrived[kind] = self.arrived.get(kind, 0) + 1
        return web.json_response({"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []})
