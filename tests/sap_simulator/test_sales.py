"""Claims about simulation, sales orders, billing and the credit verdict."""

from decimal import Decimal
from typing import Any

import pytest

from tests.sap_simulator.caller import Reply, Sap
from tests.sap_simulator.entries import entry, envelope

SIMULATION = "API_SALES_ORDER_SIMULATION_SRV/A_SalesOrderSimulation"
ORDERS = "API_SALES_ORDER_SRV/A_SalesOrder"
EXPOSURE = "YY1_CREDITEXPOSUREITEM_CDS/YY1_CreditExposureItem"


def order(*items: dict[str, object], **header: object) -> dict[str, object]:
    return {
        "SalesOrderType": "OR", "SalesOrganization": "GB01", "DistributionChannel": "10", "OrganizationDivision": "00",
        "SoldToParty": "C-1", "to_Item": list(items) or [item()], **header,
    }  # fmt: skip


def item(material: str = "A", quantity: str = "10", **more: object) -> dict[str, object]:
    return {"Material": material, "RequestedQuantity": quantity, **more}


async def simulate(sap: Sap, *items: dict[str, object], **header: object) -> Any:
    sent = {"to_Pricing": {}, "to_Credit": {}} | header
    return (await sap.call("POST", SIMULATION, order(*items, **sent))).d


async def create(sap: Sap, *items: dict[str, object], **header: object) -> Reply:
    return await sap.call("POST", ORDERS, order(*items, **header))


async def exposure(sap: Sap) -> Decimal:
    rows = (await sap.get(EXPOSURE, filter="BusinessPartner eq 'C-1'")).results
    return sum((Decimal(row["ExposureAmount"]) for row in rows), Decimal(0))


# Simulation


async def test_a_simulation_prices_by_the_contract_and_saves_nothing(sap: Sap) -> None:
    await sap.account(prices={"A": "9.99", "B": "0.125"})
    answer = await simulate(sap, item("A", "3"), item("B", "10"))
    assert answer["to_Pricing"]["TotalNetAmount"] == "31.22"
    assert [row["NetAmount"] for row in answer["to_Item"]["results"]] == ["29.97", "1.25"]
    assert [row["SalesOrderItem"] for row in answer["to_Item"]["results"]] == ["10", "20"]
    assert (await sap.state())["sales_orders"] == []


async def test_only_what_was_sent_comes_back(sap: Sap) -> None:
    await sap.account(prices={"A": 1})
    answer = (await sap.call("POST", SIMULATION, order(item()))).d
    assert "__deferred" in answer["to_Pricing"]
    assert "__deferred" in answer["to_Credit"]
    full = (
        await sap.call("POST", SIMULATION, order(item(to_PricingElement=[], to_ScheduleLine=[]), to_PricingElement=[]))
    ).d
    [row] = full["to_Item"]["results"]
    assert [element["ConditionType"] for element in row["to_PricingElement"]["results"]] == ["PPR0", "TTX1"]
    assert row["to_PricingElement"]["results"][0]["ConditionRateValue"] == "1.00"
    assert row["to_ScheduleLine"]["results"][0]["ConfdOrderQtyByMatlAvailCheck"] == "10"


async def test_the_credit_verdict_weighs_exposure_and_the_gross_order_against_the_limit(sap: Sap) -> None:
    await sap.account(limit=120, prices={"A": 10})
    assert (await simulate(sap, item()))["to_Credit"]["TotalCreditCheckStatus"] == "A", "120.00 gross fit exactly"
    await sap.account(limit=120, exposure="0.01")
    assert (await simulate(sap, item()))["to_Credit"]["TotalCreditCheckStatus"] == "B"


async def test_a_blocked_account_is_refused_and_one_without_credit_account_is_not_checked(sap: Sap) -> None:
    await sap.account(blocked=True, prices={"A": 1})
    assert (await simulate(sap, item()))["to_Credit"]["TotalCreditCheckStatus"] == "B"
    answer = await simulate(sap, item(), SoldToParty="CPDGB01")
    assert answer["to_Credit"]["TotalCreditCheckStatus"] == ""


