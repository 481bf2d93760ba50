"""An order posted by sales order counts once against the limit, from the checkout until it is paid, by each source."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.credit.test_exposure_sources import check
from tests.credit.truth import gbp
from tests.ledger.placing import checked, on_account, orders_in_sap, post, trading
from tests.systems import Systems

SOURCES: dict[str, dict[str, Any]] = {
    "items": {"source": "items"},
    "cds": {"source": "cds", "lag_seconds": 0},
    "totals": {"source": "totals", "lag_seconds": 60},
}
ACCOUNT: dict[str, Any] = {"limit": "10000", "exposure": "60", "riskClass": "A"}


def by(source: str) -> dict[str, Any]:
    return {"legal_entities": {"GB01": {"exposure": SOURCES[source]}}}


async def counted(world: Systems, number: str) -> tuple[Any, Any]:
    """Exposure and what is held besides, as a checkout sees them that asks for more than there is and gets nothing."""
    answer = await check(world, number, total="12000.00")
    assert answer.record.decision.outcome == "approval_required"
    assert answer.record.credit is not None
    return answer.record.credit.exposure, answer.record.credit.held


@pytest.mark.parametrize("source", SOURCES)
async def test_it_counts_once_as_order_then_as_receivable_and_no_more_once_it_is_paid(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str
) -> None:
    async with trading(monkeypatch, tmp_path, credit=by(source), **ACCOUNT) as world:
        assert await post(world, on_account()) == "accept"
        world.clock.now += timedelta(minutes=2)
        assert await counted(world, "r-1") == (gbp(180), gbp(0)), "an open order"
        await world.control("sap", "POST", "billing-run")
        world.clock.now += timedelta(minutes=2)
        assert await counted(world, "r-2") == (gbp(180), gbp(0)), "a receivable"
        await world.control("sap", "POST", "payments", {"account": "C-1", "amount": "180.00"})
        assert await counted(world, "r-3") == (gbp(0), gbp(0)), "paid"


@pytest.mark.parametrize("source", ["items", "cds"])
async def test_its_hold_counts_while_saps_credit_check_keeps_it_out_of_the_figure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str
) -> None:
    async with trading(monkeypatch, tmp_path, credit=by(source), **ACCOUNT) as world:
        order = on_account()
        decision = await checked_then_blocked(world, order)
        assert await post(world, order, decision=decision) == "accept"
        assert (await orders_in_sap(world))[0]["TotalCreditCheckStatus"] == "B"
        await world.control("sap", "PUT", "credit-accounts/C-1", {"legalEntity": "GB01", "blocked": False})
        assert await counted(world, "r-1") == (gbp(60), gbp(120))


async def checked_then_blocked(world: Systems, order: dict[str, Any]) -> str:
    """The checkout approves; SAP blocks the account before the order comes."""
    decision = await checked(world, order)
    await world.control("sap", "PUT", "credit-accounts/C-1", {"legalEntity": "GB01", "blocked": True})
    return decision
