"""SAP's OData V2: sessions, errors that hide, pages, literals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from shared import exact_json
from shared.clients.http import RemoteRefused, RemoteSystem
from shared.clients.odata import ODataV2, day, decimal, entity_path, literal, moment, query_of, stamp, where
from shared.errors import Malformed, Permanent
from tests.clients.wire import Answer, Wire, json, wire

TOKEN = json(200, '{"d":{"EntitySets":[]}}', X_CSRF_Token="t1")


@asynccontextmanager
async def sap(*answers: Answer) -> AsyncIterator[tuple[ODataV2, Wire]]:
    async with wire(*answers) as server:
        system = RemoteSystem("sap", server.url)
        try:
            yield ODataV2(system, client="100"), server
        finally:
            await system.close()


def required() -> web.Response:
    return json(403, '{"error":{"code":"005056A509B11EE1B9A8FEC11C21D78E"}}', X_CSRF_Token="Required")


async def test_a_write_carries_the_token_and_the_cookies_it_belongs_to() -> None:
    session = web.Response(status=200, text="{}", headers={"X-CSRF-Token": "t1"})
    session.headers.add("Set-Cookie", "SAP_SESSIONID_S4H_100=abc%3d; path=/; secure; HttpOnly")
    session.headers.add("Set-Cookie", "sap-XSRF_S4H_100=xyz; path=/")
    async with sap(session, json(201, '{"d":{"SalesOrder":"1"}}')) as (odata, server):
        created = await odata.create("API_SALES_ORDER_SRV", "A_SalesOrder", {"Amount": Decimal("1.50")})
    assert created == {"SalesOrder": "1"}
    fetch, write = server.seen
    assert fetch.headers["X-CSRF-Token"] == "Fetch"
    assert write.headers["X-CSRF-Token"] == "t1"
    assert write.headers["Cookie"] == "SAP_SESSIONID_S4H_100=abc%3d; sap-XSRF_S4H_100=xyz"
    assert exact_json.loads(write.body) == {"Amount": "1.50"}
    assert write.query["sap-client"] == "100"


async def test_parallel_writes_share_one_session() -> None:
    async with sap(TOKEN, json(201, '{"d":{}}')) as (odata, server):
        await asyncio.gather(*(odata.create("S", "E", {}) for _ in range(8)))
    assert [one.method for one in server.seen].count("GET") == 1


async def test_an_ended_session_is_fetched_once_again_and_the_write_sent_once_more() -> None:
    fresh = json(200, "{}", X_CSRF_Token="t2")
    async with sap(TOKEN, required(), fresh, json(201, '{"d":{}}')) as (odata, server):
        await odata.create("S", "E", {})
    assert [one.headers.get("X-CSRF-Token") for one in server.seen] == ["Fetch", "t1", "Fetch", "t2"]


async def test_a_refused_token_is_not_tried_for_ever() -> None:
    async with sap(TOKEN, required(), json(200, "{}", X_CSRF_Token="t2"), required()) as (odata, server):
        with pytest.raises(RemoteRefused):
            await odata.create("S", "E", {})
    assert len(server.seen) == 4


async def test_an_authorisation_that_is_missing_is_no_matter_of_sessions() -> None:
    async with sap(TOKEN, json(403, '{"error":{"code":"/IWFND/CM/404"}}')) as (odata, server):
        with pytest.raises(RemoteRefused):
            await odata.create("S", "E", {})
    assert len(server.seen) == 2


async def test_an_error_inside_a_success_is_an_error() -> None:
    hidden = '{"code":"V1/555","message":"not saved","severity":"error","target":"SoldToParty","details":[]}'
    answer = json(201, '{"d":{}}')
    answer.headers["sap-message"] = hidden
    async with sap(TOKEN, answer) as (odata, _):
        with pytest.raises(RemoteRefused) as caught:
            await odata.create("S", "E", {})
    assert (caught.value.error_code, caught.value.errors[0].target) == ("V1/555", "SoldToParty")


async def test_a_warning_inside_a_success_is_no_error() -> None:
    answer = json(200, '{"d":{"A":1}}')
    answer.headers["sap-message"] = '{"code":"X","message":"mind","severity":"warning","details":[]}'
    async with sap(answer) as (odata, _):
        assert await odata.read("S", "E('1')") == {"A": 1}


async def test_pages_are_followed_by_their_query_alone_whatever_host_they_name() -> None:
    following = (
        "http://inside.example:8000/sap/opu/odata/sap/S/E?sap-client=100&$skiptoken='A+1%20b'&$filter=A%20eq%201"
    )
    first = json(200, exact_json.dumps({"d": {"results": [{"n": 1}], "__next": following}}).decode())
    async with sap(first, json(200, '{"d":{"results":[{"n":2}]}}')) as (odata, server):
        rows = await odata.read_all("S", "E", {"$filter": "A eq 1"})
    assert rows == [{"n": 1}, {"n": 2}]
    assert server.seen[1].query == {"$skiptoken": "'A+1 b'", "$filter": "A eq 1", "sap-client": "100"}


async def test_pages_in_a_circle_end() -> None:
    circle = json(200, '{"d":{"results":[],"__next":"E?$skiptoken=1"}}')
    async with sap(circle) as (odata, _):
        with pytest.raises(Permanent):
            await odata.read_all("S", "E", {})


async def test_an_unknown_key_is_none_and_a_broken_read_is_not() -> None:
    async with sap(json(404, "{}"), json(400, "{}")) as (odata, _):
        assert await odata.read_or_none("S", "E('x')") is None
        with pytest.raises(RemoteRefused):
            await odata.read_or_none("S", "E('x')")


@given(st.text())
def test_text_in_a_filter_stays_text(value: str) -> None:
    written = where(("Customer", "eq", value))
    inside = written.removeprefix("Customer eq '").removesuffix("'")
    assert inside.replace("''", "").count("'") == 0
    assert inside.replace("''", "'") == value


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("O'Hara", "'O''Hara'"),
        (True, "true"),
        (7, "7"),
        (Decimal("1.50"), "1.50M"),
        (datetime(2026, 11, 24, 1, tzinfo=UTC), "datetime'2026-11-24T01:00:00'"),
        (date(2026, 11, 24), "datetime'2026-11-24T00:00:00'"),
    ],
)
def test_literals_are_those_of_version_2(value: str, written: str) -> None:
    assert literal(value) == written


def test_a_key_in_a_path_is_quoted_and_encoded() -> None:
    assert entity_path("A_Customer", "A/1 '?") == "A_Customer('A%2F1%20''%3F')"
    assert entity_path("A", X="1", Y="2") == "A(X='1',Y='2')"


def test_decimals_come_from_text_and_dates_from_milliseconds() -> None:
    assert decimal({"A": "1.500"}, "A") == Decimal("1.500")
    assert moment("/Date(1764028800000+0060)/") == datetime(2025, 11, 25, tzinfo=UTC)
    assert day("/Date(1764028800000)/") == date(2025, 11, 25)
    assert stamp(date(2025, 11, 25)) == "/Date(1764028800000)/"
    assert moment(None) is None


@pytest.mark.parametrize("value", ["2025-11-25", "/Date(x)/", "/Date(999999999999999)/", 5])
def test_what_is_no_date_of_sap_is_named(value: object) -> None:
    with pytest.raises(Malformed):
        moment(value)


def test_a_decimal_that_is_missing_is_named() -> None:
    with pytest.raises(Malformed, match="Amount"):
        decimal({}, "Amount")


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_survives_the_way_through_sap_to_the_millisecond(exact: datetime) -> None:
    at = exact.replace(microsecond=exact.microsecond // 1000 * 1000)
    assert moment(stamp(at)) == at


def test_a_link_s_query_is_decoded_without_its_client() -> None:
    assert query_of("x?sap-client=200&$skip=10") == {"$skip": "10"}
