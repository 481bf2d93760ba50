"""Claims about the control surface and the events that changes send."""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sandbox.kit import exact_json
from sandbox.kit.simulator import Settings
from sandbox.sap.simulator import SapSimulator
from tests.kit.counter import Inbox
from tests.sap_simulator.caller import PASSWORD, Sap, running_sap
from tests.sap_simulator.entries import entry, envelope

CUBE = "API_OPLACCTGDOCITEMCUBE_SRV/A_OperationalAcctgDocItemCube"


async def events_of(expected: int, change: Callable[[Sap], Any]) -> list[dict[str, Any]]:
    """What arrives at the functions while `change` happens."""
    inbox = Inbox(expected=expected)
    async with inbox.open() as url:
        simulator = SapSimulator(Settings(functions_url=url, functions_key="host-key"), password=PASSWORD)
        async with running_sap(simulator) as sap:
            await change(sap)
            await asyncio.wait_for(inbox.complete.wait(), 5)
    assert set(inbox.keys) == {"host-key"}
    return [exact_json.loads_object(body) for body in inbox.received]


async def test_stock_sends_a_material_document_event_with_keys_only() -> None:
    [event] = await events_of(1, lambda sap: sap.control("PUT", "stock/GB10/A", {"quantity": 5, "unit": "EA"}))
    assert event["type"] == "sap.s4.beh.materialdocument.v1.MaterialDocument.Created.v1"
    assert (event["specversion"], event["datacontenttype"]) == ("1.0", "application/json")
    assert (event["data"]["Material"], event["data"]["Plant"]) == ("A", "GB10")
    assert "quantity" not in str(event).lower()


async def test_a_posting_a_partner_change_and_a_new_partner_are_told() -> None:
    async def change(sap: Sap) -> None:
        await sap.account()
        await sap.post(envelope(entry(PostingDate="2011-01-01")))
        await sap.account(name="Renamed")

    created, posted, changed = await events_of(3, change)
    assert created["data"] == changed["data"] == {"BusinessPartner": "C-1"}
    assert changed["type"] == "sap.s4.beh.businesspartner.v1.BusinessPartner.Changed.v1"
    assert posted["type"] == "sap.s4.beh.journalentry.v1.JournalEntry.Created.v1"
    assert posted["data"] == {"CompanyCode": "GB01", "FiscalYear": "2011", "AccountingDocument": "1800000000"}


async def test_a_refused_posting_tells_nothing() -> None:
    async def change(sap: Sap) -> None:
        await sap.post(envelope(entry()))
        await sap.control("PUT", "stock/GB10/A", {"quantity": 5})

    [event] = await events_of(1, change)
    assert "materialdocument" in event["type"]


