"""A sale on account becomes one sales order that SAP bills for what the customer saw, whatever happens on the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from functions import cases as doors_of_cases
from sandbox.kit import exact_json
from shared.clients.http import Response
from shared.flows.case_handling import decide_case
from shared.flows.case_preview import preview_case
from shared.flows.order_to_ledger import order_to_ledger
from tests.cases.doors import Doors
from tests.ledger.placing import (
    BY_ORDER,
    checked,
    claim_of,
    documents_in_sap,
    on_account,
    open_case,
    orders_in_sap,
    post,
    trading,
)
from tests.ledger.rig import confirmed, event, line, sales_order
from tests.systems import Systems

REPEATABLE = BY_ORDER | {"sap": {"repeatable_requests": True}}
WRONG_TAX = {
    "legal_entities": {
        "GB01": {
            "posting": "sales_order",
            "tax_codes": [
                {"code": "A1", "rate": "0.20", "jurisdiction": "GB", "tax_classification": "2"},
                {"code": "A5", "rate": "0.05", "jurisdiction": "GB", "tax_classification": "1"},
                {"code": "A0", "rate": "0", "jurisdiction": "GB", "tax_classification": "0"},
            ],
        }
    }
}
"""A policy that takes SAP's tax classes for one another."""


async def fail_next_order(world: Systems, kind: str, **more: Any) -> None:
    match = {"method": "POST", "path": "API_SALES_ORDER_SRV"}
    await world.control("sap", "POST", "faults", {"match": match, "kind": kind, "count": 1, **more})


async def told_again(world: Systems, order: dict[str, Any], decision: str) -> str:
    return await world.settle(
        "order_to_ledger", order_to_ledger, confirmed(order, decision=decision, at=world.clock.now)
    )


async def woken(world: Systems, *, seconds: float = 700) -> None:
    """The message that an attempt left behind runs again; without a time, once SAP's lease is over."""
    world.clock.forward(seconds=seconds)
    [wake] = [sent for sent in world.bus.sent if sent.flow == "order_to_ledger"]
    await world.settle("order_to_ledger", order_to_ledger, wake.change)


async def replayed(world: Systems) -> None:
    """A person replays the open case, and its message runs."""
    case = await open_case(world)
    await decide_case(case, "replay", by="Olga", comment="", hub=world.hub)
    [wake] = [sent for sent in world.bus.sent if sent.force]
    await world.settle("order_to_ledger", order_to_ledger, wake.change)
    world.bus.sent.remove(wake)


async def test_a_sale_on_account_is_placed_with_its_key_and_number_and_told_as_a_sales_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with trading(monkeypatch, tmp_path) as world:
        assert await post(world, on_account()) == "accept"
        [order] = await orders_in_sap(world)
        claim = await claim_of(world)
        assert (order["order"], order["reference"], order["gross"]) == ("S-1", claim.key, "120")
        assert (claim.way, claim.name, claim.state) == ("sales_order", "GB01/SO/1", "settled")
        assert await documents_in_sap(world) == []
        [posted] = [sent.change for sent in world.bus.sent if sent.change.kind == "order.posted"]
        assert (posted.data["posting"]["way"], posted.data["posting"]["document"]) == ("sales_order", "1")
        [evidence] = await world.hub.records.read_evidence("order|GB01|S-1")
        assert evidence.links["document"] == "GB01/SO/1"


async def test_sap_bills_what_the_customer_saw_under_the_posting_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = [line("1", "2.5", "9.99", "2.00"), line("2", "7", "33.33", "6.67")]
    async with trading(monkeypatch, tmp_path) as world:
        charges = [("FREIGHT", "5.00", "1.00"), ("DISCOUNT", "-2.00", "-0.40")]
        assert await post(world, on_account(lines=lines, charges=charges)) == "accept"
        await world.control("sap", "POST", "billing-run")
        [document] = await documents_in_sap(world)
        claim = await claim_of(world)
        assert (claim.way, document["reference"], document["type"]) == ("sales_order", claim.key, "RV")
        assert (document["order"], document["gross"], document["document_date"]) == ("S-1", "55.59", "2026-11-23")
        amounts = {one["account"]: one["amount"] for one in document["lines"]}
        assert (amounts["41500000"], amounts["44000000"], amounts["22000000"]) == ("-5.00", "2.00", "-9.27")


