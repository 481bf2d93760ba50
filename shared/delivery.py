"""How every message is brought to its story and what becomes of it: done, unchanged, parked, or still retrying.

    message ──▶ decode ──▶ read the key's dossier ──▶ parked? ──yes──▶ queue behind the head
                  │                                     │no
              unreadable ▶ case                        story ──▶ ruling + state rows + lineage, one transaction
                                                        │
              system down ▶ the lane waits, then abandons │
              try later   ▶ the key is parked, a wake-up is scheduled
              for good    ▶ a case is opened, the key is parked behind it

A message is completed only after its transaction stands. Its lineage row is keyed by the message, so a delivery that
comes again after a crash finds the row and does nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import azure.functions as func

from shared import telemetry
from shared.domain.changes import Change
from shared.domain.rulings import Accept, Hold, Reason, Refuse, Unchanged
from shared.errors import (
    ConcordError,
    Conflict,
    Malformed,
    OutcomeUnknown,
    Permanent,
    RemoteDown,
    Transient,
    Unexpected,
)
from shared.messaging import WAKE_UP, Delivery, read_delivery
from shared.stores.parking import Parked, park_operations, parked_in
from shared.stores.records import Dossier, Outcome, lineage_row
from shared.stores.table import Op, Row, RowChanged, RowExists
from shared.telemetry.names import (
    FLOW,
    FRESHNESS,
    INVOCATIONS,
    KEY,
    KIND,
    LAG,
    MESSAGE_AGE,
    OUTCOMES,
    PARKED,
    RULING,
    WAITS,
)
from shared.topics import TOPICS
from shared.wiring import Hub, hub

Story = Callable[[Change, Dossier, Hub], Awaitable[Outcome]]
BareStory = Callable[[Change, Hub], Awaitable[Outcome]]

_RACES_MAX = 12
_SUSPECT_DELIVERIES = 2
_WHY_MAX = 2000


async def settle(message: func.ServiceBusMessage, flow: str, story: Story, *, recalls: bool = False) -> None:
    """Bring one message to the story of a flow; returning completes it, raising abandons it.

    A flow that `recalls` may decide on a dossier this worker remembers: see `shared.stores.recollections`.
    """
    async with _handing_back(flow):
        connected = await hub()
        await deliver(await _read(message, flow, connected), story, connected, recalls=recalls)


async def settle_without_dossier(message: func.ServiceBusMessage, flow: str, story: BareStory) -> None:
    """The same for a flow that keeps its own book: no dossier, no parking; what cannot go on becomes a case."""
    async with _handing_back(flow):
        connected = await hub()
        await deliver_without_dossier(await _read(message, flow, connected), story, connected)


async def settle_dead_letter(message: func.ServiceBusMessage, flow: str) -> None:
    """A message that its flow never finished becomes a case that keeps it, so that a person can replay it."""
    async with _handing_back(flow):
        connected = await hub()
        delivery = await _read(message, flow, connected)
        now = connected.clock()
        told = message.application_properties or {}
        why = f"{told.get('DeadLetterReason', 'no reason')}: {told.get('DeadLetterErrorDescription', 'no words')}"
        remedy = "see why the worker did not finish it (its log at these times), then replay"
        await connected.cases.open(
            flow=flow,
            change=delivery.change or _unknown_change(delivery, now),
            code="dead_lettered",
            reasons=(Reason("dead_lettered", why[:_WHY_MAX], remedy),),
            now=now,
            body=delivery.body,
        )
        connected.counters.add(f"outcomes.{flow}.dead_lettered")
        telemetry.count(OUTCOMES, flow=flow, ruling="dead_lettered")


async def _read(message: func.ServiceBusMessage, flow: str, connected: Hub) -> Delivery:
    """Read a delivery; a body in Blob storage that does not answer is waited for, as any other system is."""
    read: list[Delivery] = []

    async def attempt() -> None:
        read.append(await read_delivery(message, flow, TOPICS[flow], connected.bodies))

    await _waiting_for_systems(flow, message.message_id or "", None, attempt, connected)
    return read[-1]


@asynccontextmanager
async def _handing_back(flow: str) -> AsyncIterator[None]:
    """What leaves here abandons the message; the host logs it, so it goes without the words it may quote."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - raised again, without those words
        telemetry.log_fault(flow, error)
        telemetry.count(INVOCATIONS, flow=flow, outcome="failed")
        raise Unexpected(error) from None
    telemetry.count(INVOCATIONS, flow=flow, outcome="done")


