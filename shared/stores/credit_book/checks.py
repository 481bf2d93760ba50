"""Deciding checkouts of one account: queued inside a worker, decided in groups, committed on the account's epoch.

    request ──▶ index row (once) ──▶ account's queue ──▶ read account and holds ──▶ ask SAP ──▶ decide one by one
                                          ▲                                                         │
                                          └── lost the epoch: start again ◀── one transaction ◀─────┘

A naive compare-and-swap collapses on a hot account; a queue costs a hot account one SAP read and one transaction for
many checkouts. The epoch (the account row's ETag) stays the safety between workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from shared.authority.credit import Entity, Rates, Rules
from shared.domain.credit import (
    LIVE,
    ApprovalView,
    CheckRequest,
    CreditAccount,
    Decision,
    DecisionRecord,
    DecisionWithHold,
    Figure,
    Hold,
    Item,
    Simulation,
    place_of,
    with_billed,
)
from shared.domain.credit_counting import HeldByFamily, is_paid, is_wholly_in, unseen_postings
from shared.domain.credit_decision import Verdict, decide, decide_without_sap, rate_is_known, refuse
from shared.domain.credit_transitions import consume
from shared.domain.money import Money
from shared.errors import Conflict, Malformed, OutcomeUnknown, Permanent, Transient
from shared.stores.credit_book import rows
from shared.stores.credit_book.book import CHANGES_MAX, CreditBook
from shared.stores.credit_book.rows import Held, Remembered
from shared.stores.table import Op, Row, RowChanged, RowExists
from shared.telemetry import span

GROUP_MAX = 45
"""Requests in one transaction: two rows each beside the account row stay below Azure's hundred with room for others."""
_OPERATIONS_MAX = 98
_LAST_SECONDS = 0.02
"""With less than this left before its deadline a request is answered rather than asked for once more."""
_RACES_MAX = 30


@dataclass(frozen=True, slots=True)
class SaidBySap:
    """What SAP said about an account; `why` is set instead where it did not answer, `late` where time ran out."""

    remembered: Remembered | None
    figure: Figure | None
    why: str = ""
    late: bool = False


class Erp(Protocol):
    """What is asked of SAP. Raises `Transient` where it does not answer, `Permanent` (unknown_account)."""

    async def read_standing(self, entity: Entity, account: str, now: datetime) -> Standing: ...

    async def find_cleared(self, entity: Entity, keys: Sequence[str]) -> frozenset[str]: ...

    async def find_open(self, entity: Entity, keys: Sequence[str]) -> Sequence[Item]: ...

    async def simulate(self, request: CheckRequest, entity: Entity) -> Simulation | None: ...


class Standing(Protocol):
    """Account and exposure, told together."""

    @property
    def account(self) -> CreditAccount: ...

    @property
    def figure(self) -> Figure: ...


class OtherContent(Permanent):
    """This request id was used before, with other content."""


@dataclass(slots=True)
class _Waiting:
    request: CheckRequest
    family: str
    entity: Entity
    deadline: float
    simulation: asyncio.Task[Simulation | None]
    approved_by: ApprovalView | None
    record_etag: str
    done: asyncio.Future[tuple[DecisionRecord, Hold | None]]


@dataclass(slots=True)
class _Queue:
    """`asked` are the decisions under way, so that nobody's repeat stands beside it in one transaction."""

    waiting: list[_Waiting] = field(default_factory=list)
    asked: dict[str, _Waiting] = field(default_factory=dict)
    worker: asyncio.Task[None] | None = None