@pytest.mark.parametrize(
    ("order", "because"),
    [
        (sales_order(tenders=[("3", "120.00")]), "not wholly on account"),
        (sales_order(customer="", tenders=[("1", "120.00")]), "no customer number"),
    ],
)
async def test_what_is_paid_otherwise_posts_a_journal_entry_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, order: dict[str, Any], because: str
) -> None:
    async with trading(monkeypatch, tmp_path) as world:
        assert await told_again(world, order, "") == "accept"
        assert [one["type"] for one in await documents_in_sap(world)] == ["DR"]
        assert await orders_in_sap(world) == []
        [evidence] = await world.hub.records.read_evidence("order|GB01|S-1")
        assert because in evidence.summary


async def test_returns_and_cancellations_of_a_sales_order_credit_by_journal_entry(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with trading(monkeypatch, tmp_path) as world:
        await post(world, on_account())
        now = world.clock.now
        for change in (event("returned", lines=[("1", "3")], at=now), event("cancelled", at=now)):
            assert await world.settle("order_to_ledger", order_to_ledger, change) == "accept"
        assert [(one["type"], one["gross"]) for one in await documents_in_sap(world)] == [
            ("DG", "-36.00"), ("DG", "-84.00"),
        ]  # fmt: skip
        assert len(await orders_in_sap(world)) == 1


@pytest.mark.parametrize("kind", ["timeout_after", "reset"])
async def test_a_sales_order_that_landed_without_an_answer_is_found_not_repeated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    async with trading(monkeypatch, tmp_path) as world:
        world.hub.sap_orders._odata.system._timeout_seconds = 1.0
        order = on_account()
        decision = await checked(world, order)
        await fail_next_order(world, kind)
        await told_again(world, order, decision)
        landed = len(await orders_in_sap(world))
        await woken(world)
        assert (landed, len(await orders_in_sap(world))) == ((1, 1) if kind == "timeout_after" else (0, 1))
        assert (await claim_of(world)).is_settled


@pytest.mark.parametrize("kind", ["timeout_after", "timeout_before"])
async def test_the_way_that_an_attempt_took_stays_its_way_when_policy_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    async with trading(monkeypatch, tmp_path) as world:
        world.hub.sap_orders._odata.system._timeout_seconds = 1.0
        order = on_account()
        decision = await checked(world, order)
        await fail_next_order(world, kind)
        await told_again(world, order, decision)
        entity = world.hub.policy.ledger.legal_entities["GB01"]
        world.hub.policy.ledger.legal_entities["GB01"] = entity.model_copy(update={"posting": "journal_entry"})
        await woken(world)
        assert (await claim_of(world)).name == "GB01/SO/1"
        assert await documents_in_sap(world) == []


async def test_of_two_workers_who_are_told_at_once_one_places_the_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with trading(monkeypatch, tmp_path) as world:
        order = on_account()
        decision = await checked(world, order)
        await asyncio.gather(*(told_again(world, order, decision) for _ in range(2)), return_exceptions=True)
        assert len(await orders_in_sap(world)) == 1


# What SAP computes


async def test_a_sales_order_that_sap_computes_otherwise_is_blocked_for_billing_and_held_with_both_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with trading(monkeypatch, tmp_path, WRONG_TAX) as world:
        await post(world, on_account())
        case = await open_case(world)
        assert case.code == "sap_computed_otherwise"
        assert "20.00 GBP here and 5.00 in SAP" in case.reasons[0]["message"]
        [order] = await orders_in_sap(world)
        assert (order["HeaderBillingBlockReason"], order["status"]) == ("03", "blocked")
        assert (await world.control("sap", "POST", "billing-run"))["billed"] == []
        assert not [sent for sent in world.bus.sent if sent.change.kind == "order.posted"]


async def test_a_replay_compares_again_and_lifts_the_block_once_sap_says_what_the_customer_saw(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with trading(monkeypatch, tmp_path, WRONG_TAX) as world:
        await post(world, on_account())
        await replayed(world)
        assert (await open_case(world)).code == "sap_computed_otherwise"
        order = world.sap.world.sales_orders.get("1")
        assert order is not None
        items = [{**item, "TaxAmount": item["NetAmount"] / 5} for item in order["_items"]]
        world.sap.world.sales_orders.put("1", {**order, "_items": items, "_gross": order["TotalNetAmount"] * 6 / 5})
        await replayed(world)
        assert await world.hub.cases.list(state="open") == []
        [shown] = await orders_in_sap(world)
        assert (shown["HeaderBillingBlockReason"], shown["status"]) == ("", "open")
        assert (await claim_of(world)).is_settled
        assert len(await orders_in_sap(world)) == 1


async def test_a_block_that_sap_did_not_take_in_time_is_set_by_the_next_attempt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with trading(monkeypatch, tmp_path, WRONG_TAX) as world:
        order = on_account()
        decision = await checked(world, order)
        match = {"method": "PATCH", "path": "API_SALES_ORDER_SRV"}
        await world.control("sap", "POST", "faults", {"match": match, "kind": "status", "status": 500, "count": 1})
        await told_again(world, order, decision)
        assert (await orders_in_sap(world))[0]["status"] == "open"
        await woken(world, seconds=60)
        assert (await open_case(world)).code == "sap_computed_otherwise"
        assert [one["status"] for one in await orders_in_sap(world)] == ["blocked"]


async def test_a_charge_whose_sign_sap_refuses_goes_by_journal_entry_once_policy_has_no_condition_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with trading(monkeypatch, tmp_path) as world:
        await post(world, on_account(charges=[("FREIGHT", "-5.00", "-1.00")]))
        case = await open_case(world)
        assert case.code == "condition_type"
        assert "charge_conditions" in case.reasons[0]["remedy"]
        policy = world.hub.policy
        entity = policy.ledger.legal_entities["GB01"]
        assert entity.sales_order is not None
        without = entity.sales_order.model_copy(update={"charge_conditions": {}})
        entities = policy.ledger.legal_entities | {"GB01": entity.model_copy(update={"sales_order": without})}
        corrected = replace(policy, ledger=policy.ledger.model_copy(update={"legal_entities": entities}))
        await replayed(replace(world, hub=replace(world.hub, policy=corrected)))
        assert await orders_in_sap(world) == []
        assert [one["gross"] for one in await documents_in_sap(world)] == ["114.00"]


# What is found in SAP


async def lost(world: Systems, decision: str, order: dict[str, Any]) -> None:
    """The order lands, its answer does not."""
    world.hub.sap_orders._odata.system._timeout_seconds = 1.0
    await fail_next_order(world, "timeout_after")
    await told_again(world, order, decision)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"PurchaseOrderByCustomer": "S-2"}, "posted_for_another_order"),
        ({"OverallSDDocumentRejectionSts": "C"}, "posted_and_rejected"),
        (None, "posted_twice"),
    ],
)
async def test_what_a_look_finds_and_is_not_the_order_alone_is_a_case(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: dict[str, str] | None, code: str
) -> None:
    async with trading(monkeypatch, tmp_path) as world:
        order = on_account()
        await lost(world, await checked(world, order), order)
        table = world.sap.world.sales_orders
        placed = table.get("1")
        assert placed is not None
        if changed is None:
            table.put("2", {**placed, "SalesOrder": "2"})
        else:
            table.put("1", {**placed, **changed})
        await woken(world)
        assert (await open_case(world)).code == code
        assert len(await orders_in_sap(world)) == (2 if changed is None else 1)


