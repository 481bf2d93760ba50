"""The control surface: what a salesperson does in the app, and the arrangements of a test."""

from tests.dataverse_simulator.organization import Organization


async def test_a_persons_edit_is_found_by_key_and_told_as_that_persons(org: Organization) -> None:
    await org.account()
    await org.delivered(1)
    shown = await org.control("PATCH", "rows/accounts/C-1", {"telephone1": "020"})
    assert shown["telephone1"] == "020"
    context = (await org.delivered(2))[1].context
    users = (await org.get("systemusers?$filter=startswith(fullname,'Sam')")).rows
    assert context["InitiatingUserId"] == users[0]["systemuserid"]


async def test_an_approval_is_decided_by_its_decision_id(org: Organization) -> None:
    await org.call("PATCH", "concord_creditapprovals(concord_decisionid='d-1')", {"concord_state": "open"})
    edit = {"concord_state": "approved", "concord_comment": "fine", "concord_decidedby": "Anna"}
    await org.control("PATCH", "rows/concord_creditapprovals/d-1", edit)
    delivery = (await org.delivered(1))[0]
    assert delivery.context["PrimaryEntityName"] == "concord_creditapproval"
    assert delivery.target()["concord_decidedby"] == "Anna"


async def test_keys_with_characters_no_url_of_the_web_api_carries_are_edited_too(org: Organization) -> None:
    target = {"@odata.type": "Microsoft.Dynamics.CRM.account", "accountnumber": "A/B", "name": "x"}
    await org.call("POST", "accounts/Microsoft.Dynamics.CRM.UpsertMultiple", {"Targets": [target]})
    assert (await org.control("PATCH", "rows/accounts/A%2FB", {"name": "y"}))["name"] == "y"


async def test_a_refused_edit_changes_nothing_and_says_why(org: Organization) -> None:
    await org.account()
    status, answer = await org.try_control("PATCH", "rows/accounts/C-1", {"creditlimit": "much", "name": "y"})
    assert (status, answer["error"]["code"]) == (400, "0x80048d19")
    assert (await org.try_control("PATCH", "rows/accounts/C-9", {"name": "y"}))[0] == 404
    assert (await org.try_control("PATCH", "rows/nothing/C-9", {"name": "y"}))[0] == 400
    assert (await org.get("accounts(accountnumber='C-1')")).json["name"] == "C-1"


async def test_a_person_may_delete(org: Organization) -> None:
    await org.account()
    await org.control("DELETE", "rows/accounts/C-1")
    assert [d.context["MessageName"] for d in await org.delivered(2)] == ["Create", "Delete"]


async def test_an_account_is_made_sure_of_in_silence(org: Organization) -> None:
    body = {
        "name": "Acme", "legalEntity": "KW01", "currency": "KWD", "limit": 1000, "blocked": False, "riskClass": "B",
    }  # fmt: skip
    row = await org.control("PUT", "accounts/C-1", body)
    assert (row["name"], row["creditlimit"], row["concord_legalentity"]) == ("Acme", 1000, "KW01")
    await org.control("PUT", "accounts/C-1", {"limit": 2000})
    await org.rest()
    assert org.inbox.deliveries == []
    await org.control("PUT", "accounts/C-1", {"limit": 3000, "emit": True})
    assert (await org.delivered(1))[0].target()["creditlimit"]["Value"] == 3000
    assert (await org.try_control("PUT", "accounts/C-1", {"currency": "XXX"}))[0] == 400


async def test_state_holds_every_row_by_table_and_reset_forgets_them(org: Organization) -> None:
    await org.account()
    tables = (await org.control("GET", "state"))["tables"]
    assert [row["accountnumber"] for row in tables["accounts"]] == ["C-1"]
    assert {"accounts", "contacts", "products", "salesorders", "salesorderdetails", "concord_signals"} <= tables.keys()
    await org.control("POST", "reset")
    assert (await org.control("GET", "state"))["tables"]["accounts"] == []
    await org.account()
    assert len((await org.get("transactioncurrencies")).rows) == 5


async def test_some_columns_of_a_table_can_be_read_without_the_rest(org: Organization) -> None:
    await org.account("C-1", telephone1="1")
    [row] = await org.control("GET", "rows/accounts?columns=accountnumber")
    assert row.keys() == {"@odata.etag", "accountid", "accountnumber"}
    assert (await org.control("GET", "rows/account"))[0]["telephone1"] == "1"
    status, refused = await org.try_control("GET", "rows/accounts?columns=accountnumber,colour")
    assert (status, refused["error"]["message"]) == (400, "columns: accounts has no colour")