class CheckDesk:
    """One worker's desk: takes requests, groups them by account, decides and commits."""

    def __init__(self, book: CreditBook, erp: Erp) -> None:
        self._book = book
        self._erp = erp
        self._queues: dict[str, _Queue] = {}

    async def decide(
        self, request: CheckRequest, entity: Entity, deadline: float
    ) -> tuple[DecisionRecord, Hold | None]:
        """The decision of a request, made now or before; `deadline` is the loop time by which SAP must have answered.

        Raises `OtherContent` for a request id used otherwise, `Permanent` (unknown_account).
        """
        family = await self._family_of(request)
        if not await self._first_time(request):
            kept = await self._book.read_record(request.decision_id)
            if kept.record is not None:
                return kept.record, kept.held.hold if kept.held else None
        return await self._enqueue(request, family, entity, deadline, None, "")

    async def decide_again(
        self,
        request: CheckRequest,
        entity: Entity,
        approval: ApprovalView,
        record_etag: str,
        deadline: float,
    ) -> tuple[DecisionRecord, Hold | None]:
        """An approved order, weighed once more on the live record before its hold is placed."""
        family = await self._family_of(request)
        return await self._enqueue(request, family, entity, deadline, approval, record_etag)

    async def _family_of(self, request: CheckRequest) -> str:
        """The first decision of this checkout: a change belongs to what it replaces, also where that has expired.

        Left out of its family, it would count beside the order that it changes, and leave that order's hold behind.
        """
        if not request.replaces:
            return request.decision_id
        known = await self._know_replaced(request)
        for _ in range(CHANGES_MAX):
            if known.hold is not None:
                return known.hold.family
            if not known.decision.replaces:  # nothing was ever held for it
                return known.decision.id
            before = await self._book.read_decision(known.decision.replaces)
            if before is None:
                break
            known = before
        return known.decision.id

    async def _know_replaced(self, request: CheckRequest) -> DecisionWithHold:
        """What is replaced must be a decision of the same account: a hold moves within one book."""
        try:
            partition, _ = place_of(request.replaces)
            known = await self._book.read_decision(request.replaces)
        except Malformed:
            partition, known = "", None
        if known is None:
            raise Permanent(
                f"replaces names {request.replaces}, which is no decision",
                code="unknown_replaced",
                remedy="name the decision id that the order was confirmed with, or leave `replaces` out",
            )
        if partition != rows.partition_of_request(request) or known.decision.legal_entity != request.legal_entity:
            raise Permanent(
                f"replaces names a decision of account {known.decision.account}, {known.decision.legal_entity}",
                code="replaced_elsewhere",
                remedy="a hold moves within one account: release that decision and check anew",
            )
        return known

    async def _first_time(self, request: CheckRequest) -> bool:
        """Insert the index row; False where the same request came before."""
        partition = rows.request_partition(request.legal_entity, request.request_id)
        row = Row(partition, "0", {"digest": request.digest, "decision_id": request.decision_id})
        try:
            await self._book.requests.insert(row)
            return True
        except OutcomeUnknown:
            known = await self._book.requests.read(partition, "0")
            if known is None:
                raise
        except RowExists:
            known = await self._book.requests.read(partition, "0")
        if known is None:
            raise Conflict("the request's index row came and went")
        if known.values["digest"] != request.digest:
            raise OtherContent(
                f"request {request.request_id} was sent before with other content or for another account",
                code="request_reused",
                remedy="use a new request id for a new checkout; `replaces` moves a hold",
            )
        return False

    async def _enqueue(
        self,
        request: CheckRequest,
        family: str,
        entity: Entity,
        deadline: float,
        approval: ApprovalView | None,
        record_etag: str,
    ) -> tuple[DecisionRecord, Hold | None]:
        partition = rows.partition_of_request(request)
        queue = self._queues.setdefault(partition, _Queue())
        under_way = queue.asked.get(request.decision_id)
        if under_way is not None:
            if approval is not None:
                raise Conflict("the approval is being decided at this moment")
            return await asyncio.shield(under_way.done)
        done: asyncio.Future[tuple[DecisionRecord, Hold | None]] = asyncio.get_running_loop().create_future()
        simulation = asyncio.create_task(self._erp.simulate(request, entity))
        one = _Waiting(request, family, entity, deadline, simulation, approval, record_etag, done)
        queue.waiting.append(one)
        queue.asked[request.decision_id] = one
        if queue.worker is None:
            queue.worker = asyncio.create_task(self._work(partition, queue))
        done.add_done_callback(lambda _: queue.asked.pop(request.decision_id, None))
        done.add_done_callback(lambda _: simulation.cancel())
        return await asyncio.shield(done)

    async def _work(self, partition: str, queue: _Queue) -> None:
        """Serve an account until nobody waits; whatever ends this task, nobody is left waiting."""
        taken: list[_Waiting] = []
        try:
            while queue.waiting:
                taken = queue.waiting[:GROUP_MAX]
                del queue.waiting[: len(taken)]
                try:
                    # One look at SAP serves the whole group: it stands in the first one's trace, the others link to it.
                    first, *others = (one.request.traceparent for one in taken)
                    with span("credit_desk", parent=first, links=others):
                        await self._serve(partition, taken)
                except Exception as error:  # noqa: BLE001 - handed to each caller, whose door tells it
                    _fail(taken, error)
        finally:
            _fail(taken + queue.waiting, Transient("the worker stopped before this was decided"))
            queue.waiting.clear()
            queue.worker = None
            if self._queues.get(partition) is queue:
                del self._queues[partition]

    async def _serve(self, partition: str, group: list[_Waiting]) -> None:
        """Rounds until everybody of the group is answered; only lost rounds count as races."""
        races = 0
        while open_ones := [one for one in group if not one.done.done()]:
            try:
                await self._round(partition, open_ones)
            except (RowChanged, OutcomeUnknown):
                self._book.counters.add("credit.races")
                races += 1
                if races == _RACES_MAX:
                    raise Transient("the account is too contended to decide now", retry_after_seconds=1) from None
                await self._find_decided(open_ones)
                await asyncio.sleep(0 if races < 4 else 0.005 * races)  # two workers on one account take turns
            except RowExists as taken:
                await self._eject(open_ones, taken.key)

    async def _find_decided(self, group: list[_Waiting]) -> None:
        """An approval may have been committed without an answer, or by somebody else: its record has moved on."""
        for one in group:
            if one.approved_by is None or one.done.done():
                continue
            kept = await self._book.read_record(one.request.decision_id)
            if kept.record is None or kept.record_etag == one.record_etag:
                continue
            now_said = kept.record.approval
            mine = now_said is not None and (now_said.decided_by, now_said.decided_at) == (
                one.approved_by.decided_by,
                one.approved_by.decided_at,
            )
            if mine:
                one.done.set_result((kept.record, kept.held.hold if kept.held else None))
            else:
                one.done.set_exception(Conflict("the approval was decided at this moment by somebody else"))

    async def _eject(self, group: list[_Waiting], key: str) -> None:
        """One request of the group was decided elsewhere meanwhile: it gets that answer, the others go on."""
        for one in group:
            if key in (rows.decision_key(one.request.decision_id), rows.live_key(one.request.decision_id)):
                kept = await self._book.read_record(one.request.decision_id)
                if kept.record is not None and not one.done.done():
                    one.done.set_result((kept.record, kept.held.hold if kept.held else None))

    async def _round(self, partition: str, group: list[_Waiting]) -> None:
        """Read, ask, decide, commit: once. Raises `RowChanged` or `RowExists` where the ground moved."""
        book, first = self._book, group[0]
        found = await book.table.query(partition, prefix="0|")
        account_row = next((row for row in found if row.key == rows.ACCOUNT), None)
        before = rows.read_remembered(account_row) if account_row else None
        held = [rows.read_held(row) for row in found if rows.is_hold(row)]
        now = book.clock()
        if expired := [one for one in held if one.hold.is_expired(now)]:
            await book.release_expired(partition, expired)
            held = [one for one in held if one not in expired]
        try:
            said = await self._ask(first, now, min(one.deadline for one in group), held)
        except Permanent as error:
            if error.code == "unknown_account":
                _fail(group, error)
                return
            raise
        if said.late:
            group = [one for one in group if _time_is_up(one)]
        await _prices_by(min(one.deadline for one in group), group)
        # Whoever has time left for a simulation that is still out waits for the next round.
        group = [one for one in group if one.simulation.done() or _time_is_up(one)]
        simulations = [_told_by(one.simulation) for one in group]
        memory = timedelta(minutes=first.entity.memory_minutes)
        figure = said.figure
        now = book.clock()
        against = _Against([one.hold for one in held], now, memory, book.policy.rates)
        operations: list[Op] = []
        records: list[tuple[_Waiting, DecisionRecord, Hold | None]] = []
        placed: list[tuple[Hold, int]] = []
        for one, (simulation, late) in zip(group, simulations, strict=True):
            heard = said if not late or figure is None else SaidBySap(said.remembered, None, late)
            record, hold = self._decide(one, before, heard, simulation, against, now)
            records.append((one, record, hold))
            row = rows.decision_row(record)
            operations.append(Op("replace", row, one.record_etag) if one.record_etag else Op("insert", row))
            if hold is not None:
                against.add(hold)
                placed.append((hold, len(operations)))
                operations.append(Op("insert", rows.live_row(hold)))
        room = _OPERATIONS_MAX - len(operations)
        living = {hold.family for hold, _ in placed} | {one.hold.family for one in held if one.hold.state in LIVE}
        operations += _housekeeping(held, living, figure, now, memory, room)
        remembered = said.remembered or before
        account = rows.account_row(partition, remembered)
        operations.append(
            Op("replace", account, account_row.etag) if account_row is not None else Op("insert", account)
        )
        etags = await book.table.transact(partition, operations)
        for hold, index in placed:
            book.remember_hold(hold, etags[index])
        for one, record, hold in records:
            book.counters.add(f"credit.{record.decision.outcome}")
            book.remember_trace(record.decision)
            if not one.done.done():
                one.done.set_result((record, hold))

    async def _ask(self, first: _Waiting, now: datetime, deadline: float, held: list[Held]) -> SaidBySap:
        """Account and exposure by the deadline; postings the figure lacks are looked up: were they paid?"""
        memory = timedelta(minutes=first.entity.memory_minutes)
        try:
            async with asyncio.timeout_at(deadline):
                standing = await self._erp.read_standing(first.entity, first.request.account, now)
                figure = standing.figure
                unseen = unseen_postings([one.hold for one in held], figure, now, memory)
                if unseen and figure.lag is None:
                    figure = replace(figure, cleared=await self._erp.find_cleared(first.entity, unseen))
                    if figure.source == "cds":
                        figure = with_billed(figure, await self._erp.find_open(first.entity, unseen))
        except TimeoutError:
            return SaidBySap(None, None, "it did not answer in time", late=True)
        except (Transient, Malformed) as error:
            return SaidBySap(None, None, str(error))
        except Permanent as error:
            if error.code == "unknown_account":
                raise
            # Refused, or answered with something else: the business answer is the same as for no answer.
            return SaidBySap(None, None, str(error))
        known = (*figure.items, *figure.overdue)
        late = tuple(item for item in known if item.due is not None and item.due < now.date())
        return SaidBySap(Remembered(standing.account, figure.exposure, figure.as_of, late[:50]), figure)

    def _decide(
        self,
        one: _Waiting,
        before: Remembered | None,
        said: SaidBySap,
        simulation: Simulation | None,
        against: _Against,
        now: datetime,
    ) -> tuple[DecisionRecord, Hold | None]:
        request, entity, policy = one.request, one.entity, self._book.policy
        figure = said.figure
        known = said.remembered or before
        account = known.account if known else None
        rules = policy.rules_for(request.legal_entity, account.risk_class if account else "")
        currency = account.limit.currency if account and account.limit else entity.currency
        today = now.astimezone(entity.zone).date()
        family = one.family
        if (no_rate := rate_is_known(request, policy.rates, currency)) is not None:
            verdict = refuse(request, Money.zero(currency), "declined", no_rate, rules)
        elif figure is None or account is None:
            old = before.figure() if before else None
            own, other = against.held(request, family, old, currency)
            verdict = decide_without_sap(
                request, account, old, why=said.why, held=other, held_after=own, rules=rules, rates=policy.rates,
                currency=currency, today=today, now_minus_figure=now - old.as_of if old else None,
            )  # fmt: skip
        else:
            own, other = against.held(request, family, figure, currency)
            verdict = decide(
                request, account, figure, held=other or Money.zero(currency), held_after=own or Money.zero(currency),
                simulation=simulation, rules=rules, rates=policy.rates, currency=currency, today=today,
            )  # fmt: skip
        if one.approved_by is not None:
            verdict = _approved(verdict)
        return self._record(one, verdict, family, rules, now)

    def _record(
        self, one: _Waiting, verdict: Verdict, family: str, rules: Rules, now: datetime
    ) -> tuple[DecisionRecord, Hold | None]:
        request = one.request
        decision = Decision(
            id=request.decision_id,
            request_id=request.request_id,
            digest=request.digest,
            legal_entity=request.legal_entity,
            segment=request.segment,
            account=request.account,
            channel=request.channel,
            total=request.total,
            amount=request.on_account,
            outcome=verdict.outcome,
            requested_by=request.requested_by,
            replaces=request.replaces,
            decided_at=now,
            policy=self._book.digest,
            correlation_id=request.correlation_id,
            traceparent=request.traceparent,
        )
        approval = one.approved_by
        if approval is not None and verdict.outcome != "approved":
            approval = replace(
                approval, state="refused", comment=f"{approval.comment} (re-check: {verdict.outcome})".strip()
            )
        if approval is None and verdict.outcome == "approval_required" and verdict.band is not None:
            until = now + timedelta(minutes=rules.approval.timeout_minutes)
            approval = ApprovalView(verdict.band.role, verdict.value, verdict.shortfall, until)
        record = DecisionRecord(decision, verdict.reasons, verdict.credit, verdict.prices, approval)
        if verdict.outcome != "approved" or not request.on_account:
            return record, None
        hold = Hold(
            decision=decision,
            state="placed",
            amount=request.on_account,
            value=verdict.value,
            placed_at=now,
            expires_at=now + timedelta(seconds=rules.hold_seconds),
            family=family,
        )
        return record, hold


