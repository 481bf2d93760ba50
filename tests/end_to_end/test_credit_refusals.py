"""What nobody may do with credit: each is refused in clear words, and nothing has changed afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from tests.end_to_end.conftest import Outside
from tests.end_to_end.orders import check, event, on_account, open_account

CHECKS = "/api/credit-checks"


async def over_the_limit(outside: Outside, account: str, **changes: Any) -> str:
    """A decision that waits for a person."""
    await open_account(outside, account, "100")
    asked = await outside.ask("POST", CHECKS, check(f"over-{account}", account, **changes))
    assert (asked.json["outcome"], asked.json["hold"]) == ("approval_required", None)
    return str(asked.json["decisionId"])


async def approve(outside: Outside, decision: str, person: str, approved: bool = True) -> int:
    body = {"approved": approved, "comment": ""}
    headers = outside.person(person)
    return (await outside.ask("POST", f"{CHECKS}/{decision}/approval", body, headers=headers)).status


async def stands(outside: Outside, decision: str) -> tuple[str, str | None]:
    """Outcome and state of the hold."""
    told = (await outside.ask("GET", f"{CHECKS}/{decision}", worker=1)).json
    return told["outcome"], told["hold"]["state"] if told["hold"] else None


async def test_a_role_below_the_orders_band_approves_nothing(outside: Outside) -> None:
    big = {"tax": "0", "lines": [], "charges": [{"code": "ALL", "amount": "30000"}], "total": "30000"}
    decision = await over_the_limit(outside, "REF1", **big)
    assert await approve(outside, decision, "approver") == 403
    assert await approve(outside, decision, "operator") == 403
    assert await stands(outside, decision) == ("approval_required", None)
    assert await approve(outside, decision, "second_approver") == 200
    assert await stands(outside, decision) == ("approved", "placed")
    assert await approve(outside, decision, "second_approver") == 409, "once is enough"


@pytest.mark.parametrize("name", ["amir.approver@concord.example", "Amir.Approver@Concord.Example"])
async def test_whoever_requested_an_order_does_not_approve_it(outside: Outside, name: str) -> None:
    account = f"REF2{name[0]}"
    decision = await over_the_limit(outside, account, requestedBy=name)
    assert await approve(outside, decision, "approver") == 403
    assert await stands(outside, decision) == ("approval_required", None)
    assert await approve(outside, decision, "second_approver") == 200


async def test_a_refused_request_stays_refused(outside: Outside) -> None:
    decision = await over_the_limit(outside, "REF3")
    assert await approve(outside, decision, "approver", approved=False) == 200
    assert await stands(outside, decision) == ("declined", None)
    assert await approve(outside, decision, "second_approver") == 409
    assert await stands(outside, decision) == ("declined", None)


async def test_a_request_id_serves_one_question_about_one_account(outside: Outside) -> None:
    for account in ("REF4", "REF5"):
        await open_account(outside, account, "1000")
    first = await outside.ask("POST", CHECKS, check("ref-once", "REF4"))
    for worker, other in enumerate((check("ref-once", "REF4", tax="20.01", total="120.01"), check("ref-once", "REF5"))):
        refused = await outside.ask("POST", CHECKS, other, worker=worker)
        assert (refused.status, refused.json["code"]) == (409, "request_reused")
    again = await outside.ask("POST", CHECKS, check("ref-once", "REF4", total="120.000"), worker=1)
    assert (again.status, again.json["decisionId"]) == (200, first.json["decisionId"])
    untouched = await outside.ask("POST", CHECKS, check("ref-other", "REF5"))
    assert untouched.json["credit"]["held"] == "0.00"


async def test_what_an_order_is_bound_to_is_not_given_back_before_nor_after_it_is_in_sap(outside: Outside) -> None:
    await open_account(outside, "REF6", "1000")
    decision = (await outside.ask("POST", CHECKS, check("ref-6", "REF6"))).json["decisionId"]
    sent = event("confirmed", on_account("S-REF6", "REF6"), "S-REF6", decisionId=decision)
    assert (await outside.ask("POST", "/api/webhooks/commerce", sent)).status == 202
    await outside.rest()
    assert (await outside.ask("POST", f"{CHECKS}/{decision}/release")).status == 409
    assert (await stands(outside, decision))[1] == "posted"
    await outside.ask("POST", CHECKS, check("ref-6-next", "REF6"))
    assert (await stands(outside, decision))[1] == "consumed", "the next check saw its document"
    refused = await outside.ask("POST", f"{CHECKS}/{decision}/release")
    assert (refused.status, refused.json["code"]) == (409, "conflict")
    assert (await stands(outside, decision))[1] == "consumed"


async def test_what_is_no_decision_is_not_released_nor_replaced(outside: Outside) -> None:
    await open_account(outside, "REF7", "1000")
    assert (await outside.ask("POST", f"{CHECKS}/nothing/release")).status == 404
    for replaced in ("nothing", "geydamd4orswg5a.00000000000000000000"):
        refused = await outside.ask("POST", CHECKS, check("ref-7", "REF7", replaces=replaced))
        assert (refused.status, refused.json["code"]) == (404, "unknown_replaced")
    assert (await outside.ask("POST", CHECKS, check("ref-7", "REF7"))).json["outcome"] == "approved"
