"""Rows: written and read by id and by alternate key, each value held to its column, each version to its etag."""

from decimal import Decimal

import pytest

from tests.dataverse_simulator.organization import Organization, open_organization
from tests.kit.counter import Clock

REPRESENTATION = {"Prefer": "return=representation"}


async def test_an_upsert_by_alternate_key_creates_once_and_then_updates_the_same_row(org: Organization) -> None:
    first = await org.call("PATCH", "accounts(accountnumber='C-1')", {"name": "Acme"}, REPRESENTATION)
    second = await org.call("PATCH", "accounts(accountnumber='C-1')", {"telephone1": "1"}, REPRESENTATION)
    assert (first.status, second.status) == (201, 200)
    assert first.json["accountid"] == second.json["accountid"]
    assert (second.json["name"], second.json["accountnumber"]) == ("Acme", "C-1")


async def test_a_write_without_a_preference_answers_204_with_the_rows_url(org: Organization) -> None:
    written = await org.call("POST", "accounts", {"name": "Acme"})
    assert written.status == 204
    assert written.body == b""
    assert written.headers["OData-EntityId"] == f"{org.url}/api/data/v9.2/accounts({written.row_id})"


async def test_keys_of_one_row_differ_by_more_than_case(org: Organization) -> None:
    await org.account("c-1")
    assert (await org.get("accounts(accountnumber='C-1')")).json["accountnumber"] == "c-1"


async def test_if_match_star_never_creates(org: Organization) -> None:
    refused = await org.call("PATCH", "accounts(accountnumber='C-9')", {"name": "x"}, {"If-Match": "*"})
    assert (refused.status, refused.code) == (404, "0x80060891")
    assert (await org.get("accounts")).rows == []


async def test_if_none_match_star_never_updates(org: Organization) -> None:
    await org.account(name="first")
    refused = await org.call("PATCH", "accounts(accountnumber='C-1')", {"name": "second"}, {"If-None-Match": "*"})
    assert refused.status == 412
    assert (await org.get("accounts(accountnumber='C-1')")).json["name"] == "first"


async def test_an_update_decided_on_an_older_version_is_refused(org: Organization) -> None:
    row_id = await org.account()
    etag = (await org.get(f"accounts({row_id})")).json["@odata.etag"]
    await org.account(telephone1="1")
    refused = await org.call("PATCH", f"accounts({row_id})", {"name": "x"}, {"If-Match": etag})
    assert (refused.status, refused.code) == (412, "0x80060882")


async def test_an_update_at_the_current_version_gives_a_new_one(org: Organization) -> None:
    row_id = await org.account()
    etag = (await org.get(f"accounts({row_id})")).json["@odata.etag"]
    written = await org.call(
        "PATCH", f"accounts({row_id})?$select=versionnumber", {"name": "x"}, {"If-Match": etag, **REPRESENTATION}
    )
    assert written.status == 200
    assert written.json["@odata.etag"] == f'W/"{written.json["versionnumber"]}"' != etag


async def test_the_same_value_written_again_is_a_new_version_all_the_same(org: Organization) -> None:
    row_id = await org.account(name="Acme")
    before = (await org.get(f"accounts({row_id})")).json["versionnumber"]
    await org.account(name="Acme")
    assert (await org.get(f"accounts({row_id})")).json["versionnumber"] > before


async def test_a_row_at_the_callers_version_is_not_sent_again(org: Organization) -> None:
    row_id = await org.account()
    etag = (await org.get(f"accounts({row_id})")).headers["ETag"]
    assert (await org.get(f"accounts({row_id})", If_None_Match=etag)).status == 304


async def test_a_second_row_with_the_key_of_another_is_refused(org: Organization) -> None:
    await org.account("C-1")
    other = await org.account("C-2")
    refused = await org.call("PATCH", f"accounts({other})", {"accountnumber": "c-1"})
    assert (refused.status, refused.code) == (412, "0x80060892")
    assert (await org.get(f"accounts({other})")).json["accountnumber"] == "C-2"


async def test_columns_that_are_no_key_address_nothing(org: Organization) -> None:
    refused = await org.get("accounts(name='Acme')")
    assert (refused.status, refused.code) == (400, "0x80060890")


async def test_a_key_that_says_one_column_twice_is_refused_and_creates_nothing(org: Organization) -> None:
    twice = "accounts(accountnumber='C-1',accountnumber='C-2')"
    assert (await org.call("PATCH", twice, {"name": "Acme"})).status == 400
    assert (await org.get("accounts")).rows == []


@pytest.mark.parametrize("character", ["/", "%", "&", "?", "+", ":"])
async def test_a_key_value_with_a_character_dataverse_cannot_address_is_refused(
    org: Organization, character: str
) -> None:
    encoded = f"%{ord(character):02X}"
    refused = await org.call("PATCH", f"salesorders(concord_orderkey='GB01|S{encoded}1')", {"name": "x"})
    assert refused.status == 400


