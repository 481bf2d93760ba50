"""A legal entity that posts by sales order, seen from outside: checked, placed, billed by SAP, reconciled, closed."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from tests.end_to_end.conftest import Outside
from tests.end_to_end.orders import check, event, on_account, open_account


async def reconciled(outside: Outside, period: str) -> dict[str, Any]:
    reply = await outside.ask("GET", f"/api/reconciliation/KW01/{period}", headers=outside.person("operator"))
    assert reply.status == 200, reply.body
    told: dict[str, Any] = reply.json
    return told


async def test_an_order_on_account_is_placed_once_billed_by_sap_and_matches_three_ways(outside: Outside) -> None:
    today = datetime.now(ZoneInfo("Asia/Kuwait")).date().isoformat()
    number, period = "BILL-1", today[:7]
    await open_account(outside, "C-KW", legalEntity="KW01", currency="KWD", prices={"TEA": "2.469"})
    order = on_account(
        number, "C-KW", net="24.690", tax="1.235", CurrencyCode="KWD", BusinessDate=today,
        OrderPlacedDate=f"{today}T08:00:00Z",
    )  # fmt: skip
    order["TenderLines"][0]["Currency"] = "KWD"
    asked = check(
        number, "C-KW", legalEntity="KW01", currency="KWD", tax="1.235", total="25.925",
        lines=[{"product": "TEA", "quantity": "10", "unitPrice": "2.469"}],
    )  # fmt: skip
    decided = (await outside.ask("POST", "/api/credit-checks", asked)).json
    assert decided["outcome"] == "approved", decided
    await outside.control("commerce", "PUT", f"orders/{number}", {**order, "legalEntity": "KW01"})
    told = event("confirmed", order, number, legalEntity="KW01", decisionId=decided["decisionId"])
    for worker in range(2):
        assert (await outside.ask("POST", "/api/webhooks/commerce", told, worker=worker)).status == 202
    await outside.rest()

    [placed] = [one for one in (await outside.control("sap", "GET", "state"))["sales_orders"] if one["order"] == number]
    assert (placed["gross"], placed["status"], placed["company_code"]) == ("25.925", "open", "KW01")
    assert await outside.documents_of(number) == []
    waiting = await reconciled(outside, period)
    assert (waiting["inFlight"], waiting["unexplained"]) == (1, 0)
    assert [row["code"] for row in waiting["rows"]] == ["waits_for_billing"]

    ran = await outside.control("sap", "POST", "billing-run")
    assert [one["reference"] for one in ran["billed"]] == [placed["reference"]]
    told_now = await reconciled(outside, period)
    assert (told_now["orders"], told_now["matched"], told_now["unexplained"]) == (1, 1, 0)
    assert told_now["difference"] == {"KWD": "0.000"}
    [document] = await outside.documents_of(number)
    assert (document["type"], Decimal(document["gross"])) == ("RV", Decimal("25.925"))
    lifecycle = (await outside.ask("GET", f"/api/lifecycle/KW01/{number}")).json
    assert lifecycle["documents"] == [f"KW01/SO/{placed['SalesOrder']}"]
