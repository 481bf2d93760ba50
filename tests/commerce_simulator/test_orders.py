"""Orders: kept as they came, told as they should be, asked about before they are confirmed."""

from decimal import Decimal
from typing import Any

import pytest

from tests.commerce_simulator.shop import Shop, approved, sales_order


async def test_the_smallest_order_is_known_to_retail_server_and_headquarters(shop: Shop) -> None:
    await shop.control("PUT", "orders/S-1", {"legalEntity": "GB01", "order": sales_order()})
    order = (await shop.get("/Commerce/SalesOrders(SalesId='S-1')")).json
    assert (order["SalesId"], order["TotalAmount"], order["DataAreaId"]) == ("S-1", Decimal("120.00"), "GB01")
    header = (await shop.get("/data/SalesOrderHeadersV2")).rows[0]
    assert (header["SalesOrderNumber"], header["dataAreaId"]) == ("S-1", "GB01")
    assert shop.functions.events == []


async def test_an_order_may_come_without_an_envelope_and_find_its_company_by_currency(shop: Shop) -> None:
    answer = await shop.control("PUT", "orders/S-2", sales_order("S-2", CurrencyCode="KWD"))
    assert answer["legalEntity"] == "KW01"


async def test_unknown_fields_and_exact_numbers_are_kept(shop: Shop) -> None:
    order = sales_order(LoyaltyCardId="L-1", TotalAmount=Decimal("120.000000001"))
    await shop.control("PUT", "orders/S-1", order)
    reply = await shop.get("/Commerce/SalesOrders(SalesId='S-1')")
    assert reply.json["LoyaltyCardId"] == "L-1"
    assert b'"TotalAmount":120.000000001' in reply.body


async def test_the_action_and_the_function_find_an_order_by_its_sales_id(shop: Shop) -> None:
    await shop.control("PUT", "orders/O'1", sales_order("O'1"))
    action = "/Commerce/SalesOrders/GetSalesOrderDetailsBySalesId"
    assert (await shop.call("POST", action, {"salesId": "O'1"})).json["SalesId"] == "O'1"
    assert (await shop.get(f"{action}(salesId='O''1')")).json["SalesId"] == "O'1"
    assert (await shop.call("POST", action, {"salesId": "S-9"})).status == 404
    assert (await shop.call("POST", action, {"SalesId": "O'1"})).status == 400
    assert (await shop.get("/Commerce/SalesOrders(Id='1')")).status == 400


@pytest.mark.parametrize(
    ("field", "value"),
    [("CurrencyCode", None), ("TotalAmount", "120.00"), ("OrderPlacedDate", 5), ("SalesLines", [{"LineId": "1"}])],
)
async def test_what_is_no_sales_order_is_refused_by_name(shop: Shop, field: str, value: object) -> None:
    status, answer = await shop.try_control(
        "PUT", "orders/S-1", {"legalEntity": "GB01", "order": sales_order(**{field: value})}
    )
    assert status == 400
    assert field in answer["error"]["message"]


async def test_an_order_of_a_company_that_is_not_there_is_refused(shop: Shop) -> None:
    assert (await shop.try_control("PUT", "orders/S-1", {"legalEntity": "XX01", "order": sales_order()}))[0] == 400


async def test_an_order_is_told_with_its_content_when_asked_to(shop: Shop) -> None:
    await shop.control(
        "PUT", "orders/S-1", {"legalEntity": "GB01", "order": sales_order(), "emit": True, "decisionId": "d"}
    )
    event = (await shop.told(1))[0]
    assert (event["type"], event["orderNumber"], event["legalEntity"], event["decisionId"]) == (
        "order.confirmed", "S-1", "GB01", "d",
    )  # fmt: skip
    assert event["order"]["TotalAmount"] == Decimal("120.00")
    assert event["occurredAt"] == "2027-01-15T08:00:00.000Z"
    assert shop.functions.keys == ["host-key"]


async def test_an_order_of_negative_quantities_is_told_as_a_return(shop: Shop) -> None:
    line = sales_order()["SalesLines"][0] | {"Quantity": -1}
    await shop.control(
        "PUT", "orders/R-1", {"legalEntity": "GB01", "emit": True, "order": sales_order("R-1", SalesLines=[line])}
    )
    assert (await shop.told(1))[0]["type"] == "order.returned"


async def test_the_kind_of_the_event_can_be_said(shop: Shop) -> None:
    body = {"legalEntity": "GB01", "order": sales_order(), "emit": True, "type": "order.changed"}
    await shop.control("PUT", "orders/S-1", body)
    assert (await shop.told(1))[0]["type"] == "order.changed"
    assert (await shop.try_control("PUT", "orders/S-1", body | {"type": "order.lost"}))[0] == 400


async def test_an_event_waits_until_it_is_taken(shop: Shop) -> None:
    shop.functions.refusals = [503, 500, 502]
    await shop.control("PUT", "orders/S-1", {"legalEntity": "GB01", "order": sales_order(), "emit": True})
    await shop.told(1)
    assert shop.functions.refusals == []


