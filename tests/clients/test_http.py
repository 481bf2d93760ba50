"""One remote system over HTTP: what happened is named right, nothing is sent that should not be."""

from __future__ import annotations

import asyncio
import inspect
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from shared.clients.http import (
    BasicAuth,
    RemoteRefused,
    RemoteSystem,
    Response,
    Write,
    deadline_after,
    happening_of,
    retry_after_seconds,
    waited_for,
)
from shared.errors import OutcomeUnknown, RemoteDown, Transient
from shared.telemetry import traceparent
from tests.clients.wire import Answer, Wire, cut, json, silent, wire

WRITES: tuple[Write, ...] = ("read", "idempotent", "effect")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def system(*answers: Answer, **options: object) -> AsyncIterator[tuple[RemoteSystem, Wire]]:
    async with wire(*answers) as server:
        remote = RemoteSystem("erp", server.url, **options)  # type: ignore[arg-type]
        try:
            yield remote, server
        finally:
            await remote.close()


def aiohttp_exceptions() -> list[type[BaseException]]:
    found = [value for _, value in inspect.getmembers(aiohttp) if inspect.isclass(value)]
    return [one for one in found if issubclass(one, BaseException)]


@pytest.mark.parametrize("kind", aiohttp_exceptions(), ids=lambda kind: kind.__name__)
def test_every_exception_of_aiohttp_is_in_the_table(kind: type[BaseException]) -> None:
    if not issubclass(kind, (aiohttp.ClientError, TimeoutError, OSError)):
        assert kind in {
            aiohttp.BadContentDispositionHeader,
            aiohttp.BadContentDispositionParam,
            aiohttp.EofStream,
            aiohttp.http.HttpProcessingError,
            aiohttp.WebSocketError,
            aiohttp.WSMessageTypeError,
        }, "neither an exception of a request nor known to be of something else"
        return
    assert happening_of(kind.__new__(kind)) in {"unsent", "lost", "timeout"}


def test_an_exception_nobody_foresaw_stays_loud() -> None:
    with pytest.raises(KeyError):
        happening_of(KeyError("surprise"))


