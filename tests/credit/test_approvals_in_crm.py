"""An account manager decides in CRM: under the same rules as everybody, and the row shows what stands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from sandbox.dataverse.model import stable_id
from sandbox.dataverse.seeds import SALES_USER
from shared.approving import ENTITY, credit_cause
from shared.domain.changes import Change
from shared.domain.credit_request import read_check
from shared.flows.checkout_credit_check import checkout_credit_check, read_decision
from shared.flows.credit_approval_sync import credit_approval_sync
from shared.flows.credit_hold_sweep import credit_hold_sweep
from shared.wiring import Hub
from tests.systems import Systems, systems

FLOW = "credit_approval_sync"
SAM = str(stable_id(f"entra:{SALES_USER}")).lower()


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Systems]:
    async with systems(monkeypatch) as running:
        await running.control("sap", "PUT", "credit-accounts/C-1", {
            "legalEntity": "GB01", "limit": "100", "currency": "GBP", "exposure": "0", "blocked": False,
            "riskClass": "A", "prices": {}, "overdueDays": 0,
        })  # fmt: skip
        allow(running.hub, {SAM: ("Approver",)})
        yield running


def allow(hub: Hub, approvers: dict[str, tuple[str, ...]]) -> None:
    """Say who may approve in CRM."""
    policy = hub.policy.credit.model_copy(update={"crm_approvers": approvers})
    object.__setattr__(hub, "policy", replace(hub.policy, credit=policy))


async def asked(world: Systems, number: str = "r-1", total: str = "120.00", by: str = "bea@buyer.example") -> str:
    """A checkout over the limit; its decision id, with the request's row in CRM."""
    raw = {
        "requestId": number, "requestedBy": by, "legalEntity": "GB01", "account": "C-1", "channel": "web",
        "currency": "GBP", "lines": [{"product": "TEA", "quantity": "1", "unitPrice": total}], "total": total,
    }  # fmt: skip
    request, entity = read_check(raw, world.hub.policy.credit, "c0ffee")
    answer = await checkout_credit_check(request, entity, world.hub)
    assert answer.record.decision.outcome == "approval_required" and answer.hold is None
    decision_id = answer.record.decision.id
    shown = await world.heard(lambda change: change.entity == ENTITY and change.key == decision_id)
    assert await world.settle(FLOW, credit_approval_sync, shown) == "accept"
    return decision_id


async def row(world: Systems, decision_id: str) -> dict[str, Any]:
    rows = (await world.control("dataverse", "GET", "state"))["tables"]["concord_creditapprovals"]
    found: dict[str, Any] = next(one for one in rows if one["concord_decisionid"] == decision_id)
    return found


async def decided(world: Systems, decision_id: str, state: str, comment: str = "") -> Change:
    """Sam edits the row; the change that the webhook brought."""
    request = await row(world, decision_id)
    world.bus.sent.clear()
    await world.control(
        "dataverse", "PATCH", f"rows/concord_creditapprovals/{request['concord_creditapprovalid']}",
        {"concord_state": state, "concord_comment": comment},
    )  # fmt: skip
    return await world.heard(lambda one: one.source == "dataverse" and one.data["tag"] != "concord")


async def outcome(world: Systems, decision_id: str) -> tuple[str, str]:
    """What the book says, and what the row says."""
    answer = await read_decision(decision_id, world.hub)
    assert answer is not None
    for sent in [one for one in world.bus.sent if one.change.entity == ENTITY and one.change.source == "concord"]:
        await world.settle(FLOW, credit_approval_sync, sent.change)
    return answer.record.decision.outcome, (await row(world, decision_id))["concord_state"]


async def test_a_request_shows_in_crm_with_all_that_an_account_manager_needs(world: Systems) -> None:
    request = await row(world, await asked(world))
    assert (request["concord_state"], request["concord_accountnumber"]) == ("waiting", "C-1")
    assert Decimal(str(request["concord_amount"])) == Decimal("120.00")
    assert "above limit" in request["concord_reasons"] and request["concord_requestedby"] == "bea@buyer.example"


async def test_an_approval_in_crm_is_weighed_again_and_then_holds(world: Systems) -> None:
    decision = await asked(world)
    change = await decided(world, decision, "approved", "good customer")
    assert await world.settle(FLOW, credit_approval_sync, change) == "accept"
    assert await outcome(world, decision) == ("approved", "approved")
    kept = await world.hub.credit_book.read_record(decision)
    assert kept.record is not None and kept.record.approval is not None and kept.held is not None
    assert (kept.record.approval.via, kept.record.approval.comment) == ("crm", "good customer")


async def test_a_refusal_in_crm_closes_it(world: Systems) -> None:
    decision = await asked(world)
    assert await world.settle(FLOW, credit_approval_sync, await decided(world, decision, "refused")) == "accept"
    assert await outcome(world, decision) == ("declined", "refused")


async def test_whoever_has_no_role_changes_nothing_and_the_row_shows_again_what_stands(world: Systems) -> None:
    allow(world.hub, {})
    decision = await asked(world)
    change = await decided(world, decision, "approved")
    assert await world.settle(FLOW, credit_approval_sync, change) == "refuse"
    assert await outcome(world, decision) == ("approval_required", "waiting")
    [case] = await world.hub.cases.list(state="open")
    assert case.code == "wrong_role"


async def test_a_larger_order_needs_the_role_of_its_band(world: Systems) -> None:
    decision = await asked(world, total="26000.00")
    change = await decided(world, decision, "approved")
    assert await world.settle(FLOW, credit_approval_sync, change) == "refuse"
    assert await outcome(world, decision) == ("approval_required", "waiting")


async def test_whoever_requested_it_cannot_approve_it_under_any_of_his_names(world: Systems) -> None:
    decision = await asked(world, by="Sam Seller")
    change = await decided(world, decision, "approved")
    assert await world.settle(FLOW, credit_approval_sync, change) == "refuse"
    assert await outcome(world, decision) == ("approval_required", "waiting")


async def test_a_word_that_comes_after_the_time_is_up_counts_for_nothing(world: Systems) -> None:
    decision = await asked(world)
    world.clock.forward(hours=25)
    counted = await credit_hold_sweep(world.hub)
    assert (counted["timed_out"], counted["waiting"]) == (1, 0)
    assert await outcome(world, decision) == ("declined", "timed out")
    change = await decided(world, decision, "approved")
    assert await world.settle(FLOW, credit_approval_sync, change) == "refuse"
    assert await outcome(world, decision) == ("declined", "timed out")


async def test_a_request_whose_message_was_lost_is_shown_by_the_sweep(world: Systems) -> None:
    decision = await asked(world)
    world.bus.sent.clear()
    assert (await credit_hold_sweep(world.hub))["waiting"] == 1
    assert [sent.change.key for sent in world.bus.sent] == [decision]


async def test_the_same_word_twice_is_taken_once(world: Systems) -> None:
    decision = await asked(world)
    change = await decided(world, decision, "approved")
    await world.settle(FLOW, credit_approval_sync, change)
    again = replace(change, id="delivered-again")
    assert await world.settle(FLOW, credit_approval_sync, again) == "unchanged"
    assert (await world.hub.cases.list(state="open")) == []


async def test_a_row_about_no_decision_becomes_a_case(world: Systems) -> None:
    await asked(world)
    cause = credit_cause("no-such-decision", "approval.open", world.hub, entity=ENTITY)
    assert await world.settle(FLOW, credit_approval_sync, cause) == "unchanged"