async def deliver_without_dossier(delivery: Delivery, story: BareStory, connected: Hub) -> None:
    """One delivery to a flow that keeps its own book, retried in place."""

    async def attempt() -> None:
        await _run_bare(delivery, story, connected)

    await _patiently(delivery, attempt, connected)


async def deliver(delivery: Delivery, story: Story, connected: Hub, *, recalls: bool = False) -> None:
    """One delivery, retried in place while rows are contended or a system is down."""

    async def attempt() -> None:
        await _attempt(delivery, story, connected, recalls=recalls)

    await _patiently(delivery, attempt, connected)


async def _patiently(delivery: Delivery, attempt: Callable[[], Awaitable[None]], connected: Hub) -> None:
    """One message at work in a flow: its span, in the trace of whoever sent it."""
    change = delivery.change
    about: dict[str, str | int | float | bool] = {FLOW: delivery.flow}
    sent_by = delivery.traceparent
    if change is not None:
        about |= {KEY: change.business_key, KIND: change.kind}
        sent_by = sent_by or change.traceparent
    with telemetry.span(delivery.flow, "consumer", parent=sent_by, attributes=about):
        await _waiting_for_systems(delivery.flow, delivery.message_id, change, attempt, connected)


async def _waiting_for_systems(
    flow: str, message_id: str, change: Change | None, attempt: Callable[[], Awaitable[None]], connected: Hub
) -> None:
    """Repeat an attempt: at once after a lost race, after a pause while a system is down, until the lane has waited."""
    waits = connected.policy.messaging
    now = asyncio.get_running_loop().time
    give_up_at = now() + waits.lane_wait_seconds
    races = pauses = 0
    while True:
        if change is not None:
            _tell_age(flow, change, connected)
        try:
            await attempt()
            return
        except (RowChanged, RowExists, Conflict):
            races += 1
            if races > _RACES_MAX:
                raise
        except (RemoteDown, OutcomeUnknown) as error:
            pauses += 1
            wish = error.retry_after_seconds or min(0.25 * 2**pauses, 15.0)
            pause = wish * random.uniform(0.75, 1.25)  # noqa: S311 - spreads the lanes, guards nothing
            telemetry.log_fault(flow, error, message_id=message_id, waits_seconds=round(pause, 2))
            connected.counters.add(f"waits.{flow}")
            telemetry.count(WAITS, flow=flow)
            if now() + pause > give_up_at:
                raise
            await asyncio.sleep(pause)


async def _attempt(delivery: Delivery, story: Story, connected: Hub, *, recalls: bool) -> None:
    change = delivery.change
    if change is None:
        await _unreadable(delivery, connected)
        return
    recalled = connected.recollections.take(delivery.flow, change.business_key)
    dossier = recalled if recalled and change.kind != WAKE_UP else await connected.records.read(change.business_key)
    parked = parked_in(dossier, delivery.flow)
    if change.kind == WAKE_UP:
        if parked is not None:
            await _work_off(delivery, parked, story, connected)
        return
    if parked is not None:
        await _queue(delivery, change, parked, connected)
        return
    if await connected.pauses.is_paused(delivery.flow):
        await _park_while_paused(change, delivery.flow, connected)
        return
    guard = await _crash_guard(delivery, change, dossier, connected)
    if isinstance(guard, Outcome):
        await _hold(change, guard, delivery.flow, connected, extra=[])
        return
    try:
        outcome = await _decide(story, change, dossier, delivery, connected)
    except RemoteDown:
        await _stand_down(guard, connected)
        raise
    except Transient as error:
        await _park(change, delivery, error, connected, extra=guard)
        return
    if isinstance(outcome.ruling, Hold):
        await _hold(change, outcome, delivery.flow, connected, extra=guard)
        return
    etags = await _commit(change, outcome, delivery, connected, extra=guard)
    if recalls and etags and not guard:
        connected.recollections.keep(delivery.flow, dossier, outcome.operations, etags[: len(outcome.operations)])


