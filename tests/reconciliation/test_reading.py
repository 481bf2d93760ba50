"""Reading three systems: whole months page by page, nothing cut off, nothing twice, and the same digest either way."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from sandbox.commerce import headquarters
from sandbox.dataverse import reads
from shared.flows.reconciliation import reconcile
from shared.reports.reconciliation import Reconciliation
from shared.reports.staging import ledger_document, unescaped
from tests.ledger.rig import line, sales_order
from tests.reconciliation.trading import PERIOD, document_of, trade
from tests.systems import Systems, systems


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Systems]:
    async with systems(monkeypatch) as running:
        yield running


async def reconciled(world: Systems, legal_entity: str = "GB01") -> Reconciliation:
    return (await reconcile(legal_entity, PERIOD, world.hub))[0]


async def test_a_month_of_many_pages_is_read_whole_and_gives_the_same_digests(
    world: Systems, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        await trade(world, sales_order(f"S-{number}"))
    whole = await reconciled(world)
    monkeypatch.setattr(headquarters, "PAGE_ROWS_MAX", 2)
    monkeypatch.setattr(reads, "PAGE_ROWS_MAX", 2)
    items = world.sap.services["API_OPLACCTGDOCITEMCUBE_SRV"].sets["A_OperationalAcctgDocItemCube"]
    object.__setattr__(items, "page_rows", 4)  # of this test's own simulator: documents are cut in the middle
    calls = len(world.sap.calls)
    paged = await reconciled(world)
    assert len(world.sap.calls) - calls > 1
    assert (paged.orders, paged.matched, paged.unexplained) == (7, 7, 0)
    assert {name: side.digest for name, side in paged.sides.items()} == {
        name: side.digest for name, side in whole.sides.items()
    }


@pytest.mark.parametrize("customer", ["C-1", ""])
async def test_a_document_altered_by_a_penny_is_found_for_customers_and_for_guests(
    world: Systems, customer: str
) -> None:
    await trade(world, sales_order("S-1", customer=customer))
    assert (await reconciled(world)).matched == 1
    document = await document_of(world, "S-1")
    name = str(document.get("id") or f"{document['company_code']}-{document['fiscal_year']}-{document['document']}")
    await world.control("sap", "PATCH", f"documents/{name}", {"gross": Decimal("120.01")})
    report = await reconciled(world)
    assert (report.matched, report.unexplained) == (0, 1)
    assert [row.code for row in report.rows] == ["altered_in_sap"]


@pytest.mark.parametrize(
    ("legal_entity", "currency", "net", "tax", "total"),
    [("JP01", "JPY", "1000", "100", "1100"), ("KW01", "KWD", "100.005", "5.000", "105.005")],
)
async def test_currencies_without_and_with_three_decimals_reconcile_to_the_last_unit(
    world: Systems, legal_entity: str, currency: str, net: str, tax: str, total: str
) -> None:
    order = sales_order("S-1", currency=currency, lines=[line("1", "1", net, tax)])
    await trade(world, order, legal_entity=legal_entity)
    report = await reconciled(world, legal_entity)
    assert report.matched == 1
    assert {name: side.totals[currency] for name, side in report.sides.items()} == dict.fromkeys(
        ("commerce", "sap", "crm"), Decimal(total)
    )


async def test_gift_cards_charges_and_zero_prices_match_too(world: Systems) -> None:
    sold = sales_order("S-1", lines=[line("1", "1", "50.00", "0", gift_card=True), line("2", "1", "10.00", "2.00")])
    redeemed = sales_order("S-2", tenders=[("8", "20.00"), ("3", "100.00")])
    charged = sales_order("S-3", charges=[("FREIGHT", "5.00", "1.00"), ("DISCOUNT", "-10.00", "-2.00")])
    free = sales_order("S-4", lines=[line("1", "3", "0.00", "0.00")])
    for order in (sold, redeemed, charged, free):
        await trade(world, order)
    report = await reconciled(world)
    assert (report.matched, report.explained, report.unexplained) == (3, 1, 0)
    assert [row.code for row in report.rows] == ["no_ledger_matter"]


async def test_an_exchange_that_gives_money_back_matches_its_invoice(world: Systems) -> None:
    """Its header looks like a return, its posting is a sale's: one order, one document, no difference."""
    exchange = sales_order("S-1", lines=[line("1", "-1", "-30.00", "-6.00"), line("2", "1", "10.00", "2.00")])
    await trade(world, exchange)
    report = await reconciled(world)
    assert (report.matched, report.explained, report.unexplained) == (1, 0, 0)