@pytest.mark.parametrize("write", WRITES)
async def test_a_system_that_cannot_be_reached_is_down_and_nothing_happened(write: Write) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        remote = RemoteSystem("erp", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(RemoteDown) as caught:
            await remote.request("POST", "/", write=write)
        await remote.close()
    assert caught.value.system == "erp"


@pytest.mark.parametrize(
    ("write", "expected"), [("read", RemoteDown), ("idempotent", RemoteDown), ("effect", OutcomeUnknown)]
)
async def test_a_connection_lost_after_sending_leaves_only_an_effect_unknown(write: Write, expected: type) -> None:
    async with system(cut) as (remote, _):
        with pytest.raises(expected):
            await remote.request("POST", "/", write=write, body=b"{}")


@pytest.mark.parametrize(
    ("write", "expected"), [("read", Transient), ("idempotent", Transient), ("effect", OutcomeUnknown)]
)
async def test_no_answer_in_time_leaves_only_an_effect_unknown(write: Write, expected: type) -> None:
    async with system(silent, timeout_seconds=0.05) as (remote, _):
        with pytest.raises(expected) as caught:
            await remote.request("POST", "/", write=write, body=b"{}")
    assert type(caught.value) is expected


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("write", WRITES)
async def test_a_throttled_call_had_no_effect_and_says_when_to_come_back(status: int, write: Write) -> None:
    async with system(json(status, "{}", Retry_After="7")) as (remote, _):
        with pytest.raises(RemoteDown) as caught:
            await remote.request("POST", "/", write=write)
    assert caught.value.retry_after_seconds == 7


@pytest.mark.parametrize("status", [500, 502, 504, 408])
async def test_a_broken_answer_leaves_only_an_effect_unknown(status: int) -> None:
    async with system(json(status, "{}"), failures_max=99) as (remote, _):
        with pytest.raises(OutcomeUnknown):
            await remote.request("POST", "/", write="effect")
        with pytest.raises(Transient) as caught:
            await remote.request("POST", "/", write="idempotent")
    assert type(caught.value) is Transient


async def test_a_refusal_carries_the_system_s_own_words_and_the_property_it_names() -> None:
    body = (
        '{"error":{"code":"F5/117","message":{"lang":"en","value":"Balance is not zero"},"innererror":{"errordetails":['
        '{"code":"F5/117","message":"Balance is not zero","propertyref":"AmountInTransactionCurrency",'
        '"severity":"error"},'
        '{"code":"X/1","message":"only a remark","severity":"warning"}]}}}'
    )
    async with system(json(400, body)) as (remote, _):
        with pytest.raises(RemoteRefused) as caught:
            await remote.request("POST", "/", write="effect")
    assert (caught.value.status, caught.value.error_code) == (400, "F5/117")
    assert [error.target for error in caught.value.errors] == ["AmountInTransactionCurrency"]


async def test_refused_credentials_make_the_lane_wait_instead_of_filling_the_cases() -> None:
    async with system(json(401, "{}"), auth=BasicAuth("CONCORD", "wrong")) as (remote, server):
        with pytest.raises(RemoteDown):
            await remote.request("GET", "/", write="read")
    assert len(server.seen) == 1, "a password does not change by asking again"


async def test_a_token_that_was_refused_is_replaced_once() -> None:
    class Rotating:
        def __init__(self) -> None:
            self.generation = 1

        async def headers(self) -> dict[str, str]:
            return {"Authorization": f"Bearer {self.generation}"}

        def refused(self) -> bool:
            self.generation += 1
            return True

    async with system(json(401, "{}"), json(200, "{}"), auth=Rotating()) as (remote, server):
        await remote.request("GET", "/", write="read")
    assert [one.headers["Authorization"] for one in server.seen] == ["Bearer 1", "Bearer 2"]


async def test_no_more_calls_run_at_once_than_the_limiter_allows() -> None:
    release = asyncio.Event()
    entered: asyncio.Queue[None] = asyncio.Queue()

    async def hold(_: web.Request) -> web.StreamResponse:
        entered.put_nowait(None)
        await release.wait()
        return web.Response(text="{}")

    async with system(hold, concurrency_max=3) as (remote, server):
        calls = [asyncio.create_task(remote.request("GET", "/", write="read")) for _ in range(9)]
        for _ in range(3):
            await entered.get()
        release.set()
        await asyncio.gather(*calls)
    assert server.running_most == 3


async def test_waiting_for_a_free_slot_counts_against_the_deadline_and_sends_nothing() -> None:
    async with system(silent, concurrency_max=1, timeout_seconds=30) as (remote, server):
        first = asyncio.create_task(remote.request("GET", "/", write="read"))
        await until(lambda: len(server.seen) == 1)
        with deadline_after(0.02), pytest.raises(RemoteDown):
            await remote.request("POST", "/", write="effect")
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    assert len(server.seen) == 1


async def test_a_process_that_slept_past_the_deadline_sends_nothing_when_it_wakes() -> None:
    async with system(web.Response(), auth=_Sleeper(0.1)) as (remote, server):
        await remote.request("GET", "/", write="read")  # leaves an open connection: the next call writes at once
        with deadline_after(0.05), pytest.raises(RemoteDown):
            await remote.request("POST", "/", write="effect")
    assert [one.method for one in server.seen] == ["GET"]


class _Sleeper:
    """Stands for a process that is not run for a while between its decision to send and the sending."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def headers(self) -> dict[str, str]:
        time.sleep(self._seconds)
        return {}

    def refused(self) -> bool:
        return False


async def test_an_inner_deadline_never_outlives_the_one_around_it() -> None:
    with deadline_after(1) as outer, deadline_after(60) as inner:
        assert inner == outer


async def test_failures_in_a_row_open_the_circuit_and_one_probe_closes_it() -> None:
    clock = Clock()
    async with system(
        json(500, "{}"), json(500, "{}"), json(200, "{}"), failures_max=2, open_seconds=2, clock=clock
    ) as (remote, server):
        for _ in range(2):
            with pytest.raises(Transient):
                await remote.request("GET", "/", write="read")
        with pytest.raises(RemoteDown) as caught:
            await remote.request("GET", "/", write="read")
        assert (len(server.seen), caught.value.retry_after_seconds) == (2, 2)
        clock.now = 2.0
        await remote.request("GET", "/", write="read")
        assert not remote.circuit.is_open
        await remote.request("GET", "/", write="read")


async def test_while_a_probe_is_under_way_nobody_else_is_let_through() -> None:
    clock = Clock()
    release = asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response(text="{}")

    async with system(json(500, "{}"), slow, failures_max=1, open_seconds=1, clock=clock) as (remote, server):
        with pytest.raises(Transient):
            await remote.request("GET", "/", write="read")
        clock.now = 1.0
        probe = asyncio.create_task(remote.request("GET", "/", write="read"))
        await until(lambda: len(server.seen) == 2)
        with pytest.raises(RemoteDown):
            await remote.request("GET", "/", write="read")
        release.set()
        await probe
        assert not remote.circuit.is_open


async def test_a_probe_that_is_cancelled_leaves_the_way_free_for_the_next() -> None:
    clock = Clock()
    async with system(json(500, "{}"), silent, json(200, "{}"), failures_max=1, open_seconds=1, clock=clock) as (
        remote,
        server,
    ):
        with pytest.raises(Transient):
            await remote.request("GET", "/", write="read")
        clock.now = 1.0
        probe = asyncio.create_task(remote.request("GET", "/", write="read"))
        await until(lambda: len(server.seen) == 2)
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        await remote.request("GET", "/", write="read")
        assert not remote.circuit.is_open


async def test_a_retry_after_keeps_every_call_away_for_that_long() -> None:
    clock = Clock()
    async with system(json(429, "{}", Retry_After="30"), json(200, "{}"), clock=clock) as (remote, server):
        with pytest.raises(RemoteDown):
            await remote.request("GET", "/", write="read")
        clock.now = 29.0
        with pytest.raises(RemoteDown):
            await remote.request("GET", "/", write="read")
        assert len(server.seen) == 1
        clock.now = 30.0
        await remote.request("GET", "/", write="read")


async def test_a_call_that_someone_waits_for_is_the_next_look_before_its_time() -> None:
    clock = Clock()
    async with system(json(500, "{}"), json(200, "{}"), failures_max=1, open_seconds=60, clock=clock) as (remote, _):
        with pytest.raises(Transient):
            await remote.request("GET", "/", write="read")
        with pytest.raises(RemoteDown):
            await remote.request("GET", "/", write="read")
        with waited_for():
            await remote.request("GET", "/", write="read")
        assert not remote.circuit.is_open


async def test_of_many_that_someone_waits_for_one_looks_and_the_others_go_by_what_it_finds() -> None:
    clock = Clock()
    for answer, arrived in ((json(500, "{}"), 2), (json(200, "{}"), 11)):
        async with system(json(500, "{}"), answer, *[json(200, "{}")] * 9, failures_max=1, open_seconds=60,
                          clock=clock) as (remote, server):  # fmt: skip
            with pytest.raises(Transient):
                await remote.request("GET", "/", write="read")
            with waited_for():
                await asyncio.gather(
                    *(remote.request("GET", "/", write="read") for _ in range(10)), return_exceptions=True
                )
            assert len(server.seen) == arrived


async def test_a_retry_after_keeps_also_those_away_that_someone_waits_for() -> None:
    clock = Clock()
    async with system(json(503, "{}", Retry_After="30"), json(200, "{}"), clock=clock) as (remote, server):
        with waited_for():
            for _ in range(2):
                with pytest.raises(RemoteDown):
                    await remote.request("GET", "/", write="read")
            assert len(server.seen) == 1
            clock.now = 30.0
            await remote.request("GET", "/", write="read")


async def test_a_read_that_someone_waits_for_is_sent_again_as_soon_as_the_system_asked_for() -> None:
    async with system(json(503, "{}", Retry_After="0"), json(200, "{}")) as (remote, server):
        with waited_for():
            await remote.request("GET", "/", write="read")
        assert len(server.seen) == 2


async def test_a_write_that_someone_waits_for_is_not_sent_again_by_itself() -> None:
    async with system(json(503, "{}", Retry_After="0"), json(200, "{}")) as (remote, server):
        with waited_for(), pytest.raises(RemoteDown):
            await remote.request("POST", "/", write="effect")
        assert len(server.seen) == 1


async def test_a_system_that_asks_to_come_back_again_and_again_is_asked_twice_for_one_call() -> None:
    async with system(*[json(503, "{}", Retry_After="0")] * 3) as (remote, server):
        with waited_for(), pytest.raises(RemoteDown):
            await remote.request("GET", "/", write="read")
        assert len(server.seen) == 2


async def test_many_that_someone_waits_for_sit_out_a_short_retry_after_and_one_of_them_looks_first() -> None:
    clock = Clock()
    for answer, arrived, answered in ((json(200, "{}"), 11, 10), (json(503, "{}", Retry_After="60"), 2, 0)):
        clock.now = 0.0
        async with system(json(503, "{}", Retry_After="1"), answer, *[json(200, "{}")] * 9, clock=clock) as (
            remote,
            server,
        ):
            with pytest.raises(RemoteDown):
                await remote.request("GET", "/", write="read")
            clock.now = 0.999
            with waited_for():
                calls = [asyncio.create_task(remote.request("GET", "/", write="read")) for _ in range(10)]
            await asyncio.sleep(0)
            assert not any(call.done() for call in calls)
            clock.now = 1.0
            done = await asyncio.gather(*calls, return_exceptions=True)
            assert (len(server.seen), sum(isinstance(one, Response) for one in done)) == (arrived, answered)


async def test_a_refusal_is_an_answer_and_does_not_open_the_circuit() -> None:
    async with system(json(400, "{}"), failures_max=1) as (remote, _):
        for _ in range(3):
            with pytest.raises(RemoteRefused):
                await remote.request("GET", "/", write="read")
        assert not remote.circuit.is_open


async def test_the_trace_goes_with_every_call() -> None:
    mark = traceparent.set("00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    try:
        async with system(json(200, "{}")) as (remote, server):
            await remote.request("GET", "/", write="read")
    finally:
        traceparent.reset(mark)
    assert server.seen[0].headers["traceparent"].startswith("00-aaaa")


async def test_parameters_arrive_exactly_as_they_were_given() -> None:
    asked = {"$filter": "Name eq 'A+B & C''s 100%#'", "x": "ü /?"}
    async with system(json(200, "{}")) as (remote, server):
        await remote.request("GET", "/set", params=asked, write="read")
    assert server.seen[0].query == asked


async def test_a_page_that_is_no_json_is_a_broken_system_not_our_data() -> None:
    async with system(web.Response(text="<html>sign in</html>")) as (remote, _):
        response = await remote.request("POST", "/", write="effect")
        with pytest.raises(OutcomeUnknown):
            remote.json(response, "effect")
        with pytest.raises(Transient):
            remote.json(response, "read")


async def test_what_happened_is_counted_by_system() -> None:
    async with system(json(200, "{}"), json(404, "{}")) as (remote, _):
        await remote.request("GET", "/", write="read")
        with pytest.raises(RemoteRefused):
            await remote.request("GET", "/", write="read")
        assert remote.counters.snapshot() == {"erp.refused": 1, "erp.sent": 2}


@pytest.mark.parametrize(("text", "seconds"), [("5", 5.0), ("", None), ("soon", None), ("99999", 3600.0)])
def test_a_retry_after_is_read_in_bounds(text: str, seconds: float | None) -> None:
    assert retry_after_seconds({"Retry-After": text} if text else {}) == seconds


def test_a_retry_after_may_be_a_date() -> None:
    assert retry_after_seconds({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop run until something holds; the test's own timeout bounds it."""
    while not holds():
        await asyncio.sleep(0)