async def test_a_product_without_price_is_a_warning_and_counts_nothing(sap: Sap) -> None:
    await sap.account(prices={"A": 10})
    reply = await sap.call("POST", SIMULATION, order(item("A", "1"), item("NEW", "1"), to_Pricing={}))
    assert reply.d["to_Pricing"]["TotalNetAmount"] == "10.00"
    assert "PPR0 is missing" in reply.headers["sap-message"]


async def test_stock_limits_what_is_confirmed(sap: Sap) -> None:
    await sap.account(prices={"A": 1})
    await sap.control("PUT", "stock/GB10/A", {"quantity": 4})
    await sap.control("PUT", "stock/JP10/C", {"quantity": 9})
    rows = (await simulate(sap, item("A"), item("B"), item("C")))["to_Item"]["results"]
    confirmed = {row["Material"]: row["ConfdDelivQtyInOrderQtyUnit"] for row in rows}
    assert confirmed == {"A": "4", "B": "10", "C": "0"}, "B is not managed in stock, C lies elsewhere"


async def test_prices_have_a_time_scales_a_quantity_and_the_customer_goes_before_everybody(sap: Sap) -> None:
    await sap.account()
    await sap.control("PUT", "conditions/*/A", {"price": 20, "currency": "GBP"})
    await sap.control("PUT", "conditions/C-1/A", {"price": 10, "from": "2027-01-01", "to": "2027-01-31"})
    scales = {"price": 5, "scales": [{"from": 10, "price": 4}, {"from": 100, "price": 3}]}
    await sap.control("PUT", "conditions/C-1/S", scales)

    async def net(*items: dict[str, object], **header: object) -> object:
        return (await simulate(sap, *items, **header))["to_Pricing"]["TotalNetAmount"]

    assert await net(item("A", "1")) == "10.00"
    assert await net(item("A", "1"), PricingDate="/Date(1801440000000)/") == "20.00", "in February the list price"
    assert [await net(item("S", quantity)) for quantity in ("9", "10", "100")] == ["45.00", "40.00", "300.00"]


async def test_a_new_price_ends_the_old_one_the_day_before(sap: Sap) -> None:
    await sap.account()
    await sap.control("PUT", "conditions/C-1/A", {"price": 10, "from": "2027-01-01"})
    await sap.control("PUT", "conditions/C-1/A", {"price": 11, "from": "2027-01-10"})
    old, new = (await sap.state())["conditions"]
    assert (old["price"], old["to"], new["price"], new["from"]) == ("10", "2027-01-09", "11", "2027-01-10")
    assert old["changed_at"] < new["changed_at"] or old["changed_at"] > new["changed_at"], (
        "each change has its own stamp"
    )


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"SalesOrganization": "XX01"}, "SalesOrganization"),
        ({"SalesOrderType": "ZZ"}, "SalesOrderType"),
        ({"SoldToParty": "nobody"}, "SoldToParty"),
        ({"DistributionChannel": "99"}, "SoldToParty"),
        ({"TransactionCurrency": "XXX"}, "TransactionCurrency"),
        ({"SDPricingProcedure": "YFAA01"}, "SDPricingProcedure"),
        ({"to_Item": [item(quantity="0")]}, "RequestedQuantity"),
        ({"to_Item": [item(Plant="JP10")]}, "Plant"),
        ({"to_Item": [item(NetAmount="1")]}, "NetAmount"),
        ({"to_Item": [item(material="")]}, "Material"),
        ({"to_Item": [item(SalesOrderItem="10"), item(SalesOrderItem="10")]}, "SalesOrderItem"),
        ({"to_Item": "A"}, "to_Item"),
        ({"to_Items": []}, "to_Items"),
    ],
)
async def test_an_order_that_sap_cannot_read_is_refused_by_property(
    sap: Sap, changed: dict[str, object], name: str
) -> None:
    await sap.account(prices={"A": 1})
    reply = await sap.call("POST", SIMULATION, order(**changed))
    assert (reply.status, reply.refused_property) == (400, name)


# Sales orders