async def _decide(story: Story, change: Change, dossier: Dossier, delivery: Delivery, connected: Hub) -> Outcome:
    """The story's outcome; what is refused for good or unreadable is a Hold, what nobody foresaw stays loud first."""
    try:
        return await story(change, dossier, connected)
    except Malformed as error:
        return Outcome(
            Hold(tuple(Reason("malformed", f"{f.where} {f.what}", "correct it in Commerce") for f in error.faults))
        )
    except Permanent as error:
        return Outcome.held(error.code, str(error), error.remedy)
    except (ConcordError, RowChanged, RowExists):
        raise
    except Exception as error:
        telemetry.log_fault(delivery.flow, error, message_id=delivery.message_id, deliveries=delivery.deliveries)
        if delivery.deliveries <= _SUSPECT_DELIVERIES and not delivery.is_wake_up:
            raise
        reason = Reason(
            "unexpected", f"{type(error).__name__} in {delivery.flow}", "a fault of this application: report it"
        )
        return Outcome(Hold((reason,)))


async def _commit(
    change: Change, outcome: Outcome, delivery: Delivery, connected: Hub, *, extra: list[Op], turn: str = ""
) -> list[str]:
    """State, evidence and (where the key was parked) the queue's move in one transaction; returns its etags.

    None where this very message was settled before.
    """
    now = connected.clock()
    lineage = lineage_row(change, delivery.flow, outcome, policy=connected.policy.digest, decided_at=now, turn=turn)
    if isinstance(outcome.ruling, Refuse):
        await connected.cases.open(
            flow=delivery.flow,
            change=change,
            code=outcome.ruling.reasons[0].code,
            reasons=outcome.ruling.reasons,
            now=now,
        )
    try:
        etags = await connected.records.write(change.business_key, [*outcome.operations, *extra, Op("insert", lineage)])
    except RowExists as error:
        if error.key != lineage.key:
            raise
        if extra:  # this very message was settled before, its completion got lost: only the queue moves on
            await connected.records.write(change.business_key, extra)
        return []
    match outcome.ruling:
        case Accept() | Unchanged() | Refuse() | Hold():
            _tell_outcome(delivery.flow, change, outcome.ruling.kind, connected)
    telemetry.log_outcome(
        delivery.flow,
        integration_key=change.business_key,
        correlation_id=change.correlation_id,
        ruling=outcome.ruling.kind,
        reason=[reason.code for reason in outcome.ruling.reasons],
        policy_version=connected.policy.digest,
    )
    return etags


async def _hold(change: Change, outcome: Outcome, flow: str, connected: Hub, *, extra: list[Op]) -> None:
    """A person decides: the case first (its id repeats with the message), then the parked key with the evidence."""
    now = connected.clock()
    reasons = outcome.ruling.reasons
    case_id = await connected.cases.open(
        flow=flow, change=change, code=reasons[0].code, reasons=reasons, now=now, parked=True
    )
    operations = park_operations(
        change, flow, state="case", due_at=now, reason=reasons[0].message, case_id=case_id, now=now
    )
    evidence = lineage_row(change, flow, outcome, policy=connected.policy.digest, decided_at=now, turn="|held-1")
    await connected.parked.announce(change, flow, now)
    await connected.records.write(
        change.business_key, [*outcome.operations, *extra, *operations, Op("upsert", evidence)]
    )
    await connected.parked.note(change, flow, now)
    _tell_outcome(flow, change, "hold", connected)
    telemetry.count(PARKED, flow=flow, state="case")
    telemetry.log_outcome(
        flow,
        integration_key=change.business_key,
        correlation_id=change.correlation_id,
        ruling="hold",
        reason=[reason.code for reason in reasons],
        case=case_id,
        policy_version=connected.policy.digest,
    )


