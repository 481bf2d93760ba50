"""Schedules in UTC, and firing on demand."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.host.ncrontab import ScheduleRefused, parse
from tests.host.conftest import MASTER, Client

NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)  # a Tuesday


@pytest.mark.parametrize(
    ("schedule", "next_firing"),
    [
        ("*/10 * * * * *", "2026-11-24T12:00:10"),
        ("0 */5 * * * *", "2026-11-24T12:05:00"),
        ("*/5 * * * *", "2026-11-24T12:05:00"),
        ("0 0 12 * * *", "2026-11-25T12:00:00"),
        ("0 30 2 * * *", "2026-11-25T02:30:00"),
        ("0 0 9-17 * * Mon-Fri", "2026-11-24T13:00:00"),
        ("0 0 0 1 * *", "2026-12-01T00:00:00"),
        ("0 0 0 * * 0", "2026-11-29T00:00:00"),
        ("0 0 0 * * 7", "2026-11-29T00:00:00"),
        ("0 0 0 29 feb *", "2028-02-29T00:00:00"),
        ("0 15,45 8 * jan,jul *", "2027-01-01T08:15:00"),
        ("30/10 0 0 * * *", "2026-11-25T00:00:30"),
    ],
)
def test_a_schedule_fires_next_at(schedule: str, next_firing: str) -> None:
    assert parse(schedule).after(NOON) == datetime.fromisoformat(next_firing).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "schedule", ["", "* * *", "60 * * * * *", "* * 24 * * *", "* * * 0 * *", "x * * * * *", "*/0 * * * * *"]
)
def test_what_is_no_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(ScheduleRefused):
        parse(schedule)


def test_a_schedule_that_never_fires_is_refused_rather_than_searched_for_ever() -> None:
    with pytest.raises(ScheduleRefused):
        parse("0 0 0 31 feb *").after(NOON)


@given(
    st.sets(st.integers(0, 59), min_size=1),
    st.sets(st.integers(0, 59), min_size=1),
    st.sets(st.integers(0, 23), min_size=1),
    st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_no_due_second_lies_between_an_instant_and_the_next_firing(
    seconds: set[int], minutes: set[int], hours: set[int], instant: datetime
) -> None:
    schedule = parse(" ".join([*(",".join(map(str, part)) for part in (seconds, minutes, hours)), "* * *"]))
    firing = schedule.after(instant)
    assert firing > instant
    assert (firing.second in seconds, firing.minute in minutes, firing.hour in hours) == (True, True, True)
    assert schedule.after(firing) > firing
    before = schedule.after(instant.replace(hour=0, minute=0, second=0, microsecond=0))
    assert before <= firing


async def test_a_timer_fires_on_demand_and_only_then(client: Client) -> None:
    before = len(json.loads((await client.get("/api/fired")).body))
    answer = await client.post("/admin/functions/nightly?wait", b"{}", MASTER)
    assert (answer.status, json.loads(answer.body)) == (202, {"succeeded": True, "failure": None})
    assert json.loads((await client.get("/api/fired")).body)[before:] == [{"past_due": False}]


async def test_firing_without_waiting_is_accepted_at_once(client: Client) -> None:
    answer = await client.post("/admin/functions/nightly", None, MASTER)
    assert (answer.status, answer.body) == (202, b"")


async def test_a_timer_that_fails_says_why_to_the_one_who_waits(client: Client) -> None:
    answer = await client.post("/admin/functions/stumbling?wait", b"{}", MASTER)
    assert json.loads(answer.body) == {
        "succeeded": False,
        "failure": "RuntimeError: the sweep found nothing to sweep",
    }


async def test_firing_needs_the_master_key_a_known_function_and_a_sound_input(client: Client) -> None:
    assert (await client.post("/admin/functions/nightly", b"{}")).status == 401
    assert (await client.post("/admin/functions/unknown", b"{}", MASTER)).status == 404
    assert (await client.post("/admin/functions/echo", b"{}", MASTER)).status == 400
    assert (await client.post("/admin/functions/nightly", b"[", MASTER)).status == 400
    assert (await client.post("/admin/functions/nightly", b'{"input": 1}', MASTER)).status == 400
