"""The credit book: reading decisions, and moving their holds through their lives, one transition at most once.

A transition is keyed by the message that causes it: its evidence row is inserted with the move, so the same message
again finds it and changes nothing. Moves that add to what counts (a released hold that comes back) also move the
account's epoch, so that a grant decided meanwhile on the old figure is decided again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

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
from shared.domain.rulings import Reason
from shared.errors import Conflict, Malformed, Transient
from shared.stores.credit_book import rows
from shared.stores.credit_book.rows import Held, Step
from shared.stores.table import Op, Row, RowChanged, RowExists, Table
from shared.telemetry import Counters

_RACES_MAX = 20
_TRACES_MAX = 4096

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

    def remember_trace(self, decision: Decision) -> None:
        """Keep the trace of a decision just made: the order that names it mostly comes to the same worker soon."""
        self._traces[decision.id] = decision.traceparent
        while len(self._traces) > _TRACES_MAX:
            self._traces.popitem(last=False)

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
        now = self.clock()
        if live is not None:
            hold = rows.read_held(live).hold
            return DecisionWithHold(hold.decision, hold, now)
        kept = _kept(await self.table.query(partition, prefix=f"1|{key}"))
        if kept.record is None:
            return None
        return DecisionWithHold(kept.record.decision, kept.held.hold if kept.held else None, now)

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
            held = await self._held(decision_id)
            if held is None:
                return Moved(None, changed=False)
            outcome = transition(held.hold, self.clock())
            if outcome is None:
                return Moved(held.hold, changed=False)
            if isinstance(outcome, Reason):
                return Moved(held.hold, changed=False, refused=outcome)
            operations = [*rows.move(held, outcome), self._evidence(held.hold, outcome, cause, what)]
            if held.hold.state not in LIVE and outcome.state in LIVE:
                operations.append(await self._new_epoch(partition))
            try:
                await self.table.transact(partition, operations)
            except RowExists as error:
                if error.key == operations[-1].row.key or "|step|" in error.key:
                    return Moved(held.hold, changed=False)
                continue
            except RowChanged:
                continue
            self.counters.add(f"credit.{what}")
            return Moved(outcome, changed=True)
        raise Conflict(f"decision {decision_id} is changed by too many at once")

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
