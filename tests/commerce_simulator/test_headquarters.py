"""Headquarters' OData: companies, filters, pages, customers, and prices that are open before they are in force."""

from decimal import Decimal

import pytest

from tests.commerce_simulator.shop import Shop, sales_order
from tests.kit.counter import Clock

ACROSS = "cross-company=true"


async def _orders(shop: Shop) -> None:
    for number, company, day in (
        ("S-1", "GB01", "2026-11-01"),
        ("S-2", "GB01", "2026-11-30"),
        ("S-3", "JP01", "2026-11-30"),
    ):
        order = sales_order(number, BusinessDate=day, OrderPlacedDate=f"{day}T23:30:00Z")
        await shop.control("PUT", f"orders/{number}", {"legalEntity": company, "order": order})


async def test_a_reader_stays_in_its_company_unless_it_asks_across(shop: Shop) -> None:
    await _orders(shop)
    assert [row["SalesOrderNumber"] for row in (await shop.get("/data/SalesOrderHeadersV2")).rows] == ["S-1", "S-2"]
    assert len((await shop.get(f"/data/SalesOrderHeadersV2?{ACROSS}")).rows) == 3


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("dataAreaId eq 'JP01'", ["S-3"]),
        ("dataAreaId eq 'gb01' and RequestedReceiptDate ge 2026-11-02", ["S-2"]),
        ("RequestedReceiptDate le 2026-11-01", ["S-1"]),
        ("RequestedReceiptDate eq 2026-11-30T12:00:00Z and dataAreaId ne 'JP01'", ["S-2"]),
        ("SalesOrderNumber eq 's-3'", ["S-3"]),
        ("OrderTotalAmount gt 120", []),
        ("OrderCreationDateTime lt 2026-11-02T00:00:00Z", ["S-1"]),
        (
            "SalesOrderStatus eq Microsoft.Dynamics.DataEntities.SalesStatus'Backorder' and dataAreaId eq 'JP01'",
            ["S-3"],
        ),
    ],
)
async def test_orders_are_found_by_company_date_number_and_status(
    shop: Shop, expression: str, found: list[str]
) -> None:
    await _orders(shop)
    rows = (await shop.get(f"/data/SalesOrderHeadersV2?{ACROSS}&$filter={expression}")).rows
    assert [row["SalesOrderNumber"] for row in rows] == found


@pytest.mark.parametrize(
    "query",
    [
        "$filter=SalesOrderNo eq 'x'",
        "$filter=SalesOrderStatus eq 'Backorder'",
        "$filter=OrderTotalAmount eq '120'",
        "$filter=SalesOrderNumber in ('S-1')",
        "$select=Total",
        "$orderby=Total",
        "$expand=SalesOrderLines",
        "$top=many",
        "$top=²",
        "$skip=" + "9" * 5000,
        "$count=perhaps",
        "cross-company=perhaps",
        "$filter=OrderCreationDateTime gt 2026-13-45T00:00:00Z",
        "$filter=OrderTotalAmount gt 1e-99999999999999999999",
        "$filter=SalesOrderStatus eq Microsoft.Dynamics.DataEntities.NoYes'Yes'",
        "$filter=SalesOrderStatus eq Microsoft.Dynamics.DataEntities.SalesStatus'Lost'",
    ],
)
async def test_a_query_that_headquarters_cannot_answer_is_refused(shop: Shop, query: str) -> None:
    assert (await shop.get(f"/data/SalesOrderHeadersV2?{query}")).status == 400


async def test_an_unknown_entity_is_a_404(shop: Shop) -> None:
    assert (await shop.get("/data/SalesOrderHeadersV9")).status == 404


