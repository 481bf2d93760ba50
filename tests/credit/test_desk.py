"""A decision nobody can overspend: on one account, by several workers, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.domain.credit_transitions import expire, give_up, post
from shared.errors import Conflict, Fault, Malformed, Permanent, RemoteDown
from shared.stores.credit_book.book import swept
from shared.stores.credit_book.checks import OtherContent
from tests.conftest import TableFactory
from tests.credit.faulty import Faulty
from tests.credit.truth import ACCOUNT, Checkout, checkout, gbp, request, told

PARTITION = f"1000|{ACCOUNT}"


def outcomes(shop: Checkout) -> int:
    return len(shop.granted)


async def all_at_once(shop: Checkout, count: int, amount: int = 100, prefix: str = "r") -> None:
    await asyncio.gather(
        *(shop.check(request(f"{prefix}-{n}", amount), desk=n % len(shop.desks)) for n in range(count))
    )


@pytest.mark.parametrize("seed", range(5))
async def test_64_at_once_on_a_limit_that_fits_10_grant_exactly_10(table_factory: TableFactory, seed: int) -> None:
    tables = (table_factory("credit"), table_factory("requests"))
    shop = checkout(tables=tables, wrap=lambda table: Faulty(table, seed))

    async def waits(_: str) -> None:
        await asyncio.sleep(0)

    shop.truth.before = waits
    shop = replace(shop, truth=shop.truth)
    await all_at_once(shop, 64, prefix=f"r{seed}")
    assert outcomes(shop) == 10
    assert len(await shop.holds()) == 10
    seen = [one.credit for one in shop.granted if one.credit is not None]
    assert max(credit.exposure + credit.held + gbp(100) for credit in seen) <= gbp(1000)


async def test_the_book_is_read_before_sap_is_asked() -> None:
    """The other way round, an order could leave the book after SAP was read and before the book was."""
    shop = checkout(workers=1)
    table = Faulty(shop.credit)
    shop.book.table = table
    seen: list[str] = []

    async def asked(name: str) -> None:
        if name == "standing":
            seen.extend(table.calls)

    shop.truth.before = asked
    await shop.check(request("r-1"))
    assert seen == ["query"]


async def test_the_same_request_has_one_decision_however_often_and_wherever_it_is_asked() -> None:
    shop = checkout(wrap=lambda table: Faulty(table, 7), workers=3)
    answers = await asyncio.gather(*(shop.check(request("r-1"), desk=n % 3) for n in range(12)))
    assert len({record.decision.id for record, _ in answers}) == 1
    assert len({str(record.decision.decided_at) for record, _ in answers}) == 1
    assert await shop.holds() == {"r-1": "placed"}


@pytest.mark.parametrize("other", [request("r-1", 101), request("r-1", account="4712")])
async def test_a_request_id_with_other_content_or_another_account_is_refused(other: object) -> None:
    shop = checkout()
    await shop.check(request("r-1"))
    with pytest.raises(OtherContent):
        await shop.check(other)  # type: ignore[arg-type]
    assert await shop.holds() == {"r-1": "placed"}


async def test_an_unknown_account_fails_those_who_asked_for_it_and_nobody_else() -> None:
    shop = checkout()
    with pytest.raises(Permanent) as refused:
        await shop.check(request("r-9", account="nobody"))
    assert refused.value.code == "unknown_account"
    assert (await shop.check(request("r-1")))[0].decision.outcome == "approved"


async def test_credit_of_an_expired_hold_is_given_on_only_once_that_hold_is_released() -> None:
    shop = checkout(limit=gbp(100))
    await shop.check(request("r-1"))
    shop.clock.forward(hours=1)
    record, _ = await shop.check(request("r-2"))
    assert record.decision.outcome == "approved"
    assert await shop.holds() == {"r-2": "placed"}
    late = await shop.book.confirm(request("r-1").decision_id, "S-1", None, cause=told("confirmed", "S-1"))
    assert late.refused is not None and late.refused.code == "hold_expired"


async def test_a_confirmation_by_a_clock_that_is_behind_and_a_grant_never_both_take_the_same_credit() -> None:
    """The hold has expired for one worker and not for the other: whichever writes first, the sum holds."""
    for seed in range(40):
        shop = checkout(limit=gbp(100), wrap=lambda table, seed=seed: Faulty(table, seed))  # type: ignore[misc]
        await shop.check(request("r-1"))
        slow = shop.books[1]
        slow.clock = lambda now=shop.clock.now: now  # type: ignore[misc]
        shop.clock.forward(hours=1)
        confirmed, (record, _) = await asyncio.gather(
            slow.confirm(request("r-1").decision_id, "S-1", None, cause=told("confirmed", "S-1")),
            shop.check(request("r-2")),
        )
        assert confirmed.changed != (record.decision.outcome == "approved"), seed


async def test_many_expired_holds_are_released_before_anything_is_decided() -> None:
    shop = checkout(limit=gbp(7000))
    await all_at_once(shop, 70)
    shop.clock.forward(hours=1)
    await all_at_once(shop, 70, prefix="second")
    assert outcomes(shop) == 140
    assert set((await shop.holds()).values()) == {"placed"}


async def test_a_hold_is_consumed_once_sap_shows_its_document_and_then_no_longer_counts() -> None:
    shop = checkout(limit=gbp(200), lag=timedelta(seconds=30))
    _, hold = await shop.check(request("r-1"))
    assert hold is not None
    await shop.book.confirm(hold.id, "S-1", None, cause=told("confirmed", "S-1"))
    posting = shop.truth.post("S-1", "K1", gbp(100))
    await shop.book.move(
        hold.id, lambda one, _: post(one, posting, "S-1", gbp(100)), cause=told("posted", "S-1"), what="posted"
    )
    assert (await shop.check(request("r-2")))[0].decision.outcome == "approved"
    assert (await shop.check(request("r-3")))[0].decision.outcome == "approval_required", "it lags, so it counts"
    shop.clock.forward(minutes=1)
    assert (await shop.check(request("r-4")))[0].decision.outcome == "approval_required"
    assert (await shop.holds())["r-1"] == "consumed"
    shop.truth.pay("K1")
    shop.clock.forward(minutes=1)
    assert (await shop.check(request("r-5")))[0].decision.outcome == "approved", "paid: room again"
    assert "r-1" not in await shop.holds(), "nothing is left of it to read"


async def test_a_posting_counts_however_long_sap_takes_to_show_it() -> None:
    shop = checkout(limit=gbp(100), lag=timedelta(hours=3))
    _, hold = await shop.check(request("r-1"))
    assert hold is not None
    await shop.book.confirm(hold.id, "S-1", None, cause=told("confirmed", "S-1"))
    posting = shop.truth.post("S-1", "K1", gbp(100))
    await shop.book.move(
        hold.id, lambda one, _: post(one, posting, "S-1", gbp(100)), cause=told("posted", "S-1"), what="posted"
    )
    for number in range(3):
        shop.clock.forward(minutes=45)
        await shop.check(request(f"look-{number}", 1, on_account=0))
        assert (await shop.holds())["r-1"] == "posted"
        assert (await shop.check(request(f"r-2-{number}", 1)))[0].decision.outcome == "approval_required"


async def test_the_same_request_is_answered_without_asking_sap_again() -> None:
    """SAP may be away by then, or know the account no more: the answer that was given stands."""
    shop = checkout()
    first, _ = await shop.check(request("r-1"))
    calls = list(shop.truth.calls)
    again, _ = await shop.check(request("r-1"), desk=1)
    assert again == first and shop.truth.calls == calls


async def test_a_refusal_that_comes_while_an_approval_is_weighed_stands() -> None:
    shop = checkout(limit=gbp(50))
    record, _ = await shop.check(request("r-1"))

    async def meanwhile(name: str) -> None:
        if name == "standing":
            shop.truth.before = None
            await shop.refuse(record, "sara")

    shop.truth.before = meanwhile
    with pytest.raises(Conflict):
        await shop.approve(record, "amir")
    kept = await shop.book.read_record(record.decision.id)
    assert kept.record is not None and kept.record.approval is not None
    assert (kept.record.decision.outcome, kept.record.approval.decided_by) == ("declined", "sara")
    assert await shop.holds() == {}


async def test_an_approval_is_weighed_again_on_the_live_record_before_anything_is_held() -> None:
    shop = checkout(limit=gbp(50))
    record, hold = await shop.check(request("r-1"))
    assert record.decision.outcome == "approval_required" and hold is None and await shop.holds() == {}
    again, placed = await shop.approve(record)
    assert again.decision.outcome == "approved" and placed is not None
    assert again.approval is not None and again.approval.decided_by == "amir"
    blocked = (await shop.check(request("r-2")))[0]
    shop.truth.blocked = True
    refused, none = await shop.approve(blocked)
    assert refused.decision.outcome == "declined" and none is None


async def test_two_approvers_at_once_give_one_hold() -> None:
    shop = checkout(limit=gbp(50), wrap=lambda table: Faulty(table, 3))
    record, _ = await shop.check(request("r-1"))
    said = await asyncio.gather(shop.approve(record, "amir"), shop.approve(record, "sara"), return_exceptions=True)
    assert sum(isinstance(one, tuple) for one in said) == 1
    assert sum(isinstance(one, Conflict) for one in said) == 1
    assert await shop.holds() == {"r-1": "placed"}


async def test_an_approval_whose_commit_got_no_answer_is_found_and_not_refused() -> None:
    table = None

    def failing(real: object) -> Faulty:
        nonlocal table
        table = Faulty(real)  # type: ignore[arg-type]
        return table

    shop = checkout(limit=gbp(50), workers=1)
    record, _ = await shop.check(request("r-1"))
    faulty = Faulty(shop.credit)
    shop.book.table = faulty
    calls_before_commit = 3  # its own record (two reads), then the account
    faulty.plan = {calls_before_commit: "after"}
    again, hold = await shop.approve(record)
    assert faulty.calls[calls_before_commit] == "transact"
    assert again.decision.outcome == "approved" and hold is not None
    assert table is None


async def test_a_change_moves_the_hold_in_one_step_and_never_counts_both() -> None:
    shop = checkout(limit=gbp(150))
    old = (await shop.check(request("r-1", 100)))[0].decision.id
    await shop.book.confirm(old, "S-1", None, cause=told("confirmed", "S-1"))
    changed = (await shop.check(request("r-2", 140, replaces=old)))[0]
    assert changed.decision.outcome == "approved", "140 replaces 100: it does not come on top"
    moved = await shop.book.confirm(changed.decision.id, "S-1", None, cause=told("changed", "S-1"))
    assert moved.changed and await shop.holds() == {"r-2": "firm"}
    again = await shop.book.confirm(changed.decision.id, "S-1", None, cause=told("changed", "S-1"))
    assert not again.changed and again.refused is None
    assert (await shop.check(request("r-3", 11)))[0].decision.outcome == "approval_required"
    assert (await shop.check(request("r-4", 10)))[0].decision.outcome == "approved"


async def test_a_change_after_one_that_expired_still_changes_its_order() -> None:
    shop = checkout(limit=gbp(100))
    old = (await shop.check(request("r-1", 60)))[0].decision.id
    await shop.book.confirm(old, "S-1", None, cause=told("confirmed", "S-1"))
    lapsed = (await shop.check(request("r-2", 70, replaces=old)))[0].decision.id
    shop.clock.forward(hours=1)
    assert (await shop.check(request("r-3", 30)))[0].decision.outcome == "approved"
    too_much = (await shop.check(request("r-4", 71, replaces=lapsed)))[0]
    assert too_much.decision.outcome == "approval_required" and too_much.credit is not None
    assert too_much.credit.held == gbp(30), "its own order is not among the others"
    new = (await shop.check(request("r-5", 70, replaces=too_much.decision.id)))[0]
    assert new.decision.outcome == "approved", "70 replaces 60, beside 30"
    await shop.book.confirm(new.decision.id, "S-1", None, cause=told("changed", "S-1"))
    assert await shop.holds() == {"r-3": "placed", "r-5": "firm"}, "nothing of the order is left behind"


@pytest.mark.parametrize("pause", [timedelta(minutes=1), timedelta(hours=2)])
async def test_a_change_of_an_order_that_is_partly_in_sap_holds_only_what_is_not(pause: timedelta) -> None:
    """The part was seen, and its hold consumed, a moment ago or so long ago that it is kept apart by now."""
    shop = checkout(limit=gbp(200))
    old = (await shop.check(request("r-1", 40)))[0].decision.id
    await shop.book.confirm(old, "S-1", None, cause=told("confirmed", "S-1"))
    posting = shop.truth.post("S-1", "K1", gbp(40))
    await shop.book.move(
        old, lambda one, _: post(one, posting, "S-1", gbp(40)), cause=told("posted", "S-1"), what="posted"
    )
    shop.clock.forward(minutes=1)
    await shop.check(request("r-2", 1, on_account=0))
    assert (await shop.holds())["r-1"] == "consumed"
    shop.clock.now += pause
    await shop.check(request("r-3", 1, on_account=0))
    changed = (await shop.check(request("r-4", 70, replaces=old)))[0].decision.id
    await shop.book.confirm(changed, "S-1", None, cause=told("changed", "S-1"))
    assert (await shop.check(request("r-5", 131)))[0].decision.outcome == "approval_required"
    assert (await shop.check(request("r-6", 130)))[0].decision.outcome == "approved"
    await shop.book.move(request("r-6").decision_id, give_up, cause=told("given", "r-6"), what="released")
    shop.truth.pay("K1")
    shop.clock.forward(minutes=1)
    assert (await shop.check(request("r-7", 171)))[0].decision.outcome == "approval_required", "30 are still to come"
    assert (await shop.check(request("r-8", 170)))[0].decision.outcome == "approved", "40 are paid"


async def test_a_change_of_an_order_that_is_paid_meanwhile_holds_only_what_it_adds() -> None:
    shop = checkout(limit=gbp(100))
    old = (await shop.check(request("r-1", 60)))[0].decision.id
    await shop.book.confirm(old, "S-1", None, cause=told("confirmed", "S-1"))
    await shop.check(request("r-2", 70, replaces=old))
    posting = shop.truth.post("S-1", "K1", gbp(60))
    await shop.book.move(
        old, lambda one, _: post(one, posting, "S-1", gbp(60)), cause=told("posted", "S-1"), what="posted"
    )
    for number in range(3):
        shop.clock.forward(minutes=1)
        await shop.check(request(f"look-{number}", 1, on_account=0))
        shop.truth.pay("K1")
    assert (await shop.check(request("r-3", 91)))[0].decision.outcome == "approval_required"
    assert (await shop.check(request("r-4", 90)))[0].decision.outcome == "approved"
    shop.clock.forward(hours=1)
    await shop.check(request("r-5", 1, on_account=0))
    assert await shop.holds() == {}, "once the change has expired, what it changed is kept apart"


async def test_a_change_cannot_take_the_credit_of_another_order() -> None:
    shop = checkout()
    old = (await shop.check(request("r-1")))[0].decision.id
    await shop.book.confirm(old, "S-1", None, cause=told("confirmed", "S-1"))
    new = (await shop.check(request("r-2", replaces=old)))[0].decision.id
    moved = await shop.book.confirm(new, "S-2", None, cause=told("confirmed", "S-2"))
    assert moved.refused is not None and moved.refused.code == "decision_used_twice"
    assert await shop.holds() == {"r-1": "firm", "r-2": "placed"}


async def test_what_is_replaced_must_be_a_decision_of_the_same_account() -> None:
    shop = checkout()
    with pytest.raises(Permanent) as unknown:
        await shop.check(request("r-1", replaces="no-decision"))
    assert unknown.value.code == "unknown_replaced"
    known = (await shop.check(request("r-2")))[0].decision.id
    with pytest.raises(Permanent) as elsewhere:
        await shop.check(request("r-3", replaces=known, account="4712"))
    assert elsewhere.value.code == "replaced_elsewhere"


async def test_only_what_is_on_account_is_held() -> None:
    shop = checkout(limit=gbp(100))
    _, hold = await shop.check(request("r-1", 500, on_account=90))
    assert hold is not None and hold.amount == gbp(90)
    record, none = await shop.check(request("r-2", 500, on_account=0))
    assert record.decision.outcome == "approved" and none is None


async def test_an_order_in_another_currency_is_weighed_at_the_policy_s_rate() -> None:
    shop = checkout(limit=gbp(100))
    _, hold = await shop.check(request("r-1", "20340", currency="JPY"))
    assert hold is not None and hold.value == gbp("100.00") and hold.amount.currency == "JPY"
    assert (await shop.check(request("r-2", "0.010", currency="KWD")))[0].decision.outcome == "approval_required"
    assert (await shop.check(request("r-3", "10", currency="AUD")))[0].decision.outcome == "declined"


async def test_two_legal_entities_of_one_segment_share_one_limit() -> None:
    policy = checkout().policy
    shared = policy.legal_entities["GB01"].model_copy(update={"company_code": "GB02"})
    both = policy.model_copy(update={"legal_entities": {**policy.legal_entities, "GB02": shared}})
    both._in_force.update({("GB02", name): rules for (code, name), rules in policy._in_force.items() if code == "GB01"})
    shop = checkout(policy=both, limit=gbp(150))
    assert (await shop.check(request("r-1")))[0].decision.outcome == "approved"
    assert (await shop.check(request("r-1", legal_entity="GB02")))[0].decision.outcome == "approval_required"


async def test_when_the_segment_s_currency_changes_holds_still_count() -> None:
    shop = checkout(limit=gbp(150))
    await shop.check(request("r-1"))
    shop.truth.limit = None
    assert (await shop.check(request("r-2")))[0].decision.outcome == "declined"
    from shared.domain.money import Money

    shop.truth.limit, shop.truth.currency = Money(gbp(150).amount, "EUR"), "EUR"
    shop.truth.opening = Money(gbp(0).amount, "EUR")
    record, _ = await shop.check(request("r-3"))
    assert record.credit is not None and record.credit.held == Money(gbp("115.20").amount, "EUR")


async def test_one_that_has_little_time_left_does_not_take_it_from_the_others() -> None:
    """Two wait in one group; SAP answers too late for the first and in time for the second."""
    shop = checkout()
    calls = 0

    async def slow(name: str) -> None:
        nonlocal calls
        if name == "standing":
            calls += 1
            await asyncio.sleep(30 if calls == 1 else 0)

    shop.truth.before = slow
    hurried = asyncio.create_task(shop.check(request("r-1"), deadline_seconds=0.05))
    patient = asyncio.create_task(shop.check(request("r-2"), deadline_seconds=30))
    first, _ = await hurried
    second, _ = await patient
    assert first.decision.outcome == "referred"
    assert [reason.code for reason in first.reasons] == ["sap_unavailable"]
    assert second.decision.outcome == "approved"


@pytest.mark.parametrize("call", ["standing", "simulate"])
@pytest.mark.parametrize(
    "fault",
    [
        Permanent("sap refused with 403", code="forbidden"),
        Malformed([Fault("CreditLimitAmount", "is no number")]),
        RemoteDown("sap: 500", system="sap"),
    ],
)
async def test_whatever_sap_says_instead_of_an_answer_is_answered_by_policy(call: str, fault: Exception) -> None:
    shop = checkout()

    async def away(name: str) -> None:
        if name == call:
            raise fault

    shop.truth.before = away
    record, hold = await shop.check(request("r-1"))
    assert (record.decision.outcome, hold) == ("referred", None)
    assert [reason.code for reason in record.reasons] == ["sap_unavailable"]
    shop.truth.before = None
    assert (await shop.check(request("r-2")))[0].decision.outcome == "approved", "back: the next check is live"
    assert (await shop.check(request("r-1")))[0].decision.outcome == "referred", "the same request, the same answer"


async def test_tables_that_fail_make_no_decision_and_hold_nothing() -> None:
    shop = checkout(workers=1)
    shop.book.table = Faulty(shop.credit, plan={0: "before"})
    with pytest.raises(RemoteDown):
        await shop.check(request("r-1"))
    assert await shop.holds() == {}
    assert (await shop.check(request("r-1")))[0].decision.outcome == "approved"


async def test_the_sweep_and_the_scheduled_expiry_release_a_hold_once() -> None:
    shop = checkout()
    _, hold = await shop.check(request("r-1"))
    assert hold is not None
    shop.clock.forward(hours=1)
    by_message = await shop.book.move(hold.id, expire, cause=told("wake", "x"), what="expired")
    by_sweep = await shop.book.move(hold.id, expire, cause=swept(hold, shop.clock.now), what="expired")
    assert (by_message.changed, by_sweep.changed) == (True, False)
    kept = await shop.book.read_record(hold.id)
    assert [step.kind for step in kept.steps] == ["expired"] and kept.held is not None
    given = await shop.book.move(hold.id, give_up, cause=told("give", "x"), what="released")
    assert given.changed is False
