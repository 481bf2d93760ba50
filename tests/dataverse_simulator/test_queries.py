"""Queries: filters, order, pages, expansion, and what changed since a delta link."""

from typing import Any

import pytest

from tests.dataverse_simulator.organization import Organization
from tests.kit.counter import Clock


async def _three(org: Organization) -> None:
    await org.account("C-1", creditlimit=100, creditonhold=False, telephone1="020")
    await org.account("C-2", creditlimit=200, creditonhold=True)
    await org.account("C-3", creditlimit=300, creditonhold=False, telephone1="030")


def _numbers(rows: list[dict[str, Any]]) -> list[str]:
    return [row["accountnumber"] for row in rows]


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("accountnumber eq 'c-2'", ["C-2"]),
        ("accountnumber ne 'C-2'", ["C-1", "C-3"]),
        ("creditlimit gt 100 and creditlimit lt 300", ["C-2"]),
        ("creditlimit ge 200.00", ["C-2", "C-3"]),
        ("creditlimit le 100 or creditonhold eq true", ["C-1", "C-2"]),
        ("not (creditonhold eq true)", ["C-1", "C-3"]),
        ("telephone1 eq null", ["C-2"]),
        ("telephone1 ne null and creditonhold eq false", ["C-1", "C-3"]),
        ("startswith(telephone1,'03')", ["C-3"]),
        ("contains(name,'-')", ["C-1", "C-2", "C-3"]),
        ("not contains(telephone1,'2')", ["C-2", "C-3"]),
        ("endswith(name,'1') or (endswith(name,'2') and creditonhold eq false)", ["C-1"]),
        ("transactioncurrencyid/isocurrencycode eq 'GBP' and accountnumber eq 'C-3'", ["C-3"]),
        ("createdon ge 2027-01-15T08:00:00Z and statecode eq 0", ["C-1", "C-2", "C-3"]),
        ("modifiedon lt 2027-01-15T08:00:00Z", []),
    ],
)
async def test_a_filter_finds_what_it_says(org: Organization, expression: str, found: list[str]) -> None:
    await _three(org)
    assert _numbers((await org.get(f"accounts?$filter={expression}")).rows) == found


@pytest.mark.parametrize(
    "query",
    [
        "$filter=accountnumbr eq 'x'",
        "$filter=accountnumber eq 5",
        "$filter=creditlimit eq '5'",
        "$filter=accountnumber eq",
        "$filter=accountnumber in ('a','b')",
        "$filter=contains(creditlimit,'5')",
        "$filter=(accountnumber eq 'x'",
        "$filter=accountnumber is 'x'",
        f"$filter={'(' * 500}name eq 'x'{')' * 500}",
        f"$filter={'not ' * 500}name eq 'x'",
        "$select=nam",
        "$orderby=nam",
        "$orderby=name up",
        "$expand=owner",
        "$skip=5",
        "$top=x",
        "$search=x",
        "$count=yes",
        "$select=name&$select=name",
        "$select=primarycontactid",
    ],
)
async def test_a_query_that_dataverse_cannot_answer_is_refused(org: Organization, query: str) -> None:
    refused = await org.get(f"accounts?{query}")
    assert (refused.status, refused.code) == (400, "0x80060888")


async def test_an_unknown_set_is_a_404(org: Organization) -> None:
    assert (await org.get("acounts")).code == "0x8006088a"


async def test_a_selection_shows_only_what_was_selected_the_key_and_the_version(org: Organization) -> None:
    await _three(org)
    row = (await org.get("accounts?$select=name&$top=1")).rows[0]
    assert set(row) == {"@odata.etag", "name", "accountid"}


async def test_rows_come_in_the_order_asked_for_nulls_first(org: Organization) -> None:
    await _three(org)
    assert _numbers((await org.get("accounts?$orderby=telephone1,accountnumber desc")).rows) == ["C-2", "C-1", "C-3"]
    assert _numbers((await org.get("accounts?$orderby=creditonhold desc,creditlimit desc")).rows) == [
        "C-2", "C-3", "C-1",
    ]  # fmt: skip


async def test_pages_follow_each_other_by_the_next_link_and_each_row_comes_once(org: Organization) -> None:
    for number in range(7):
        await org.account(f"C-{number}")
    prefer = {"Prefer": "odata.maxpagesize=3"}
    page = await org.call("GET", "accounts?$select=accountnumber&$count=true", None, prefer)
    found, counts = _numbers(page.rows), {page.json["@odata.count"]}
    while "@odata.nextLink" in page.json:
        page = await org.call("GET", page.json["@odata.nextLink"], None, prefer)
        found += _numbers(page.rows)
        counts.add(page.json["@odata.count"])
    assert found == [f"C-{number}" for number in range(7)]
    assert counts == {7}


async def test_a_row_deleted_between_pages_hides_no_other(org: Organization) -> None:
    for number in range(4):
        await org.account(f"C-{number}")
    prefer = {"Prefer": "odata.maxpagesize=2"}
    page = await org.call("GET", "accounts", None, prefer)
    await org.call("DELETE", "accounts(accountnumber='C-0')")
    page = await org.call("GET", page.json["@odata.nextLink"], None, prefer)
    assert _numbers(page.rows) == ["C-2", "C-3"]


