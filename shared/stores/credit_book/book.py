"""The credit book: reading decisions, and moving their holds through their lives, one transition at most once.

A transition is keyed by the message that causes it: its evidence row is inserted with the move, so the same message
again finds it and changes nothing. Moves that add to what counts (a released hold that comes back) also move the
account's epoch, so that a grant decided meanwhile on the old figure is decided again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.authority.credit import CreditPolicy
from shared.domain.changes import Change
from shared.domain.credit import (
    LIVE,
    Decision,
    DecisionRecord,
    DecisionWithHold,
    Hold,
    place_of,
)
from shared.domain.credit_transitions import Step as Outcome
from shared.domain.credit_transitions import expire, replaced_by, take_over
from shared.domain.money import Money
from shared.domain.rulings import Reason
from shared.errors import Conflict, Malformed, Transient
from shared.stores.credit_book import rows
from shared.stores.credit_book.rows import Held, Step
from shared.stores.table import Op, Row, RowChanged, RowExists, Table
from shared.telemetry import Counters

_RACES_MAX = 20
_TRACES_MAX = 4096
_LAST_MAX = 4096
CHANGES_MAX = 20
"""How many changes of one checkout are followed back, where what they change is not among the live holds."""
_BOUND_LATELY = timedelta(seconds=30)
_EXPIRED_MAX = 30
"""Expired holds released in one transaction: three rows each, of the hundred that a transaction takes."""

Transition = Callable[[Hold, datetime], Outcome]


@dataclass(frozen=True, slots=True)
class Moved:
    """What a transition came to: the hold as it stands, whether it moved now, or why it may not move."""

    hold: Hold | None
    changed: bool
    refused: Reason | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """Everything the book has under one decision."""

    record: DecisionRecord | None
    record_etag: str
    held: Held | None
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class _Written:
    """A hold as this worker wrote it, and when."""

    held: Held
    at: datetime


class CreditBook:
    """The book over two tables: `credit` (accounts, holds, decisions, steps) and `requests` (the index by request)."""

    def __init__(
        self,
        credit: Table,
        requests: Table,
        policy: CreditPolicy,
        *,
        clock: Callable[[], datetime],
        counters: Counters,
        digest: str = "",
    ) -> None:
        self.table = credit
        self.requests = requests
        self.policy = policy
        self.clock = clock
        self.counters = counters
        self.digest = digest
        self._traces: OrderedDict[str, str] = OrderedDict()
        self._last: OrderedDict[str, _Written] = OrderedDict()

    def remember_trace(self, decision: Decision) -> None:
        """Keep the trace of a decision just made: the order that names it mostly comes to the same worker soon."""
        self._traces[decision.id] = decision.traceparent
        while len(self._traces) > _TRACES_MAX:
            self._traces.popitem(last=False)

    def remember_hold(self, hold: Hold, etag: str) -> None:
        """Keep a hold as this worker has just written it: the order's next event mostly comes to the same worker.

        What is remembered may be old by then. So a step is only *taken* from it, on condition of its etag; whatever
        else it would lead to (nothing to do, a refusal) is read again first.
        """
        if etag:
            self._last[hold.id] = _Written(Held(hold, etag, rows.stands_live(hold)), self.clock())
            self._last.move_to_end(hold.id)
            while len(self._last) > _LAST_MAX:
                self._last.popitem(last=False)

    def bound_lately(self, decision_id: str, order: str) -> DecisionWithHold | None:
        """A decision whose hold this worker itself bound to this order a moment ago, without asking the table.

        A binding never changes, so it proves what an order's posting has to prove. What may have happened since is
        what may happen after any look: the order was cancelled (its credit follows in the ledger, in order), or the
        hold was released by a person; a document posted after all brings a released hold back.
        """
        last = self._last.get(decision_id)
        if last is None or self.clock() - last.at > _BOUND_LATELY:
            return None
        hold = last.held.hold
        return DecisionWithHold(hold.decision, hold) if hold.state == "firm" and hold.order == order else None

    async def trace_of(self, decision_id: str) -> str:
        """The traceparent of the checkout that a decision was made for; "" where it is not known."""
        if (kept := self._traces.get(decision_id)) is not None:
            return kept
        try:
            known = await self.read_decision(decision_id)
        except (Malformed, Transient):
            return ""  # the order is judged elsewhere; a trace is worth neither a refusal nor a wait
        return known.decision.traceparent if known else ""

    async def read_decision(self, decision_id: str) -> DecisionWithHold | None:
        """A decision and its hold: one read where the hold is live. Raises `Malformed` for what is no decision id."""
        partition, key = place_of(decision_id)
        live = await self.table.read(partition, rows.live_key(decision_id))
        if live is not None:
            hold = rows.read_held(live).hold
            return DecisionWithHold(hold.decision, hold)
        kept = _kept(await self.table.query(partition, prefix=f"1|{key}"))
        if kept.record is None:
            return None
        return DecisionWithHold(kept.record.decision, kept.held.hold if kept.held else None)

    async def read_record(self, decision_id: str) -> Kept:
        """Everything kept of a decision, its hold and its steps."""
        partition, key = place_of(decision_id)
        kept = _kept(await self.table.query(partition, prefix=f"1|{key}"))
        live = await self.table.read(partition, rows.live_key(decision_id))
        return kept if live is None else Kept(kept.record, kept.record_etag, rows.read_held(live), kept.steps)

    async def move(self, decision_id: str, transition: Transition, *, cause: Change, what: str) -> Moved:
        """Take one transition of a decision's hold, at most once for each causing message."""
        partition, _ = place_of(decision_id)
        for _ in range(_RACES_MAX):
            held, is_memory = await self._recalled(decision_id)
            if held is None:
                return Moved(None, changed=False)
            outcome = transition(held.hold, self.clock())
            if is_memory and not isinstance(outcome, Hold):
                continue
            if outcome is None:
                return Moved(held.hold, changed=False)
            if isinstance(outcome, Reason):
                return Moved(held.hold, changed=False, refused=outcome)
            moves = rows.move(held, outcome)
            operations = [*moves, self._evidence(held.hold, outcome, cause, what)]
            if held.hold.state not in LIVE and outcome.state in LIVE:
                operations.append(await self._new_epoch(partition))
            try:
                etags = await self.table.transact(partition, operations)
            except RowExists as error:
                if is_memory:
                    continue
                if error.key == operations[-1].row.key or "|step|" in error.key:
                    return Moved(held.hold, changed=False)
                continue
            except RowChanged:
                continue
            self.remember_hold(outcome, etags[len(moves) - 1])
            self.counters.add(f"credit.{what}")
            return Moved(outcome, changed=True)
        raise Conflict(f"decision {decision_id} is changed by too many at once")

    async def confirm(self, decision_id: str, order: str, owed: Money | None, *, cause: Change) -> Moved:
        """Bind a decision's hold to its order; what the decision replaces goes in the same transaction.

        The hold of a changed order takes over from every other live hold of its checkout, with what was posted on
        them: between two transactions an order would count twice, or a crash would leave the old hold for good.
        """
        partition, _ = place_of(decision_id)
        for _ in range(_RACES_MAX):
            held, is_memory = await self._recalled(decision_id)
            if held is None:
                return Moved(None, changed=False)
            others = await self._before(held.hold) if held.hold.decision.replaces else []
            now = self.clock()
            outcome = take_over(held.hold, [one.hold for one in others], order, owed, now)
            if is_memory and not isinstance(outcome, Hold):
                continue
            if isinstance(outcome, Reason):
                return Moved(held.hold, changed=False, refused=outcome)
            stands = outcome or held.hold
            ends = [one for one in others if one.hold.state in LIVE] if stands.state in LIVE else []
            ended = [(one, replaced_by(one.hold, now)) for one in ends]
            moves = [(one, after) for one, after in [(held, outcome), *ended] if isinstance(after, Hold)]
            if not moves:
                return Moved(held.hold, changed=False)
            operations = [op for one, after in moves for op in rows.move(one, after)]
            operations += [
                self._evidence(one.hold, after, cause, "firmed" if one is held else "replaced") for one, after in moves
            ]
            try:
                etags = await self.table.transact(partition, operations)
            except RowExists as error:
                if "|step|" in error.key and not is_memory:
                    return Moved(held.hold, changed=False)
                continue
            except RowChanged:
                continue
            for one in others:
                self._last.pop(one.hold.id, None)
            if isinstance(outcome, Hold):
                self.remember_hold(outcome, etags[len(rows.move(held, outcome)) - 1])
            self.counters.add("credit.firmed")
            return Moved(stands, changed=True)
        raise Conflict(f"decision {decision_id} is changed by too many at once")

    async def release_expired(self, partition: str, held: Sequence[Held]) -> None:
        """Release holds whose time is up, before what they hold is given to anybody else.

        Raises `RowChanged` where one of them was confirmed at this moment. A hold that merely *looks* expired must
        not be left out of a count: its confirmation may be on the way with a clock that is behind ours.
        """
        now = self.clock()
        for start in range(0, len(held), _EXPIRED_MAX):
            operations: list[Op] = []
            for one in held[start : start + _EXPIRED_MAX]:
                after = expire(one.hold, now)
                if isinstance(after, Hold):
                    cause = swept(one.hold, now)
                    operations += [*rows.move(one, after), self._evidence(one.hold, after, cause, "expired")]
            if operations:
                await self.table.transact(partition, operations)
                self.counters.add("credit.expired", len(operations) // 3)

    async def _before(self, hold: Hold) -> list[Held]:
        """The holds of the decisions that this one replaces, directly or through others, and nobody else's: those
        that are live, and one that was consumed, whose postings are part of the order all the same."""
        live = await self.live_holds(rows.partition_of(hold.decision))
        found = [
            one
            for one in live
            if one.hold.family == hold.family and one.hold.id != hold.id and one.hold.state in LIVE
            and one.hold.placed_at <= hold.placed_at
        ]  # fmt: skip
        return found + await self._consumed_before(hold, {one.hold.id: one.hold for one in found})

    async def _consumed_before(self, hold: Hold, live: Mapping[str, Hold]) -> list[Held]:
        """The nearest one before that was consumed; whatever was posted before that it has brought along itself."""
        replaced = hold.decision.replaces
        for _ in range(CHANGES_MAX):
            if (known := live.get(replaced)) is not None:
                if known.postings or not known.decision.replaces:
                    return []
                replaced = known.decision.replaces
                continue
            kept = await self.read_record(replaced)
            if kept.held is not None and kept.held.hold.state == "consumed":
                return [kept.held]
            replaced = kept.record.decision.replaces if kept.record is not None else ""
            if not replaced:
                return []
        return []

    async def rewrite(self, record: DecisionRecord, etag: str) -> None:
        """Replace a decision's record as it was read; raises `Conflict` where it moved on meanwhile."""
        row = rows.decision_row(record)
        try:
            await self.table.replace(row, etag)
        except RowChanged as error:
            raise Conflict(f"decision {record.decision.id} was decided at this moment by somebody else") from error

    async def live_holds(self, partition: str) -> list[Held]:
        """The holds of one account that may still count."""
        found = await self.table.query(partition, prefix="0|")
        return [rows.read_held(row) for row in found if rows.is_hold(row)]

    async def placed_holds(self) -> list[Held]:
        """Every unconfirmed hold of all accounts: for the sweep only."""
        return [rows.read_held(row) for row in await self.table.scan(where="live=placed")]

    async def waiting_records(self) -> list[Kept]:
        """Every decision that still waits for a person, of all accounts: for the sweep only."""
        found = await self.table.scan(where="waiting=open")
        return [Kept(rows.read_record(row), row.etag, None, ()) for row in found]

    async def _recalled(self, decision_id: str) -> tuple[Held | None, bool]:
        """A decision's hold, and whether it comes from memory; memory is asked once and then the table."""
        last = self._last.pop(decision_id, None)
        return (last.held, True) if last is not None else (await self._held(decision_id), False)

    async def _held(self, decision_id: str) -> Held | None:
        partition, key = place_of(decision_id)
        live = await self.table.read(partition, rows.live_key(decision_id))
        if live is not None:
            return rows.read_held(live)
        return _kept(await self.table.query(partition, prefix=f"1|{key}")).held

    async def _new_epoch(self, partition: str) -> Op:
        account = await self.table.read(partition, rows.ACCOUNT)
        if account is None:
            return Op("insert", rows.account_row(partition, None))
        return Op("replace", Row(partition, rows.ACCOUNT, account.values), account.etag)

    def _evidence(self, before: Hold, after: Hold, cause: Change, what: str) -> Op:
        step = Step(
            decision_id=after.id,
            message_id=cause.message_id,
            kind=what,
            source=cause.source,
            before=before.state,
            after=after.state,
            order=after.order,
            amount=after.amount,
            reason=after.closed_because,
            policy=self.digest,
            correlation_id=cause.correlation_id,
            at=self.clock(),
        )
        return Op("insert", rows.step_row(step))


def swept(hold: Hold, now: datetime) -> Change:
    """The cause of an expiry that no message brought: the same however often a sweep or a check comes by."""
    return Change(
        id=f"sweep-{hold.id}",
        source="concord",
        entity="credit_hold",
        kind="hold.swept",
        legal_entity="",
        key=hold.id,
        occurred_at=hold.expires_at,
        received_at=now,
        correlation_id=hold.decision.correlation_id,
    )


def _kept(found: list[Row]) -> Kept:
    record: DecisionRecord | None = None
    etag, held, steps = "", None, []
    for row in found:
        if rows.is_step(row):
            steps.append(rows.read_step(row))
        elif rows.is_hold(row):
            held = rows.read_held(row)
        else:
            record, etag = rows.read_record(row), row.etag
    return Kept(record, etag, held, tuple(sorted(steps, key=lambda step: step.at)))
