"""Claims about outbound events."""

import asyncio

from tests.kit.counter import Caller, Inbox, calling, counter


async def count_to(caller: Caller, number: int) -> None:
    for _ in range(number):
        await caller.call("POST", "/count")


async def test_events_arrive_in_order_with_the_functions_key() -> None:
    inbox = Inbox(expected=20)
    async with inbox.open() as url, calling(counter(url)) as caller:
        await count_to(caller, 20)
        await asyncio.wait_for(inbox.complete.wait(), 5)
    assert inbox.received == [str(number) for number in range(1, 21)]
    assert set(inbox.keys) == {"host-key"}


async def test_a_refused_event_is_sent_again_before_the_next_one() -> None:
    inbox = Inbox(answers=[503, 500], expected=2)
    async with inbox.open() as url, calling(counter(url)) as caller:
        await count_to(caller, 2)
        await asyncio.wait_for(inbox.complete.wait(), 5)
    assert inbox.received == ["1", "2"]


async def test_an_event_that_keeps_being_refused_is_given_up_and_counted() -> None:
    inbox = Inbox(answers=[503, 503, 503], expected=1)
    simulator = counter()
    async with inbox.open() as url:
        simulator = counter(url)
        async with calling(simulator) as caller:
            await count_to(caller, 2)
            await asyncio.wait_for(inbox.complete.wait(), 5)
    assert inbox.received == ["2"]
    assert simulator.events.described()["failed"] == 1


async def test_lost_events_are_counted_and_nothing_stays_pending() -> None:
    inbox = Inbox()
    async with inbox.open() as url, calling(counter(url)) as caller:
        await caller.call("PUT", "/__sim/events", {"lose": 1})
        await count_to(caller, 5)
        state = await caller.get("/__sim/state")
    assert isinstance(state, dict)
    assert state["events"] == {"pending": 0, "sent": 0, "failed": 0, "lost": 5, "duplicated": 0, "muted": 0}
    assert inbox.received == []


async def test_duplicates_arrive_twice() -> None:
    inbox = Inbox(expected=6)
    async with inbox.open() as url, calling(counter(url)) as caller:
        await caller.call("PUT", "/__sim/events", {"duplicate": 1})
        await count_to(caller, 3)
        await asyncio.wait_for(inbox.complete.wait(), 5)
    assert inbox.received == ["1", "1", "2", "2", "3", "3"]


async def test_a_shuffle_changes_the_order_and_loses_nothing() -> None:
    inbox = Inbox(expected=30)
    async with inbox.open() as url, calling(counter(url)) as caller:
        await caller.call("PUT", "/__sim/events", {"shuffle": 10, "seed": 3})
        await count_to(caller, 30)
        await asyncio.wait_for(inbox.complete.wait(), 5)
    assert sorted(inbox.received, key=int) == [str(number) for number in range(1, 31)]
    assert inbox.received != sorted(inbox.received, key=int)


async def test_the_same_seed_loses_and_repeats_the_same_events_whatever_order_they_leave_in() -> None:
    async def heard(*, shuffle: int) -> list[str]:
        inbox = Inbox()
        async with inbox.open() as url, calling(counter(url)) as caller:
            await caller.call("PUT", "/__sim/events", {"lose": 0.3, "duplicate": 0.3, "shuffle": shuffle, "seed": 7})
            for _ in range(8):  # sending and losing take turns
                await count_to(caller, 5)
                while (await caller.get("/__sim/state"))["events"]["pending"]:  # type: ignore[index]
                    await asyncio.sleep(0)
        return sorted(inbox.received, key=int)

    told = await heard(shuffle=0)
    assert len(set(told)) < 40 < 40 + len(told) - len(set(told))
    assert await heard(shuffle=10) == told


async def test_without_a_functions_url_events_are_only_counted() -> None:
    async with calling(counter()) as caller:
        await count_to(caller, 2)
        state = await caller.get("/__sim/state")
    assert isinstance(state, dict)
    assert state["events"]["muted"] == 2


async def test_a_wrong_disorder_is_refused() -> None:
    async with calling(counter()) as caller:
        assert (await caller.call("PUT", "/__sim/events", {"lose": 3}))[0] == 400
        assert (await caller.call("PUT", "/__sim/events", {"shufle": 3}))[0] == 400