async def test_a_document_posted_in_the_next_month_is_a_difference_of_period_with_its_reason(world: Systems) -> None:
    await trade(world, sales_order("S-1"))
    document = await document_of(world, "S-1")
    name = str(document.get("id") or f"{document['company_code']}-{document['fiscal_year']}-{document['document']}")
    await world.control("sap", "PATCH", f"documents/{name}", {"postingDate": "2026-12-01"})
    report = await reconciled(world)
    [row] = report.rows
    assert (row.row_class, row.explained) == ("period", False)
    assert row.finding.posting_date is not None and row.finding.posting_date.isoformat() == "2026-12-01"


async def test_a_reversed_document_is_missing_and_named(world: Systems) -> None:
    await trade(world, sales_order("S-1"))
    document = await document_of(world, "S-1")
    name = str(document.get("id") or f"{document['company_code']}-{document['fiscal_year']}-{document['document']}")
    await world.control("sap", "PATCH", f"documents/{name}", {"reversed": True})
    report = await reconciled(world)
    assert report.unexplained == 1
    assert [row.code for row in report.rows] == ["reversed"]


async def test_a_second_document_under_one_posting_key_is_named_with_the_first(world: Systems) -> None:
    await trade(world, sales_order("S-1"))
    key = (await document_of(world, "S-1"))["reference"]
    forged = {"legalEntity": "GB01", "gross": Decimal("120.00"), "order": "S-1", "reference": key,
              "postingDate": "2026-11-23"}  # fmt: skip
    await world.control("sap", "POST", "documents", forged)
    [row] = (await reconciled(world)).rows
    assert (row.row_class, row.explained) == ("duplicate", False)
    assert "repeats posting key" in row.reason


def test_a_document_whose_lines_came_twice_is_counted_once() -> None:
    from datetime import date

    from shared.clients.sap_ledger import LedgerItem, PostedDocument
    from shared.domain.money import Money
    from tests.hub import shipped_policy

    entity = shipped_policy().ledger.entity("GB01")
    head = LedgerItem(
        PostedDocument("GB01", "2026", "1"), "001", "DR", "K1", "S-1", "invoice", date(2026, 11, 5), date(2026, 11, 5),
        "", entity.tender_accounts["3"], "S", "", Money(Decimal("12.00"), "GBP"), "TENDER 3",
    )  # fmt: skip
    other = replace(head, item="002", account="41000000", amount=Money(Decimal("-12.00"), "GBP"))
    assert ledger_document([head, other, head], entity).gross == Decimal("12.00")


@pytest.mark.parametrize(("key", "number"), [("S-1", "S-1"), ("S~2F1~7C2", "S/1|2"), ("~7E", "~"), ("", "")])
def test_an_order_number_reads_back_from_its_alternate_key(key: str, number: str) -> None:
    assert unescaped(key) == number


@pytest.mark.prove
def test_the_first_invoices_of_december_2010_close(tmp_path: Path) -> None:
    import subprocess
    import sys

    folder = os.environ.get("CONCORD_TEST_DATA")
    if not folder:
        pytest.skip("CONCORD_TEST_DATA does not name the folder of the retail file")
    data = Path(folder) / "online_retail_2010-12.csv.gz"
    command = [sys.executable, "-m", "sandbox.day", "--data", str(data), "--orders", "400", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=460)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    page = (tmp_path / "month-end-GB01-2010-12.html").read_text(encoding="utf-8")
    assert "The period is closed" in page and "GB01-2010-12-01" in page