async def test_a_deep_insert_stores_header_items_prices_and_schedule(sap: Sap) -> None:
    await sap.account(prices={"A": 10})
    created = (await create(sap, PurchaseOrderByCustomer="S-7")).d
    read = (
        await sap.get(
            f"{ORDERS}('{created['SalesOrder']}')", expand="to_Item/to_ScheduleLine,to_Item/to_PricingElement"
        )
    ).d
    assert (read["TotalNetAmount"], read["TotalCreditCheckStatus"], read["PurchaseOrderByCustomer"]) == (
        "100.00",
        "A",
        "S-7",
    )
    [row] = read["to_Item"]["results"]
    assert (row["NetAmount"], row["TaxAmount"]) == ("100.00", "20.00")
    assert row["to_ScheduleLine"]["results"][0]["ScheduleLineOrderQuantity"] == "10"
    assert row["to_PricingElement"]["results"][0]["ConditionRecord"] == "0000000001"
    found = (await sap.get(ORDERS, filter="PurchaseOrderByCustomer eq 'S-7'")).results
    assert [one["SalesOrder"] for one in found] == [created["SalesOrder"]]


@pytest.mark.parametrize(
    "name", ["ExternalDocumentID", "SenderBusinessSystemName", "TotalNetAmount", "TotalCreditCheckStatus"]
)
async def test_what_sap_sets_itself_cannot_be_sent(sap: Sap, name: str) -> None:
    await sap.account(prices={"A": 10})
    reply = await create(sap, **{name: "1"})
    assert (reply.status, reply.refused_property) == (400, name)


async def test_the_same_order_sent_twice_is_created_twice(sap: Sap) -> None:
    await sap.account(prices={"A": 10})
    for _ in range(2):
        await create(sap, PurchaseOrderByCustomer="S-7")
    assert len((await sap.state())["sales_orders"]) == 2


async def test_an_open_order_counts_until_billed_and_is_a_receivable_after(sap: Sap) -> None:
    await sap.account(exposure=50, prices={"A": 10})
    number = (await create(sap, PurchaseOrderByCustomer="S-7")).d["SalesOrder"]
    assert await exposure(sap) == 170
    await sap.control("POST", f"sales-orders/{number}/bill")
    assert await exposure(sap) == 170, "billed: no longer open, but owed"
    rows = (await sap.get(EXPOSURE, filter="BusinessPartner eq 'C-1'")).results
    assert {row["CreditExposureCategory"] for row in rows} == {"200"}
    [billing] = (await sap.get("API_BILLING_DOCUMENT_SRV/A_BillingDocument", expand="to_Item")).results
    assert (billing["TotalGrossAmount"], billing["PurchaseOrderByCustomer"]) == ("120.00", "S-7")
    assert billing["to_Item"]["results"][0]["SalesDocument"] == number
    read = (await sap.get(f"{ORDERS}('{number}')", expand="to_SubsequentProcFlowDoc")).d
    assert read["OverallOrdReltdBillgStatus"] == "C"
    assert read["to_SubsequentProcFlowDoc"]["results"][0]["SubsequentDocument"] == billing["BillingDocument"]
    assert (await sap.try_control("POST", f"sales-orders/{number}/bill"))[0] == 400


async def test_a_credit_blocked_order_adds_nothing_and_cannot_be_billed(sap: Sap) -> None:
    await sap.account(limit=100, prices={"A": 10})
    created = (await create(sap)).d
    assert (created["TotalCreditCheckStatus"], created["TotalBlockStatus"]) == ("B", "C")
    assert await exposure(sap) == 0
    assert (await sap.try_control("POST", f"sales-orders/{created['SalesOrder']}/bill"))[0] == 400