async def test_a_checkout_on_account_asks_first_and_is_told_with_its_decision(shop: Shop) -> None:
    answer = await shop.control("POST", "checkouts", {"legalEntity": "GB01", "order": sales_order()})
    assert (answer["confirmed"], answer["decision"]["decisionId"]) == (True, "d-1")
    asked = shop.functions.asked[0]
    assert (asked["requestId"], asked["legalEntity"], asked["account"]) == ("S-1", "GB01", "C-1")
    assert (asked["currency"], asked["total"], asked["onAccount"]) == ("GBP", "120.00", "120.00")
    assert asked["lines"] == [{"product": "A", "quantity": "10", "unitPrice": "10.00"}]
    assert (await shop.told(1))[0]["decisionId"] == "d-1"


async def test_a_checkout_paid_at_once_asks_nobody(shop: Shop) -> None:
    order = sales_order(TenderLines=[{"TenderTypeId": "3", "Amount": Decimal("120.00"), "Currency": "GBP"}])
    answer = await shop.control("POST", "checkouts", {"legalEntity": "GB01", "order": order})
    assert (answer["confirmed"], answer["decision"]) == (True, None)
    assert shop.functions.asked == []


async def test_only_what_is_on_account_is_held_when_part_is_paid(shop: Shop) -> None:
    tenders = [{"TenderTypeId": "1", "Amount": Decimal("70.00")}, {"TenderTypeId": "4", "Amount": Decimal("50.00")}]
    await shop.control("POST", "checkouts", {"legalEntity": "GB01", "order": sales_order(TenderLines=tenders)})
    assert (shop.functions.asked[0]["onAccount"], shop.functions.asked[0]["total"]) == ("50.00", "120.00")


@pytest.mark.parametrize("outcome", ["declined", "referred", "approval_required"])
async def test_an_order_that_is_not_approved_is_neither_kept_nor_told(shop: Shop, outcome: str) -> None:
    shop.functions.decisions = [(200, approved() | {"outcome": outcome})]
    answer = await shop.control("POST", "checkouts", {"legalEntity": "GB01", "order": sales_order()})
    assert (answer["confirmed"], answer["decision"]["outcome"]) == (False, outcome)
    assert (await shop.control("GET", "state"))["orders"] == []
    assert shop.simulator.events.described()["pending"] == 0


async def test_a_check_that_is_refused_is_no_decision(shop: Shop) -> None:
    shop.functions.decisions = [(409, {"title": "other content"})]
    answer = await shop.control("POST", "checkouts", {"legalEntity": "GB01", "order": sales_order()})
    assert (answer["confirmed"], answer["decision"], answer["status"]) == (False, None, 409)
    assert answer["problem"] == {"title": "other content"}


async def test_a_lost_check_is_asked_again_with_the_same_content(shop: Shop) -> None:
    shop.functions.decisions = [(503, {}), (500, {})]
    answer = await shop.control("POST", "checkouts", {"legalEntity": "GB01", "order": sales_order()})
    assert answer["confirmed"] is True
    assert len(shop.functions.asked) == 3
    assert all(asked == shop.functions.asked[0] for asked in shop.functions.asked)


async def test_the_request_the_asker_and_the_replaced_decision_can_be_named(shop: Shop) -> None:
    named = {"requestId": "r-9", "requestedBy": "Anna", "replaces": "d-0"}
    await shop.control("POST", "checkouts", {"legalEntity": "GB01", "order": sales_order(), **named})
    assert shop.functions.asked[0] | named == shop.functions.asked[0]


async def test_a_price_without_end_becomes_a_rounding_charge(shop: Shop) -> None:
    line = sales_order()["SalesLines"][0] | {"Quantity": 3}
    await shop.control("POST", "checkouts", {"legalEntity": "GB01", "order": sales_order(SalesLines=[line])})
    asked = shop.functions.asked[0]
    sums = [Decimal(asked["lines"][0]["quantity"]) * Decimal(asked["lines"][0]["unitPrice"]), Decimal(asked["tax"])]
    assert sum(sums + [Decimal(charge["amount"]) for charge in asked["charges"]]) == Decimal(asked["total"])


async def _sold(shop: Shop) -> None:
    await shop.control("PUT", "orders/S-1", {"legalEntity": "GB01", "order": sales_order(), "decisionId": "d-1"})


async def test_shipments_and_cancellations_are_told_and_seen_at_headquarters(shop: Shop) -> None:
    await _sold(shop)
    lines = [{"lineId": "1", "quantity": 4}]
    await shop.control("POST", "cancellations", {"orderNumber": "S-1", "lines": lines})
    assert await _status(shop) == "Backorder"
    await shop.control("POST", "shipments", {"orderNumber": "S-1"})
    assert await _status(shop) == "Delivered"
    await shop.control("POST", "cancellations", {"orderNumber": "S-1"})
    assert await _status(shop) == "Canceled"
    events = await shop.told(3)
    assert [event["type"] for event in events] == ["order.cancelled", "order.shipped", "order.cancelled"]
    assert (events[0]["lines"], events[2]["decisionId"]) == (lines, "d-1")