class _Against:
    """What one round's checkouts are weighed against: the account's holds, those the round itself places included."""

    def __init__(self, holds: list[Hold], now: datetime, memory: timedelta, rates: Rates) -> None:
        self._holds = holds
        self._now, self._memory, self._rates = now, memory, rates
        self._counted: dict[tuple[str, str], HeldByFamily] = {}

    def held(
        self, request: CheckRequest, family: str, figure: Figure | None, currency: str
    ) -> tuple[Money | None, Money | None]:
        """What is held with this order in, and what others hold; None without a figure to see it against."""
        if figure is None:
            return None, None
        # A round sees one live figure at most, and the remembered one: their sources tell them apart.
        counted = self._counted.get((figure.source, currency))
        if counted is None:
            counted = HeldByFamily(
                self._holds, figure, convert=lambda value: self._rates.convert(value, currency), currency=currency,
                now=self._now, memory=self._memory,
            )  # fmt: skip
            self._counted[figure.source, currency] = counted
        others = counted.of_others(family)
        value = self._rates.convert(request.on_account, currency)
        return others + counted.with_one_more(family, value), others

    def add(self, hold: Hold) -> None:
        self._holds.append(hold)
        for counted in self._counted.values():
            counted.add(hold)


def _approved(verdict: Verdict) -> Verdict:
    """A person approved what asked for approval; what is declined or cannot be known stays so."""
    if verdict.outcome != "approval_required":
        return verdict
    return replace(verdict, outcome="approved", band=None)


