"""What becomes of a message: done once, queued behind a parked key, parked, or a person's case. Nothing is dropped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from shared.authority.policy import MessagingPolicy
from shared.delivery import deliver
from shared.domain.changes import Change, encode
from shared.domain.rulings import Accept, Hold, Reason, Unchanged
from shared.errors import Malformed, OutcomeUnknown, Permanent, RemoteDown, Transient
from shared.flows.case_handling import decide_case
from shared.flows.parked_sweep import parked_sweep
from shared.messaging import WAKE_UP, Delivery
from shared.stores.parking import parked_in
from shared.stores.records import Dossier, Outcome
from shared.stores.table import Op, Row
from shared.wiring import Hub
from tests.hub import NOON, RememberingBus, SetClock, hub_in_memory, shipped_policy

FLOW = "order_to_ledger"
Step = Callable[[Change], Awaitable[Outcome]]


def change(number: int = 1, key: str = "S-1") -> Change:
    return Change(
        id=f"event-{number}",
        source="commerce",
        entity="order",
        kind="order.confirmed",
        legal_entity="GB01",
        key=key,
        occurred_at=NOON,
        received_at=NOON + timedelta(seconds=number),
        correlation_id="0" * 31 + "1",
        data={"number": number},
    )


def delivery(of: Change, *, deliveries: int = 1, force: bool = False) -> Delivery:
    return Delivery(FLOW, "orders", of.message_id, deliveries, of, None, encode(of), force)


def wake_up(of: Change, *, force: bool = False) -> Delivery:
    return delivery(replace(of, kind=WAKE_UP, data={}), force=force)


class Script:
    """A story whose outcomes are laid down; it remembers which messages it ran, in order."""

    def __init__(self, *outcomes: Outcome | BaseException) -> None:
        self.outcomes = list(outcomes)
        self.ran: list[int] = []

    async def __call__(self, of: Change, dossier: Dossier, hub: Hub) -> Outcome:
        self.ran.append(of.data["number"])
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome(Accept())
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def sent_of(hub: Hub) -> list[Any]:
    return cast(RememberingBus, hub.bus).sent


async def evidence_of(hub: Hub, of: Change) -> list[str]:
    return [one.ruling for one in await hub.records.read_evidence(of.business_key)]


async def test_a_message_that_is_delivered_again_after_a_lost_completion_leaves_one_lineage_row() -> None:
    found_done = Outcome(Unchanged((Reason("posted_before", "it stands already"),)))
    hub, story = hub_in_memory(), Script(Outcome(Accept()), found_done, found_done)
    for _ in range(3):
        await deliver(delivery(change()), story, hub)
    assert await evidence_of(hub, change()) == ["accept"]


async def test_state_rows_and_lineage_stand_together() -> None:
    hub = hub_in_memory()
    row = Row(change().business_key, "0|claim|K1", {"state": "settled"})
    await deliver(delivery(change()), Script(Outcome(Accept(), operations=(Op("insert", row),))), hub)
    dossier = await hub.records.read(change().business_key)
    assert dossier.row("0|claim|K1") is not None


@pytest.mark.parametrize("fault", [OutcomeUnknown("no answer"), Transient("later", retry_after_seconds=40)])
async def test_a_message_that_must_wait_parks_its_key_and_schedules_its_wake_up(fault: Transient) -> None:
    hub, story = hub_in_memory(), Script(fault)
    await deliver(delivery(change()), story, hub)
    parked = parked_in(await hub.records.read(change().business_key), FLOW)
    assert parked is not None
    assert parked.state == "due"
    (woken,) = sent_of(hub)
    assert (woken.flow, woken.due) == (FLOW, parked.due_at)
    if fault.retry_after_seconds:
        assert parked.due_at == NOON + timedelta(seconds=40)


async def test_later_messages_of_a_parked_key_follow_in_order_and_other_keys_go_on() -> None:
    hub, story = hub_in_memory(), Script(OutcomeUnknown("no answer"))
    await deliver(delivery(change(1)), story, hub)
    for number in (2, 3):
        await deliver(delivery(change(number)), story, hub)
    await deliver(delivery(change(4, key="S-2")), story, hub)
    assert story.ran == [1, 4]
    cast(SetClock, hub.clock).forward(seconds=10)
    await deliver(wake_up(change()), story, hub)
    assert story.ran == [1, 4, 1, 2, 3]
    assert parked_in(await hub.records.read(change().business_key), FLOW) is None
    assert await evidence_of(hub, change()) == ["accept"] * 3


async def test_a_wake_up_before_its_time_does_nothing() -> None:
    hub, story = hub_in_memory(), Script(Transient("later", retry_after_seconds=60))
    await deliver(delivery(change()), story, hub)
    await deliver(wake_up(change()), story, hub)
    assert story.ran == [1]


async def test_a_repeat_of_a_waiting_message_waits_once() -> None:
    hub, story = hub_in_memory(), Script(OutcomeUnknown("no answer"))
    for _ in range(3):
        await deliver(delivery(change()), story, hub)
    parked = parked_in(await hub.records.read(change().business_key), FLOW)
    assert parked is not None
    assert len(parked.waiting) == 1


async def test_a_message_settled_before_its_key_was_parked_does_not_jam_the_queue() -> None:
    hub, story = hub_in_memory(), Script(Outcome(Accept()), OutcomeUnknown("no answer"))
    await deliver(delivery(change(1)), story, hub)
    await deliver(delivery(change(2)), story, hub)
    await deliver(delivery(change(1), deliveries=2), story, hub)
    cast(SetClock, hub.clock).forward(seconds=10)
    await deliver(wake_up(change(2)), story, hub)
    assert parked_in(await hub.records.read(change().business_key), FLOW) is None
    assert await evidence_of(hub, change()) == ["accept", "accept"]


@pytest.mark.parametrize(
    "refusal",
    [
        Permanent("period 2026-11 is closed", code="period_closed", remedy="open it"),
        Malformed([]),
        Outcome(Hold((Reason("period_closed", "period 2026-11 is closed", "open it"),))),
    ],
)
async def test_what_is_refused_for_good_becomes_one_case_and_parks_the_key(refusal: Any) -> None:
    if isinstance(refusal, Malformed):
        from shared.errors import Fault

        refusal = Malformed([Fault("order.TotalAmount", "is 1, lines add up to 2")])
    hub, story = hub_in_memory(), Script(refusal)
    await deliver(delivery(change(1)), story, hub)
    await deliver(delivery(change(1), deliveries=2), story, hub)
    await deliver(delivery(change(2)), story, hub)
    (case,) = await hub.cases.list(state="open")
    assert case.parked
    assert story.ran == [1]


async def test_a_held_message_waits_for_a_person_whoever_wakes_its_key() -> None:
    hub, story = hub_in_memory(), Script(Permanent("closed", code="period_closed"))
    await deliver(delivery(change(1)), story, hub)
    cast(SetClock, hub.clock).forward(hours=1)
    await deliver(wake_up(change()), story, hub)
    assert story.ran == [1]
    assert len(await hub.cases.list(state="open")) == 1


async def test_a_replayed_case_runs_its_message_and_then_the_followers() -> None:
    hub, story = hub_in_memory(), Script(Permanent("closed", code="period_closed"))
    await deliver(delivery(change(1)), story, hub)
    await deliver(delivery(change(2)), story, hub)
    (case,) = await hub.cases.list(state="open")
    ended = await decide_case(case, "replay", by="Olga", comment="period opened", hub=hub)
    assert (ended.state, ended.ended_by) == ("replayed", "Olga")
    woken = sent_of(hub)[-1]
    assert woken.force
    await deliver(delivery(woken.change, force=woken.force), story, hub)
    assert story.ran == [1, 1, 2]
    assert await hub.cases.list(state="open") == []


async def test_a_replay_that_fails_again_opens_the_case_again() -> None:
    hub, story = hub_in_memory(), Script(*[Permanent("closed", code="period_closed")] * 2)
    await deliver(delivery(change(1)), story, hub)
    (case,) = await hub.cases.list(state="open")
    await decide_case(case, "replay", by="Olga", comment="", hub=hub)
    await deliver(wake_up(change(), force=True), story, hub)
    (again,) = await hub.cases.list(state="open")
    assert again.id == case.id
    parked = parked_in(await hub.records.read(change().business_key), FLOW)
    assert parked is not None
    assert (parked.state, parked.decision) == ("case", "")


async def test_a_discarded_message_is_not_run_but_its_followers_are() -> None:
    hub, story = hub_in_memory(), Script(Permanent("closed", code="period_closed"))
    await deliver(delivery(change(1)), story, hub)
    await deliver(delivery(change(2)), story, hub)
    (case,) = await hub.cases.list(state="open")
    await decide_case(case, "discard", by="Olga", comment="double entry", hub=hub)
    await deliver(wake_up(change(), force=True), story, hub)
    assert story.ran == [1, 2]
    rulings = await evidence_of(hub, change())
    assert sorted(rulings) == ["accept", "hold", "unchanged"]


async def test_retries_end_in_a_case_and_not_in_silence() -> None:
    hub = hub_in_memory()
    tries = shipped_policy().messaging.attempts_max
    story = Script(*[OutcomeUnknown("no answer")] * (tries + 1))
    await deliver(delivery(change()), story, hub)
    for _ in range(tries):
        cast(SetClock, hub.clock).forward(hours=1)
        await deliver(wake_up(change()), story, hub)
    (case,) = await hub.cases.list(state="open")
    assert case.code == "attempts_exhausted"


async def test_a_lane_waits_for_a_system_that_is_down_and_parks_nothing() -> None:
    hub = hub_in_memory()
    story = Script(RemoteDown("503", system="sap", retry_after_seconds=0.001))
    await deliver(delivery(change()), story, hub)
    assert story.ran == [1, 1]
    assert await evidence_of(hub, change()) == ["accept"]


async def test_a_lane_that_has_waited_long_enough_gives_the_message_back() -> None:
    waits = MessagingPolicy(lane_wait_seconds=0.01)
    hub = hub_in_memory(policy=replace(shipped_policy(), messaging=waits))
    story = Script(*[RemoteDown("503", system="sap", retry_after_seconds=0.006)] * 9)
    with pytest.raises(RemoteDown):
        await deliver(delivery(change()), story, hub)
    assert await hub.cases.list(state="open") == []


async def test_an_outage_never_counts_as_a_crash_however_often_the_message_came() -> None:
    waits = MessagingPolicy(lane_wait_seconds=0.001)
    hub = hub_in_memory(policy=replace(shipped_policy(), messaging=waits))
    for deliveries in range(1, 40):
        with pytest.raises(RemoteDown):
            await deliver(
                delivery(change(), deliveries=deliveries),
                Script(RemoteDown("503", system="sap", retry_after_seconds=1)),
                hub,
            )
    await deliver(delivery(change(), deliveries=40), Script(), hub)
    assert await evidence_of(hub, change()) == ["accept"]


class _Killed(BaseException):
    """Stands for the worker's death in the middle of a story."""