async def test_of_two_sales_orders_under_one_key_the_one_that_is_not_rejected_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with trading(monkeypatch, tmp_path) as world:
        order = on_account()
        await lost(world, await checked(world, order), order)
        table = world.sap.world.sales_orders
        placed = table.get("1")
        assert placed is not None
        table.put("2", {**placed, "SalesOrder": "2", "_items": [{**i, "SalesOrder": "2"} for i in placed["_items"]]})
        await woken(world)
        assert (await open_case(world)).code == "posted_twice"
        table.put("1", {**placed, "OverallSDDocumentRejectionSts": "C"})
        await replayed(world)
        assert (await claim_of(world)).name == "GB01/SO/2"


@pytest.mark.parametrize(
    ("arranged", "order", "code"),
    [
        ({}, on_account(lines=[{**line("1", "1", "10.00", "2.00"), "ItemId": "NOWHERE"}]), "unknown_material"),
        ({"orderBlocked": True}, on_account(), "blocked_account"),
    ],
)
async def test_what_sap_refuses_is_a_case_with_its_remedy_and_can_be_replayed_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arranged: dict[str, Any], order: dict[str, Any], code: str
) -> None:
    async with trading(monkeypatch, tmp_path) as world:
        decision = await checked(world, order)
        await world.control("sap", "PUT", "credit-accounts/C-1", {"legalEntity": "GB01", **arranged})
        await post(world, order, decision=decision)
        case = await open_case(world)
        assert (case.code, case.reasons[0]["remedy"].endswith("then replay")) == (code, True)
        mended = {"prices": {"NOWHERE": "1.00"}, "orderBlocked": False}
        await world.control("sap", "PUT", "credit-accounts/C-1", {"legalEntity": "GB01", **mended})
        await replayed(world)
        assert (await claim_of(world)).name == "GB01/SO/1"