async def test_lookups_and_collections_are_expanded(org: Organization) -> None:
    await org.account(telephone1="1")
    order = {
        "name": "o", "customerid_account@odata.bind": "/accounts(accountnumber='C-1')",
        "order_details": [{"quantity": 2}],
    }  # fmt: skip
    order_id = (await org.call("POST", "salesorders", order)).row_id
    expand = "$expand=customerid_account($select=telephone1),customerid_contact,order_details($select=quantity)"
    row = (await org.get(f"salesorders({order_id})?$select=name&{expand}")).json
    assert row["customerid_account"]["telephone1"] == "1"
    assert row["customerid_contact"] is None
    assert [line["quantity"] for line in row["order_details"]] == [2]
    assert (await org.get(f"salesorders({order_id})/customerid_account")).json["telephone1"] == "1"
    assert [line["quantity"] for line in (await org.get(f"salesorders({order_id})/order_details")).rows] == [2]


async def test_annotations_come_when_preferred(org: Organization) -> None:
    await org.account(creditonhold=True, creditlimit=1)
    header = {"Prefer": 'odata.include-annotations="*"'}
    row = (await org.call("GET", "accounts(accountnumber='C-1')", None, header)).json
    assert row["creditonhold@OData.Community.Display.V1.FormattedValue"] == "Yes"
    assert row["_transactioncurrencyid_value@Microsoft.Dynamics.CRM.lookuplogicalname"] == "transactioncurrency"


async def test_a_count_is_plain_text(org: Organization) -> None:
    await _three(org)
    assert (await org.get("accounts/$count?$filter=creditlimit gt 100")).body == b"2"


async def test_a_delta_link_brings_what_changed_and_what_was_deleted(org: Organization) -> None:
    await _three(org)
    first = await org.call("GET", "accounts?$select=accountnumber", None, {"Prefer": "odata.track-changes"})
    assert _numbers(first.rows) == ["C-1", "C-2", "C-3"]
    await org.account("C-2", telephone1="9")
    await org.call("DELETE", "accounts(accountnumber='C-3')")
    await org.account("C-4")
    second = await org.call("GET", first.json["@odata.deltaLink"])
    changed = [row for row in second.rows if "reason" not in row]
    removed = [row for row in second.rows if "reason" in row]
    assert _numbers(changed) == ["C-2", "C-4"]
    assert [(row["reason"], "$deletedEntity" in row["@odata.context"]) for row in removed] == [("deleted", True)]
    assert (await org.call("GET", second.json["@odata.deltaLink"])).rows == []


async def test_a_delta_link_ends_after_a_week(org: Organization, clock: Clock) -> None:
    first = await org.call("GET", "accounts", None, {"Prefer": "odata.track-changes"})
    clock.now += 9 * 86_400
    assert (await org.call("GET", first.json["@odata.deltaLink"])).status == 410


async def test_changes_are_tracked_over_whole_tables_only(org: Organization) -> None:
    header = {"Prefer": "odata.track-changes"}
    assert (await org.call("GET", "accounts?$filter=name eq 'x'", None, header)).status == 400


async def test_a_change_made_while_paging_is_in_the_delta(org: Organization) -> None:
    for number in range(3):
        await org.account(f"C-{number}")
    prefer = {"Prefer": "odata.track-changes,odata.maxpagesize=2"}
    page = await org.call("GET", "accounts?$select=accountnumber", None, prefer)
    await org.account("C-0", telephone1="9")
    page = await org.call("GET", page.json["@odata.nextLink"], None, prefer)
    delta = await org.call("GET", page.json["@odata.deltaLink"])
    assert _numbers(delta.rows) == ["C-0"]


async def test_a_thousand_orders_are_found_by_their_account_without_looking_at_the_others(
    org: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = org.simulator.rows
    account_id = await org.account()
    await org.account("C-2")
    targets = [
        {
            "@odata.type": "Microsoft.Dynamics.CRM.salesorder", "name": f"o{number}",
            "concord_orderkey": f"GB01|S-{number}",
            "customerid_account@odata.bind": f"/accounts(accountnumber='C-{1 if number % 100 == 0 else 2}')",
        }
        for number in range(1000)
    ]  # fmt: skip
    created = await org.call("POST", "salesorders/Microsoft.Dynamics.CRM.CreateMultiple", {"Targets": targets})
    assert len(created.json["Ids"]) == 1000
    looked_at = 0
    having = rows.having

    def counting(*given: Any) -> Any:
        nonlocal looked_at
        found = list(having(*given) or ())
        looked_at += len(found)
        return found

    monkeypatch.setattr(rows, "having", counting)
    found = (await org.get(f"salesorders?$filter=_customerid_value eq {account_id} and statecode eq 0")).rows
    assert (len(found), looked_at) == (10, 10)