async def test_a_new_account_is_announced_once_to_commerce_and_dataverse() -> None:
    put: list[tuple[str, dict[str, object]]] = []

    async def take(request: web.Request) -> web.Response:
        put.append((request.path, exact_json.loads_object(await request.read())))
        return web.json_response({})

    app = web.Application()
    app.router.add_put("/{path:.*}", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    settings = Settings(options={"commerce_url": url, "dataverse_url": url})
    async with running_sap(SapSimulator(settings, password=PASSWORD)) as sap:
        await sap.account(name="Smith")
        await sap.account(limit=5)
    await runner.cleanup()
    assert [path for path, _ in put] == ["/__sim/customers/C-1", "/__sim/accounts/C-1"]
    assert put[0][1] == {"name": "Smith", "legalEntity": "GB01", "currency": "GBP", "limit": 1000}


async def test_a_neighbour_that_does_not_answer_is_no_silent_half_success() -> None:
    settings = Settings(options={"commerce_url": "http://127.0.0.1:9"})
    async with running_sap(SapSimulator(settings, password=PASSWORD)) as sap:
        status, said = await sap.try_control("PUT", "credit-accounts/C-1", {"legalEntity": "GB01", "limit": 1})
    assert (status, "did not answer" in said) == (502, True)


async def test_a_forged_document_stands_on_the_ledger_and_can_be_altered_and_removed(sap: Sap) -> None:
    await sap.account()
    forged = await sap.control(
        "POST",
        "documents",
        {"legalEntity": "GB01", "gross": "12.34", "order": "S-1", "reference": "K-9", "customer": "C-1"},
    )
    assert len((await sap.get(CUBE, filter="DocumentReferenceID eq 'K-9'")).results) == 2
    altered = await sap.control("PATCH", f"documents/{forged['id']}", {"gross": "12.35", "order": "S-2"})
    assert (altered["gross"], altered["order"]) == ("12.35", "S-2")
    rows = (
        await sap.get(CUBE, filter="Reference1InDocumentHeader eq 'S-2'", select="AmountInTransactionCurrency")
    ).results
    assert sorted(row["AmountInTransactionCurrency"] for row in rows) == ["-12.35", "12.35"]
    await sap.control("DELETE", f"documents/{forged['id']}")
    assert (await sap.state())["documents"] == []
    assert (await sap.get(CUBE)).results == []
    assert (await sap.try_control("DELETE", f"documents/{forged['id']}"))[0] == 404


async def test_a_document_is_altered_to_the_line_and_put_back_to_the_letter(sap: Sap) -> None:
    await sap.account()
    posted = await sap.control("POST", "documents", {"legalEntity": "GB01", "gross": "12.34", "order": "S-1"})
    await sap.control("POST", f"documents/{posted['id']}/restore")
    assert (await sap.state())["documents"] == [], "nobody posted it: put back, it is not there"

    posted = await sap.control("POST", "payments", {"account": "C-1", "amount": "12.34"})
    change = {
        "lines": [
            {"item": 1, "amount": "12.33"},
            {"item": 2, "customer": "C-2"},
            {"item": 9, "account": "41000000", "amount": "0.01"},
        ],
        "currency": "EUR",
        "documentDate": "2026-11-30",
        "headerText": "touched",
    }
    altered = await sap.control("PATCH", f"documents/{posted['id']}", change)
    assert [line["amount"] for line in altered["lines"]] == ["12.33", "-12.34", "0.01"]
    assert (altered["lines"][1]["customer"], altered["currency"]) == ("C-2", "EUR")
    await sap.control("DELETE", f"documents/{posted['id']}")
    await sap.control("POST", f"documents/{posted['id']}/restore")
    assert (await sap.state())["documents"] == [posted]
    assert (await sap.try_control("POST", f"documents/{posted['id']}/restore"))[0] == 404
    unknown = {"lines": [{"item": 9, "amount": "0.01"}]}
    assert (await sap.try_control("PATCH", f"documents/{posted['id']}", unknown))[0] == 400
    assert (await sap.try_control("PATCH", f"documents/{posted['id']}", {"currency": "XXX"}))[0] == 400


async def test_a_copied_document_is_the_same_under_a_number_of_its_own(sap: Sap) -> None:
    await sap.account()
    posted = await sap.control("POST", "payments", {"account": "C-1", "amount": "12.34"})
    copied = await sap.control("POST", "documents", {"copyOf": posted["id"], "reference": "K-1"})
    assert (copied["gross"], copied["reference"]) == (posted["gross"], "K-1")
    assert copied["document"] != posted["document"]
    assert (await sap.try_control("POST", "documents", {"copyOf": "GB01-2026-1"}))[0] == 404
    assert (await sap.try_control("POST", "documents", {"order": "S-1"}))[0] == 400


async def test_a_goods_movement_adds_to_stock(sap: Sap) -> None:
    await sap.control("PUT", "stock/GB10/A", {"quantity": 5})
    moved = await sap.control("POST", "goods-movements", {"plant": "GB10", "material": "A", "quantity": "-1.5"})
    assert moved["quantity"] == "3.5"
    rows = (
        await sap.get("API_MATERIAL_STOCK_SRV/A_MatlStkInAcctMod", filter="Material eq 'A' and Plant eq 'GB10'")
    ).results
    assert [row["MatlWrhsStkQtyInMatlBaseUnit"] for row in rows] == ["3.5"]


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("PUT", "credit-accounts/C-1", {"legalEntity": "XX"}, "legalEntity"),
        ("PUT", "credit-accounts/C-1", {"limit": "1.001", "currency": "GBP"}, "limit"),
        ("PUT", "credit-accounts/C-1", {"currency": "ZZZ"}, "currency"),
        ("PUT", "credit-accounts/C-1", {"limt": 1}, "limt"),
        ("PUT", "credit-accounts/C-1", {"limit": "1e30"}, "limit"),
        ("PUT", "credit-accounts/C-1", {"limit": "NaN"}, "limit"),
        ("PUT", "credit-accounts/C-1", {"limit": "1", "exposure": "1e400"}, "exposure"),
        ("PUT", "credit-accounts/C-1", {"overdueDays": -1}, "overdueDays"),
        ("PUT", "credit-accounts/C-1", {"overdueDays": 99_999_999_999}, "overdueDays"),
        ("PUT", "stock/GB10/A", {"quantity": "1e400"}, "quantity"),
        ("PUT", "credit-accounts/TOO-LONG-AN-ACCOUNT", {}, "account"),
        ("PUT", "stock/XX10/A", {"quantity": 1}, "plant"),
        ("PUT", "stock/GB10/A", {}, "quantity"),
        ("PUT", "conditions/C-1/A", {"price": -1}, "price"),
        ("PUT", "conditions/C-1/A", {"price": 1, "from": "2027-02-01", "to": "2027-01-01"}, "to"),
        ("PUT", "periods/GB01/2027-13", {"open": False}, "period"),
        ("PUT", "exposure-lag", {"seconds": -1}, "seconds"),
        ("POST", "payments", {"account": "nobody", "amount": 1}, "account"),
        ("POST", "payments", {"account": "C-2", "amount": 0}, "amount"),
    ],
)
async def test_a_wrong_control_call_is_refused_names_the_field_and_changes_nothing(
    sap: Sap, method: str, path: str, body: dict[str, object], field: str
) -> None:
    await sap.account("C-2")
    before = await sap.state()
    status, said = await sap.try_control(method, path, body)
    assert status == 400
    assert field in str(said)
    assert await sap.state() == before