async def test_a_change_of_an_order_needs_its_version_and_a_rejected_item_counts_no_more(sap: Sap) -> None:
    await sap.account(prices={"A": 10, "B": 1})
    reply = await create(sap, item("A", "1"), item("B", "1"))
    number, tag = reply.d["SalesOrder"], reply.headers["ETag"]
    assert (await sap.call("PATCH", f"{ORDERS}('{number}')", {"PurchaseOrderByCustomer": "X"})).status == 428
    assert (
        await sap.call("PATCH", f"{ORDERS}('{number}')", {"PurchaseOrderByCustomer": "X"}, {"If-Match": tag})
    ).status == 204
    assert (
        await sap.call("PATCH", f"{ORDERS}('{number}')", {"PurchaseOrderByCustomer": "Y"}, {"If-Match": tag})
    ).status == 412
    line = f"API_SALES_ORDER_SRV/A_SalesOrderItem(SalesOrder='{number}',SalesOrderItem='10')"
    assert (await sap.call("PATCH", line, {"SalesDocumentRjcnReason": "60"})).status == 204
    read = (await sap.get(f"{ORDERS}('{number}')")).d
    assert (read["TotalNetAmount"], read["OverallSDDocumentRejectionSts"]) == ("1.00", "B")
    assert await exposure(sap) == Decimal("1.20")
    other = line.replace("'10'", "'20'")
    assert (await sap.call("PATCH", other, {"SalesDocumentRjcnReason": "60"})).status == 204
    read = (await sap.get(f"{ORDERS}('{number}')")).d
    assert (read["OverallSDProcessStatus"], read["OverallSDDocumentRejectionSts"]) == ("C", "C")
    assert await exposure(sap) == 0


async def test_an_order_can_bring_its_own_price(sap: Sap) -> None:
    await sap.account(prices={"A": 10})
    price = {
        "PricingProcedureStep": "10",
        "PricingProcedureCounter": "1",
        "ConditionType": "PMP0",
        "ConditionRateValue": "7.50",
    }
    created = (await create(sap, item(to_PricingElement=[price]))).d
    assert created["TotalNetAmount"] == "75.00"
    assert (await create(sap, item(to_PricingElement=[{**price, "ConditionType": "ZZZZ"}]))).status == 400


async def test_a_deleted_order_is_gone_and_frees_its_exposure(sap: Sap) -> None:
    await sap.account(prices={"A": 10})
    reply = await create(sap)
    path = f"{ORDERS}('{reply.d['SalesOrder']}')"
    assert (await sap.call("DELETE", path, headers={"If-Match": reply.headers["ETag"]})).status == 204
    assert (await sap.get(path)).status == 404
    assert await exposure(sap) == 0


# Credit


async def test_the_credit_account_shows_limit_block_and_risk_class_per_segment(sap: Sap) -> None:
    await sap.account(limit=1000, blocked=True, riskClass="E")
    await sap.account(legalEntity="JP01", limit=50000, currency="JPY")
    rows = (
        await sap.get("API_CRDTMBUSINESSPARTNER/CreditMgmtBusinessPartner('C-1')", expand="to_CreditMgmtAccountTP")
    ).d["to_CreditMgmtAccountTP"]["results"]
    shown = [
        (r["CreditSegment"], r["CreditLimitAmount"], r["CreditSegmentCurrency"], r["CreditAccountIsBlocked"])
        for r in rows
    ]
    assert shown == [("1000", "1000.00", "GBP", True), ("2000", "50000", "JPY", False)]


async def test_a_posting_adds_to_exposure_and_a_payment_clears_the_oldest_items_first(sap: Sap) -> None:
    await sap.account(exposure=100, overdueDays=40)
    await sap.post(envelope(entry()))
    assert await exposure(sap) == 220
    await sap.control("POST", "payments", {"account": "C-1", "amount": "150.00"})
    assert await exposure(sap) == 70
    items = (await sap.state())["open_items"]
    assert sorted((one["reference"], one["amount"]) for one in items) == [("", "-50.00"), ("K-1", "120.00")]
    cleared = (
        await sap.get(
            "API_OPLACCTGDOCITEMCUBE_SRV/A_OperationalAcctgDocItemCube", filter="DocumentReferenceID eq 'OPENING'"
        )
    ).results
    assert {row["IsCleared"] for row in cleared if row["Customer"]} == {True}


async def test_base_exposure_may_be_negative_and_setting_it_again_replaces_it(sap: Sap) -> None:
    await sap.account(exposure="-25.50")
    assert await exposure(sap) == Decimal("-25.50")
    await sap.account(exposure=10)
    assert await exposure(sap) == 10
    await sap.account(limit=5)
    assert await exposure(sap) == 10, "what is not said stays"


