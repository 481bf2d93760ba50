"""Claims about OData V2 as the gateway speaks it."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.kit.counter import Clock
from tests.sap_simulator.caller import LOGON, ROOT, Sap

PARTNER = "API_BUSINESS_PARTNER/A_BusinessPartner"
CONDITION = "API_SLSPRICINGCONDITIONRECORD_SRV/A_SlsPrcgConditionRecord"


async def raw(sap: Sap, method: str, path: str, headers: Mapping[str, str], body: bytes = b"{}") -> tuple[int, Any]:
    async with sap.session.request(method, f"{sap.url}{ROOT}/{path}", data=body, headers=headers) as answer:
        await answer.read()
        return answer.status, answer.headers


async def prices(sap: Sap, number: int) -> None:
    for position in range(number):
        await sap.control(
            "PUT",
            f"conditions/C-1/M-{position:02d}",
            {"price": f"{position}.5", "currency": "GBP", "legalEntity": "GB01"},
        )


# Logon and sessions


@pytest.mark.parametrize("authorization", ["", "Basic QTpC", "Basic !!", "Bearer x"])
async def test_nobody_gets_in_without_the_right_logon(sap: Sap, authorization: str) -> None:
    status, headers = await raw(sap, "GET", f"{PARTNER}('C-1')", {"Authorization": authorization})
    assert status == 401
    assert headers["WWW-Authenticate"].startswith("Basic realm=")


async def test_another_sap_client_does_not_know_the_user(sap: Sap) -> None:
    assert (await raw(sap, "GET", f"{PARTNER}?sap-client=100", LOGON))[0] == 200
    assert (await raw(sap, "GET", f"{PARTNER}?sap-client=200", LOGON))[0] == 401


async def test_a_write_without_the_token_of_its_session_is_refused_and_says_so(sap: Sap) -> None:
    await sap.account()
    token = await sap.fetch_token()
    json = LOGON | {"Content-Type": "application/json", "If-Match": "*"}
    for headers in (json, json | {"X-CSRF-Token": "guessed"}, json | {"X-CSRF-Token": "Fetch"}):
        status, answered = await raw(sap, "PATCH", f"{PARTNER}('C-1')", headers)
        assert (status, answered["X-CSRF-Token"]) == (403, "Required")
    sap.session.cookie_jar.clear()
    status, _ = await raw(sap, "PATCH", f"{PARTNER}('C-1')", json | {"X-CSRF-Token": token})
    assert status == 403, "a token is worth nothing without the cookies of its session"


async def test_a_token_is_given_with_the_cookies_it_is_bound_to_and_again_for_the_same_session(sap: Sap) -> None:
    fetch = LOGON | {"X-CSRF-Token": "Fetch"}
    _, first = await raw(sap, "HEAD", "API_BUSINESS_PARTNER/", fetch)
    assert [cookie.split("=")[0] for cookie in first.getall("Set-Cookie")] == [
        "SAP_SESSIONID_S4S_100", "sap-XSRF_S4S_100", "sap-usercontext",
    ]  # fmt: skip
    _, second = await raw(sap, "GET", "API_BUSINESS_PARTNER/", fetch)
    assert second["X-CSRF-Token"] == first["X-CSRF-Token"]
    assert "Set-Cookie" not in second


async def test_a_session_ends_after_half_an_hour_or_when_told(sap: Sap, clock: Clock) -> None:
    await sap.account()
    change = {"path": f"{PARTNER}('C-1')", "body": {"SearchTerm2": "X"}, "headers": {"If-Match": "*"}}
    assert (await sap.call("PATCH", **change)).status == 204  # type: ignore[arg-type]
    clock.now += 1801
    assert (await sap.call("PATCH", **change)).status == 403  # type: ignore[arg-type]
    sap.token = ""
    assert (await sap.call("PATCH", **change)).status == 204  # type: ignore[arg-type]
    await sap.control("POST", "sessions/end")
    assert (await sap.call("PATCH", **change)).status == 403  # type: ignore[arg-type]


# Reading


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("Customer eq 'C-1'", ["C-1"]),
        ("Customer ne 'C-1' and Customer ne 'C-2'", ["CPDGB01", "CPDJP01", "CPDKW01"]),
        ("Customer gt 'C-1' and Customer lt 'D'", ["C-2", "CPDGB01", "CPDJP01", "CPDKW01"]),
        ("Customer ge 'C-1' and Customer le 'C-2'", ["C-1", "C-2"]),
        ("Customer eq 'C-1' or Customer eq 'C-2'", ["C-1", "C-2"]),
        ("(Customer eq 'C-1' or Customer eq 'C-2') and not (Customer eq 'C-2')", ["C-1"]),
        ("substringof('PDG',Customer)", ["CPDGB01"]),
        ("substringof('O''Neil',CustomerName)", ["C-2"]),
        ("startswith(Customer,'C-')", ["C-1", "C-2"]),
        ("endswith(Customer,'01') eq false", ["C-1", "C-2"]),
        ("PostingIsBlocked eq true", ["C-2"]),
        ("CreationDate ge datetime'2027-01-15T00:00:00' and startswith(Customer,'C-')", ["C-1", "C-2"]),
        ("CreationDate gt datetime'2027-01-15T00:00:00'", []),
        ("CustomerName eq 'Smith & Sons (1) or 2'", ["C-1"]),
    ],
)
async def test_a_filter_finds_exactly_what_it_says(sap: Sap, condition: str, found: list[str]) -> None:
    await sap.account("C-1", name="Smith & Sons (1) or 2")
    await sap.account("C-2", name="O'Neil", postingBlocked=True)
    rows = (await sap.get("API_BUSINESS_PARTNER/A_Customer", filter=condition)).results
    assert [row["Customer"] for row in rows] == found


@pytest.mark.parametrize(
    "condition",
    [
        "Nothing eq 'x'", "Customer eq 5", "Customer eq C-1", "Customer like 'x'", "Customer eq 'x' and",
        "(Customer eq 'x'",
        "Customer eq 'x' Customer eq 'y'", "tolower(Customer) eq 'x'", "PostingIsBlocked eq 'X'",
        "CreationDate eq '2027'",
        "CreationDate eq datetime'2027-99-01T00:00:00'", "substringof('x',PostingIsBlocked)", "eq", "Customer eq 'x",
        "startswith(Customer,'C') eq 5", "CreationDate eq datetime'2027-01-15'",
        "(" * 200 + "Customer eq 'x'" + ")" * 200,
        "not " * 200 + "PostingIsBlocked eq true",
    ],
)  # fmt: skip
async def test_a_filter_that_makes_no_sense_is_refused(sap: Sap, condition: str) -> None:
    reply = await sap.get("API_BUSINESS_PARTNER/A_Customer", filter=condition)
    assert reply.status == 400, condition
    assert reply.error["message"]["value"]


@pytest.mark.parametrize(
    "query",
    [{"select": "Nothing"}, {"orderby": "Nothing"}, {"orderby": "Customer up"}, {"expand": "to_Nothing"}, {"top": "-1"},
     {"skip": "x"}, {"inlinecount": "some"}, {"search": "x"}, {"format": "xml"}, {"skiptoken": "0"},
     {"top": "²"}, {"top": "9" * 5000}, {"skiptoken": "key~²"}],
)  # fmt: skip
async def test_a_query_option_that_is_unknown_or_wrong_is_refused(sap: Sap, query: dict[str, str]) -> None:
    assert (await sap.get("API_BUSINESS_PARTNER/A_Customer", **query)).status in {400, 415}


async def test_a_query_option_that_comes_twice_is_refused(sap: Sap) -> None:
    assert (await sap.get("API_BUSINESS_PARTNER/A_Customer?$top=1&$top=2")).status == 400


async def test_who_does_not_ask_for_json_gets_none(sap: Sap) -> None:
    in_atom = await sap.call("GET", "API_BUSINESS_PARTNER/A_Customer", headers={"Accept": "*/*"})
    assert (in_atom.status, in_atom.error["code"]) == (415, "/IWBEP/CM_MGW_RT/176")
    assert (await sap.call("GET", "API_BUSINESS_PARTNER/A_Customer?$format=json", headers={"Accept": "*/*"})).d
    assert (await sap.call("GET", "API_BUSINESS_PARTNER/$metadata", headers={"Accept": "*/*"})).status == 200


async def test_select_order_top_skip_and_count_work_together(sap: Sap) -> None:
    await prices(sap, 5)
    reply = await sap.get(
        CONDITION, select="ConditionRecord,ConditionRateAmount", orderby="ConditionRateAmount desc", top="2", skip="1",
        inlinecount="allpages",
    )  # fmt: skip
    assert [row["ConditionRateAmount"] for row in reply.results] == ["3.50", "2.50"]
    assert set(reply.results[0]) == {"__metadata", "ConditionRecord", "ConditionRateAmount"}
    assert reply.d["__count"] == "5"
    assert (await sap.get(f"{CONDITION}/$count", filter="ConditionRateAmount gt 2.5M")).body == b"2"


async def test_a_long_result_comes_in_pages_that_follow_each_other_without_gap_or_overlap(sap: Sap) -> None:
    from dataclasses import replace

    await prices(sap, 7)
    service = sap.simulator.services["API_SLSPRICINGCONDITIONRECORD_SRV"]
    short = replace(service.sets["A_SlsPrcgConditionRecord"], page_rows=3)
    paged = replace(service, sets={**service.sets, "A_SlsPrcgConditionRecord": short})
    sap.simulator.services[service.name] = paged
    reply = await sap.get(CONDITION, select="ConditionRecord", inlinecount="allpages")
    seen = [row["ConditionRecord"] for row in reply.results]
    while "__next" in reply.d:
        path = reply.d["__next"].removeprefix(f"{sap.url}{ROOT}/")
        await prices(sap, 1)
        reply = await sap.get(path)
        seen += [row["ConditionRecord"] for row in reply.results]
        assert reply.d["__count"] == "7"
    assert seen == [f"{number:010d}" for number in range(1, 8)]


async def test_an_expansion_holds_the_children_and_what_is_not_expanded_is_deferred(sap: Sap) -> None:
    await sap.account()
    row = (await sap.get("API_BUSINESS_PARTNER/A_Customer('C-1')", expand="to_CustomerCompany")).d
    assert [child["CompanyCode"] for child in row["to_CustomerCompany"]["results"]] == ["GB01"]
    assert row["to_CustomerSalesArea"]["__deferred"]["uri"].endswith("A_Customer('C-1')/to_CustomerSalesArea")
    nested = (await sap.get(f"{PARTNER}('C-1')", expand="to_Customer/to_CustomerCompany")).d
    assert nested["to_Customer"]["to_CustomerCompany"]["results"][0]["PaymentTerms"] == "NT30"


async def test_navigation_paths_lead_to_the_children_alone(sap: Sap) -> None:
    await sap.account("C-1")
    await sap.account("C-2")
    rows = (await sap.get("API_BUSINESS_PARTNER/A_Customer('C-2')/to_CustomerCompany")).results
    assert [(row["Customer"], row["CompanyCode"]) for row in rows] == [("C-2", "GB01")]
    assert (await sap.get(f"{PARTNER}('C-1')/to_Customer")).d["Customer"] == "C-1"
    assert (await sap.get("API_BUSINESS_PARTNER/A_Customer('C-1')/to_CustomerCompany/$count")).body == b"1"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{PARTNER}('nobody')", 404),
        ("API_BUSINESS_PARTNER/A_Nothing", 404),
        (f"{PARTNER}('C-1')/to_Nothing", 404),
        ("API_NOTHING/A_Nothing", 403),
        ("API_BUSINESS_PARTNER/A_CustomerCompany('C-1')", 400),
        ("API_BUSINESS_PARTNER/A_CustomerCompany(Customer='C-1')", 400),
        (f"{PARTNER}(Nothing='C-1')", 400),
        (f"{PARTNER}(7)", 400),
        (f"{PARTNER}(BusinessPartner='C-1',BusinessPartner='C-2')", 400),
        (f"{PARTNER}({chr(39) * 3001})", 400),
        (f"{PARTNER}('C-1", 404),
        ("API_SALES_ORDER_SIMULATION_SRV/A_SalesOrderSimulation", 405),
    ],
)
async def test_an_address_that_leads_nowhere_is_refused(sap: Sap, path: str, status: int) -> None:
    await sap.account()
    assert (await sap.get(path)).status == status


async def test_a_key_may_hold_quotes_slashes_and_umlauts(sap: Sap) -> None:
    await sap.control("PUT", "stock/GB10/A%2FB", {"quantity": 3})
    await sap.control("PUT", "stock/GB10/O'Ring", {"quantity": 4})
    stock = "API_MATERIAL_STOCK_SRV/A_MaterialStock"
    assert (await sap.get(f"{stock}('A%2FB')")).d["Material"] == "A/B"
    row = (await sap.get(f"{stock}('O''Ring')", expand="to_MatlStkInAcctMod")).d
    assert row["to_MatlStkInAcctMod"]["results"][0]["MatlWrhsStkQtyInMatlBaseUnit"] == "4"
    own = row["__metadata"]["uri"].removeprefix(f"{sap.url}{ROOT}/")
    assert (await sap.get(own)).d["Material"] == "O'Ring"


async def test_values_travel_as_the_gateway_writes_them(sap: Sap) -> None:
    await sap.account(limit="1000.5")
    row = (
        await sap.get("API_CRDTMBUSINESSPARTNER/CreditManagementAccount", filter="BusinessPartner eq 'C-1'")
    ).results[0]
    assert row["CreditLimitAmount"] == "1000.50"
    assert row["CreditAccountIsBlocked"] is False
    partner = (await sap.get(f"{PARTNER}('C-1')")).d
    assert partner["CreationDate"] == "/Date(1799971200000)/"
    assert partner["LastChangeTime"] == "PT08H00M00S"
    await sap.control("PUT", "conditions/C-1/A", {"price": 1, "currency": "GBP"})
    condition = (await sap.get(CONDITION)).results[0]
    assert condition["LastChangeDateTime"].startswith("/Date(18000000")
    assert condition["LastChangeDateTime"].endswith("+0000)/")


async def test_what_changed_since_an_instant_can_be_asked_for(sap: Sap, clock: Clock) -> None:
    await prices(sap, 2)
    clock.now += 3600
    await sap.control("PUT", "conditions/C-1/LATE", {"price": 1, "currency": "GBP"})
    changed = "LastChangeDateTime gt datetimeoffset'2027-01-15T08:30:00Z'"
    assert len((await sap.get(CONDITION, filter=changed)).results) == 1


# Writing


async def test_a_change_needs_the_version_it_was_made_on(sap: Sap) -> None:
    await sap.account()
    path, body = f"{PARTNER}('C-1')", {"OrganizationBPName1": "New name"}
    read = await sap.get(path)
    tag = read.headers["ETag"]
    assert read.d["__metadata"]["etag"] == tag
    assert (await sap.call("PATCH", path, body)).status == 428
    assert (await sap.call("PATCH", path, body, {"If-Match": "W/\"'old'\""})).status == 412
    assert (await sap.call("PATCH", path, body, {"If-Match": tag})).status == 204
    assert (await sap.call("PATCH", path, body, {"If-Match": tag})).status == 412, "the change made a new version"
    assert (await sap.get(path)).d["BusinessPartnerFullName"] == "New name"


async def test_merge_tunnelled_through_post_changes_like_patch(sap: Sap) -> None:
    await sap.account()
    path, headers = f"{PARTNER}('C-1')", {"If-Match": "*", "X-HTTP-Method": "MERGE"}
    assert (await sap.call("POST", path, {"SearchTerm2": "MERGED"}, headers)).status == 204
    assert (await sap.call("MERGE", path, {"SearchTerm1": "TOO"}, {"If-Match": "*"})).status == 204
    row = (await sap.get(path)).d
    assert (row["SearchTerm1"], row["SearchTerm2"]) == ("TOO", "MERGED")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"Nothing": "x"}, "Nothing"),
        ({"BusinessPartnerFullName": "x"}, "BusinessPartnerFullName"),
        ({"OrganizationBPName1": "x" * 41}, "OrganizationBPName1"),
        ({"OrganizationBPName1": 5}, "OrganizationBPName1"),
        ({"BusinessPartnerIsBlocked": "X"}, "BusinessPartnerIsBlocked"),
        ({"OrganizationFoundationDate": "yesterday"}, "OrganizationFoundationDate"),
        ({"OrganizationFoundationDate": "2027-02-30T00:00:00"}, "OrganizationFoundationDate"),
        ({"OrganizationFoundationDate": "2027-02-28"}, "OrganizationFoundationDate"),
        ({"OrganizationFoundationDate": "/Date(99999999999999999999)/"}, "OrganizationFoundationDate"),
        ({"BusinessPartner": "C-2"}, "BusinessPartner"),
        ({"BusinessPartner": None}, "BusinessPartner"),
    ],
)
async def test_an_unknown_read_only_or_ill_typed_property_is_refused_by_name(
    sap: Sap, body: dict[str, object], name: str
) -> None:
    await sap.account()
    reply = await sap.call("PATCH", f"{PARTNER}('C-1')", body, {"If-Match": "*"})
    assert reply.status == 400
    assert reply.refused_property == name
    assert reply.error["message"]["lang"] == "en"


@pytest.mark.parametrize("amount", [12.5, 12, "12,5", "1e3", "", "1234567890123.00", "0.0001", "١٢"])
async def test_a_decimal_must_be_text_and_fit_its_precision_and_scale(sap: Sap, amount: object) -> None:
    await sap.account()
    path = "API_CRDTMBUSINESSPARTNER/CreditManagementAccount(BusinessPartner='C-1',CreditSegment='1000')"
    reply = await sap.call("PATCH", path, {"CreditLimitAmount": amount})
    assert (reply.status, reply.refused_property) == (400, "CreditLimitAmount")


async def test_an_amount_with_more_decimals_than_its_currency_is_refused(sap: Sap) -> None:
    await sap.account(legalEntity="JP01", currency="JPY")
    path = "API_CRDTMBUSINESSPARTNER/CreditManagementAccount(BusinessPartner='C-1',CreditSegment='2000')"
    reply = await sap.call("PATCH", path, {"CreditLimitAmount": "100.5"})
    assert (reply.status, reply.refused_property) == (400, "CreditLimitAmount")
    assert (await sap.call("PATCH", path, {"CreditLimitAmount": "100.000"})).status == 204


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"not json", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b'{"SearchTerm1":"\xff"}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
    ],
)
async def test_a_body_that_is_no_json_object_is_refused(sap: Sap, body: bytes, content_type: str, status: int) -> None:
    await sap.account()
    headers = {"If-Match": "*", "Content-Type": content_type}
    assert (await sap.call("PATCH", f"{PARTNER}('C-1')", body, headers)).status == status


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "API_OPLACCTGDOCITEMCUBE_SRV/A_OperationalAcctgDocItemCube"),
        ("DELETE", f"{PARTNER}('C-1')"),
        ("POST", f"{PARTNER}('C-1')"),
        ("PATCH", PARTNER),
        ("POST", "API_BUSINESS_PARTNER/A_Customer"),
        ("POST", "API_BUSINESS_PARTNER/"),
    ],
)
async def test_what_a_service_does_not_offer_is_refused(sap: Sap, method: str, path: str) -> None:
    await sap.account()
    assert (await sap.call(method, path, {}, {"If-Match": "*"})).status == 405


async def test_an_injected_status_looks_like_an_error_of_the_gateway(sap: Sap) -> None:
    await sap.control(
        "POST", "faults", {"kind": "status", "status": 503, "retryAfter": 3, "match": {"path": "A_Customer"}}
    )
    reply = await sap.get("API_BUSINESS_PARTNER/A_Customer")
    assert (reply.status, reply.headers["Retry-After"]) == (503, "3")
    assert "not available" in reply.error["message"]["value"]


# Function imports


async def test_a_function_import_checks_its_parameters_and_answers(sap: Sap) -> None:
    await sap.control("PUT", "stock/GB10/A", {"quantity": "7.5"})
    at = (
        "API_PRODUCT_AVAILY_INFO_BASIC/DetermineAvailabilityAt?SupplyingPlant='GB10'&Material='{}'&ATPCheckingRule='A'"
        "&RequestedUTCDateTime=datetimeoffset'2027-02-01T00:00:00Z'"
    )
    found = (await sap.get(at.format("A"))).d["DetermineAvailabilityAt"]
    assert (found["AvailableQuantityInBaseUnit"], found["BaseUnit"]) == ("7.5", "EA")
    assert (await sap.get(at.format("Z"))).status == 404
    assert (await sap.get(at.format("A").replace("'GB10'", "'XX10'"))).refused_property == "SupplyingPlant"
    assert (await sap.get(at.format("A").partition("&ATP")[0])).refused_property == "ATPCheckingRule"
    of = (
        "API_PRODUCT_AVAILY_INFO_BASIC/DetermineAvailabilityOf?SupplyingPlant='GB10'&Material='A'&ATPCheckingRule='A'"
        "&RequestedQuantityInBaseUnit=5M"
    )
    assert [row["AvailableQuantityInBaseUnit"] for row in (await sap.get(of)).results] == ["5"]