async def test_a_quote_inside_a_key_is_doubled(org: Organization) -> None:
    await org.call("PATCH", "accounts(accountnumber='O''Neil')", {"name": "x"})
    assert (await org.get("accounts?$filter=accountnumber eq 'O''Neil'")).rows[0]["accountnumber"] == "O'Neil"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("nam", "x"),
        ("creditlimit", "12.00"),
        ("creditlimit", True),
        ("creditonhold", "no"),
        ("creditonhold", 0),
        ("name", 5),
        ("numberofemployees", Decimal("1.5")),
        ("concord_creditason", "2026-11-24"),
        ("customertypecode", "Customer"),
        ("_primarycontactid_value", "00000000-0000-0000-0000-000000000001"),
        ("primarycontact@odata.bind", "/contacts(00000000-0000-0000-0000-000000000001)"),
        ("primarycontactid@odata.bind", "/accounts(accountnumber='C-1')"),
    ],
)
async def test_an_unknown_column_or_a_value_of_another_type_is_refused(
    org: Organization, column: str, value: object
) -> None:
    await org.account()
    refused = await org.call("PATCH", "accounts(accountnumber='C-1')", {column: value})
    assert (refused.status, refused.code) == (400, "0x80048d19")


@pytest.mark.parametrize(
    ("column", "value"),
    [("name", "x" * 161), ("creditlimit", -1), ("customertypecode", 999), ("numberofemployees", -1)],
)
async def test_a_value_out_of_its_columns_range_is_refused(org: Organization, column: str, value: object) -> None:
    refused = await org.call("PATCH", "accounts(accountnumber='C-1')", {column: value})
    assert (refused.status, refused.code) == (400, "0x80044331")
    assert column in refused.message


async def test_money_is_kept_to_four_decimals_and_written_without_a_binary_float(org: Organization) -> None:
    await org.account(creditlimit=Decimal("12345678901.2345"))
    assert b'"creditlimit":12345678901.2345' in (await org.get("accounts(accountnumber='C-1')")).body


async def test_money_stands_beside_its_value_in_the_base_currency(org: Organization) -> None:
    currencies = (await org.get("transactioncurrencies?$filter=isocurrencycode eq 'KWD'")).rows
    bind = f"/transactioncurrencies({currencies[0]['transactioncurrencyid']})"
    await org.account(creditlimit=Decimal("39"), **{"transactioncurrencyid@odata.bind": bind})
    row = (await org.get("accounts(accountnumber='C-1')")).json
    assert (row["creditlimit"], row["creditlimit_base"]) == (Decimal("39"), Decimal("100"))


async def test_decimals_travel_as_text_only_where_both_sides_said_so(org: Organization) -> None:
    body = b'{"name": "x", "creditlimit": "12.5"}'
    header = {"Content-Type": "application/json; IEEE754Compatible=true"}
    assert (await org.call("PATCH", "accounts(accountnumber='C-1')", body, header)).status == 204
    assert (await org.get("accounts(accountnumber='C-1')")).json["creditlimit"] == Decimal("12.5")


async def test_a_lookup_is_bound_by_key_and_shown_as_a_value(org: Organization) -> None:
    account_id = await org.account()
    order = {"name": "o", "customerid_account@odata.bind": "/accounts(accountnumber='C-1')"}
    await org.call("PATCH", "salesorders(concord_orderkey='GB01|S-1')", order)
    row = (await org.get("salesorders(concord_orderkey='GB01|S-1')")).json
    assert row["_customerid_value"] == account_id


async def test_binding_to_a_row_that_is_not_there_writes_nothing(org: Organization) -> None:
    order = {"name": "o", "customerid_account@odata.bind": "/accounts(accountnumber='C-9')"}
    refused = await org.call("PATCH", "salesorders(concord_orderkey='GB01|S-1')", order)
    assert refused.status == 404
    assert (await org.get("salesorders")).rows == []


async def test_an_order_is_created_with_its_lines_in_one_go_or_not_at_all(org: Organization) -> None:
    lines = [{"concord_linekey": "GB01|S-1|1", "quantity": 2}, {"concord_linekey": "GB01|S-1|1", "quantity": 3}]
    refused = await org.call("POST", "salesorders", {"name": "o", "order_details": lines})
    assert refused.code == "0x80060892"
    assert (await org.get("salesorders")).rows == []
    lines[1]["concord_linekey"] = "GB01|S-1|2"
    assert (await org.call("POST", "salesorders", {"name": "o", "order_details": lines})).status == 204
    assert [row["quantity"] for row in (await org.get("salesorderdetails")).rows] == [2, 3]


