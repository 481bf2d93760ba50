"""The month-end report as a page and as a table for spreadsheets: what a finance person signs off."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from shared.reports.amounts import amount_text
from shared.reports.explaining import WAITS_FOR_BILLING, Explained
from shared.reports.pages import render
from shared.reports.reconciliation import Reconciliation, in_words, row_as_json, subject_of
from shared.stores.closes import Closes

_SHOWN = 500
_ZERO = Decimal(0)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SYSTEMS = (("commerce", "Commerce"), ("sap", "SAP ledger"), ("crm", "CRM history"))
_COLUMNS = (
    "class", "system", "orderNumber", "postingKey", "document", "currency", "expected", "found", "difference",
    "businessDate", "postingDate", "explained", "code", "reason",
)  # fmt: skip
_GROUPS = (
    ("Unexplained", "Nothing accounts for these. Each stands against closing."),
    (
        "Waiting for billing",
        "Sales orders that SAP has not billed yet. They block closing unless carried over by name.",
    ),
    ("In flight", "On the way from one system to another. They block closing unless carried over by name."),
    ("Held in cases", "A person has to decide, the case says what to do; until then the order is not on the ledger."),
    ("No ledger matter", "Nothing in these orders has a price: goods moved, money did not, and nothing is posted."),
    ("Explained", "Different, and the record says why."),
)
_NO_LEDGER_MATTER = "no_ledger_matter"
_AMOUNTS = ("expected", "found")


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a plot; `share` is its length from 0 to 1."""

    label: str
    words: str
    share: float


def as_html(report: Reconciliation, closes: Closes, nonce: str) -> str:
    """One page with nothing from elsewhere; everything in it is escaped."""
    unexplained = [row for row in report.rows if not row.explained]
    unbilled = [row for row in report.rows if row.is_in_flight and row.code == WAITS_FOR_BILLING]
    flying = [row for row in report.rows if row.is_in_flight and row.code != WAITS_FOR_BILLING]
    cases = [row for row in report.rows if row.case_id and not row.is_in_flight]
    settled = [row for row in report.rows if row.explained and not row.is_in_flight and not row.case_id]
    unpriced = [row for row in settled if row.code == _NO_LEDGER_MATTER]
    others = [row for row in settled if row.code != _NO_LEDGER_MATTER]
    certificate = closes.latest
    return render(
        "reconciliation.html",
        nonce=nonce,
        report=report,
        state=closes.state,
        certificate=certificate,
        reopening=closes.reopenings[-1] if closes.state == "reopened" else None,
        systems=[(words, report.sides[name]) for name, words in _SYSTEMS],
        currencies=sorted({currency for side in report.sides.values() for currency in side.totals}),
        days=_bars(
            [(f"{day.day:%d %b}", day.totals.get(report.currency, _ZERO)) for day in report.staged.days], report
        ),
        groups=[
            (title, words, [_shown(report, row) for row in rows[:_SHOWN]], len(rows), len({*map(subject_of, rows)}))
            for (title, words), rows in zip(
                _GROUPS, (unexplained, unbilled, flying, cases, unpriced, others), strict=True
            )
            if rows
        ],
        sum_up=_adding_up(report),
        standing=_standing(report.standing),
        amount=lambda amount, currency: _grouped(amount_text(amount, currency)),
    )


def as_csv(report: Reconciliation) -> bytes:
    """Every difference, one line each; UTF-8 with a mark, so that spreadsheets read it as such.

    Text that a spreadsheet would take for a formula is put behind an apostrophe; amounts stay numbers.
    """
    told = io.StringIO(newline="")
    writer = csv.writer(told, quoting=csv.QUOTE_MINIMAL)
    writer.writerow(["legalEntity", "period", *_COLUMNS])
    for row in report.rows:
        values = row_as_json(report.legal_entity, row)
        values["difference"] = "; ".join(f"{amount} {currency}" for currency, amount in values["difference"].items())
        cells = [values[name] if name in _AMOUNTS else _harmless(_text(values[name])) for name in _COLUMNS]
        writer.writerow([report.legal_entity, report.period, *cells])
    return b"\xef\xbb\xbf" + told.getvalue().encode()


def _shown(report: Reconciliation, row: Explained) -> dict[str, Any]:
    return row_as_json(report.legal_entity, row) | {"differs": _differs(row)}


def _differs(row: Explained) -> str:
    return ", ".join(
        f"{_grouped(amount_text(amount, currency))} {currency}"
        for currency, amount in row.differences.items()
        if amount
    )


def _adding_up(report: Reconciliation) -> list[tuple[str, int, bool]]:
    """What the orders of the period are made of: words, how many, whether it stands against closing."""
    rows: dict[str, list[Explained]] = {}
    for row in report.rows:
        rows.setdefault(subject_of(row), []).append(row)
    found: dict[str, int] = {}
    unexplained = flying = 0
    for about in rows.values():
        if not all(row.explained for row in about):
            unexplained += 1
        elif any(row.is_in_flight for row in about):
            flying += 1
        else:
            words = in_words(about[0].code)
            found[words] = found.get(words, 0) + 1
    told = [("match in all three systems", report.matched, False)]
    told += [(words, number, False) for words, number in sorted(found.items())]
    told += [("in flight", flying, True), ("unexplained", unexplained, True)]
    told += [("less what is no order of Commerce in this month", -report.beside, True)]
    return [line for line in told if line[1] or line[0].startswith("match")]


def _harmless(text: str) -> str:
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _standing(rows: Sequence[Explained]) -> list[tuple[str, int]]:
    counted: dict[str, int] = {}
    for row in rows:
        counted[in_words(row.code)] = counted.get(in_words(row.code), 0) + 1
    return sorted(counted.items())


def _bars(values: Sequence[tuple[str, Decimal]], report: Reconciliation) -> list[Bar]:
    most = max((abs(amount) for _, amount in values), default=_ZERO)
    return [
        Bar(label, _grouped(amount_text(amount, report.currency)), float(abs(amount) / most) if most else 0.0)
        for label, amount in values
    ]


def _grouped(text: str) -> str:
    """Digits in groups of three, as people read amounts."""
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    whole, point, rest = digits.partition(".")
    return f"{sign}{int(whole):,}{point}{rest}" if whole.isdigit() else text
