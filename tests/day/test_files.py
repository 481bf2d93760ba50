"""A file of invoices becomes a day in which each invoice is an order, a return, a case with its reason, or stock."""

from __future__ import annotations

import gzip
import os
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from sandbox.day import retail_file
from sandbox.day.invoices import day_of
from sandbox.day.plan import Checkout, Day, Deliver, End, Entry, MoveGoods, Return
from sandbox.day.retail_file import WrongFile, read_rows

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
CASE, POSTED = frozenset({End.CASE}), frozenset({End.CASE, End.POSTED})


def day(folder: Path, *rows: str, first: int | None = None) -> Day:
    file = folder / "invoices.csv"
    file.write_text("\r\n".join([HEADER, *rows, ""]), encoding="utf-8-sig")
    return day_of(read_rows(file), file.name, first=first)


def only(day: Day) -> Entry:
    [entry] = day.entries
    return entry


def test_an_invoice_of_a_customer_goes_on_its_account_and_one_of_nobody_is_paid_at_the_till(tmp_path: Path) -> None:
    planned = day(
        tmp_path,
        '536365,85123A,"WHITE ""HANGING"" HEART",6,2010-12-01 08:26,2.55,17850,United Kingdom',
        "536366,22633,HAND WARMER,2,12/1/2010 8:28,1.85,,France",
        "536365,71053,LANTERN,1,2010-12-01 08:26,3.39,17850.0,United Kingdom",
    )
    sold = {act.order.number: act.order for act in planned.acts if isinstance(act, Checkout)}
    assert (sold["536365"].customer, sold["536365"].total, sold["536365"].on_account) == (
        "17850", Decimal("18.69"), Decimal("18.69"),
    )  # fmt: skip
    assert (sold["536366"].customer, sold["536366"].total, sold["536366"].on_account) == (
        "",
        Decimal("3.70"),
        Decimal(0),
    )
    assert {entry.ends for entry in planned.entries} == {POSTED}
    assert sold["536365"].lines[0].name == 'WHITE "HANGING" HEART'


def test_a_credit_note_names_the_latest_sale_that_still_has_its_goods(tmp_path: Path) -> None:
    planned = day(
        tmp_path,
        "1,A,x,5,2010-12-01 08:00,2.00,C-1,UK",
        "2,A,x,3,2010-12-01 09:00,2.00,C-1,UK",
        "C3,A,x,-4,2010-12-01 10:00,2.00,C-1,UK",
        "C4,A,x,-3,2010-12-01 11:00,2.00,C-1,UK",
        "C5,A,x,-3,2010-12-01 12:00,2.00,C-1,UK",
    )
    returned = {act.name: act for act in planned.acts if isinstance(act, Return)}
    assert {name: act.order.lines[0].original for name, act in returned.items()} == {
        "C3": ("1", "1"), "C4": ("2", "1"), "C5": None,
    }  # fmt: skip
    assert returned["C3"].after == ("1",), "a return comes after what it returns"


@pytest.mark.parametrize(
    ("code", "charge"),
    [("POST", "POSTAGE"), ("DOT", "POSTAGE"), ("BANK CHARGES", "BANKCHARGE"), ("AMAZONFEE", "MARKETPLACE"),
     ("D", "DISCOUNT"), ("M", "ADJUSTMENT"), ("m", "ADJUSTMENT"), ("S", "SAMPLE"), ("ADJUST2", "ADJUSTMENT")],
)  # fmt: skip
def test_a_code_that_is_no_article_is_a_charge(tmp_path: Path, code: str, charge: str) -> None:
    planned = day(tmp_path, f"1,{code},x,1,2010-12-01 08:00,18.00,C-1,UK")
    [act] = planned.acts
    assert isinstance(act, Checkout) and not act.order.lines
    assert [(one.code, one.amount) for one in act.order.charges] == [(charge, Decimal("18.00"))]


