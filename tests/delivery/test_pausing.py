"""A paused flow loses nothing and keeps its order; the others go on; resuming brings everything through."""

from __future__ import annotations

from typing import cast

import pytest

from shared.delivery import deliver
from shared.errors import OutcomeUnknown, Permanent
from shared.flows.case_handling import decide_case
from shared.flows.flow_pausing import PAUSABLE, flow_states, pause_flow, resume_flow
from shared.flows.parked_sweep import parked_sweep
from shared.stores.parking import ParkedIndex, parked_in
from shared.stores.pauses import CACHE_SECONDS, Pauses
from tests.conftest import TableFactory
from tests.delivery.test_delivery import FLOW, Script, change, delivery, evidence_of, sent_of, wake_up
from tests.hub import NOON, SetClock, hub_in_memory
from tests.memory_table import MemoryTable


async def test_messages_of_a_paused_flow_wait_in_order_and_run_in_order_once_it_is_resumed() -> None:
    hub, story = hub_in_memory(), Script()
    await pause_flow(FLOW, by="Olga", comment="month-end", hub=hub)
    for number in (1, 2, 3):
        await deliver(delivery(change(number)), story, hub)
    assert story.ran == []
    assert await resume_flow(FLOW, hub=hub) == 1
    (woken,) = sent_of(hub)
    await deliver(delivery(woken.change), story, hub)
    assert story.ran == [1, 2, 3]
    assert parked_in(await hub.records.read(change().business_key), FLOW) is None
    assert await evidence_of(hub, change()) == ["accept"] * 3


async def test_a_pause_stops_one_flow_and_no_other() -> None:
    hub, story = hub_in_memory(), Script()
    await pause_flow("crm_history_update", by="Olga", comment="", hub=hub)
    await deliver(delivery(change()), story, hub)
    assert story.ran == [1]


async def test_a_wake_up_that_comes_during_a_pause_is_made_up_for_by_the_resumption() -> None:
    hub, story = hub_in_memory(), Script(OutcomeUnknown("no answer"))
    await deliver(delivery(change(1)), story, hub)
    await pause_flow(FLOW, by="Olga", comment="", hub=hub)
    cast(SetClock, hub.clock).forward(minutes=5)
    await deliver(wake_up(change()), story, hub)
    assert story.ran == [1]
    await deliver(delivery(change(2)), story, hub)
    await resume_flow(FLOW, hub=hub)
    await deliver(delivery(sent_of(hub)[-1].change), story, hub)
    assert story.ran == [1, 1, 2]


async def test_the_sweep_leaves_a_paused_flow_alone_and_wakes_what_a_lost_resumption_left() -> None:
    hub, story = hub_in_memory(), Script()
    await pause_flow(FLOW, by="Olga", comment="", hub=hub)
    await deliver(delivery(change()), story, hub)
    cast(SetClock, hub.clock).forward(minutes=5)
    assert await parked_sweep(hub) == {"woken": 0, "forgotten": 0, "waiting": 1, "cases": 0}
    await hub.pauses.resume(FLOW)  # and the worker dies before it has sent a wake-up
    assert (await parked_sweep(hub))["woken"] == 1
    await deliver(delivery(sent_of(hub)[-1].change), story, hub)
    assert story.ran == [1]


async def test_a_case_replayed_during_a_pause_runs_when_the_flow_is_resumed() -> None:
    hub, story = hub_in_memory(), Script(Permanent("closed", code="period_closed"))
    await deliver(delivery(change(1)), story, hub)
    await pause_flow(FLOW, by="Olga", comment="", hub=hub)
    (case,) = await hub.cases.list(state="open")
    await decide_case(case, "replay", by="Olga", comment="", hub=hub)
    await deliver(wake_up(change(), force=True), story, hub)
    assert story.ran == [1]
    await resume_flow(FLOW, hub=hub)
    await deliver(delivery(sent_of(hub)[-1].change), story, hub)
    assert story.ran == [1, 1]
    assert await hub.cases.list(state="open") == []


async def test_the_longest_parked_key_is_woken_first() -> None:
    hub = hub_in_memory()
    await pause_flow(FLOW, by="Olga", comment="", hub=hub)
    for number, key in enumerate(("S-9", "S-2", "S-5")):
        await deliver(delivery(change(number, key=key)), Script(), hub)
        cast(SetClock, hub.clock).forward(seconds=1)
    assert await resume_flow(FLOW, hub=hub) == 3
    assert [sent.change.key for sent in sent_of(hub)] == ["S-9", "S-2", "S-5"]


async def test_the_flow_that_firms_holds_cannot_be_paused() -> None:
    hub = hub_in_memory()
    assert "credit_hold_update" not in PAUSABLE
    with pytest.raises(Permanent, match="cannot be paused"):
        await pause_flow("credit_hold_update", by="Olga", comment="", hub=hub)


async def test_people_see_which_flows_run_and_who_paused_which() -> None:
    hub = hub_in_memory()
    await pause_flow(FLOW, by="Olga", comment="month-end", hub=hub)
    await pause_flow(FLOW, by="Ivan", comment="too", hub=hub)
    await deliver(delivery(change()), Script(), hub)
    states = {state.flow: state for state in await flow_states(hub)}
    assert states["crm_history_update"].state == "running"
    told = states[FLOW]
    assert told.pause is not None
    assert (told.state, told.pause.paused_by, told.pause.comment, told.parked_keys) == (
        "paused",
        "Olga",
        "month-end",
        1,
    )


async def test_a_worker_may_believe_for_a_moment_that_a_flow_runs_and_never_that_it_is_still_paused() -> None:
    now = 100.0
    table = MemoryTable()
    worker, door = Pauses(table, clock=lambda: now), Pauses(table)
    assert not await worker.is_paused(FLOW)
    await door.pause(FLOW, by="Olga", comment="", now=NOON)
    assert not await worker.is_paused(FLOW)
    now += CACHE_SECONDS
    assert await worker.is_paused(FLOW)
    await door.resume(FLOW)
    assert not await worker.is_paused(FLOW)


async def test_a_pause_is_kept_in_the_table_of_parked_keys_and_no_list_mixes_the_two(
    table_factory: TableFactory,
) -> None:
    table = table_factory("parked")
    pauses, parked = Pauses(table), ParkedIndex(table)
    await parked.note(change(), FLOW, NOON)
    first = await pauses.pause(FLOW, by="Olga", comment="", now=NOON)
    again = await pauses.pause(FLOW, by="Ivan", comment="", now=NOON)
    assert (first.paused_by, again.paused_by) == ("Olga", "Olga")
    assert [row.key for row in await parked.list()] == [f"{FLOW}|{change().business_key}"]
    assert [row.key for row in await parked.list("account_sync")] == []
    assert [pause.flow for pause in await pauses.list()] == [FLOW]
    assert await pauses.resume(FLOW)
    assert not await pauses.resume(FLOW)
    assert await pauses.list() == []
