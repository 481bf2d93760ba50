"""Service protection: 429 with the documented codes, and a Retry-After that is worth heeding."""

import asyncio
from decimal import Decimal

from tests.dataverse_simulator.organization import Organization, open_organization
from tests.kit.counter import Clock


async def test_too_many_requests_in_the_window_wait_for_the_oldest_to_leave_it(org: Organization, clock: Clock) -> None:
    await org.control("PUT", "limits", {"requests": 3, "windowSeconds": 300})
    assert [(await org.get("accounts")).status for _ in range(3)] == [200, 200, 200]
    refused = await org.get("accounts")
    assert (refused.status, refused.code) == (429, "0x80072322")
    clock.now += int(refused.headers["Retry-After"])
    assert (await org.get("accounts")).status == 200


async def test_going_on_sending_lengthens_the_wait(org: Organization) -> None:
    await org.control("PUT", "limits", {"requests": 1})
    await org.get("accounts")
    waits = [int((await org.get("accounts")).headers["Retry-After"]) for _ in range(30)]
    assert waits[-1] > waits[0]


async def test_more_requests_under_way_than_allowed_are_refused_at_once(org: Organization) -> None:
    await org.control("PUT", "limits", {"concurrent": 2, "serviceSeconds": Decimal("0.2")})
    replies = await asyncio.gather(*(org.get("accounts") for _ in range(3)))
    assert sorted(reply.status for reply in replies) == [200, 200, 429]
    assert next(reply for reply in replies if reply.status == 429).code == "0x80072326"


async def test_what_is_left_of_the_window_is_told(org: Organization) -> None:
    replies = [await org.get("accounts") for _ in range(2)]
    left = [int(reply.headers["x-ms-ratelimit-burst-remaining-xrm-requests"]) for reply in replies]
    assert left == [5999, 5998]


async def test_the_limits_can_be_given_at_the_start() -> None:
    async with open_organization(None, limit_requests="1") as org:
        assert [(await org.get("accounts")).status for _ in range(2)] == [200, 429]