async def test_a_message_that_kills_the_worker_ends_as_a_case() -> None:
    hub = hub_in_memory()
    for deliveries in range(1, 5):
        with pytest.raises(_Killed):
            await deliver(delivery(change(), deliveries=deliveries), Script(_Killed()), hub)
    story = Script()
    await deliver(delivery(change(), deliveries=5), story, hub)
    (case,) = await hub.cases.list(state="open")
    assert (case.code, story.ran) == ("kills_the_worker", [])


async def test_a_fault_of_ours_is_loud_first_and_a_case_in_the_end() -> None:
    hub = hub_in_memory()
    for deliveries in (1, 2):
        with pytest.raises(KeyError):
            await deliver(delivery(change(), deliveries=deliveries), Script(KeyError("x")), hub)
    await deliver(delivery(change(), deliveries=3), Script(KeyError("x")), hub)
    (case,) = await hub.cases.list(state="open")
    assert case.code == "unexpected"


async def test_a_message_that_is_no_change_becomes_a_case_that_keeps_it() -> None:
    hub, story = hub_in_memory(), Script()
    unreadable = Delivery(FLOW, "orders", "m-1", 1, None, Malformed([]), b"\xff not json", False)
    await deliver(unreadable, story, hub)
    (case,) = await hub.cases.list(state="open")
    assert (case.code, case.body, story.ran) == ("unreadable", b"\xff not json", [])


