"""Any interleaving of what can happen to an account's credit, against a plain model of what is really committed.

The model knows nothing of holds, epochs or figures. It knows orders: what each came to, what of it stands in SAP
(whether SAP shows it yet or not), what was paid, what was called off. Its one sum, `committed`, is what the customer
owes or has been promised; a grant without a person's approval must never bring it above the limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from shared.domain.credit import LIVE, DecisionRecord, Posting
from shared.domain.credit_transitions import Step, cancel, expire, give_up, post
from shared.domain.money import Money
from shared.errors import Conflict, Transient
from shared.stores.credit_book.book import Moved, swept
from tests.credit.faulty import Failure, Faulty
from tests.credit.truth import checkout, gbp, request, told

AMOUNTS = st.integers(1, 60)
FAILURES = st.sampled_from(["", "", "", "before", "after"])
ZERO = gbp(0)


@dataclass
class Sale:
    """One checkout and the changes of it. `decisions` are those granted, newest last, with what each came to."""

    number: str
    decisions: list[tuple[str, Money]] = field(default_factory=list)
    confirmed: str = ""
    placed_until: dict[str, object] = field(default_factory=dict)
    ended: bool = False
    documents: list[Posting] = field(default_factory=list)
    untold: list[Posting] = field(default_factory=list)

    @property
    def posted(self) -> Money:
        return sum((one.amount for one in self.documents), ZERO)


class CreditMachine(RuleBasedStateMachine):
    """Two workers, one account of limit 100, and everybody who touches it."""

    sales: Bundle[Sale] = Bundle("sales")
    waiting: Bundle[DecisionRecord] = Bundle("waiting")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.tables: list[Faulty] = []

        def wrap(real: object) -> Faulty:
            self.tables.append(Faulty(real, len(self.tables)))  # type: ignore[arg-type]
            return self.tables[-1]

        self.shop = checkout(limit=gbp(100), wrap=wrap)
        self.all: list[Sale] = []
        self.numbers = 0
        self.over_by_approval = False

    def teardown(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    # What happens ------------------------------------------------------------------------------------------------

    @rule(target=sales, amount=AMOUNTS, worker=st.integers(0, 1), failure=FAILURES, at=st.integers(0, 4))
    def check(self, amount: int, worker: int, failure: Failure, at: int) -> Sale:
        sale = self._new_sale()
        self._ask(sale, amount, worker, "", failure, at)
        return sale

    @rule(sale=sales, amount=AMOUNTS, worker=st.integers(0, 1), failure=FAILURES, at=st.integers(0, 5))
    def change(self, sale: Sale, amount: int, worker: int, failure: Failure, at: int) -> None:
        if sale.decisions and not sale.ended and not sale.documents:
            self._ask(sale, amount, worker, sale.decisions[-1][0], failure, at)

    @rule(amounts=st.lists(AMOUNTS, min_size=2, max_size=6), seed=st.integers(0, 99))
    def storm(self, amounts: list[int], seed: int) -> None:
        """Several checkouts at once on both workers: what they come to together has to fit."""
        asked = [(self._new_sale(), amount) for amount in amounts]

        async def all_at_once() -> list[DecisionRecord]:
            answers = await asyncio.gather(
                *(
                    self.shop.check(request(f"{sale.number}-0", amount), desk=(seed + index) % 2)
                    for index, (sale, amount) in enumerate(asked)
                )
            )
            return [record for record, _ in answers]

        before = self._committed()
        for (sale, amount), record in zip(asked, self.loop.run_until_complete(all_at_once()), strict=True):
            if record.decision.outcome == "approved":
                self._granted(sale, record, amount)
        if self._committed() != before:
            self._must_fit()

    @rule(sale=sales, twice=st.booleans(), failure=FAILURES, at=st.integers(0, 3))
    def confirm(self, sale: Sale, twice: bool, failure: Failure, at: int) -> None:
        if not sale.decisions:
            return
        decision, amount = sale.decisions[-1]
        self._plan(failure, at)
        for _ in range(1 + twice):
            moved = self._confirm(sale, decision, amount)
        self._plan("", 0)
        if moved.refused is None and moved.hold is not None and moved.hold.state in LIVE:
            sale.confirmed = decision
            sale.placed_until = {}

    @rule(sale=sales, other=sales)
    def confirm_another_order_with_the_same_decision(self, sale: Sale, other: Sale) -> None:
        if sale is not other and sale.confirmed:
            moved = self._run(
                lambda: self.shop.book.confirm(
                    sale.confirmed, other.number, None, cause=told("confirmed", other.number, f"x-{self._next()}")
                )
            )
            assert not moved.changed, "one decision was used for two orders"

    @rule(sale=sales, part=st.integers(1, 60), told_at_once=st.booleans())
    def post(self, sale: Sale, part: int, told_at_once: bool) -> None:
        """The ledger posts what is confirmed, in full or in part."""
        if not sale.confirmed or sale.ended:
            return
        left = self._amount(sale) - sale.posted
        amount = min(gbp(part), left)
        if amount <= ZERO:
            return
        posting = self.shop.truth.post(sale.number, f"K{self._next()}", amount)
        sale.documents.append(posting)
        sale.untold.append(posting)
        if told_at_once:
            self.tell(sale)

    @rule(sale=sales, failure=FAILURES, at=st.integers(0, 3))
    def tell_badly(self, sale: Sale, failure: Failure, at: int) -> None:
        self._plan(failure, at)
        self.tell(sale)
        self._plan("", 0)

    @rule(sale=sales)
    def tell(self, sale: Sale) -> None:
        """`order.posted` reaches the book, twice."""
        while sale.untold:
            self._tell_of(sale, sale.untold.pop(0))

    @rule(sale=sales)
    def give_back(self, sale: Sale) -> None:
        """A return of everything posted: SAP credits it, and the rest of the order is called off."""
        owed = sum((one.amount for one in sale.documents if one.key not in self.shop.truth.paid), ZERO)
        if sale.confirmed and owed > ZERO:
            self.shop.truth.post(sale.number, f"R{self._next()}", -owed, "return")
            self.call_off(sale)

    @rule(sale=sales)
    def call_off(self, sale: Sale) -> None:
        """The order is cancelled: what is not posted is free; a change under way keeps its hold until it expires."""
        if not sale.confirmed:
            return
        self.tell(sale)
        self._move(sale.confirmed, lambda hold, now: cancel(hold, sale.number, now), "cancelled", f"c{self._next()}")
        at = [decision for decision, _ in sale.decisions].index(sale.confirmed)
        sale.decisions = sale.decisions[at + 1 :]
        sale.confirmed = ""
        sale.ended = not sale.decisions

    @rule(sale=sales)
    def abandon(self, sale: Sale) -> None:
        """The checkout is given up before any order."""
        if sale.decisions and not sale.confirmed and len(sale.decisions) == 1:
            moved = self._move(sale.decisions[-1][0], give_up, "released", "g")
            assert moved.refused is None
            sale.ended = True

    @rule(sale=sales)
    def pay(self, sale: Sale) -> None:
        for one in sale.documents:
            self.shop.truth.pay(one.key)

    @rule(target=waiting, amount=st.integers(101, 160))
    def ask_too_much(self, amount: int) -> DecisionRecord:
        record = self._run(lambda: self.shop.check(request(f"w-{self._next()}", amount)))[0]
        if record.decision.outcome == "approved":
            self._granted(self._new_sale(), record, amount)
            self._must_fit()
        return record

    @rule(record=consumes(waiting))
    def approve(self, record: DecisionRecord) -> None:
        if not self._waits(record):
            return
        again, hold = self._run(lambda: self.shop.approve(record))
        if hold is not None:
            sale = self._new_sale()
            sale.decisions.append((again.decision.id, again.decision.amount))
            sale.placed_until[again.decision.id] = hold.expires_at

    @rule(record=consumes(waiting), worker=st.integers(0, 1))
    def refuse(self, record: DecisionRecord, worker: int) -> None:
        """A person says no; nobody's yes counts afterwards, and the same request still has that answer."""
        if not self._waits(record):
            return
        self._run(lambda: self.shop.refuse(record))
        try:
            self._run(lambda: self.shop.approve(record))
        except Conflict:
            pass
        else:
            raise AssertionError("what a person refused was approved")
        kept = self._run(lambda: self.shop.books[worker].read_record(record.decision.id))
        assert kept.record is not None and kept.record.decision.outcome == "declined" and kept.held is None

    @rule(record=waiting, people=st.integers(2, 4), seed=st.integers(0, 99))
    def several_approve_at_once(self, record: DecisionRecord, people: int, seed: int) -> None:
        """On two workers: one of them at most gives a hold, and it is the one that the record names."""
        if not self._waits(record):
            return

        async def all_say_yes() -> list[object]:
            names = [f"person {number}" for number in range(people)]
            return await asyncio.gather(
                *(self.shop.approve(record, name, desk=(seed + at) % 2) for at, name in enumerate(names)),
                return_exceptions=True,
            )

        said = self.loop.run_until_complete(all_say_yes())
        taken = [one for one in said if isinstance(one, tuple)]
        assert len(taken) <= 1, said
        if taken and taken[0][1] is not None:
            sale = self._new_sale()
            sale.decisions.append((record.decision.id, record.decision.amount))
            sale.placed_until[record.decision.id] = taken[0][1].expires_at

    @rule(minutes=st.sampled_from([1, 10, 40, 200]))
    def time_passes(self, minutes: int) -> None:
        self.shop.clock.forward(minutes=minutes)

    @rule()
    def sweep(self) -> None:
        for held in self.loop.run_until_complete(self.shop.book.placed_holds()):
            cause = swept(held.hold, self.shop.clock.now)
            self._run(lambda: self.shop.book.move(held.hold.id, expire, cause=cause, what="expired"))  # noqa: B023

    @rule(limit=st.sampled_from([0, 60, 100, 200]))
    def limit_changes(self, limit: int) -> None:
        self.shop.truth.limit = gbp(limit)

    @rule(blocked=st.booleans())
    def block(self, blocked: bool) -> None:
        self.shop.truth.blocked = blocked

    @rule(seconds=st.sampled_from([0, 5, 90]))
    def sap_lags(self, seconds: int) -> None:
        self.shop.truth.lag = timedelta(seconds=seconds)

    @precondition(lambda self: not self.shop.truth.blocked)
    @rule()
    def what_is_left_is_granted_to_the_last_penny(self) -> None:
        """Once all is told and visible, not one order too few."""
        for sale in self.all:
            self.tell(sale)
        self.shop.clock.forward(minutes=2)
        assert self.shop.truth.limit is not None
        left = self.shop.truth.limit - self._committed()
        if left <= ZERO:
            return
        sale = self._new_sale()
        record = self._run(lambda: self.shop.check(request(f"{sale.number}-0", str(left.amount))))[0]
        assert record.decision.outcome == "approved", (left, record.reasons, record.credit)
        self._granted(sale, record, int(left.amount))
        self._must_fit()
        self._move(record.decision.id, give_up, "released", "last")
        sale.ended = True

    # What must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def a_confirmed_order_keeps_its_hold_whatever_the_clock_says(self) -> None:
        for sale in self.all:
            if sale.confirmed and not sale.ended:
                kept = self.loop.run_until_complete(self.shop.book.read_decision(sale.confirmed))
                assert kept is not None and kept.hold is not None
                if sale.posted < self._amount(sale):
                    assert kept.hold.state == "firm", (sale, kept.hold)

    @invariant()
    def no_step_is_taken_twice(self) -> None:
        for sale in self.all:
            for decision, _ in sale.decisions:
                steps = self.loop.run_until_complete(self.shop.book.read_record(decision)).steps
                once = [step.kind for step in steps if step.kind in {"firmed", "expired", "released", "replaced"}]
                assert len(once) == len(set(once)), steps

    def _must_fit(self) -> None:
        assert self.shop.truth.limit is not None
        assert self._committed() <= self.shop.truth.limit, (self._committed(), self.all)

    # The model ---------------------------------------------------------------------------------------------------

    def _waits(self, record: DecisionRecord) -> bool:
        """Whether a person's word on it still counts."""
        kept = self._run(lambda: self.shop.book.read_record(record.decision.id)).record
        return kept is not None and kept.approval is not None and kept.approval.state == "open"

    def _committed(self) -> Money:
        """What is owed, and what was promised beyond it."""
        return sum((self._promised(sale) for sale in self.all), self.shop.truth.owed)

    def _promised(self, sale: Sale) -> Money:
        if sale.ended:
            return ZERO
        now = self.shop.clock.now
        live = [amount for decision, amount in sale.decisions if self._is_live(sale, decision, now)]
        whole = max(live, default=ZERO)
        return whole - sale.posted if whole > sale.posted else ZERO

    def _is_live(self, sale: Sale, decision: str, now: object) -> bool:
        if decision == sale.confirmed:
            return True
        until = sale.placed_until.get(decision)
        return until is not None and until > now  # type: ignore[operator]

    def _amount(self, sale: Sale) -> Money:
        return next(amount for decision, amount in sale.decisions if decision == sale.confirmed)

    def _new_sale(self) -> Sale:
        sale = Sale(f"S{self._next()}")
        self.all.append(sale)
        return sale

    def _ask(self, sale: Sale, amount: int, worker: int, replaces: str, failure: str, at: int) -> None:
        asked = request(f"{sale.number}-{self._next()}", amount, replaces=replaces)
        self._plan(failure, at)
        record, hold = self._run(lambda: self.shop.check(asked, desk=worker))
        self._plan("", 0)
        again, held = self._run(lambda: self.shop.check(asked, desk=1 - worker))
        assert again.decision == record.decision, "the same request had two answers"
        assert (hold is None) == (held is None)
        if record.decision.outcome == "approved":
            self._granted(sale, record, amount)
            self._must_fit()

    def _granted(self, sale: Sale, record: DecisionRecord, amount: int) -> None:
        sale.decisions.append((record.decision.id, Money(Decimal(amount), "GBP")))
        sale.placed_until[record.decision.id] = record.decision.decided_at + timedelta(seconds=1800)

    def _confirm(self, sale: Sale, decision: str, amount: Money) -> Moved:
        cause = told("confirmed", sale.number, f"{decision}-confirmed")
        return self._run(lambda: self.shop.book.confirm(decision, sale.number, amount, cause=cause))

    def _tell_of(self, sale: Sale, posting: Posting) -> None:
        for _ in range(2):
            self._move(sale.confirmed, lambda hold, _: post(hold, posting, sale.number, None), "posted", posting.key)

    def _move(self, decision: str, transition: Callable[..., Step], what: str, event: str) -> Moved:
        cause = told(what, decision, f"{what}-{event}")
        return self._run(lambda: self.shop.book.move(decision, transition, cause=cause, what=what))

    def _plan(self, failure: str, at: int) -> None:
        for table in self.tables:
            table.plan = {len(table.calls) + at: failure} if failure else {}  # type: ignore[dict-item]

    def _run[T](self, act: Callable[[], Awaitable[T]]) -> T:
        """The act, repeated as a caller repeats it while the tables are away."""
        for _ in range(6):
            try:
                return self.loop.run_until_complete(self._awaited(act))
            except Conflict:
                raise
            except Transient:
                continue
        raise AssertionError("the tables never came back")

    async def _awaited[T](self, act: Callable[[], Awaitable[T]]) -> T:
        return await act()

    def _next(self) -> int:
        self.numbers += 1
        return self.numbers