async def _park(change: Change, delivery: Delivery, error: Transient, connected: Hub, *, extra: list[Op]) -> None:
    """Not now: the key row stands before the wake-up is scheduled and the message is completed after both."""
    now = connected.clock()
    due = now + _backoff(1, error, connected)
    operations = park_operations(change, delivery.flow, state="due", due_at=due, reason=str(error), case_id="", now=now)
    await connected.parked.announce(change, delivery.flow, now)
    await connected.records.write(change.business_key, [*extra, *operations])
    await connected.parked.note(change, delivery.flow, now)
    await _schedule(change, delivery.flow, delivery.topic, due, connected)
    connected.counters.add(f"parked.{delivery.flow}")
    telemetry.count(PARKED, flow=delivery.flow, state="due")
    telemetry.log_fault(delivery.flow, error, integration_key=change.business_key, due=due.isoformat())


async def _park_while_paused(change: Change, flow: str, connected: Hub) -> None:
    """The flow is paused: the message waits in the table, where neither time to live nor delivery count reaches it."""
    now = connected.clock()
    operations = park_operations(
        change, flow, state="paused", due_at=now, reason="the flow is paused", case_id="", now=now
    )
    await connected.parked.announce(change, flow, now)
    await connected.records.write(change.business_key, operations)
    await connected.parked.note(change, flow, now)
    connected.counters.add(f"paused.{flow}")


async def _queue(delivery: Delivery, change: Change, parked: Parked, connected: Hub) -> None:
    """The key is parked: wait in order behind its head. A repeat of a waiting message waits already."""
    if parked.holds(change.message_id):
        await connected.parked.note(change, delivery.flow, connected.clock())  # its worker may have died before
        if parked.state == "due":
            await _schedule(change, delivery.flow, delivery.topic, parked.due_at, connected)
        return
    await connected.records.write(change.business_key, parked.followed_by(change))
    connected.counters.add(f"followers.{delivery.flow}")


async def _work_off(delivery: Delivery, parked: Parked, story: Story, connected: Hub) -> None:
    """A wake-up: run the head, then each follower, until one has to wait again or the key is free."""
    current: Parked | None = parked
    forced = delivery.force
    while current is not None and current.waiting:
        now = connected.clock()
        if current.state == "case" and not current.decision and not forced:
            return
        if current.state == "due" and current.due_at > now + timedelta(seconds=1) and not forced:
            return
        if await connected.pauses.is_paused(delivery.flow):
            return
        forced = False
        dossier = await connected.records.read(current.business_key)
        fresh = parked_in(dossier, delivery.flow)
        if fresh is None or not fresh.waiting:
            return
        if fresh.etag != current.etag:
            current = fresh
            continue
        if not await _work_head(delivery, fresh, dossier, story, connected):
            return
        current = parked_in(await connected.records.read(fresh.business_key), delivery.flow)


async def _work_head(delivery: Delivery, parked: Parked, dossier: Dossier, story: Story, connected: Hub) -> bool:
    """Run the head of a parked key; True when it went through and the next may follow."""
    change = parked.waiting[0].change
    here = telemetry.traceparent.get()
    if telemetry.trace_of(change.traceparent) == telemetry.trace_of(here):
        return await _work_on(change, delivery, parked, dossier, story, connected)
    # What woke the key (a sweep, another message) has a trace of its own; the work goes on in that of its message.
    about: dict[str, str | int | float | bool] = {FLOW: delivery.flow, KEY: change.business_key, KIND: change.kind}
    with telemetry.span(delivery.flow, "consumer", parent=change.traceparent, links=[here], attributes=about):
        return await _work_on(change, delivery, parked, dossier, story, connected)