async def test_overdue_without_exposure_is_an_overdue_item_that_nets_to_nothing(sap: Sap) -> None:
    await sap.account(overdueDays=45)
    assert await exposure(sap) == 0
    rows = (
        await sap.get(
            "API_OPLACCTGDOCITEMCUBE_SRV/A_OperationalAcctgDocItemCube",
            filter="Customer eq 'C-1' and IsCleared eq false and NetDueDate lt datetime'2027-01-01T00:00:00'",
        )
    ).results
    assert [row["AmountInTransactionCurrency"] for row in rows] == ["1.00"]


async def test_an_opening_balance_is_an_open_item_but_no_document_of_any_month(sap: Sap) -> None:
    await sap.account(exposure=100)
    state = await sap.state()
    assert state["documents"] == []
    assert [one["reference"] for one in state["open_items"]] == ["OPENING"]


# Sales orders that are posted: taxes, conditions, billing


def priced(
    rate: str, per: str = "1", *charges: tuple[str, str], material: str = "A", **more: object
) -> dict[str, object]:
    elements = [{"ConditionType": "PMP0", "ConditionRateValue": rate, "ConditionQuantity": per}]
    elements += [{"ConditionType": kind, "ConditionRateValue": amount} for kind, amount in charges]
    return item(material, "3", to_PricingElement=elements, **more)


@pytest.mark.parametrize(("tax_class", "tax"), [("0", "0.00"), ("1", "2.00"), ("2", "0.50")])
async def test_the_tax_classification_of_an_item_decides_its_tax(sap: Sap, tax_class: str, tax: str) -> None:
    await sap.account(prices={"A": 1})
    created = (await create(sap, priced("10.00", "3", ProductTaxClassification1=tax_class))).d
    [row] = created["to_Item"]["results"]
    assert (row["NetAmount"], row["TaxAmount"]) == ("10.00", tax)


async def test_a_classification_that_the_country_does_not_have_is_refused(sap: Sap) -> None:
    await sap.account(prices={"A": 1})
    reply = await create(sap, priced("1.00", ProductTaxClassification1="7"))
    assert (reply.status, reply.refused_property) == (400, "ProductTaxClassification1")


async def test_freight_and_discount_belong_to_the_net_amount_and_are_billed_to_their_accounts(sap: Sap) -> None:
    await sap.account(prices={"A": 1})
    number = (await create(sap, priced("10.00", "3", ("KF00", "4.00"), ("RB00", "-1.00")))).d["SalesOrder"]
    document = await sap.control("POST", f"sales-orders/{number}/bill")
    amounts = {line["account"]: line["amount"] for line in document["lines"]}
    assert amounts == {
        "12100000": "15.60", "41000000": "-10.00", "41500000": "-4.00", "44000000": "1.00", "22000000": "-2.60"
    }  # fmt: skip


@pytest.mark.parametrize("charge", [("KF00", "-1.00"), ("RB00", "1.00"), ("KF00", "0.001"), ("ZF99", "1.00")])
async def test_a_condition_has_a_known_type_its_own_sign_and_the_decimals_of_its_currency(
    sap: Sap, charge: tuple[str, str]
) -> None:
    await sap.account(prices={"A": 1})
    assert (await create(sap, priced("1.00", "1", charge))).status == 400


@pytest.mark.parametrize("kind", ["RE", "CR"])
async def test_returns_and_credit_memo_requests_are_not_taken_as_sales_orders(sap: Sap, kind: str) -> None:
    await sap.account(prices={"A": 1})
    reply = await create(sap, SalesOrderType=kind)
    assert (reply.status, reply.refused_property) == (400, "SalesOrderType")


async def test_a_material_that_is_not_there_cannot_be_sold(sap: Sap) -> None:
    await sap.account()
    reply = await create(sap, item("NOWHERE"))
    assert (reply.status, reply.refused_property) == (400, "Material")


