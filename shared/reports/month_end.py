"""The month-end report as a page and as a table for spreadsheets: what a finance person signs off."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from shared.reports.explaining import WAITS_FOR_BILLING, Explained, amount_text
from shared.reports.pages import render
from shared.reports.reconciliation import Reconciliation, row_as_json
from shared.stores.closes import Closes

_SHOWN = 500
_ZERO = Decimal(0)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SYSTEMS = (("commerce", "Commerce"), ("sap", "SAP ledger"), ("crm", "CRM history"))
_COLUMNS = (
    "class", "system", "orderNumber", "postingKey", "document", "currency", "expected", "found", "businessDate",
    "postingDate", "explained", "code", "reason",
)  # fmt: skip
_GROUPS = (
    ("Unexplained", "Nothing accounts for these. Each stands against closing."),
    (
        "Waiting for billing",
        "Sales orders that SAP has not billed yet. They block closing unless carried over by name.",
    ),
    ("In flight", "On the way from one system to another. They block closing unless carried over by name."),
    ("Held in cases", "A person has to decide, the case says what to do; until then the order is not on the ledger."),
    ("Explained", "Different, and the record says why."),
)
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
    others = [row for row in report.rows if row.explained and not row.is_in_flight and not row.case_id]
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
            (title, words, [row_as_json(report.legal_entity, row) for row in rows[:_SHOWN]], len(rows))
            for (title, words), rows in zip(_GROUPS, (unexplained, unbilled, flying, cases, others), strict=True)
            if rows
        ],
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
        cells = [values[name] if name in _AMOUNTS else _harmless(_text(values[name])) for name in _COLUMNS]
        writer.writerow([report.legal_entity, report.period, *cells])
    return b"\xef\xbb\xbf" + told.getvalue().encode()


def _harmless(text: str) -> str:
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _standing(rows: Sequence[Explained]) -> list[tuple[str, int]]:
    counted: dict[str, int] = {}
    for row in rows:
        counted[row.code] = counted.get(row.code, 0) + 1
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
