"""What a reconciliation says, held against what was done to the systems."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from tests.reconciliation.tampering import ELSEWHERE, Found


def misses(report: dict[str, Any], found: Sequence[Found]) -> list[str]:
    """What the report does not say of what was done, and what it says beyond."""
    wrong = []
    rows = [row for row in report["rows"] if not row["explained"]]
    for one in found:
        own = [row for row in rows if row["orderNumber"] in (one.number, ELSEWHERE)]
        if not {row["code"] for row in own} & one.codes:
            wrong.append(f"{one} is not found: {own}")
        differences = sum((Decimal(amount) for row in own for amount in row["difference"].values()), Decimal(0))
        if one.difference is not None and differences != one.difference:
            wrong.append(f"{one} is told to differ by {differences}: {own}")
        if not any(one.words in row["reason"] or one.words in row["document"] for row in own):
            wrong.append(f"{one} is not told in these words: {[row['reason'] for row in own]}")
    strangers = {row["orderNumber"] for row in rows} - {one.number for one in found} - {ELSEWHERE}
    wrong += [f"{number} was not tampered with" for number in sorted(strangers)]
    return wrong