def configured(**sales_order: Any) -> dict[str, Any]:
    return {"legal_entities": {"GB01": {"posting": "sales_order", "sales_order": sales_order}}}


def checked_in(**sales_area: Any) -> dict[str, Any]:
    return {"legal_entities": {"GB01": {"sales_area": sales_area}}}


UNKNOWN_TO_SAP = [{"code": "A1", "rate": "0.20", "jurisdiction": "GB", "tax_classification": "9"},
                  {"code": "A0", "rate": "0", "jurisdiction": "GB", "tax_classification": "0"}]  # fmt: skip


@pytest.mark.parametrize(
    ("ledger", "credit", "code"),
    [
        (configured(distribution_channel="99"), checked_in(channel="99"), "customer_not_in_sales_area"),
        (configured(sales_organization="XX01"), checked_in(organization="XX01"), "sales_area"),
        (configured(type="RE"), checked_in(order_type="RE"), "sales_area"),
        (configured(price_condition="ZZZZ"), {}, "condition_type"),
        (
            {"legal_entities": {"GB01": {"posting": "sales_order", "tax_codes": UNKNOWN_TO_SAP}}},
            {},
            "tax_classification",
        ),
    ],
)
async def test_a_policy_that_sap_does_not_know_is_a_case_that_says_where_to_correct_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ledger: dict[str, Any], credit: dict[str, Any], code: str
) -> None:
    async with trading(monkeypatch, tmp_path, ledger, credit=credit) as world:
        await post(world, on_account())
        case = await open_case(world)
        assert (case.code, "ledger.yaml" in case.reasons[0]["remedy"] or "extend" in case.reasons[0]["remedy"]) == (
            code, True,
        )  # fmt: skip
        assert await orders_in_sap(world) == []


async def test_the_preview_of_a_case_shows_the_sales_order_that_a_replay_would_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with trading(monkeypatch, tmp_path) as world:
        order = on_account(lines=[{**line("1", "4", "10.00", "2.00"), "ItemId": "NOWHERE"}])
        await post(world, order)
        preview = await preview_case(await open_case(world), {"order_to_ledger": order_to_ledger}, world.hub)
        assert (preview.would, preview.documents, preview.writes) == ("post", (), ()), preview.reasons
        [shown] = preview.sales_orders
        assert (shown.order, shown.gross.text, shown.items[0].material) == ("S-1", "12.00", "NOWHERE")
        doors = Doors(monkeypatch, world.hub, doors_of_cases)
        told = (await doors.call(doors_of_cases.cases_preview, id=(await open_case(world)).id)).json
        [told_order] = told["salesOrders"]
        [item] = told_order["items"]
        assert (told["would"], told_order["net"], told_order["tax"], item["price"], item["per"]) == (
            "post", "10.00", "2.00", "10.00", 4,
        )  # fmt: skip
        assert await orders_in_sap(world) == []