async def _status(shop: Shop) -> Any:
    return (await shop.get("/data/SalesOrderHeadersV2(SalesOrderNumber='S-1',dataAreaId='GB01')")).json[
        "SalesOrderStatus"
    ]


async def test_a_return_is_told_by_lines_or_as_an_order_of_its_own(shop: Shop) -> None:
    await _sold(shop)
    lines = [{"lineId": "1", "quantity": 3}]
    await shop.control("POST", "returns", {"orderNumber": "S-1", "lines": lines})
    await shop.control("POST", "returns", {"orderNumber": "S-1", "lines": lines, "returnNumber": "R-1"})
    by_lines, made = sorted(await shop.told(2), key=lambda event: event["orderNumber"], reverse=True)
    assert (by_lines["orderNumber"], by_lines["lines"], by_lines["order"]) == ("S-1", lines, None)
    line = made["order"]["SalesLines"][0]
    assert (line["Quantity"], line["NetAmount"], line["TaxAmount"]) == (-3, Decimal("-30.00"), Decimal("-6.00"))
    assert (line["ReturnTransactionId"], line["ReturnLineNumber"]) == ("S-1", "1")
    assert made["order"]["TotalAmount"] == Decimal("-36.00")
    header = (await shop.get("/data/SalesOrderHeadersV2?$filter=SalesOrderOriginCode eq 'RETURN'")).rows[0]
    assert (header["SalesOrderNumber"], header["ReturnTransactionId"]) == ("R-1", "S-1")


async def test_a_return_of_an_unknown_line_or_order_is_refused(shop: Shop) -> None:
    await _sold(shop)
    wrong = {"orderNumber": "S-1", "returnNumber": "R-1", "lines": [{"lineId": "9", "quantity": 1}]}
    assert (await shop.try_control("POST", "returns", wrong))[0] == 400
    assert (await shop.try_control("POST", "returns", {"orderNumber": "S-9"}))[0] == 400


@pytest.mark.parametrize("call", ["returns", "shipments", "cancellations"])
@pytest.mark.parametrize("lines", [5, [1], "all", {}])
async def test_lines_that_are_none_are_refused_and_told_to_nobody(shop: Shop, call: str, lines: object) -> None:
    await _sold(shop)
    status, answer = await shop.try_control("POST", call, {"orderNumber": "S-1", "lines": lines})
    assert (status, answer["error"]["message"]) == (400, "lines: a list of objects was expected")
    await shop.control("POST", "shipments", {"orderNumber": "S-1", "eventId": "e-1"})
    assert [event["id"] for event in await shop.told(1)] == ["e-1"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("ChargeLines", [{"ChargeCode": "FREIGHT", "CalculatedAmount": None}]), ("ChargeLines", [{}]),
     ("TenderLines", [{"TenderTypeId": "4", "Amount": "NaN"}]), ("TotalAmount", Decimal("1e300"))],
)  # fmt: skip
@pytest.mark.parametrize("way", ["orders", "checkouts", "returns"])
async def test_an_amount_that_is_none_is_refused_and_headquarters_goes_on_answering(
    shop: Shop, way: str, field: str, value: object
) -> None:
    order = {"legalEntity": "GB01", "order": sales_order("S-1", **{field: value})}
    method, path = ("PUT", "orders/S-1") if way == "orders" else ("POST", way)
    status, answer = await shop.try_control(method, path, order)
    assert (status, field in answer["error"]["message"]) == (400, True)
    assert (await shop.get("/data/SalesOrderHeadersV2")).rows == []


async def test_nothing_can_be_returned_of_a_line_of_nothing(shop: Shop) -> None:
    order = sales_order()
    order["SalesLines"][0]["Quantity"] = 0
    await shop.control("PUT", "orders/S-1", {"legalEntity": "GB01", "order": order})
    wanted = {"orderNumber": "S-1", "returnNumber": "R-1", "lines": [{"lineId": "1", "quantity": 1}]}
    assert (await shop.try_control("POST", "returns", wanted))[0] == 400


async def test_a_customers_limit_is_a_number(shop: Shop) -> None:
    status, answer = await shop.try_control("PUT", "customers/C-1", {"limit": "plenty"})
    assert status == 400
    assert "CreditLimit" in answer["error"]["message"]


async def test_one_number_in_two_companies_is_two_orders(shop: Shop) -> None:
    await shop.control("PUT", "orders/S-1", {"legalEntity": "GB01", "order": sales_order()})
    await shop.control("PUT", "orders/S-1", {"legalEntity": "JP01", "order": sales_order(CurrencyCode="JPY")})
    rows = (await shop.get("/data/SalesOrderHeadersV2?cross-company=true")).rows
    assert sorted(row["dataAreaId"] for row in rows) == ["GB01", "JP01"]


async def test_state_names_the_company_of_every_order(shop: Shop) -> None:
    await _sold(shop)
    held = await shop.control("GET", "state")
    assert {"orders", "customers", "prices", "on_hand"} <= held.keys()
    assert [(order["SalesId"], order["legalEntity"]) for order in held["orders"]] == [("S-1", "GB01")]
