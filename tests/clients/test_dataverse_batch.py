"""Writes that go together in one `$batch`: what is sent, and what each part of the answer means."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from shared.clients.dataverse import (
    Dataverse,
    NoSuchRow,
    RowRequest,
    creating_once,
    deleting,
    upserting,
    upserting_many,
)
from shared.clients.http import RemoteRefused, RemoteSystem, rehearsal
from shared.clients.odata4_batch import REQUESTS_MAX
from shared.errors import Conflict, RemoteDown, Transient
from tests.clients.wire import Wire, json, wire

HEADER = upserting("salesorders", {"concord_orderkey": "GB01|S-1"}, {"name": "Order S-1"})
LINES = next(upserting_many("salesorderdetails", "salesorderdetail", "concord_linekey", [{"concord_linekey": "k"}]))
GONE = deleting("salesorderdetails", {"concord_linekey": "GB01|S-1|2"})
SIGNAL = creating_once("concord_signals", {"concord_signalkey": "purchase|GB01|S-1"}, {"concord_name": "x"})
DONE = (204, "")
ERROR = '{"error":{"code":"0x80040217","message":"of this test"}}'

Told = tuple[int, str]


def answer(*steps: Told | list[Told], status: int = 200) -> web.Response:
    """What Dataverse says to a batch: (status, body) for a single request, a list of them for a change set."""
    said = "".join(f"--batchresponse_1\r\n{_changes(step) if isinstance(step, list) else _one(step)}" for step in steps)
    headers = {"Content-Type": "multipart/mixed; boundary=batchresponse_1"}
    return web.Response(status=status, body=f"{said}--batchresponse_1--\r\n".encode(), headers=headers)


def _changes(answers: list[Told]) -> str:
    inner = "".join(f"--changesetresponse_1\r\n{_one(one)}" for one in answers)
    return f"Content-Type: multipart/mixed; boundary=changesetresponse_1\r\n\r\n{inner}--changesetresponse_1--\r\n"


def _one(told: Told) -> str:
    status, body = told
    kind = "Content-Type: application/json\r\n" if body else ""
    head = "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
    return f"{head}\r\nHTTP/1.1 {status} x\r\n{kind}OData-Version: 4.0\r\n\r\n{body}\r\n"


@asynccontextmanager
async def dataverse(*answers: web.Response) -> AsyncIterator[tuple[Dataverse, Wire]]:
    async with wire(*answers) as scripted:
        system = RemoteSystem("dataverse", scripted.url, timeout_seconds=5.0)
        try:
            yield Dataverse(system), scripted
        finally:
            await system.close()


async def test_what_stands_or_falls_together_is_one_change_set_in_one_request() -> None:
    async with dataverse(answer([DONE, DONE], DONE)) as (crm, scripted):
        await crm.write([HEADER, LINES], [SIGNAL])
    [sent] = scripted.seen
    assert (sent.method, sent.path) == ("POST", "/api/data/v9.2/$batch")
    body = sent.body.decode()
    assert body.count("Content-Type: application/http") == 3
    assert body.count("boundary=changeset_") == 1 and body.count("Content-ID:") == 2
    assert "PATCH /api/data/v9.2/salesorders(concord_orderkey='GB01%7CS-1')?tag=concord HTTP/1.1\r\n" in body
    assert "If-None-Match: *\r\n" in body
    assert "\n" not in body.replace("\r\n", "")


async def test_a_write_by_itself_needs_no_batch() -> None:
    async with dataverse(web.Response(status=204)) as (crm, scripted):
        await crm.write([HEADER])
    [sent] = scripted.seen
    assert (sent.method, dict(sent.query)) == ("PATCH", {"tag": "concord"})


@pytest.mark.parametrize("outer", [200, 207, 400, 404, 412])
async def test_a_part_that_failed_is_told_whatever_the_status_around_it(outer: int) -> None:
    async with dataverse(answer((404, ERROR), status=outer)) as (crm, _):
        with pytest.raises(NoSuchRow, match="of this test"):
            await crm.write([HEADER, LINES], [SIGNAL])


@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, RemoteRefused), (404, NoSuchRow), (412, Conflict), (429, RemoteDown), (500, Transient), (503, RemoteDown)],
)
async def test_a_failure_inside_means_what_it_means_alone(status: int, expected: type[Exception]) -> None:
    async with dataverse(answer((status, ERROR))) as (crm, _):
        with pytest.raises(expected):
            await crm.write([HEADER, LINES])
    async with dataverse(json(status, ERROR)) as (crm, _):
        with pytest.raises(expected):
            await crm.write([HEADER])


async def test_a_row_that_stands_already_and_one_that_is_gone_do_not_keep_the_rest_from_being_written() -> None:
    answers = [
        answer([DONE, DONE], (404, ERROR), status=400),
        answer((412, ERROR), status=400),
        web.Response(status=204),
    ]
    async with dataverse(*answers) as (crm, scripted):
        await crm.write([HEADER, LINES], [GONE], [SIGNAL], [HEADER])
    assert [sent.method for sent in scripted.seen] == ["POST", "POST", "PATCH"]
    assert b"DELETE" not in scripted.seen[1].body and b"concord_signals" in scripted.seen[1].body


async def test_in_a_change_set_a_row_that_stands_already_is_a_failure_because_it_takes_the_others_back() -> None:
    async with dataverse(answer((412, ERROR), status=400)) as (crm, _):
        with pytest.raises(Conflict):
            await crm.write([SIGNAL, HEADER])


async def test_a_failed_step_keeps_the_later_ones_from_being_tried() -> None:
    async with dataverse(answer((400, ERROR), status=400)) as (crm, scripted):
        with pytest.raises(RemoteRefused):
            await crm.write([HEADER, LINES], [SIGNAL])
    assert len(scripted.seen) == 1


@pytest.mark.parametrize(
    "said",
    [
        answer([DONE], DONE),
        answer([DONE, DONE]),
        answer(),
        answer([], DONE),
        json(200, "{}"),
        web.Response(status=200, body=b"--b\r\n", headers={"Content-Type": "multipart/mixed; boundary=b"}),
        web.Response(status=200, body=b"x", headers={"Content-Type": "multipart/mixed"}),
        web.Response(
            status=200, body=b"--b\r\n\r\nno answer\r\n--b--", headers={"Content-Type": "multipart/mixed; boundary=b"}
        ),
    ],
    ids=[
        "half a change set", "a step is missing", "nothing", "an empty change set", "no batch", "no end",
        "no boundary", "a part that is none",
    ],
)  # fmt: skip
async def test_an_answer_that_leaves_anything_out_is_tried_again_and_never_taken_for_done(said: web.Response) -> None:
    async with dataverse(said) as (crm, _):
        with pytest.raises(Transient, match="batch"):
            await crm.write([HEADER, LINES], [SIGNAL])


async def test_a_batch_that_is_refused_as_a_whole_raises_as_any_call_does() -> None:
    async with dataverse(json(429, ERROR, Retry_After="7")) as (crm, _):
        with pytest.raises(RemoteDown) as throttled:
            await crm.write([HEADER, LINES])
    assert throttled.value.retry_after_seconds == 7
    async with dataverse(json(400, ERROR)) as (crm, _):
        with pytest.raises(RemoteRefused):
            await crm.write([HEADER, LINES])


async def test_no_batch_carries_more_requests_than_dataverse_takes() -> None:
    most: list[RowRequest] = [HEADER] * REQUESTS_MAX
    async with dataverse(answer([DONE] * REQUESTS_MAX), web.Response(status=204)) as (crm, scripted):
        await crm.write(most, [SIGNAL])
    assert [sent.method for sent in scripted.seen] == ["POST", "PATCH"]


async def test_a_rehearsal_shows_the_writes_and_sends_none() -> None:
    kept = rehearsal.set([])
    try:
        async with dataverse(answer()) as (crm, scripted):
            await crm.write([HEADER, LINES], [SIGNAL])
            shown = rehearsal.get()
    finally:
        rehearsal.reset(kept)
    assert scripted.seen == []
    assert [one.method for one in shown or ()] == ["PATCH", "POST", "PATCH"]


async def test_a_large_order_is_written_in_pieces_that_stand_or_fall_together() -> None:
    rows = [{"concord_linekey": f"k{number}"} for number in range(675)]
    pieces = list(upserting_many("salesorderdetails", "salesorderdetail", "concord_linekey", rows))
    assert len(pieces) == 7
    async with dataverse(answer([DONE] * 8)) as (crm, scripted):
        await crm.write([HEADER, *pieces])
    assert len(scripted.seen) == 1