async def test_a_status_of_another_state_is_refused(org: Organization) -> None:
    refused = await org.call("POST", "salesorders", {"name": "o", "statecode": 0, "statuscode": 100001})
    assert refused.code == "0x80048408"
    assert (await org.call("POST", "salesorders", {"name": "o", "statecode": 3})).status == 204


async def test_a_deleted_order_takes_its_lines_along_and_clears_what_pointed_to_it(org: Organization) -> None:
    order_id = (await org.call("POST", "salesorders", {"name": "o", "order_details": [{"quantity": 1}]})).row_id
    signal = {"concord_name": "s", "concord_Order@odata.bind": f"/salesorders({order_id})"}
    await org.call("PATCH", "concord_signals(concord_signalkey='k')", signal)
    assert (await org.call("DELETE", f"salesorders({order_id})")).status == 204
    assert (await org.get("salesorderdetails")).rows == []
    assert (await org.get("concord_signals(concord_signalkey='k')")).json["_concord_order_value"] is None


async def test_deleting_what_is_not_there_is_a_404(org: Organization) -> None:
    assert (await org.call("DELETE", "accounts(accountnumber='C-9')")).status == 404


async def test_a_single_property_is_put_read_and_cleared(org: Organization) -> None:
    row_id = await org.account(telephone1="1")
    await org.call("PUT", f"accounts({row_id})/telephone1", {"value": "2"})
    assert (await org.get(f"accounts({row_id})/telephone1")).json["value"] == "2"
    await org.call("DELETE", f"accounts({row_id})/telephone1")
    assert (await org.get(f"accounts({row_id})/telephone1")).status == 204


async def test_duplicates_are_looked_for_only_when_asked(org: Organization) -> None:
    await org.account(name="Acme")
    assert (await org.call("POST", "accounts", {"name": "ACME"})).status == 204
    refused = await org.call("POST", "accounts", {"name": "Acme"}, {"MSCRM.SuppressDuplicateDetection": "false"})
    assert (refused.status, refused.code) == (412, "0x80040333")


async def test_native_pricing_overrides_totals_of_orders_that_are_not_locked() -> None:
    line = {"concord_linekey": "GB01|S-1|1", "quantity": 2, "priceperunit": 10, "tax": 4, "extendedamount": 99}
    for locked, total, extended in ((False, 24, 24), (True, 99, 99)):
        async with open_organization(None, native_pricing="on") as org:
            skip = {"ispricelocked": True, "skippricecalculation": 1} if locked else {}
            lines = [line | ({"skippricecalculation": 1} if locked else {})]
            await org.call("POST", "salesorders", {"name": "o", "totalamount": 99, "order_details": lines} | skip)
            order = (await org.get("salesorders?$expand=order_details")).rows[0]
            assert (order["totalamount"], order["order_details"][0]["extendedamount"]) == (total, extended)


async def test_a_refused_write_gives_no_version_away(org: Organization) -> None:
    await org.account()
    before = org.simulator.rows.version()
    await org.call("POST", "accounts", {"name": "x", "accountnumber": "C-1"})
    assert org.simulator.rows.version() == before


async def test_the_tokens_audience_is_the_organization_itself(org: Organization) -> None:
    assert (await org.get("accounts", Authorization="Bearer forged.token")).status == 401
    assert (await org.get("accounts", Authorization="")).headers["WWW-Authenticate"].startswith("Bearer ")


async def test_a_token_that_has_ended_is_refused(org: Organization, clock: Clock) -> None:
    token = org.token()
    clock.now += 3600
    assert (await org.get("accounts", Authorization=f"Bearer {token}")).status == 401


async def test_a_writer_may_act_for_a_known_user_only(org: Organization) -> None:
    users = (await org.get("systemusers?$filter=startswith(fullname,'Sam')")).rows
    header = {"CallerObjectId": users[0]["azureactivedirectoryobjectid"], **REPRESENTATION}
    written = await org.call("POST", "accounts", {"name": "x"}, header)
    assert written.json["_modifiedby_value"] == users[0]["systemuserid"]
    unknown = {"CallerObjectId": "00000000-0000-0000-0000-000000000001"}
    assert (await org.call("POST", "accounts", {"name": "x"}, unknown)).status == 403


async def test_a_stale_read_shows_the_row_as_it_was(org: Organization, clock: Clock) -> None:
    await org.account(telephone1="old")
    clock.now += 60
    await org.account(telephone1="new")
    await org.control(
        "POST", "faults", {"match": {"path": "accounts"}, "kind": "stale_read", "seconds": 30, "count": 1}
    )
    assert (await org.get("accounts(accountnumber='C-1')")).json["telephone1"] == "old"
    assert (await org.get("accounts(accountnumber='C-1')")).json["telephone1"] == "new"
