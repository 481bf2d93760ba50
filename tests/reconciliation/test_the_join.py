"""The join alone: what each pattern of rows over three files is called, and that nothing is left out of its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from shared.reports.staging import Stage
from shared.reports.three_way import CommerceOrder, CrmOrder, Inputs, Joined, LedgerDocument, join

FIRST, LAST = date(2026, 11, 1), date(2026, 11, 30)


def commerce(number: int) -> CommerceOrder:
    return CommerceOrder(f"K{number}", f"S-{number}", "GBP", Decimal("12.00"), Decimal("2.00"), date(2026, 11, 5))


def ledger(number: int) -> LedgerDocument:
    return LedgerDocument(
        f"K{number}", f"S-{number}", "invoice", f"GB01/2026/{number}", "GBP", Decimal("12.00"), Decimal("2.00"),
        Decimal(0), date(2026, 11, 5), False, True,
    )  # fmt: skip


def crm(number: int) -> CrmOrder:
    return CrmOrder(f"S-{number}", "GBP", Decimal("12.00"), Decimal("2.00"), date(2026, 11, 5))


def joined(
    folder: Path,
    orders: Sequence[CommerceOrder],
    documents: Sequence[LedgerDocument],
    rows: Sequence[CrmOrder],
    findings_max: int = 1000,
) -> Joined:
    paths = []
    for name, kind, content in (
        ("c", CommerceOrder, orders),
        ("l", LedgerDocument, documents),
        ("r", CrmOrder, rows),
    ):
        with Stage(folder / f"{name}.csv", kind) as stage:
            for row in content:
                stage.add(row)
        paths.append(stage.as_parquet())
    return join(Inputs(*paths), FIRST, LAST, findings_max=findings_max)


THREE = [1, 2, 3]


@pytest.mark.parametrize(
    ("documents", "found"),
    [
        ([ledger(1), ledger(2), ledger(3)], []),
        ([ledger(1), ledger(3)], ["missing_in_sap"]),
        ([ledger(1), ledger(2), ledger(3), ledger(4)], ["missing_in_commerce"]),
        ([ledger(1), ledger(2), replace(ledger(2), document="GB01/2026/9"), ledger(3)], ["duplicate"]),
        ([ledger(1), replace(ledger(2), gross=Decimal("12.01")), ledger(3)], ["amount"]),
        ([ledger(1), replace(ledger(2), open_balance=Decimal("0.01")), ledger(3)], ["amount"]),
        ([ledger(1), replace(ledger(2), tax=Decimal("2.01")), ledger(3)], ["tax"]),
        ([ledger(1), replace(ledger(2), currency="EUR"), ledger(3)], ["currency"]),
        ([ledger(1), replace(ledger(2), posting_date=date(2026, 12, 1)), ledger(3)], ["period"]),
        ([ledger(1), replace(ledger(2), is_as_posted=False), ledger(3)], ["lines"]),
        ([ledger(1), replace(ledger(2), is_reversed=True), ledger(3)], ["missing_in_sap"]),
        ([ledger(1), ledger(2), replace(ledger(2), is_reversed=True, document="X"), ledger(3)], []),
        ([ledger(1), ledger(2), ledger(3), replace(ledger(4), reference=""), replace(ledger(5), reference="")],
         ["missing_in_commerce", "missing_in_commerce"]),
    ],
)  # fmt: skip
def test_the_ledger_is_held_against_commerce(tmp_path: Path, documents: list[LedgerDocument], found: list[str]) -> None:
    result = joined(tmp_path, [commerce(n) for n in THREE], documents, [crm(n) for n in THREE])
    assert [finding.kind for finding in result.findings] == found
    assert result.orders == 3
    assert result.matched == 3 - sum(kind != "missing_in_commerce" for kind in found)


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([crm(1), crm(3)], ["missing_in_crm"]),
        ([crm(1), crm(2), crm(2), crm(3)], []),  # the same row twice in a row is one: pages may overlap
        ([crm(1), crm(2), replace(crm(2), tax=Decimal(0)), crm(3)], ["duplicate"]),
        ([crm(1), crm(2), crm(3), crm(4)], ["missing_in_commerce"]),
        ([crm(1), replace(crm(2), total=Decimal("11.99")), crm(3)], ["amount"]),
        ([crm(1), replace(crm(2), tax=Decimal("1.99")), crm(3)], ["tax"]),
        ([crm(1), replace(crm(2), currency="unknown"), crm(3)], ["currency"]),
        ([crm(1), replace(crm(2), business_date=date(2026, 11, 6)), crm(3)], ["date"]),
    ],
)
def test_the_history_is_held_against_commerce(tmp_path: Path, rows: list[CrmOrder], found: list[str]) -> None:
    result = joined(tmp_path, [commerce(n) for n in THREE], [ledger(n) for n in THREE], rows)
    assert [(finding.system, finding.kind) for finding in result.findings] == [("crm", kind) for kind in found]


def test_a_duplicate_names_both_documents_and_what_they_come_to(tmp_path: Path) -> None:
    twice = [ledger(1), replace(ledger(1), document="GB01/2026/9")]
    result = joined(tmp_path, [commerce(1)], twice, [crm(1)])
    [finding] = result.findings
    assert (finding.document, finding.found) == ("GB01/2026/1, GB01/2026/9", Decimal("24.000"))
    assert result.matched == 0


def test_an_order_duplicated_on_both_sides_is_found_on_both(tmp_path: Path) -> None:
    documents = [ledger(1), replace(ledger(1), document="GB01/2026/9")]
    result = joined(tmp_path, [commerce(1)], documents, [crm(1), replace(crm(1), tax=Decimal(0))])
    assert {(finding.system, finding.kind) for finding in result.findings} == {
        ("sap", "duplicate"),
        ("crm", "duplicate"),
    }


def test_text_of_any_kind_survives_staging(tmp_path: Path) -> None:
    odd = 'a,"b" c\u2028=1+1; DROP TABLE l'
    orders = [replace(commerce(1), number=odd)]
    result = joined(tmp_path, orders, [ledger(1)], [replace(crm(1), number=odd)])
    assert (result.matched, result.findings) == (1, ())
    result = joined(tmp_path, orders, [ledger(1)], [])
    assert result.findings[0].number == odd


def test_what_is_too_much_to_list_is_counted_and_summed(tmp_path: Path) -> None:
    numbers = range(1, 11)
    result = joined(tmp_path, [commerce(n) for n in numbers], [], [crm(n) for n in numbers], findings_max=4)
    assert len(result.findings) == 4
    [rest] = result.unlisted
    assert (rest.kind, rest.count, rest.difference) == ("missing_in_sap", 6, Decimal("72.000"))
    assert result.matched == 0


def test_amounts_keep_every_digit_of_three_decimals(tmp_path: Path) -> None:
    large = Decimal("123456789012.345")
    order = replace(commerce(1), currency="KWD", total=large, tax=Decimal(0))
    document = replace(ledger(1), currency="KWD", gross=large + Decimal("0.001"), tax=Decimal(0))
    row = replace(crm(1), currency="KWD", total=large, tax=Decimal(0))
    [finding] = joined(tmp_path, [order], [document], [row]).findings
    assert finding.found - finding.expected == Decimal("0.001")


def test_the_digest_of_an_input_knows_its_rows_and_not_its_pages(tmp_path: Path) -> None:
    def digest(rows: list[CrmOrder]) -> str:
        with Stage(tmp_path / "r.csv", CrmOrder) as stage:
            for row in rows:
                stage.add(row)
        return stage.side.digest

    assert digest([crm(1), crm(2), crm(2)]) == digest([crm(1), crm(2)])
    assert digest([crm(1), crm(2)]) != digest([crm(1), replace(crm(2), total=Decimal("12.01"))])
