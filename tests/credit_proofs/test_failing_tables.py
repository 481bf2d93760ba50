"""The life of an order's credit, with the tables failing or the worker dying at every single call: nothing is lost.

Every step is repeated as its caller repeats it: a checkout sends the same request again, the bus delivers the same
message again, to another worker when the first one died.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import get_args

import pytest

from shared.domain.credit import Hold
from shared.domain.credit_transitions import cancel, expire, post
from shared.errors import ConcordError
from shared.stores.credit_book import CheckDesk, CreditBook
from shared.stores.credit_book.book import swept
from shared.telemetry import Counters
from tests.credit.faulty import Crash, Failure, Faulty
from tests.credit.truth import Checkout, checkout, gbp, request, told

FAILURES: tuple[Failure, ...] = get_args(Failure)
NEVER = -1
OLD, NEW = request("r-1"), request("r-2", 130, replaces=request("r-1").decision_id)


@dataclass
class Life:
    """An order's life in one shop whose first worker fails once; `restart` is the worker that comes after a death."""

    shop: Checkout
    tables: list[Faulty]

    def restart(self) -> None:
        book = CreditBook(
            self.shop.credit,
            self.shop.requests,
            self.shop.policy,
            clock=self.shop.clock,
            counters=Counters(),
            digest="p",
        )
        self.shop.books[0] = book
        self.shop.desks[0] = CheckDesk(book, self.shop.truth)

    async def step[T](self, act: Callable[[], Awaitable[T]]) -> T:
        for _ in range(4):
            try:
                return await act()
            except Crash:
                self.restart()
            except ConcordError:
                continue
        raise AssertionError("the step never went through")


def life(failure: Failure, at: int) -> Life:
    tables: list[Faulty] = []
    counted = [0]

    def wrap(real: object) -> Faulty:
        table = _Counting(real, counted, failure, at)
        tables.append(table)
        return table

    return Life(checkout(limit=gbp(200), lag=timedelta(seconds=30), workers=1, wrap=wrap), tables)


class _Counting(Faulty):
    """Fails at the n-th call over both tables, once."""

    def __init__(self, real: object, counted: list[int], failure: Failure, at: int) -> None:
        super().__init__(real)  # type: ignore[arg-type]
        self._counted, self._failure, self._at = counted, failure, at

    async def _call[T](self, name: str, act: Callable[[], Awaitable[T]]) -> T:
        self.plan = {len(self.calls): self._failure} if self._counted[0] == self._at else {}
        self._counted[0] += 1
        return await super()._call(name, act)


async def lived(one: Life) -> None:
    """Checked, confirmed, changed, posted in two parts, seen by SAP; beside it one cancelled and one abandoned."""
    shop = one.shop
    first, _ = await one.step(lambda: shop.check(OLD))
    await one.step(lambda: shop.book.confirm(OLD.decision_id, "S-1", gbp(100), cause=told("confirmed", "S-1")))
    changed, _ = await one.step(lambda: shop.check(NEW))
    assert (first.decision.outcome, changed.decision.outcome) == ("approved", "approved")
    await one.step(lambda: shop.book.confirm(NEW.decision_id, "S-1", gbp(130), cause=told("changed", "S-1")))
    for key, amount in (("K1", 50), ("K2", 80)):
        posting = shop.truth.post("S-1", key, gbp(amount))

        def posted(hold: Hold, _: object, posting=posting) -> object:  # type: ignore[no-untyped-def]
            return post(hold, posting, "S-1", gbp(130))

        await one.step(
            lambda posted=posted, key=key: shop.book.move(  # type: ignore[misc]
                NEW.decision_id, posted, cause=told("posted", "S-1", key), what="posted"
            )
        )
    cancelled, abandoned = request("r-3", 40), request("r-4", 30)
    await one.step(lambda: shop.check(cancelled))
    await one.step(lambda: shop.book.confirm(cancelled.decision_id, "S-3", None, cause=told("confirmed", "S-3")))
    await one.step(
        lambda: shop.book.move(
            cancelled.decision_id, lambda hold, now: cancel(hold, "S-3", now), cause=told("c", "S-3"), what="cancelled"
        )
    )
    _, hold = await one.step(lambda: shop.check(abandoned))
    assert hold is not None
    shop.clock.forward(hours=2)
    await one.step(lambda: shop.book.move(hold.id, expire, cause=swept(hold, shop.clock.now), what="expired"))


async def check_afterwards(one: Life) -> None:
    shop = one.shop
    one.restart()
    final, _ = await shop.check(request("r-9", 70))
    assert final.decision.outcome == "approved", "200 less 130 owed: not one order too few"
    assert (await shop.check(request("r-10", 1)))[0].decision.outcome == "approval_required", "nor one too many"
    assert await shop.holds() == {"r-2": "consumed", "r-9": "placed"}
    kept = await shop.book.read_record(NEW.decision_id)
    assert sorted(step.kind for step in kept.steps) == ["firmed", "posted", "posted"]
    old = await shop.book.read_record(OLD.decision_id)
    assert sorted(step.kind for step in old.steps) == ["firmed", "replaced"]


@pytest.mark.parametrize("failure", FAILURES)
async def test_whichever_call_fails_the_order_counts_once_and_never_not_at_all(failure: Failure) -> None:
    faultless = life(failure, NEVER)
    await lived(faultless)
    calls = sum(len(table.calls) for table in faultless.tables)
    assert calls > 20, "an order's life makes more than twenty calls"
    for at in range(calls):
        one = life(failure, at)
        await lived(one)
        await check_afterwards(one)


async def test_a_firm_hold_outlives_an_outage_of_two_hours_and_every_sweep_in_it() -> None:
    shop = checkout(limit=gbp(100))
    _, hold = await shop.check(request("r-1"))
    assert hold is not None
    await shop.book.confirm(hold.id, "S-1", gbp(100), cause=told("confirmed", "S-1"))
    for _ in range(8):
        shop.clock.forward(minutes=15)
        for placed in await shop.book.placed_holds():
            await shop.book.move(placed.hold.id, expire, cause=swept(placed.hold, shop.clock.now), what="expired")
    assert await shop.holds() == {"r-1": "firm"}
    assert (await shop.check(request("r-2", 1)))[0].decision.outcome == "approval_required"


@pytest.mark.parametrize("name", ["standing", "cleared", "simulate"])
@pytest.mark.parametrize("error", [TimeoutError, "down", "unknown"])
async def test_whatever_sap_does_nothing_is_granted_on_nothing(name: str, error: object) -> None:
    from shared.errors import OutcomeUnknown, RemoteDown

    shop = checkout(limit=gbp(100))

    async def fails(called: str) -> None:
        if called == name:
            if error is TimeoutError:
                await asyncio.sleep(60)
            raise RemoteDown("down", system="sap") if error == "down" else OutcomeUnknown("no answer")

    shop.truth.before = fails
    record, hold = await shop.check(request("r-1"), deadline_seconds=0.05)
    if name == "standing":
        assert record.decision.outcome == "referred" and hold is None
    again, _ = await shop.check(request("r-1"), deadline_seconds=0.05)
    assert again.decision == record.decision
    shop.truth.before = None
    live, _ = await shop.check(request("r-2", 40 if hold is None else 1))
    assert live.decision.outcome == ("approved" if hold is None else "approval_required")