async def test_an_error_that_hides_in_a_success_is_looked_for_not_taken_for_a_refusal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with trading(monkeypatch, tmp_path) as world:
        order = on_account()
        decision = await checked(world, order)
        system = world.hub.sap_orders._odata.system
        send = system.request

        async def complaining(method: str, path: str, **more: Any) -> Response:
            answer = await send(method, path, **more)
            if method != "POST":
                return answer
            complaint = '{"code": "V1/000", "message": "Output was not printed", "severity": "error"}'
            headers = CIMultiDict(answer.headers)
            headers["sap-message"] = complaint
            return replace(answer, headers=CIMultiDictProxy(headers))

        monkeypatch.setattr(system, "request", complaining)
        await told_again(world, order, decision)
        await woken(world)
        assert (await claim_of(world)).name == "GB01/SO/1"
        assert len(await orders_in_sap(world)) == 1


@pytest.mark.parametrize("ledger", [BY_ORDER, WRONG_TAX])
async def test_amounts_that_the_answer_does_not_tell_are_read_from_sap_before_the_order_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ledger: dict[str, Any]
) -> None:
    async with trading(monkeypatch, tmp_path, ledger) as world:
        order = on_account()
        decision = await checked(world, order)
        system = world.hub.sap_orders._odata.system
        send = system.request

        async def terse(method: str, path: str, **more: Any) -> Response:
            answer = await send(method, path, **more)
            if method != "POST":
                return answer
            told = exact_json.loads_object(answer.body)
            told["d"]["to_Item"] = {"__deferred": {"uri": "to_Item"}}  # type: ignore[index]
            return replace(answer, body=exact_json.dumps(told))

        monkeypatch.setattr(system, "request", terse)
        await told_again(world, order, decision)
        assert [case.code for case in await world.hub.cases.list(state="open")] == (
            ["sap_computed_otherwise"] if ledger is WRONG_TAX else []
        )
        assert [one["status"] for one in await orders_in_sap(world)] == (
            ["blocked"] if ledger is WRONG_TAX else ["open"]
        )
        assert (await claim_of(world)).is_settled == (ledger is BY_ORDER)


# Repeatable requests


async def test_a_gateway_that_repeats_requests_is_told_the_same_request_on_every_attempt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sent: list[dict[str, str]] = []
    async with trading(monkeypatch, tmp_path, REPEATABLE) as world:
        await world.control("sap", "PUT", "repeatability", {"supported": True})
        system = world.hub.sap_orders._odata.system
        send = system.request

        async def watched(method: str, path: str, **more: Any) -> Any:
            headers = more.get("headers") or {}
            if "RequestID" in headers:
                sent.append({name: headers[name] for name in ("RequestID", "RepeatabilityCreation")})
            return await send(method, path, **more)

        monkeypatch.setattr(system, "request", watched)
        system._timeout_seconds = 1.0
        order = on_account()
        decision = await checked(world, order)
        await fail_next_order(world, "timeout_before")
        await told_again(world, order, decision)
        await woken(world)
        assert len(sent) == 2
        assert sent[0] == sent[1]
        assert len(sent[0]["RequestID"]) == 32
        evidence = (await world.hub.records.read_evidence("order|GB01|S-1"))[-1]
        assert evidence.links["repeatability"] == "accepted"


async def test_a_refusal_that_the_gateway_would_repeat_does_not_hold_the_corrected_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with trading(monkeypatch, tmp_path, REPEATABLE) as world:
        await world.control("sap", "PUT", "repeatability", {"supported": True})
        order = on_account(lines=[{**line("1", "1", "10.00", "2.00"), "ItemId": "NOWHERE"}])
        await post(world, order)
        assert (await open_case(world)).code == "unknown_material"
        await world.control("sap", "PUT", "credit-accounts/C-1", {"legalEntity": "GB01", "prices": {"NOWHERE": "1.00"}})
        world.clock.forward(seconds=60)
        await replayed(world)
        assert (await claim_of(world)).name == "GB01/SO/1"


async def test_a_gateway_that_repeats_nothing_is_a_case_that_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with trading(monkeypatch, tmp_path, REPEATABLE) as world:
        await post(world, on_account())
        case = await open_case(world)
        assert case.code == "repeatability_unsupported"
        assert "repeatable_requests" in case.reasons[0]["remedy"]
        assert exact_json.dumps(await orders_in_sap(world)) == b"[]"