def _housekeeping(
    held: list[Held], living: set[str], figure: Figure | None, now: datetime, memory: timedelta, room: int
) -> list[Op]:
    """Holds that SAP's figure is seen to contain are consumed; consumed ones that are paid, or whose memory has
    passed, are kept apart, unless a change of the same checkout lives: what they became is taken off it."""
    operations: list[Op] = []
    for one in held:
        is_over = rows.memory_passed(one.hold, now, memory) or (figure is not None and is_paid(one.hold, figure))
        if is_over and one.hold.family not in living:
            moved = rows.forget(one)
        elif figure is not None and one.hold.state in LIVE and is_wholly_in(one.hold, figure):
            moved = rows.move(one, consume(one.hold, figure.as_of))
        else:
            continue
        if len(operations) + len(moved) > room:
            break
        operations += moved
    return operations


def _time_is_up(one: _Waiting) -> bool:
    return one.deadline <= asyncio.get_running_loop().time() + _LAST_SECONDS


async def _prices_by(deadline: float, group: list[_Waiting]) -> None:
    """Wait for the group's simulations, at the longest until the first of its deadlines."""
    left = max(deadline - asyncio.get_running_loop().time(), 0.0)
    await asyncio.wait([one.simulation for one in group], timeout=left)


def _told_by(simulation: asyncio.Task[Simulation | None]) -> tuple[Simulation | None, str]:
    """The simulation, or why SAP did not answer it in time."""
    if not simulation.done():
        return None, "the simulation took too long"
    try:
        return simulation.result(), ""
    except (Transient, Permanent, Malformed) as error:
        return None, str(error) or "the simulation was not answered"


def _fail(group: list[_Waiting], error: Exception) -> None:
    for one in group:
        if not one.done.done():
            one.done.set_exception(error)
