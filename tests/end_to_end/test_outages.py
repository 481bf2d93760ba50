"""SAP away for two minutes, and a message that kills whoever works on it: on the running stack, two workers.

Leases are as short here as on the day's stack, so that nobody waits eleven minutes for SAP's longest session; how long
SAP is away is real.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from sandbox.day.__main__ import POLICY
from sandbox.day.systems import systems_of
from tests.end_to_end.conftest import Outside, two_workers
from tests.end_to_end.orders import event, sales_order

pytestmark = [pytest.mark.prove, pytest.mark.timeout(900)]

OUTAGE_SECONDS = 120.0
_MANY, _FEW = 150, 8
_WORKERS = 2


@pytest.fixture
async def apart(tmp_path: Path) -> AsyncIterator[Outside]:
    """A stack that no other test shares, seen from outside."""
    with two_workers(tmp_path, "--overlay", str(POLICY)) as told:
        described = json.loads(told.read_bytes())
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            seen = Outside(told, described, session, systems_of(described, session))
            await seen.control("sap", "PUT", "periods/GB01/2026-11", {"open": True})
            yield seen


async def dead_letters(at: Outside) -> dict[str, int]:
    held: Any = (await at.systems.read("broker", "/state"))["entities"]
    return {name: one["dead_lettered"] for name, one in held.items() if one.get("dead_lettered")}


async def tell(at: Outside, told: dict[str, Any], worker: int = 0) -> None:
    assert (await at.ask("POST", "/api/webhooks/commerce", told, worker=worker)).status == 202


async def test_orders_returns_and_changes_told_while_sap_is_away_post_in_their_order_and_without_a_stampede(
    apart: Outside,
) -> None:
    many = [f"CALM-{number:03d}" for number in range(_MANY)]
    few = [f"BUSY-{number}" for number in range(_FEW)]
    await apart.control("sap", "POST", "faults", {"kind": "status", "status": 503, "match": {"path": "^/sap/"}})
    await apart.control("sap", "DELETE", "calls")
    away_since = time.monotonic()

    async def a_life(number: str) -> list[str]:
        """An order, a change that means nothing to the ledger, two returns; each told once the one before was taken."""
        order = sales_order(number)
        lives = [
            event("confirmed", order, number),
            event("changed", order | {"Comment": "ring twice"}, number),
            event("returned", None, number, id=f"back-1-{number}", lines=[{"lineId": "1", "quantity": 3}]),
            event("returned", None, number, id=f"back-2-{number}", lines=[{"lineId": "1", "quantity": 2}]),
        ]
        for turn, told in enumerate(lives):
            await tell(apart, told, worker=turn % _WORKERS)
        return [str(told["id"]) for told in lives]

    sent = dict(zip(few, await asyncio.gather(*(a_life(number) for number in few)), strict=True))
    for turn, number in enumerate(many):
        await tell(apart, event("confirmed", sales_order(number), number), worker=turn % _WORKERS)
    assert await apart.documents_of(*many, *few) == []
    await asyncio.sleep(max(0.0, OUTAGE_SECONDS - (time.monotonic() - away_since)))  # as long as the outage has to last
    while_away = len(await apart.control("sap", "GET", "calls"))
    assert await dead_letters(apart) == {}
    await apart.control("sap", "DELETE", "calls")
    await apart.control("sap", "DELETE", "faults")
    await apart.rest()

    documents = await apart.documents_of(*many, *few)
    assert Counter(one["order"] for one in documents) == dict.fromkeys(many, 1) | dict.fromkeys(few, 3)
    by_order: dict[str, list[str]] = defaultdict(list)
    for one in sorted(documents, key=lambda one: datetime.fromisoformat(one["created_at"])):
        by_order[one["order"]].append(one["gross"])
    assert all(by_order[number] == ["120.00", "-36.00", "-24.00"] for number in few), by_order
    for number in few:
        told = [one for one in await apart.evidence("order", number) if one["flow"] == "order_to_ledger"]
        told = [one for one in told if one["kind"] != "order.posted"]
        assert [one["eventId"] for one in sorted(told, key=lambda one: one["decidedAt"])] == sent[number]
    assert await dead_letters(apart) == {}
    assert (await apart.ask("GET", "/api/cases?state=open")).json["cases"] == []
    assert while_away <= OUTAGE_SECONDS * _WORKERS, "the circuit lets a probe through now and then, not every order"
    calls = await apart.control("sap", "GET", "calls")
    posts = [one for one in calls if one["method"] == "POST"]
    assert len(posts) <= len(documents) + 2 * _WORKERS, "each document is sent once"
    busiest = max(Counter(one["time"][:19] for one in posts).values())
    print(f"{while_away} calls in {OUTAGE_SECONDS:.0f} s without SAP")
    print(f"{len(posts)} posts for {len(documents)} documents afterwards, at most {busiest} a second")


async def test_a_message_whose_worker_is_killed_each_time_ends_as_a_case_and_nothing_else_is_lost(
    apart: Outside,
) -> None:
    deadly, others = "DEADLY-1", [f"NEXT-{number:02d}" for number in range(20)]
    await apart.control("commerce", "PUT", f"orders/{deadly}", {"order": sales_order(deadly), "legalEntity": "GB01"})
    await apart.control("commerce", "POST", "faults", {"kind": "timeout_before", "match": {"path": deadly}})
    await tell(apart, event("confirmed", None, deadly))
    for turn, number in enumerate(others):
        await tell(apart, event("confirmed", sales_order(number), number), worker=turn % _WORKERS)

    async def seen_at_work() -> int:
        return sum(deadly in str(call["path"]) for call in await apart.control("commerce", "GET", "calls"))

    async def held() -> bool:
        return any(case["flow"] == "order_to_ledger" for case in await apart.cases_about(deadly, "open"))

    deaths = known = 0
    async with asyncio.timeout(600):
        while True:
            seen = await seen_at_work()
            if seen > known:  # somebody works on it at this moment: whoever that is dies
                known, deaths = seen, deaths + 1
                for pid in apart.processes("functions"):
                    os.kill(pid, signal.SIGKILL)
                    await asyncio.to_thread(psutil.Process(pid).wait, 10) if psutil.pid_exists(pid) else None
                await _up_again(apart)
            elif await held():
                break
            await asyncio.sleep(0.1)  # between two looks
    cases = {case["flow"]: case for case in await apart.cases_about(deadly, "open")}
    assert cases["order_to_ledger"]["code"] == "kills_the_worker"
    await apart.control("commerce", "DELETE", "faults")
    await apart.rest()
    assert sorted(one["order"] for one in await apart.documents_of(*others, deadly)) == others
    assert await dead_letters(apart) == {}
    for case in cases.values():
        replayed = await apart.ask("POST", f"/api/cases/{case['id']}/replay", {}, headers=apart.person("operator"))
        assert replayed.status == 202, replayed.body
    await apart.rest()
    assert [one["kind"] for one in await apart.documents_of(deadly)] == ["invoice"]
    print(f"both workers killed {deaths} times, then the message was a case")


async def _up_again(at: Outside) -> None:
    async with asyncio.timeout(60):
        for worker in range(_WORKERS):
            while True:
                try:
                    if (await at.ask("GET", "/api/health", worker=worker)).status == 200:
                        break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)  # it is not there yet
