"""Claims about faults on request."""

import asyncio

import aiohttp
import pytest

from tests.kit.counter import Clock, calling, counter


@pytest.mark.parametrize("kind", ["reset", "timeout_before"])
async def test_a_call_that_is_cut_off_before_has_no_effect(kind: str) -> None:
    async with calling(counter()) as caller:
        await caller.call("POST", "/__sim/faults", {"kind": kind, "match": {"method": "POST"}, "count": 1})
        caller.patience = 0.1
        with pytest.raises((aiohttp.ClientError, TimeoutError)):
            await caller.call("POST", "/count")
        caller.patience = 5
        assert await caller.get("/count") == {"count": 0}


async def test_a_call_that_times_out_after_has_its_effect_at_once() -> None:
    async with calling(counter()) as caller:
        await caller.call("POST", "/__sim/faults", {"kind": "timeout_after", "match": {"method": "POST"}})
        caller.patience = 0.1
        with pytest.raises(TimeoutError):
            await caller.call("POST", "/count")
        caller.patience = 5
        assert await caller.get("/count") == {"count": 1}


async def test_a_late_effect_comes_after_the_caller_has_gone() -> None:
    simulator = counter()
    async with calling(simulator) as caller:
        order = {"kind": "timeout_late", "match": {"method": "POST"}, "appliesAfter": 0.2, "count": 1}
        await caller.call("POST", "/__sim/faults", order)
        caller.patience = 0.05
        with pytest.raises(TimeoutError):
            await caller.call("POST", "/count")
        caller.patience = 5
        assert await caller.get("/count") == {"count": 0}
        await asyncio.wait_for(simulator.counted.wait(), 5)
        assert await caller.get("/count") == {"count": 1}


async def test_an_injected_status_carries_retry_after_and_a_body_and_no_effect() -> None:
    async with calling(counter()) as caller:
        order = {"kind": "status", "match": {"path": "^/count$"}, "status": 429, "retryAfter": 7, "count": 1}
        await caller.call("POST", "/__sim/faults", order)
        async with caller.session.post(caller.url + "/count", data=b"{}") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
            assert "error" in await answer.json()
        assert await caller.get("/count") == {"count": 0}


async def test_a_stale_read_answers_as_of_seconds_ago_and_writes_go_on() -> None:
    clock = Clock()
    async with calling(counter(clock=clock)) as caller:
        await caller.call("POST", "/count")
        clock.now += 60
        await caller.call("POST", "/__sim/faults", {"kind": "stale_read", "seconds": 30})
        await caller.call("POST", "/count")
        assert await caller.get("/count") == {"count": 1}
        clock.now += 31
        assert await caller.get("/count") == {"count": 2}


async def test_latency_delays_and_then_answers() -> None:
    async with calling(counter()) as caller:
        await caller.call("POST", "/__sim/faults", {"kind": "latency", "seconds": 0.05, "match": {"path": "count"}})
        started = asyncio.get_running_loop().time()
        assert (await caller.call("POST", "/count"))[0] == 200
        assert asyncio.get_running_loop().time() - started >= 0.05


async def test_a_fault_strikes_as_often_as_ordered_and_where_ordered() -> None:
    async with calling(counter()) as caller:
        order = {"kind": "status", "match": {"method": "POST", "path": "/count"}, "status": 503, "count": 2}
        await caller.call("POST", "/__sim/faults", order)
        assert (await caller.call("GET", "/count"))[0] == 200
        assert [(await caller.call("POST", "/count"))[0] for _ in range(4)] == [503, 503, 200, 200]


@pytest.mark.parametrize(
    ("method", "reads"),
    [("POST", 200), ("post", 200), ("PUT|POST", 200), (["PUT", "POST"], 200), (".*", 503), (None, 503)],
)
async def test_a_fault_takes_a_method_in_any_of_its_forms(method: object, reads: int) -> None:
    async with calling(counter()) as caller:
        await caller.call("POST", "/__sim/faults", {"kind": "status", "match": {"method": method}, "status": 503})
        assert (await caller.call("POST", "/count"))[0] == 503
        assert (await caller.call("GET", "/count"))[0] == reads


async def test_a_probability_gives_the_same_strikes_for_the_same_seed() -> None:
    runs = []
    for _ in range(2):
        async with calling(counter()) as caller:
            order = {"kind": "status", "status": 503, "probability": 0.5, "seed": 11}
            await caller.call("POST", "/__sim/faults", order)
            runs.append([(await caller.call("GET", "/count"))[0] for _ in range(30)])
    assert runs[0] == runs[1]
    assert {200, 503} == set(runs[0])


async def test_the_control_surface_is_never_struck_and_lifts_faults() -> None:
    async with calling(counter()) as caller:
        await caller.call("POST", "/__sim/faults", {"kind": "reset"})
        assert (await caller.call("GET", "/__sim/state"))[0] == 200
        await caller.call("DELETE", "/__sim/faults")
        assert (await caller.call("GET", "/count"))[0] == 200


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({"kind": "flood"}, "kind"),
        ({"kind": "status", "status": 42}, "status"),
        ({"kind": "latency", "seconds": -1}, "seconds"),
        ({"kind": "reset", "probability": 2}, "probability"),
        ({"kind": "reset", "count": 0}, "count"),
        ({"kind": "reset", "match": {"path": "("}}, "match.path"),
        ({"kind": "reset", "match": {"method": "(GET"}}, "match.method"),
        ({"kind": "reset", "mach": {}}, "mach"),
        ({"kind": "status", "retryAfter": "1\r\nX: y"}, "retryAfter"),
    ],
)
async def test_a_wrong_order_is_refused_and_names_the_field(order: dict[str, object], field: str) -> None:
    async with calling(counter()) as caller:
        status, answer = await caller.call("POST", "/__sim/faults", order)
        assert status == 400
        assert field in str(answer)