async def test_the_sweep_wakes_what_is_overdue_and_forgets_what_is_free() -> None:
    hub, story = hub_in_memory(), Script(OutcomeUnknown("no answer"))
    await deliver(delivery(change()), story, hub)
    assert (await parked_sweep(hub))["woken"] == 0
    cast(SetClock, hub.clock).forward(minutes=5)
    assert (await parked_sweep(hub))["woken"] == 1
    await deliver(wake_up(change()), story, hub)
    assert (await parked_sweep(hub))["forgotten"] == 1
    assert await hub.parked.list() == []


async def test_a_parking_that_lands_after_its_message_went_through_is_found_and_undone_by_the_sweep() -> None:
    waits = MessagingPolicy(lane_wait_seconds=0.001)
    hub = hub_in_memory(policy=replace(shipped_policy(), messaging=waits))
    story = Script(OutcomeUnknown("no answer"))
    write, late = hub.records.write, []

    async def answer_nothing(*given: Any) -> list[str]:
        object.__setattr__(hub.records, "write", write)
        late.append(given)
        raise OutcomeUnknown("the table did not answer a write")

    object.__setattr__(hub.records, "write", answer_nothing)
    with pytest.raises(OutcomeUnknown):
        await deliver(delivery(change()), story, hub)
    await deliver(delivery(change(), deliveries=2), story, hub)
    assert await evidence_of(hub, change()) == ["accept"]
    await parked_sweep(hub)
    await write(*late[0])
    cast(SetClock, hub.clock).forward(minutes=5)
    assert (await parked_sweep(hub))["woken"] == 1
    await deliver(wake_up(change()), story, hub)
    assert parked_in(await hub.records.read(change().business_key), FLOW) is None
    cast(SetClock, hub.clock).forward(minutes=30)
    await parked_sweep(hub)
    assert await hub.parked.list_announced() == []