async def test_billing_takes_the_orders_reference_and_date_and_waits_for_that_date(sap: Sap) -> None:
    await sap.account(prices={"A": 10})
    day = (await sap.state())["periods"][-1]["period"][:4]
    await create(sap, BillingDocumentDate=f"{int(day) + 1}-01-05T00:00:00", AccountingDocExternalReference="K-LATER")
    await create(sap, BillingDocumentDate=f"{day}-01-05T00:00:00", AccountingDocExternalReference="K-DUE")
    ran = await sap.control("POST", "billing-run")
    assert [(one["reference"], one["posting_date"]) for one in ran["billed"]] == [("K-DUE", f"{day}-01-05")]
    assert [one["status"] for one in (await sap.state())["sales_orders"]] == ["open", "billed"]


async def test_a_billing_block_keeps_an_order_from_being_billed_until_it_is_taken_off(sap: Sap) -> None:
    await sap.account(prices={"A": 10})
    reply = await create(sap)
    path, tag = f"{ORDERS}('{reply.d['SalesOrder']}')", {"If-Match": reply.headers["ETag"]}
    assert (await sap.call("PATCH", path, {"HeaderBillingBlockReason": "03"}, tag)).status == 204
    ran = await sap.control("POST", "billing-run")
    assert (ran["billed"], ran["refused"][0]["reason"]) == ([], "order 1 is blocked for billing (reason 03)")
    tag = {"If-Match": (await sap.get(path)).headers["ETag"]}
    await sap.call("PATCH", path, {"HeaderBillingBlockReason": ""}, tag)
    assert len((await sap.control("POST", "billing-run"))["billed"]) == 1


async def test_a_cancelled_billing_reverses_its_document_and_opens_its_order_again(sap: Sap) -> None:
    await sap.account(prices={"A": 10})
    number = (await create(sap, AccountingDocExternalReference="K-1")).d["SalesOrder"]
    billed = await sap.control("POST", f"sales-orders/{number}/bill")
    await sap.control("POST", f"billing-documents/{billed['billing_document']}/cancel")
    state = await sap.state()
    assert [(one["reference"], one["reversed"] or bool(one["reverses"])) for one in state["documents"]] == [
        ("K-1", True)
    ] * 2
    assert state["sales_orders"][0]["status"] == "open"
    assert await exposure(sap) == 120
    assert (await sap.control("POST", f"sales-orders/{number}/bill"))["gross"] == "120.00"
    assert (await sap.try_control("POST", f"billing-documents/{billed['billing_document']}/cancel"))[0] == 400


REPEATABLE = {"RequestID": "A" * 32, "RepeatabilityCreation": "2026-11-24T12:00:00"}


async def test_a_gateway_that_does_not_repeat_requests_rejects_one_that_asks_for_it(sap: Sap) -> None:
    await sap.account(prices={"A": 10})
    reply = await sap.call("POST", ORDERS, order(), REPEATABLE)
    assert (reply.status, reply.headers["RepeatabilityResult"]) == (400, "unsupported")
    assert (await sap.state())["sales_orders"] == []


async def test_a_gateway_that_repeats_requests_gives_the_first_answer_again_also_a_refusal(sap: Sap) -> None:
    await sap.account(prices={"A": 10})
    await sap.control("PUT", "repeatability", {"supported": True})
    numbers = []
    for _ in range(2):
        reply = await sap.call("POST", ORDERS, order(), REPEATABLE)
        assert reply.headers["RepeatabilityResult"] == "accepted"
        numbers.append(reply.d["SalesOrder"])
    assert numbers == ["1", "1"]
    assert len((await sap.state())["sales_orders"]) == 1
    other = {**REPEATABLE, "RequestID": "B" * 32}
    assert (await sap.call("POST", ORDERS, order(item("NEW")), other)).status == 400
    await sap.account(prices={"NEW": 1})
    assert (await sap.call("POST", ORDERS, order(item("NEW")), other)).status == 400, "as first answered"
    later = {**other, "RepeatabilityCreation": "2026-11-24T13:00:00"}
    assert (await sap.call("POST", ORDERS, order(item("NEW")), later)).status == 201
