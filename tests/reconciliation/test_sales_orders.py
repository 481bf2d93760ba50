"""Sales orders in the month: billed they match; not billed yet they are in flight, then late; else it is named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shared.flows.case_handling import decide_case
from shared.flows.lifecycle import read_lifecycle
from shared.flows.order_to_ledger import order_to_ledger
from shared.flows.reconciliation import NotClosable, close_period, reconcile
from shared.reports.month_end import as_html
from shared.reports.reconciliation import as_json
from shared.stores.cases import Case
from tests.ledger.placing import BY_ORDER, checked, on_account, open_case, trading
from tests.ledger.rig import confirmed, event, line
from tests.ledger.test_sales_orders import WRONG_TAX
from tests.reconciliation.trading import PERIOD, give_back, into_history
from tests.systems import Systems

THE_DAY_AFTER = datetime(2026, 11, 24, 12, tzinfo=UTC)
LATE = datetime(2026, 11, 27, 12, tzinfo=UTC)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Systems]:
    async with trading(monkeypatch, tmp_path) as running:
        running.clock.now = THE_DAY_AFTER
        yield running


async def placed(world: Systems, number: str = "S-1", **content: Any) -> None:
    """An order on account that Commerce and CRM have, and SAP as a sales order."""
    order = on_account(number, **content)
    await world.control("commerce", "PUT", f"orders/{number}", {"order": order, "legalEntity": "GB01"})
    change = confirmed(order, decision=await checked(world, order), at=world.clock.now)
    assert await world.settle("order_to_ledger", order_to_ledger, change) == "accept"
    await into_history(world, change)


async def bill(world: Systems) -> list[dict[str, Any]]:
    ran = await world.control("sap", "POST", "billing-run")
    assert not ran["refused"]
    billed: list[dict[str, Any]] = ran["billed"]
    return billed


async def reconciled(world: Systems, period: str = PERIOD) -> dict[str, Any]:
    report, closes = await reconcile("GB01", period, world.hub)
    told = as_json(report, closes)
    assert all(bridge["addsUp"] for bridge in told["bridges"]), told["bridges"]
    return told


async def test_a_sales_order_that_is_billed_matches_three_ways_and_so_do_its_returns(world: Systems) -> None:
    await placed(world, "S-1")
    await placed(world, "S-2")
    await give_back(world, "S-2", [("1", "4")])
    await bill(world)
    told = await reconciled(world)
    assert (told["orders"], told["matched"], told["explained"], told["unexplained"]) == (2, 2, 0, 0)
    assert told["difference"] == {"GBP": "0.00"}


async def test_a_sales_order_that_waits_for_billing_is_in_flight_and_blocks_closing_unless_carried_over(
    world: Systems,
) -> None:
    await placed(world)
    told = await reconciled(world)
    [row] = told["rows"]
    assert (row["class"], row["code"], row["explained"]) == ("in_flight", "waits_for_billing", True)
    assert "GB01/SO/1" in row["reason"]
    assert "2026-11-26" in row["reason"]
    with pytest.raises(NotClosable):
        await close_period("GB01", PERIOD, by="Carla", carried=[], comment="", hub=world.hub)
    closed = await close_period("GB01", PERIOD, by="Carla", carried=["S-1"], comment="", hub=world.hub)
    assert closed.issued
    await bill(world)
    told = await reconciled(world)
    assert (told["state"], told["matched"]) == ("reopened", 1)


async def test_the_page_shows_sales_orders_that_wait_for_billing_in_a_group_of_their_own(world: Systems) -> None:
    await placed(world)
    report, closes = await reconcile("GB01", PERIOD, world.hub)
    page = as_html(report, closes, "nonce")
    assert "Waiting for billing" in page
    assert "GB01/SO/1" in page


async def test_a_sales_order_not_billed_in_time_is_a_difference_that_names_it_and_what_holds_it(world: Systems) -> None:
    await placed(world)
    order = world.sap.world.sales_orders.get("1")
    assert order is not None
    world.sap.world.sales_orders.put("1", {**order, "HeaderBillingBlockReason": "02", "TotalCreditCheckStatus": "B"})
    world.clock.now = LATE
    [row] = (await reconciled(world))["rows"]
    assert (row["code"], row["explained"]) == ("billing_overdue", False)
    for words in ("GB01/SO/1", "2026-11-26", "credit check", "billing block 02"):
        assert words in row["reason"]


async def _cancel(world: Systems) -> None:
    [document] = await bill(world)
    await world.control("sap", "POST", f"billing-documents/{document['billing_document']}/cancel")


async def _bill_otherwise(world: Systems) -> None:
    [document] = await bill(world)
    await world.control("sap", "PATCH", f"documents/{document['id']}", {"gross": Decimal("120.01")})


async def _bill_twice(world: Systems) -> None:
    [document] = await bill(world)
    forged = {"legalEntity": "GB01", "gross": Decimal("120.00"), "order": "S-1", "postingDate": "2026-11-23"}
    await world.control("sap", "POST", "documents", forged | {"reference": document["reference"]})


async def _take_the_document_away(world: Systems) -> None:
    [document] = await bill(world)
    await world.control("sap", "DELETE", f"documents/{document['id']}")


async def _delete(world: Systems) -> None:
    world.sap.world.sales_orders.delete("1")


async def _reject(world: Systems) -> None:
    order = world.sap.world.sales_orders.get("1")
    assert order is not None
    world.sap.world.sales_orders.put("1", {**order, "OverallSDDocumentRejectionSts": "C"})


@pytest.mark.parametrize(
    ("happens", "code", "difference"),
    [
        (_cancel, "billing_cancelled", "120.00"),
        (_bill_otherwise, "altered_in_sap", "0.01"),
        (_bill_twice, "duplicate", "120.00"),
        (_take_the_document_away, "billed_not_posted", "120.00"),
        (_delete, "sales_order_gone", "120.00"),
        (_reject, "sales_order_rejected", "120.00"),
    ],
)
async def test_what_goes_wrong_with_billing_is_named_and_costed(
    world: Systems, happens: Callable[[Systems], Awaitable[None]], code: str, difference: str
) -> None:
    await placed(world)
    await happens(world)
    told = await reconciled(world)
    [row] = told["rows"]
    assert (row["code"], row["explained"]) == (code, False)
    assert "GB01/SO/1" in row["reason"] or code == "altered_in_sap"
    assert told["difference"] == {"GBP": difference}


async def held_for_another_tax(world: Systems) -> Case:
    """An order of 120.00 that Commerce has and of which SAP computes less tax; its case."""
    order = on_account()
    await world.control("commerce", "PUT", "orders/S-1", {"order": order, "legalEntity": "GB01"})
    change = confirmed(order, decision=await checked(world, order), at=world.clock.now)
    assert await world.settle("order_to_ledger", order_to_ledger, change) == "hold"
    await into_history(world, change)
    return await open_case(world)


async def test_an_order_that_a_person_discarded_is_explained_by_that_and_not_under_way_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with trading(monkeypatch, tmp_path, WRONG_TAX) as world:
        case = await held_for_another_tax(world)
        world.clock.forward(seconds=60)
        await decide_case(case, "discard", by="Olga", comment="entered anew", hub=world.hub)
        [wake] = [sent for sent in world.bus.sent if sent.force]
        await world.settle("order_to_ledger", order_to_ledger, wake.change)
        [row] = (await reconciled(world))["rows"]
        assert (row["class"], row["code"], row["explained"]) == ("missing_in_sap", "discarded", True)
        assert row["reason"] == "discarded by Olga"
        life = await read_lifecycle("GB01", "S-1", world.hub)
        assert life is not None
        names = [step.name for step in life.steps if step.flow == "order_to_ledger"]
        assert names == ["held in order_to_ledger", "discarded in order_to_ledger"]


async def test_an_order_billed_otherwise_before_it_could_be_blocked_is_a_difference_that_names_its_case(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with trading(monkeypatch, tmp_path, WRONG_TAX) as world:
        case = await held_for_another_tax(world)
        order = world.sap.world.sales_orders.get("1")
        assert order is not None
        world.sap.world.sales_orders.put("1", {**order, "HeaderBillingBlockReason": ""})
        await bill(world)
        told = await reconciled(world)
        [row] = told["rows"]
        assert (row["code"], row["explained"], told["difference"]) == ("amount", False, {"GBP": "15.00"})
        assert "sales order 1 is blocked for billing" in row["reason"]
        assert case.id in row["links"]["case"]


async def test_an_order_billed_in_the_next_month_is_explained_in_both(world: Systems) -> None:
    await placed(world)
    order = world.sap.world.sales_orders.get("1")
    assert order is not None
    world.sap.world.sales_orders.put("1", {**order, "BillingDocumentDate": datetime(2026, 10, 2, tzinfo=UTC).date()})
    await bill(world)
    [here] = (await reconciled(world))["rows"]
    assert (here["class"], here["code"], here["explained"]) == ("period", "billed_in_other_period", True)
    [there] = (await reconciled(world, "2026-10"))["rows"]
    assert (there["code"], there["explained"]) == ("billed_in_other_period", True)


async def test_billing_documents_of_other_sales_orders_are_not_ours(world: Systems) -> None:
    body = {
        "SalesOrderType": "OR", "SalesOrganization": "GB01", "DistributionChannel": "10", "OrganizationDivision": "00",
        "SoldToParty": "C-1", "PurchaseOrderByCustomer": "by telephone",
        "to_Item": [{"Material": "ITEM-1", "RequestedQuantity": "1"}],
    }  # fmt: skip
    await world.hub.sap_orders._odata.create("API_SALES_ORDER_SRV", "A_SalesOrder", body)
    [document] = await bill(world)
    assert document["type"] == "RV"
    told = await reconciled(world)
    assert (told["rows"], told["systems"]["sap"]["rows"]) == ([], 0)


async def test_shipments_by_sales_order_wait_each_for_its_billing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    by_shipment = {"legal_entities": {"GB01": {"posting": "sales_order", "post_when": "shipment"}}}
    async with trading(monkeypatch, tmp_path, BY_ORDER | by_shipment) as world:
        world.clock.now = THE_DAY_AFTER
        order = on_account(lines=[line("1", "10", "100.00", "20.00"), line("2", "2", "2.00", "0.40")])
        await world.control("commerce", "PUT", "orders/S-1", {"order": order, "legalEntity": "GB01"})
        decision = await checked(world, order)
        change = confirmed(order, decision=decision, at=world.clock.now)
        await world.settle("order_to_ledger", order_to_ledger, change)
        await into_history(world, change)
        for number, lines in enumerate(([("1", "4")], None)):
            shipped = event("shipped", order=order, lines=lines, event_id=f"ship-{number}", decision=decision)
            assert await world.settle("order_to_ledger", order_to_ledger, shipped) == "accept"
        await world.control("sap", "POST", "sales-orders/1/bill")
        rows = {row["code"]: row for row in (await reconciled(world))["rows"]}
        assert set(rows) == {"waits_for_billing"}
        await bill(world)
        told = await reconciled(world)
        assert (told["unexplained"], told["inFlight"], told["rows"][0]["code"]) == (0, 0, "posted_in_parts")


async def test_a_month_of_unbilled_orders_is_asked_for_in_a_few_reads_not_one_by_one(world: Systems) -> None:
    for number in range(30):
        await placed(world, f"S-{number}")
    before = len(await world.control("sap", "GET", "calls"))
    told = await reconciled(world)
    assert told["inFlight"] == 30
    assert len(await world.control("sap", "GET", "calls")) - before < 6