@pytest.mark.parametrize("fault", [OutcomeUnknown("no answer"), Permanent("closed", code="period_closed")])
@pytest.mark.parametrize("call", range(1, 6))
async def test_a_sweep_at_any_moment_of_parking_leaves_the_key_in_the_index(fault: Exception, call: int) -> None:
    hub, swept = hub_in_memory(), False
    counted = 0

    async def sweep_before(act: Callable[..., Awaitable[Any]], *given: Any) -> Any:
        nonlocal counted, swept
        counted += 1
        if counted == call and not swept:
            swept = True
            await parked_sweep(hub)
        return await act(*given)

    note, write = hub.parked.note, hub.records.write
    object.__setattr__(hub.parked, "note", lambda *given: sweep_before(note, *given))
    object.__setattr__(hub.records, "write", lambda *given: sweep_before(write, *given))
    await deliver(delivery(change()), Script(fault), hub)
    assert len(await hub.parked.list()) == 1


async def test_a_worker_that_dies_between_parking_and_noting_it_leaves_that_to_the_next_delivery() -> None:
    hub = hub_in_memory()
    note = hub.parked.note

    async def die(*_: Any) -> None:
        raise _Killed

    object.__setattr__(hub.parked, "note", die)
    with pytest.raises(_Killed):
        await deliver(delivery(change()), Script(Permanent("closed", code="period_closed")), hub)
    object.__setattr__(hub.parked, "note", note)
    await deliver(delivery(change(), deliveries=2), Script(), hub)
    assert len(await hub.parked.list()) == 1
    assert parked_in(await hub.records.read(change().business_key), FLOW) is not None
