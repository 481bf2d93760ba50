"""A worker killed in mid-replay loses no order and posts none twice; two workers post each order once."""

from __future__ import annotations

import asyncio
import os
import signal

import psutil

from tests.end_to_end.conftest import Outside
from tests.end_to_end.orders import event, on_account, open_account, sales_order


async def test_killing_workers_in_mid_replay_loses_no_order_and_posts_none_twice(outside: Outside) -> None:
    await open_account(outside, "KILL-1", "100000")
    numbers = [f"KILL-{number:03d}" for number in range(48)]
    sold = asyncio.Semaphore(8)

    async def sell(index: int, number: str) -> None:
        async with sold:
            if index % 2:
                checkout = {"legalEntity": "GB01", "order": on_account(number, "KILL-1")}
                await outside.control("commerce", "POST", "checkouts", checkout)
            else:
                body = {**sales_order(number), "legalEntity": "GB01", "emit": True}
                await outside.control("commerce", "PUT", f"orders/{number}", body)

    async def kill(worker: int) -> None:
        pid = outside.processes("functions")[worker]
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(psutil.Process(pid).wait, 10) if psutil.pid_exists(pid) else None
        while outside.processes("functions")[worker] == pid or (await health(worker)) != 200:
            await asyncio.sleep(0.05)

    async def health(worker: int) -> int:
        return (await outside.ask("GET", "/api/health", worker=worker)).status

    selling = asyncio.gather(*(sell(index, number) for index, number in enumerate(numbers)))
    for worker in (0, 1, 0):
        await kill(worker)
    await selling
    await outside.rest()
    await outside.sweep()
    documents = await outside.documents_of(*numbers)
    references = [one["reference"] for one in documents]
    assert len(references) == len(set(references)), "a posting key stands twice"
    state = await outside.control("commerce", "GET", "state")
    kept = {order["SalesId"] for order in state["orders"]} & set(numbers)
    posted = {one["order"] for one in documents}
    assert posted <= kept
    for number in kept - posted:
        # Its worker died between claiming and sending: SAP may still answer it, so the claim's lease runs first.
        assert (await outside.ask("GET", f"/api/lifecycle/GB01/{number}")).json["state"] == "retrying"
    assert len(kept) >= 24, "guest orders need no checkout, so none of them may be missing"


async def test_the_same_event_told_to_both_workers_at_once_posts_once(outside: Outside) -> None:
    numbers = [f"TWICE-{number}" for number in range(6)]
    told = [
        outside.ask("POST", "/api/webhooks/commerce", event("confirmed", sales_order(number), number), worker=worker)
        for number in numbers
        for worker in (0, 1, 0)
    ]
    assert {reply.status for reply in await asyncio.gather(*told)} == {202}
    await outside.rest()
    assert sorted(one["order"] for one in await outside.documents_of(*numbers)) == numbers


async def test_a_cancellation_that_comes_before_its_order_ends_with_nothing_owed(outside: Outside) -> None:
    number = "EARLY-1"
    cancelled = event("cancelled", None, number)
    assert (await outside.ask("POST", "/api/webhooks/commerce", cancelled)).status == 202
    assert (
        await outside.ask("POST", "/api/webhooks/commerce", event("confirmed", sales_order(number), number))
    ).status == 202
    await outside.rest()
    documents = await outside.documents_of(number)
    assert sum(one["gross"] for one in documents) == 0 or {one["kind"] for one in documents} == {
        "invoice",
        "cancellation",
    }
