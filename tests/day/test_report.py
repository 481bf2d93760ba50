"""The day's page: what it tells a finance person, and what its pictures may not hide."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from typer import Typer
from typer.testing import CliRunner

from sandbox.day.__main__ import main
from sandbox.day.books import Facts
from sandbox.day.figures import Inventory, Latencies, Outcome, Parking
from sandbox.day.pictures import bars, stacked
from sandbox.day.plan import Day, End, Entry
from sandbox.day.report import as_html, draw_books


def stock_count(number: str, note: str, hour: int = 9) -> Entry:
    return Entry(
        number=number, legal_entity="GB01", channel="warehouse", kind="stock", currency="GBP", gross=Decimal(0),
        ends=frozenset({End.NO_LEDGER_MATTER}), note=note, line_count=3, business_date="2010-12-01",
        placed_at=datetime(2010, 12, 1, hour, tzinfo=UTC),
    )  # fmt: skip


def outcome(entries: Sequence[Entry], ledger: Sequence[float] = ()) -> Outcome:
    day = Day("a day", (), (), (), tuple(entries), frozenset())
    facts = Facts((), (), (), frozenset(), {})
    return Outcome(
        day=day, books=draw_books(day, facts), facts=facts, periods=(), latencies=Latencies((), tuple(ledger), ()),
        inventory=Inventory(0, 0, 0), parking=Parking(0, 0), table_calls_per_order=Decimal(0), seconds=1.0, timers=(),
    )  # fmt: skip


def test_what_is_no_matter_for_the_ledger_is_listed_with_its_reason_and_their_number() -> None:
    counted, given = "a stock count: goods without a price", "given away: goods without a price"
    page = as_html(outcome([stock_count("1", counted), stock_count("2", counted), stock_count("3", given)]))
    assert re.findall(r"<summary>(.*?)</summary>", page) == [f"2 – {counted}", f"1 – {given}"]
    first, second = page.split("<summary>")[1:]
    assert "<td>1</td>" in first and "<td>2</td>" in first and "<td>3</td>" not in first
    assert "<td>3</td>" in second


def test_a_page_says_so_where_nothing_is_left_for_people() -> None:
    page = as_html(outcome([stock_count("1", "a count")]))
    assert page.partition("Left for people")[2].partition("</section>")[0].endswith('<p class="quiet">Nothing.</p>')


def test_latencies_are_told_in_milliseconds_and_every_bar_says_what_it_spans() -> None:
    page = as_html(outcome([], [60.0, 100.0, 100.1, 1234.5]))
    assert '<td>order to ledger</td><td class="n">4</td><td class="n">100</td>' in page
    assert re.findall(r">([\d,]+–[\d,]+ ms)</text>", page) == [
        "50–100 ms", "100–200 ms", "200–500 ms", "500–1,000 ms", "1,000–2,000 ms",
    ]  # fmt: skip
    assert "how many of 4 took how long" in page


def test_bars_are_to_one_scale_from_zero() -> None:
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', bars([("a", 50), ("b", 100)], "t"))]
    assert widths[1] == 2 * widths[0]


def test_colours_and_legend_keep_one_order_whatever_a_day_holds() -> None:
    colours = {"on the ledger": "#111111", "a case": "#222222", "declined": "#333333"}
    picture = stacked({"web": {"declined": 1, "on the ledger": 2}, "till": {"on the ledger": 1}}, colours, "t")
    assert re.findall(r"background:(#\d+)", picture) == ["#111111", "#333333"]
    assert re.findall(r'fill="(#\d+)"', picture) == ["#111111", "#333333", "#111111"]


def test_a_file_without_any_order_is_no_success(tmp_path: Path) -> None:
    file = tmp_path / "empty.csv"
    file.write_text("InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n,,,,,,,\n")
    app = Typer()
    app.command()(main)
    ended = CliRunner().invoke(app, ["--data", str(file), "--out", str(tmp_path / "out")])
    assert ended.exit_code == 2
    assert "0 orders read" in ended.output
    assert not (tmp_path / "out" / "summary.json").exists()
