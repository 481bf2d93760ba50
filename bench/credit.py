"""The credit check: what deciding and holding costs over the calls it has to make anyway, and a hot account's rate.

The floor (`bench.bare_check`) runs in a worker of its own of the same host, beside the app's, on the same tables and
the same SAP, and is asked the same questions by the same connections; the two take turns. A connection asks again as
soon as it is answered. Spread out, no account is asked for twice at once; hot, there is one account.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from bench.floor import start_floor
from bench.report import Report, interleaved, median
from sandbox.day.quiet import until_quiet
from sandbox.day.systems import systems_of
from sandbox.stack import Stack

RUNS = 5
CONNECTIONS = (10, 50)
SAP_SECONDS = (0.0, 0.08)
HOT_CONNECTIONS = 32
_ACCOUNTS = 200
_CHECKS_PER_CONNECTION = {10: 15, 32: 10, 50: 6}
_P50_MAX, _P99_MAX, _HOT_MIN = 1.3, 1.5, 0.5


async def run(report: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="concord-bench-") as folder:
        async with (
            Stack(out=Path(folder, "stack.json")) as stack,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        ):
            described = stack.described()
            bare, url, key = await start_floor("bench.bare_check", Path(folder), described, on_bus=False)
            try:
                load = Load(session, described["sap"]["url"])
                await load.open_accounts(_ACCOUNTS)
                report.say(f"has {_ACCOUNTS} customers; waits until all systems know them")
                await until_quiet(systems_of(described, session), deadline_seconds=120, look=lambda _: None)
                functions = described["functions"]
                ours = Contestant(load, functions["url"], functions["keys"]["default"])
                floor = Contestant(load, url, key)
                for seconds in SAP_SECONDS:
                    await load.slow_down_sap(seconds)
                    for connections in CONNECTIONS:
                        await _compare(report, ours, floor, connections, f"SAP at {seconds * 1000:.0f} ms")
                await load.slow_down_sap(0)
                await _hot(report, ours, floor)
            finally:
                await bare.stop(10)


async def _compare(report: Report, ours: Contestant, floor: Contestant, connections: int, sap: str) -> None:
    for one in (ours, floor):
        one.percentiles.clear()
    checks = connections * _CHECKS_PER_CONNECTION[connections]

    def spread(one: Contestant) -> Any:
        return lambda: one.answer(connections, checks, one.load.spread_out())

    await interleaved(RUNS, {"ours": spread(ours), "bare": spread(floor)})
    found = {name: (one.median_of(50), one.median_of(99)) for name, one in (("ours", ours), ("bare", floor))}
    for at, (name, most) in enumerate((("p50", _P50_MAX), ("p99", _P99_MAX))):
        mine, bare = found["ours"][at], found["bare"][at]
        report.ratio(
            f"{name} at {connections} connections, {sap}", mine / bare, "at most", most, runs=RUNS,
            detail=f"{mine * 1000:.0f} ms against {bare * 1000:.0f} ms",
        )  # fmt: skip
    report.say(f"{connections} connections, {sap}: measured")


async def _hot(report: Report, ours: Contestant, floor: Contestant) -> None:
    checks = HOT_CONNECTIONS * _CHECKS_PER_CONNECTION[HOT_CONNECTIONS]

    async def hot() -> float:
        account = await ours.load.open_account()
        return await ours.answer(HOT_CONNECTIONS, checks, cycle([account]))

    async def spread() -> float:
        return await ours.answer(HOT_CONNECTIONS, checks, ours.load.spread_out())

    async def bare() -> float:
        return await floor.answer(HOT_CONNECTIONS, checks, floor.load.spread_out())

    rates = await interleaved(RUNS, {"hot": hot, "spread out": spread, "bare": bare})
    found = {name: median(rate) for name, rate in rates.items()}
    told = ", ".join(f"{name} {rate:.0f}/s" for name, rate in found.items())
    report.ratio(
        "hot account's rate against spread out", found["hot"] / found["spread out"], "at least", _HOT_MIN, runs=RUNS,
        detail=told,
    )  # fmt: skip
    report.figure(f"decided on one account, {HOT_CONNECTIONS} at once", found["hot"], "checks/s", "at least 100")
    report.figure(f"decided spread out, {HOT_CONNECTIONS} at once", found["spread out"], "checks/s")
    report.figure(f"the floor spread out, {HOT_CONNECTIONS} at once", found["bare"], "checks/s")


@dataclass(slots=True)
class Load:
    """Accounts in SAP, and questions about them that no two of which are the same."""

    session: aiohttp.ClientSession
    sap_url: str
    accounts: list[str] = field(default_factory=list)
    numbers: count[int] = field(default_factory=count)
    _opened: count[int] = field(default_factory=count)
    _turn: Iterator[str] = field(default_factory=lambda: iter(()))

    async def open_accounts(self, number: int) -> None:
        self.accounts = [await self.open_account() for _ in range(number)]
        self._turn = cycle(self.accounts)

    async def open_account(self) -> str:
        """A customer with more credit than is ever asked for."""
        account = f"BENCH-{next(self._opened)}"
        body = {"legalEntity": "GB01", "limit": "900000000.00", "currency": "GBP", "exposure": "0",
                "prices": {"BENCH-TEA": "10.00"}}  # fmt: skip
        await self._control("PUT", f"credit-accounts/{account}", body)
        return account

    async def slow_down_sap(self, seconds: float) -> None:
        """Each call of SAP's services takes so much longer."""
        await self._control("DELETE", "faults")
        if seconds:
            match = {"path": "^/sap/"}
            await self._control("POST", "faults", {"match": match, "kind": "latency", "seconds": seconds})

    def spread_out(self) -> Iterator[str]:
        """Accounts in turn: with more accounts than connections, none is asked for twice at once."""
        return self._turn

    def question(self, account: str) -> bytes:
        return msgspec.json.encode(
            {
                "requestId": f"bench-{next(self.numbers)}",
                "requestedBy": "bea@buyer.example",
                "legalEntity": "GB01",
                "account": account,
                "channel": "web",
                "currency": "GBP",
                "lines": [{"product": "BENCH-TEA", "quantity": "10", "unitPrice": "10.00"}],
                "charges": [],
                "tax": "20.00",
                "total": "120.00",
            }
        )

    async def _control(self, method: str, path: str, body: object = None) -> None:
        async with self.session.request(method, f"{self.sap_url}/__sim/{path}", json=body) as answer:
            if answer.status >= 300:
                raise RuntimeError(f"the simulated SAP answers {answer.status} to {method} {path}")