def test_a_line_without_a_price_moves_stock_and_never_the_ledger(tmp_path: Path) -> None:
    planned = day(tmp_path, "1,A,damaged,-5,2010-12-01 08:00,0,,UK", "2,A,given,2,2010-12-01 08:00,0,C-1,UK")
    assert [act.stock.quantity for act in planned.acts if isinstance(act, MoveGoods)] == [-5, -2]
    assert {entry.ends for entry in planned.entries} == {frozenset({End.NO_LEDGER_MATTER})}
    damaged, given = [act.order for act in planned.acts if isinstance(act, Checkout | Return)]
    assert not any(order.total or order.tenders for order in (damaged, given))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,A,x,-6,2010-12-01 08:28,1.85,C-1,UK", "row 2: Quantity -6 is negative at a price, on no credit note"),
        ("1,A,x,NaN,2010-12-01 08:28,1.85,C-1,UK", "row 2: Quantity 'NaN' is not a usable number"),
        ("1,A,x,six,2010-12-01 08:28,1.85,C-1,UK", "row 2: Quantity 'six' is not a number"),
        ("1,A,x,1,yesterday,1.85,C-1,UK", "row 2: InvoiceDate 'yesterday' is not a date and time"),
        ("1,A,x,1,2010-12-01 08:28,-1,C-1,UK", "row 2: UnitPrice -1 is negative"),
        ("1,,x,1,2010-12-01 08:28,1,C-1,UK", "row 2: StockCode is missing"),
        ("1,A,x,1,2010-12-01 08:28,1,a customer,UK", "row 2: CustomerID 'a customer' is not an account number"),
        ("1,A,x,0.3333,2010-12-01 08:28,1,C-1,UK", "row 2: Quantity 0.3333 has more than 3 decimals"),
        ("1,A,x,1,2010-12-01 08:28,1.234567,C-1,UK", "row 2: UnitPrice 1.234567 has more than 5 decimals"),
        (f"1,A,{'x' * 200_000},1,2010-12-01 08:28,1,C-1,UK", "row 2: a cell is longer than 131,072 characters"),
        ("1,A,x,1", "row 2: the row has 4 cells, the file 8 columns"),
        ('1,A,"x,1,2010-12-01 08:28,1,C-1,UK', "row 2: the row's quotes are not closed"),
        ("1,A,x,99999999,2010-12-01 08:28,99999999,,UK",
         "row 2: Quantity 99999999 at UnitPrice 99999999 is more than a ledger can hold"),
        ("C1,A,x,1,2010-12-01 08:28,1,C-1,UK", "row 2: Quantity 1 is positive on a credit note"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_delivered_as_it_is_and_has_to_become_a_case(
    tmp_path: Path, row: str, reason: str
) -> None:
    planned = day(tmp_path, row, "2,A,x,1,2010-12-01 08:28,1.00,,UK")
    faulty, fine = planned.entries
    assert (faulty.ends, faulty.gross, faulty.faults) == (CASE, None, (reason,))
    assert fine.ends == POSTED, "one bad row spoils its own invoice only"
    [act] = [act for act in planned.acts if isinstance(act, Deliver)]
    order = act.envelope["order"]
    assert isinstance(order, dict)
    assert order["ExtensionProperties"] == [{"Key": "ImportFault", "Value": {"StringValue": reason}}]


def test_a_row_of_no_invoice_is_a_case_of_its_own(tmp_path: Path) -> None:
    entry = only(day(tmp_path, ",A,x,1,2010-12-01 08:28,1,C-1,UK"))
    assert (entry.number, entry.ends, entry.faults) == ("ROW-2", CASE, ("row 2: InvoiceNo is missing",))


def test_an_invoice_of_two_customers_is_a_case(tmp_path: Path) -> None:
    entry = only(day(tmp_path, "1,A,x,1,2010-12-01 08:28,1,C-1,UK", "1,A,x,1,2010-12-01 08:28,1,C-2,UK"))
    assert entry.faults == ("rows 2-3: one invoice with several customers: C-1, C-2",)


def test_an_invoice_of_several_days_is_a_case(tmp_path: Path) -> None:
    """Rows of one invoice may lie minutes apart, not days."""
    near = day(tmp_path, "1,A,x,1,2010-12-01 08:28,1,C-1,UK", "1,A,x,1,2010-12-01 08:29,1,C-1,UK")
    assert only(near).ends == POSTED
    far = only(day(tmp_path, "1,A,x,1,2010-12-01 08:28,1,C-1,UK", "1,A,x,1,2010-12-05 08:28,1,C-1,UK"))
    assert far.faults == ("rows 2-3: one invoice on several days: 2010-12-01, 2010-12-05",)


def test_of_very_many_faults_the_first_are_told_and_how_many_more_there_are(tmp_path: Path) -> None:
    entry = only(day(tmp_path, *["1,A,x,1,never,1,C-1,UK"] * 75))
    assert len(entry.faults) == 50
    assert entry.faults[-1] == "and 26 more faults"


def test_a_raw_cell_of_any_length_and_any_number_of_rows_make_an_event_that_can_be_delivered(tmp_path: Path) -> None:
    planned = day(tmp_path, *[f"1,A,{'x' * 50_000},1,never,1,C-1,UK"] * 1_200)
    [act] = [act for act in planned.acts if isinstance(act, Deliver)]
    assert len(str(act.envelope)) < 1_500_000
    assert only(planned).line_count == 1_200


@pytest.mark.parametrize("ending", [b"\r", b"\n", b"\r\n"], ids=["CR", "LF", "CRLF"])
def test_a_file_may_end_its_lines_as_any_system_does(tmp_path: Path, ending: bytes) -> None:
    file = tmp_path / "ended.csv"
    file.write_bytes(HEADER.encode() + ending + b"1,A,x,1,2010-12-01 08:28,1,C-1,UK" + ending)
    [entry] = day_of(read_rows(file), file.name).entries
    assert entry.ends == POSTED


def test_a_customer_who_buys_more_than_any_limit_may_be_told_to_wait_for_approval(tmp_path: Path) -> None:
    planned = day(tmp_path, "1,A,x,1000,2010-12-01 08:28,1,C-1,UK", "2,A,x,1000000,2010-12-01 08:28,649.50,C-1,UK")
    assert [End.APPROVAL_REQUIRED in entry.ends for entry in planned.entries] == [False, True]


def test_columns_come_in_any_order_and_others_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "reordered.csv.gz"
    file.write_bytes(gzip.compress(
        b"Country,CustomerID,Extra,UnitPrice,InvoiceDate,Quantity,Description,StockCode,InvoiceNo\n"
        b"UK,C-1,z,1.00,2010-12-01 08:00,2,caf\xe9,A,9\n"
    ))  # fmt: skip
    [entry] = day_of(read_rows(file), file.name).entries
    assert (entry.number, entry.gross) == ("9", Decimal("2.00"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty; its first row must name the columns"),
        (b"InvoiceNo,StockCode,Quantity\n", "lacks the columns Description, InvoiceDate, UnitPrice, CustomerID"),
        (HEADER.encode() + b",Quantity\n", "has the column Quantity more than once"),
        (b"\x00\x01\x02", "is not text"),
        (b'"' + b"x" * 200_000 + b'",' + HEADER.encode() + b"\n", "has no readable header: field larger"),
        (gzip.compress(HEADER.encode() * 20, mtime=0)[:-9], "is damaged"),
    ],
)
def test_a_file_that_is_none_is_refused_with_what_is_wrong_with_it(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "wrong.csv"
    file.write_bytes(content)
    with pytest.raises(WrongFile, match=says):
        read_rows(file)


def test_a_file_that_unpacks_to_more_than_any_day_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retail_file, "_BYTES_MAX", 2**20)
    file = tmp_path / "bomb.csv.gz"
    file.write_bytes(gzip.compress(b"x" * (2**20 + 1)))
    with pytest.raises(WrongFile, match="holds more than 1 MiB: replay it in parts"):
        read_rows(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match=r"nowhere\.csv cannot be read: No such file"):
        read_rows(tmp_path / "nowhere.csv")


def test_every_invoice_of_a_real_month_has_its_place_in_the_day() -> None:
    folder = os.environ.get("CONCORD_TEST_DATA")
    if not folder:
        pytest.skip("CONCORD_TEST_DATA is not set: no real month to read")
    rows = list(read_rows(Path(folder) / "online_retail_2010-12.csv.gz"))
    planned = day_of(rows, "December")
    assert len(rows) == 42_481
    assert len(planned.entries) == len({row.invoice for row in rows}) == len({e.number for e in planned.entries})
    assert Counter(entry.kind for entry in planned.entries)["not understood"] < 10, "real invoices are understood"
    assert sum(entry.line_count for entry in planned.entries if entry.ends != POSTED) < 3_000