async def test_a_stale_read_shows_the_ledger_as_it_stood(sap: Sap, clock: Any) -> None:
    await sap.account()
    await sap.post(envelope(entry()))
    clock.now += 60
    await sap.control("POST", "faults", {"kind": "stale_read", "seconds": 120, "match": {"path": "ITEMCUBE"}})
    assert (await sap.get(CUBE, filter="DocumentReferenceID eq 'K-1'")).results == []
    await sap.control("DELETE", "faults")
    assert len((await sap.get(CUBE, filter="DocumentReferenceID eq 'K-1'")).results) == 3


async def test_a_posting_whose_answer_is_lost_stands_and_one_cut_off_before_does_not(sap: Sap) -> None:
    await sap.account()
    for kind, documents in (("reset", 0), ("timeout_after", 1)):
        fault = {"kind": kind, "match": {"method": "POST", "path": "/sap/bc/srt/"}, "count": 1}
        await sap.control("POST", "faults", fault)
        with pytest.raises((aiohttp.ClientError, TimeoutError)):
            await asyncio.wait_for(sap.post(envelope(entry())), 0.3)
        assert len((await sap.state())["documents"]) == documents


async def test_a_reset_leaves_an_empty_system_with_its_customising(sap: Sap) -> None:
    await sap.account(exposure=5, prices={"A": 1})
    await sap.post(envelope(entry()))
    await sap.control("POST", "reset")
    state = await sap.state()
    assert state["documents"] == state["credit_accounts"] == state["conditions"] == state["open_items"] == []
    assert {partner["account"] for partner in state["business_partners"]} == {"CPDGB01", "CPDJP01", "CPDKW01"}
    await sap.account()
    await sap.post(envelope(entry()))
    assert [d["document"] for d in (await sap.state())["documents"]] == ["1800000000"]