@dataclass(slots=True)
class Contestant:
    """One worker that answers checks; `percentiles` are those of each run, in seconds, the first of them unmeasured."""

    load: Load
    url: str
    key: str
    percentiles: list[dict[int, float]] = field(default_factory=list)

    async def answer(self, connections: int, checks: int, accounts: Iterator[str]) -> float:
        """So many checks by so many connections; returns decided checks a second."""
        left = iter(range(checks))
        took: list[float] = []

        async def connection() -> None:
            for _ in left:
                took.append(await self._one(next(accounts)))

        began = time.perf_counter()
        await asyncio.gather(*(connection() for _ in range(connections)))
        whole = time.perf_counter() - began
        took.sort()
        self.percentiles.append({at: took[min(len(took) - 1, len(took) * at // 100)] for at in (50, 99)})
        return checks / whole

    def median_of(self, percentile: int) -> float:
        return median([one[percentile] for one in self.percentiles[1:]])

    async def _one(self, account: str) -> float:
        question = self.load.question(account)
        headers = {"x-functions-key": self.key, "Content-Type": "application/json"}
        began = time.perf_counter()
        async with self.load.session.post(f"{self.url}/api/credit-checks", data=question, headers=headers) as answer:
            body = await answer.read()
            took = time.perf_counter() - began
        outcome = msgspec.json.decode(body)["outcome"] if answer.status == 200 else answer.status
        if outcome != "approved":
            raise RuntimeError(f"a check of the benchmark was answered with {outcome}: {body[:500]!r}")
        return took