async def _work_on(
    change: Change, delivery: Delivery, parked: Parked, dossier: Dossier, story: Story, connected: Hub
) -> bool:
    now = connected.clock()
    attempts = parked.attempts + 1
    if parked.decision in ("discard", "resolve"):
        ended = _ENDED[parked.decision]
        reason = Reason(ended, f"{ended} by {parked.decided_by}")
        outcome = Outcome(Unchanged((reason,)), summary=reason.message)
    else:
        try:
            outcome = await _decide(story, change, dossier, delivery, connected)
        except RemoteDown:
            raise
        except Transient as error:
            if attempts > connected.policy.messaging.attempts_max:
                outcome = Outcome(
                    Hold(
                        (
                            Reason(
                                "attempts_exhausted",
                                f"{attempts} attempts: {error}",
                                "see the system named, then replay",
                            ),
                        )
                    )
                )
            else:
                due = now + _backoff(attempts, error, connected)
                later = replace(parked, state="due", due_at=due, attempts=attempts, decision="", reason=str(error))
                await connected.records.write(parked.business_key, [later.operation()])
                await _schedule(change, delivery.flow, delivery.topic, due, connected)
                return False
    if isinstance(outcome.ruling, Hold):
        reasons = outcome.ruling.reasons
        case_id = await connected.cases.open(
            flow=delivery.flow, change=change, code=reasons[0].code, reasons=reasons, now=now, parked=True
        )
        if parked.case_id and parked.case_id != case_id:
            await _end_case(parked, "replayed", connected)
        held = replace(
            parked,
            state="case",
            attempts=attempts,
            case_id=case_id,
            decision="",
            decided_by="",
            reason=reasons[0].message,
        )
        evidence = lineage_row(
            change, delivery.flow, outcome, policy=connected.policy.digest, decided_at=now, turn=f"|held-{attempts}"
        )
        await connected.records.write(
            parked.business_key, [*outcome.operations, held.operation(), Op("upsert", evidence)]
        )
        return False
    if parked.case_id:
        await _end_case(parked, _ENDED.get(parked.decision, "replayed"), connected)
    await _commit(change, outcome, delivery, connected, extra=parked.after_head(now))
    return True


_ENDED = {"discard": "discarded", "resolve": "resolved", "replay": "replayed"}


async def _end_case(parked: Parked, state: str, connected: Hub) -> None:
    case = await connected.cases.read(parked.case_id)
    if case is not None and case.state == "open":
        try:
            await connected.cases.end(
                case, state=state, by=parked.decided_by or "replay", comment=case.comment, now=connected.clock()
            )
        except RowChanged:
            return  # a person ended it at this very moment; theirs stands


async def _crash_guard(delivery: Delivery, change: Change, dossier: Dossier, connected: Hub) -> list[Op] | Outcome:
    """A message that keeps killing workers never raises: count its tries before running it, from the third on."""
    if delivery.deliveries <= _SUSPECT_DELIVERIES:
        return []
    key = f"0|try|{delivery.flow}"
    known = dossier.row(key)
    tries = 1 if known is None or known.values["message_id"] != change.message_id else int(known.values["tries"]) + 1
    row = Row(change.business_key, key, {"message_id": change.message_id, "tries": tries})
    if tries > connected.policy.messaging.crash_deliveries - _SUSPECT_DELIVERIES:
        reason = Reason(
            "kills_the_worker",
            f"{delivery.deliveries} deliveries ended without an answer",
            "look at the worker's log at these times before replaying",
        )
        return Outcome(Hold((reason,)), operations=(Op("delete", row, "*"),) if known is not None else ())
    etag = (await connected.records.write(change.business_key, [Op("upsert", row)]))[0]
    return [Op("delete", row, etag)]


