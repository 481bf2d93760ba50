"""Exposure as SAP tells it, by each source that policy may name: every order counts once, and overdue items show."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shared.approving import Answer
from shared.domain.credit import Posting
from shared.domain.credit_request import read_check
from shared.domain.credit_transitions import post
from shared.flows.checkout_credit_check import checkout_credit_check
from tests.credit.truth import gbp, told
from tests.systems import Systems, systems

SOURCES = {"items": "source: items", "cds": "source: cds, lag_seconds: 0", "totals": "source: totals, lag_seconds: 60"}
Start = Callable[[str], AbstractAsyncContextManager[Systems]]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Start:
    """The systems with one source of exposure for GB01."""

    @asynccontextmanager
    async def started(source: str) -> AsyncIterator[Systems]:
        overlay = tmp_path / "policy.yaml"
        overlay.write_text(f"credit: {{legal_entities: {{GB01: {{exposure: {{{SOURCES[source]}}}}}}}}}\n")
        async with systems(monkeypatch, policy_overlay=overlay) as running:
            yield running

    return started


async def open_account(world: Systems, account: str, **changes: Any) -> None:
    body = {"legalEntity": "GB01", "limit": "300", "currency": "GBP", "exposure": "60", "riskClass": "A",
            "overdueDays": 0, "prices": {"TEA": "100.00"}}  # fmt: skip
    await world.control("sap", "PUT", f"credit-accounts/{account}", body | changes)


async def check(world: Systems, number: str, account: str = "C-1", total: str = "120.00") -> Answer:
    net = str(Decimal(total) / Decimal("1.2"))
    raw = {
        "requestId": number, "requestedBy": "bea@buyer.example", "legalEntity": "GB01", "account": account,
        "channel": "web", "currency": "GBP", "total": total, "tax": str(Decimal(total) - Decimal(net)),
        "lines": [], "charges": [{"code": "ALL", "amount": net}],
    }  # fmt: skip
    request, entity = read_check(raw, world.hub.policy.credit, "c0ffee")
    return await checkout_credit_check(request, entity, world.hub)


async def posted(world: Systems, answer: Answer, order: str, key: str) -> Posting:
    """The order is confirmed, posted in SAP, and the book is told."""
    assert answer.hold is not None
    book = world.hub.credit_book
    await book.confirm(answer.hold.id, order, None, cause=told("confirmed", order))
    forged = {"legalEntity": "GB01", "customer": "C-1", "gross": "120.00", "reference": key, "order": order}
    document = await world.control("sap", "POST", "documents", forged)
    posting = Posting(key, "GB01", str(document["document"]), str(document["fiscal_year"]), gbp(120), world.clock.now)
    moved = await book.move(
        answer.hold.id, lambda hold, _: post(hold, posting, order, gbp(120)), cause=told("posted", order), what="posted"
    )
    assert moved.changed
    return posting


@pytest.mark.parametrize("source", SOURCES)
async def test_a_posted_order_counts_while_the_figure_does_not_show_it(start: Start, source: str) -> None:
    async with start(source) as world:
        await open_account(world, "C-1")
        first = await check(world, "r-1")
        assert first.record.decision.outcome == "approved" and first.record.credit is not None
        assert (first.record.credit.exposure, first.record.credit.source) == (gbp(60), source)
        await world.control("sap", "PUT", "exposure-lag", {"seconds": 3600})
        await posted(world, first, "S-1", "K1")
        hidden = await check(world, "r-2", total="121.20")
        assert hidden.record.decision.outcome == "approval_required"
        assert hidden.record.credit is not None
        assert (hidden.record.credit.exposure, hidden.record.credit.held) == (gbp(60), gbp(120))


@pytest.mark.parametrize("source", SOURCES)
async def test_a_posted_order_is_held_for_no_longer_once_the_figure_shows_it(start: Start, source: str) -> None:
    async with start(source) as world:
        await open_account(world, "C-1")
        await posted(world, await check(world, "r-1"), "S-1", "K1")
        world.clock.forward(minutes=2)
        seen = await check(world, "r-2")
        assert seen.record.credit is not None
        assert (seen.record.credit.exposure, seen.record.credit.held) == (gbp(180), gbp(0))
        assert seen.record.decision.outcome == "approved", "once all is visible, not one order too few"
        assert (await check(world, "r-3", total="1.20")).record.decision.outcome == "approval_required"


async def test_a_sum_alone_contains_a_posting_only_after_its_lag(start: Start) -> None:
    async with start("totals") as world:
        await open_account(world, "C-1")
        await posted(world, await check(world, "r-1"), "S-1", "K1")
        early = await check(world, "r-2")
        assert early.record.credit is not None
        assert (early.record.credit.exposure, early.record.credit.held) == (gbp(180), gbp(120)), "safe for a moment"
        world.clock.now += timedelta(seconds=61)
        late = await check(world, "r-3")
        assert late.record.credit is not None and late.record.credit.held == gbp(0)


@pytest.mark.parametrize("source", SOURCES)
async def test_overdue_items_ask_for_approval_by_every_source(start: Start, source: str) -> None:
    async with start(source) as world:
        await open_account(world, "C-1", overdueDays=60)
        answer = await check(world, "r-1")
        assert answer.record.decision.outcome == "approval_required"
        assert [reason.code for reason in answer.record.reasons] == ["overdue"]
        assert answer.record.credit is not None and answer.record.credit.exposure == gbp(60), "late items count once"


@pytest.mark.parametrize("source", ["items", "cds"])
async def test_a_paid_order_gives_its_credit_back_though_the_book_was_never_told(start: Start, source: str) -> None:
    async with start(source) as world:
        await open_account(world, "C-1", exposure="0", limit="120")
        await posted(world, await check(world, "r-1"), "S-1", "K1")
        await world.control("sap", "POST", "payments", {"account": "C-1", "amount": "120"})
        assert (await check(world, "r-2")).record.decision.outcome == "approved"
