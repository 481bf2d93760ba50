"""Claims about a simulator as a process and its common control surface."""

import asyncio
import gzip
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from tests.kit.counter import calling, counter


@asynccontextmanager
async def sap_process() -> AsyncIterator[tuple[Process, str]]:
    environment = os.environ | {"SAP_SANDBOX_PASSWORD": "of-this-test"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandbox.sap", "--port", "0", stdout=PIPE, env=environment
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        assert line.startswith("ready http://127.0.0.1:")
        yield process, line.split()[1]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_process_says_it_is_ready_and_leaves_on_sigterm_even_while_it_holds_a_caller() -> None:
    async with sap_process() as (process, url), aiohttp.ClientSession() as session:
        fault = {"kind": "timeout_before"}
        async with session.post(f"{url}/__sim/faults", json=fault) as answer:
            assert answer.status == 200
        held = asyncio.create_task(session.get(f"{url}/sap/opu/odata/sap/API_BUSINESS_PARTNER/"))
        while not await _calls(session, url):
            await asyncio.sleep(0)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
        await asyncio.gather(held, return_exceptions=True)


async def _calls(session: aiohttp.ClientSession, url: str) -> list[object]:
    async with session.get(f"{url}/__sim/calls") as answer:
        calls: list[object] = await answer.json()
        return calls


async def test_a_compressed_body_is_refused_whole_or_broken() -> None:
    async with calling(counter()) as caller:
        for body in (gzip.compress(b"{}"), b"{}"):
            packed = {"Content-Encoding": "gzip"}
            async with caller.session.post(f"{caller.url}/count", data=body, headers=packed) as answer:
                assert answer.status == 415
        assert await caller.get("/count") == {"count": 0}


async def test_the_call_log_tells_time_method_path_and_status_of_every_call_but_control() -> None:
    async with calling(counter()) as caller:
        await caller.call("POST", "/count")
        await caller.call("POST", "/__sim/faults", {"kind": "status", "status": 503, "count": 1})
        await caller.call("GET", "/count")
        calls = await caller.get("/__sim/calls")
    assert isinstance(calls, list)
    assert [(c["method"], c["path"], c["status"]) for c in calls] == [("POST", "/count", 200), ("GET", "/count", 503)]
    assert all(c["time"].endswith("+00:00") for c in calls)


async def test_a_reset_clears_state_faults_calls_and_disorder() -> None:
    async with calling(counter()) as caller:
        await caller.call("POST", "/count")
        await caller.call("POST", "/__sim/faults", {"kind": "status", "status": 503})
        await caller.call("PUT", "/__sim/events", {"lose": 1})
        await caller.call("POST", "/__sim/reset")
        assert await caller.get("/count") == {"count": 0}
        assert await caller.get("/__sim/faults") == {"active": [], "late_effects_pending": 0}
        calls = await caller.get("/__sim/calls")
    assert isinstance(calls, list)
    assert len(calls) == 1