async def _stand_down(guard: list[Op], connected: Hub) -> None:
    """The try ended by itself (a system is down): it does not count as a crash."""
    if guard:
        await connected.records.write(guard[0].row.partition, guard)


async def _run_bare(delivery: Delivery, story: BareStory, connected: Hub) -> None:
    change = delivery.change
    if change is None:
        await _unreadable(delivery, connected)
        return
    now = connected.clock()

    async def told(change: Change, _: Dossier, connected: Hub) -> Outcome:
        return await story(change, connected)

    outcome = await _decide(told, change, Dossier(change.business_key, {}), delivery, connected)
    if isinstance(outcome.ruling, (Hold, Refuse)):
        await connected.cases.open(
            flow=delivery.flow,
            change=change,
            code=outcome.ruling.reasons[0].code,
            reasons=outcome.ruling.reasons,
            now=now,
            body=delivery.body,
        )
    _tell_outcome(delivery.flow, change, outcome.ruling.kind, connected)
    telemetry.log_outcome(
        delivery.flow,
        integration_key=change.business_key,
        correlation_id=change.correlation_id,
        ruling=outcome.ruling.kind,
        reason=[reason.code for reason in outcome.ruling.reasons],
        policy_version=connected.policy.digest,
    )


async def _unreadable(delivery: Delivery, connected: Hub) -> None:
    """A message that is no change at all: kept whole in a case, in nobody's way."""
    faults = delivery.malformed.faults if delivery.malformed else ()
    now = connected.clock()
    change = _unknown_change(delivery, now)
    reasons = tuple(
        Reason("unreadable", f"{fault.where} {fault.what}", "mend the sender, then send again") for fault in faults
    )
    await connected.cases.open(
        flow=delivery.flow,
        change=change,
        code="unreadable",
        reasons=reasons or (Reason("unreadable", "the message has no content"),),
        now=now,
        body=delivery.body,
    )
    connected.counters.add(f"outcomes.{delivery.flow}.unreadable")
    telemetry.count(OUTCOMES, flow=delivery.flow, ruling="unreadable")


def _unknown_change(delivery: Delivery, now: datetime) -> Change:
    """What stands in a case for a message that is no change: its id is all that is known of it."""
    return Change(
        id=delivery.message_id or "unknown",
        source="concord",
        entity="unreadable",
        kind="unreadable",
        legal_entity="",
        key=delivery.message_id or "unknown",
        occurred_at=now,
        received_at=datetime.fromtimestamp(0, UTC),
        correlation_id=telemetry.correlation_of("")[0],
    )


def _tell_age(flow: str, change: Change, connected: Hub) -> None:
    telemetry.measure(MESSAGE_AGE, _seconds_since(change.received_at, connected), flow=flow)


def _tell_outcome(flow: str, change: Change, ruling: str, connected: Hub) -> None:
    """Count what became of a message, and how long it took from its receipt, and from what happened in the source."""
    connected.counters.add(f"outcomes.{flow}.{ruling}")
    telemetry.count(OUTCOMES, flow=flow, ruling=ruling)
    telemetry.measure(LAG, _seconds_since(change.received_at, connected), flow=flow)
    telemetry.measure(FRESHNESS, _seconds_since(change.occurred_at, connected), flow=flow, entity=change.entity)
    telemetry.note({RULING: ruling})


def _seconds_since(moment: datetime, connected: Hub) -> float:
    return max(0.0, (connected.clock() - moment).total_seconds())


async def _schedule(change: Change, flow: str, topic: str, due: datetime, connected: Hub) -> None:
    await connected.bus.wake(topic, replace(change, kind=WAKE_UP, data={}), flow=flow, due=due)


def _backoff(attempts: int, error: Transient, connected: Hub) -> timedelta:
    waits = connected.policy.messaging
    pause = min(waits.retry_first_seconds * 2 ** (attempts - 1), waits.retry_max_seconds)
    return timedelta(seconds=max(error.retry_after_seconds or 0.0, pause))