async def test_lines_carry_amounts_and_the_link_of_a_return(shop: Shop) -> None:
    line = sales_order()["SalesLines"][0] | {"Quantity": -1, "ReturnTransactionId": "S-0", "ReturnLineNumber": "2"}
    await shop.control("PUT", "orders/R-1", {"legalEntity": "GB01", "order": sales_order("R-1", SalesLines=[line])})
    row = (await shop.get("/data/SalesOrderLinesV3?$filter=SalesOrderNumber eq 'R-1'")).rows[0]
    assert (row["OrderedSalesQuantity"], row["SalesPrice"], row["LineAmount"]) == (
        -1,
        Decimal("10.00"),
        Decimal("100.00"),
    )
    assert (row["ReturnTransactionId"], row["ReturnLineNumber"]) == ("S-0", 2)


async def test_top_and_skip_page_as_asked_and_no_further(shop: Shop) -> None:
    await _orders(shop)
    page = await shop.get(f"/data/SalesOrderHeadersV2?{ACROSS}&$top=2&$count=true&$orderby=SalesOrderNumber desc")
    assert [row["SalesOrderNumber"] for row in page.rows] == ["S-3", "S-2"]
    assert page.json["@odata.count"] == 3
    assert "@odata.nextLink" not in page.json
    rest = await shop.get(f"/data/SalesOrderHeadersV2?{ACROSS}&$top=2&$skip=2&$orderby=SalesOrderNumber desc")
    assert [row["SalesOrderNumber"] for row in rest.rows] == ["S-1"]


async def test_the_server_pages_at_ten_thousand_rows(shop: Shop) -> None:
    for number in range(12_000):
        shop.simulator.world.store("GB01", sales_order(f"S-{number}"))
    found, path = 0, "/data/SalesOrderHeadersV2?$filter=RequestedReceiptDate ge 2026-11-01"
    while path:
        page = await shop.get(path)
        assert len(page.rows) <= 10_000
        found += len(page.rows)
        path = page.json.get("@odata.nextLink", "")
    assert found == 12_000


async def test_a_customer_is_read_and_changed_by_its_whole_key(shop: Shop) -> None:
    await shop.control(
        "PUT", "customers/C-1", {"legalEntity": "KW01", "name": "Acme", "currency": "KWD", "limit": 1000}
    )
    customer = f"/data/CustomersV3(dataAreaId='KW01',CustomerAccount='C-1')?{ACROSS}"
    assert (await shop.get(customer)).json["OrganizationName"] == "Acme"
    assert (
        await shop.call("PATCH", customer, {"CreditLimit": Decimal("1500.250"), "OnHoldStatus": "All"})
    ).status == 204
    row = (await shop.get(customer)).json
    assert (row["CreditLimit"], row["OnHoldStatus"]) == (Decimal("1500.250"), "All")
    assert (await shop.get("/data/CustomersV3(dataAreaId='KW01',CustomerAccount='C-1')")).status == 404
    assert (await shop.get("/data/CustomersV3(CustomerAccount='C-9')")).status == 404
    assert (await shop.get("/data/CustomersV3(OrganizationName='Acme')")).status == 400


async def test_a_key_that_says_one_field_twice_is_refused(shop: Shop) -> None:
    assert (await shop.get("/data/CustomersV3(CustomerAccount='C-1',CustomerAccount='C-2')")).status == 400


async def test_a_customer_changed_in_between_is_not_overwritten(shop: Shop) -> None:
    await shop.control("PUT", "customers/C-1", {"name": "Acme"})
    customer = "/data/CustomersV3(CustomerAccount='C-1')"
    etag = (await shop.get(customer)).json["@odata.etag"]
    assert (await shop.call("PATCH", customer, {"CreditLimit": 5}, {"If-Match": etag})).status == 204
    assert (await shop.call("PATCH", customer, {"CreditLimit": 6}, {"If-Match": etag})).status == 412


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("CreditLimt", 5), ("CreditLimit", "5"), ("OnHoldStatus", "Yes"), ("OrganizationName", 5),
        ("CustomerAccount", "C-2"), ("OrganizationName", "x" * 101),
    ],
)  # fmt: skip
async def test_a_field_that_is_unknown_or_of_another_type_changes_nothing(
    shop: Shop, field: str, value: object
) -> None:
    await shop.control("PUT", "customers/C-1", {"name": "Acme"})
    customer = "/data/CustomersV3(CustomerAccount='C-1')"
    refused = await shop.call("PATCH", customer, {"SalesMemo": "m", field: value})
    assert refused.status == 400
    assert field in refused.json["error"]["innererror"]["message"]
    assert "SalesMemo" not in (await shop.get(customer)).json


