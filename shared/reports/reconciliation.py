"""The reconciliation of one legal entity and period as people read it: counts, differences, every row with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from shared.domain.money import DECIMALS, Money
from shared.reports.three_way import Finding, Joined

IN_FLIGHT = "in_flight"


@dataclass(frozen=True, slots=True)
class Explained:
    """A finding with what is known of it. `explained` is False where nothing accounts for it.

    `stands` means that a second look found the finding to be no difference at all (a partial return's own document).
    """

    finding: Finding
    row_class: str
    explained: bool
    code: str
    reason: str
    link: str
    stands: bool = False


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What the door answers and the close certificate is made of."""

    legal_entity: str
    period: str
    orders: int
    matched: int
    explained: int
    unexplained: int
    in_flight: int
    difference: dict[str, Money]
    totals: dict[str, Money]
    rows: tuple[Explained, ...]
    generated_at: datetime


def assemble(
    legal_entity: str, period: str, currency: str, joined: Joined, rows: Sequence[Explained], now: datetime
) -> Reconciliation:
    """Count orders (not rows): an order with two findings is explained when both are."""
    open_rows = [row for row in rows if not row.stands]
    by_order: dict[str, list[Explained]] = {}
    for row in open_rows:
        by_order.setdefault(row.finding.number or row.finding.reference, []).append(row)
    unexplained = sum(1 for found in by_order.values() if not all(row.explained for row in found))
    return Reconciliation(
        legal_entity=legal_entity,
        period=period,
        orders=joined.orders,
        matched=joined.matched,
        explained=len(by_order) - unexplained,
        unexplained=unexplained,
        in_flight=sum(1 for row in open_rows if row.row_class == IN_FLIGHT),
        difference=_differences(open_rows, [currency, *joined.totals]),
        totals={code: _money(total, code) for code, total in joined.totals.items()},
        rows=tuple(open_rows),
        generated_at=now,
    )


def as_json(report: Reconciliation) -> dict[str, Any]:
    """The report as the door answers it; amounts are text in the currency's own decimals."""
    return {
        "legalEntity": report.legal_entity,
        "period": report.period,
        "orders": report.orders,
        "matched": report.matched,
        "explained": report.explained,
        "unexplained": report.unexplained,
        "inFlight": report.in_flight,
        "difference": {currency: money.text for currency, money in report.difference.items()},
        "totals": {currency: money.text for currency, money in report.totals.items()},
        "classes": dict(sorted(Counter(row.row_class for row in report.rows).items())),
        "rows": [_row(report.legal_entity, row) for row in report.rows],
        "generatedAt": report.generated_at.isoformat(),
    }


def _row(legal_entity: str, row: Explained) -> dict[str, Any]:
    finding = row.finding
    return {
        "class": row.row_class,
        "orderNumber": finding.number,
        "postingKey": finding.reference,
        "document": finding.document,
        "currency": finding.currency,
        "expected": _text(finding.expected, finding.currency),
        "found": _text(finding.found, finding.currency),
        "explained": row.explained,
        "code": row.code,
        "reason": row.reason,
        "link": row.link or f"/api/lifecycle/{legal_entity}/{finding.number}",
    }


def _differences(rows: Iterable[Explained], currencies: Iterable[str]) -> dict[str, Money]:
    """What nothing accounts for, in absolute amounts: two errors of opposite sign may not hide each other."""
    sums = {currency: Decimal(0) for currency in currencies}
    for row in rows:
        if not row.explained:
            currency = row.finding.currency
            sums[currency] = sums.get(currency, Decimal(0)) + abs(row.finding.expected - row.finding.found)
    return {currency: _money(amount, currency) for currency, amount in sorted(sums.items())}


def _money(amount: Decimal, currency: str) -> Money:
    return Money(amount.normalize() if amount else Decimal(0), currency)


def _text(amount: Decimal, currency: str) -> str:
    """A forged row may carry a currency or decimals that do not exist: then the figure as it stands there."""
    if currency not in DECIMALS or amount != round(amount, DECIMALS[currency]):
        return f"{amount:f}"
    return _money(amount, currency).text