async def test_a_price_is_open_in_a_journal_until_the_journal_is_posted(shop: Shop) -> None:
    line = {
        "dataAreaId": "GB01", "TradeAgreementJournalNumber": "J-1", "LineNumber": 1, "ItemNumber": "A",
        "CustomerAccountNumber": "C-1", "Price": Decimal("9.5000"), "PriceCurrencyCode": "GBP",
        "QuantityUnitSymbol": "ea", "PriceApplicableFromDate": "2026-11-24T12:00:00Z",
    }  # fmt: skip
    assert (await shop.call("POST", "/data/OpenSalesPriceJournalLinesV2", line)).status == 201
    assert (await shop.call("POST", "/data/OpenSalesPriceJournalLinesV2", line)).status == 400
    assert (await shop.get("/data/SalesPriceAgreements")).rows == []
    service = "/api/services/ConcordServices/TradeAgreementJournals/post"
    journal = {"dataAreaId": "GB01", "TradeAgreementJournalNumber": "J-1"}
    assert (await shop.call("POST", service, journal)).json["PostedLines"] == 1
    assert (await shop.call("POST", service, journal)).json["PostedLines"] == 0
    agreement = (await shop.get("/data/SalesPriceAgreements?$filter=ItemNumber eq 'A'")).rows[0]
    assert (agreement["Price"], agreement["QuantityUnitySymbol"]) == (Decimal("9.5000"), "ea")
    assert (await shop.get("/data/OpenSalesPriceJournalLinesV2")).rows == []
    assert len((await shop.control("GET", "state"))["prices"]) == 1


@pytest.mark.parametrize("change", [{"Price": None}, {"Prise": 1}, {"ItemNumber": ""}, {"PriceCustomerGroupCode": "G"}])
async def test_a_price_line_that_is_not_whole_is_refused(shop: Shop, change: dict[str, object]) -> None:
    line = {
        "TradeAgreementJournalNumber": "J-1", "LineNumber": 1, "ItemNumber": "A", "CustomerAccountNumber": "C-1",
        "Price": 9, "PriceCurrencyCode": "GBP",
    }  # fmt: skip
    assert (await shop.call("POST", "/data/OpenSalesPriceJournalLinesV2", line | change)).status == 400


async def test_throttling_is_played_with_its_retry_after(shop: Shop) -> None:
    fault = {"match": {"path": "^/data/"}, "kind": "status", "status": 429, "retryAfter": 7, "count": 1}
    await shop.control("POST", "faults", fault)
    refused = await shop.get("/data/CustomersV3")
    assert (refused.status, refused.headers["Retry-After"]) == (429, "7")


@pytest.mark.parametrize("path", ["/data/CustomersV3", "/Commerce/SalesOrders(SalesId='S-1')"])
async def test_a_token_is_for_this_commerce_and_has_not_ended(shop: Shop, clock: Clock, path: str) -> None:
    other = {"Authorization": f"Bearer {shop.token('https://elsewhere')}"}
    assert (await shop.call("GET", path, None, other)).status == 401
    assert (await shop.call("GET", path, None, {"Authorization": ""})).status == 401
    ended = {"Authorization": f"Bearer {shop.token(shop.url)}"}
    clock.now += 3600
    assert (await shop.call("GET", path, None, ended)).status == 401
