"""A million orders three ways: our join and classification against the bare DuckDB join over the same files.

The files are written by the readers' own stage, with a few of every kind of difference among the orders. The bare join
reads, joins and adds up the same columns and says nothing about any order. Memory is the peak of a process that does
nothing but reconcile the files.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.report import Report, interleaved, median
from shared.reports.staging import Stage
from shared.reports.three_way import CommerceOrder, CrmOrder, Inputs, LedgerDocument, join

ROWS = (250_000, 500_000, 1_000_000)
RUNS = 7
FIRST, LAST = date(2026, 11, 1), date(2026, 11, 30)
_ODD_EVERY = 10_000
_PENNY = Decimal("0.01")


async def run(report: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="concord-bench-") as folder:
        staged: dict[int, Inputs] = {}
        for rows in ROWS:
            began = time.perf_counter()
            staged[rows] = await asyncio.to_thread(_write, Path(folder) / str(rows), rows)
            report.say(f"staged {rows:,} orders three ways in {time.perf_counter() - began:.1f} s")
        largest = staged[ROWS[-1]]
        contestants = {f"ours {rows}": _timed(_ours, inputs) for rows, inputs in staged.items()}
        contestants |= {"bare": _timed(_bare, largest), "keys and amounts": _timed(_narrow, largest)}
        found = {name: median(times) for name, times in (await interleaved(RUNS, contestants)).items()}
        peak = await _peak_bytes(largest)
    ours = found[f"ours {ROWS[-1]}"]
    report.ratio(
        "join and classify against the bare join",
        ours / found["bare"],
        "at most",
        1.5,
        runs=RUNS,
        detail=f"{ours:.2f} s against {found['bare']:.2f} s, {ROWS[-1]:,} orders",
    )
    report.figure(
        "against a join of keys and amounts alone", ours / found["keys and amounts"], "×", "told: it compares less"
    )
    growth = (ours / ROWS[-1]) / (found[f"ours {ROWS[0]}"] / ROWS[0])
    report.ratio(
        f"cost of a row at {ROWS[-1]:,} against {ROWS[0]:,}",
        growth,
        "at most",
        1.0,
        runs=RUNS,
        detail=", ".join(f"{rows:,}: {found[f'ours {rows}']:.2f} s" for rows in ROWS),
    )
    report.figure("peak memory of reconciling a million", peak / 2**20, "MiB", "below 2,048")


def _timed(work: Callable[[Inputs], object], inputs: Inputs) -> Callable[[], Any]:
    async def once() -> float:
        began = time.perf_counter()
        await asyncio.to_thread(work, inputs)
        return time.perf_counter() - began

    return once


def _ours(inputs: Inputs) -> object:
    return join(inputs, FIRST, LAST)


def _bare(inputs: Inputs) -> object:
    return _floor(
        inputs,
        "count(*), count(c.key), count(l.reference), count(r.number), sum(c.total), sum(l.gross), sum(r.total), "
        "sum(c.tax), sum(l.tax), sum(r.tax), count(c.currency), count(l.currency), count(r.currency), "
        "sum(l.open_balance), max(l.posting_date), count(l.is_reversed), bool_and(l.is_as_posted), "
        "max(c.business_date), max(r.business_date)",
    )


def _narrow(inputs: Inputs) -> object:
    return _floor(
        inputs, "count(*), count(c.key), count(l.reference), count(r.number), sum(c.total), sum(l.gross), sum(r.total)"
    )


def _floor(inputs: Inputs, columns: str) -> object:
    import duckdb

    sources = {"c": inputs.commerce, "l": inputs.ledger, "r": inputs.crm}
    c, ledger, r = (f"read_parquet('{path}') AS {name}" for name, path in sources.items())
    with duckdb.connect(":memory:", config={"memory_limit": "1200MB", "threads": 2}) as database:
        return database.execute(
            f"SELECT {columns} FROM {c} FULL JOIN {ledger} ON l.reference = c.key FULL JOIN {r} ON r.number = c.number"
        ).fetchall()


async def _peak_bytes(inputs: Inputs) -> int:
    """Peak resident memory of a process of its own that joins these files once."""
    arguments = [str(path) for path in (inputs.commerce, inputs.ledger, inputs.crm)]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.reconciling", *arguments, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await child.communicate()
    if child.returncode:
        raise RuntimeError(f"the measured process ended with {child.returncode}")
    return int(said)


def _write(folder: Path, rows: int) -> Inputs:
    """Orders as the readers stage them; each thousandth part of the odd ones is one kind of difference."""
    folder.mkdir()
    stages = (
        Stage(folder / "commerce.csv", CommerceOrder),
        Stage(folder / "ledger.csv", LedgerDocument),
        Stage(folder / "crm.csv", CrmOrder),
    )
    with stages[0] as commerce, stages[1] as ledger, stages[2] as crm:
        for number in range(rows):
            key = "K" + base64.b32encode(hashlib.sha256(str(number).encode()).digest()).decode()[:15]
            name, day = f"S-{number:08d}", FIRST + timedelta(days=number % 30)
            total = Decimal(100 + number * 7919 % 99_900).scaleb(-2)
            tax = (total / 6).quantize(_PENNY)
            odd = number // _ODD_EVERY % 8 if number % _ODD_EVERY == 0 else -1
            commerce.add(CommerceOrder(key, name, "GBP", total, tax, day))
            document = f"GB01/2026/{1800000000 + number}"
            posted = total + _PENNY if odd == 0 else total
            posted_tax = tax + _PENNY if odd == 1 else tax
            if odd != 2:
                ledger.add(
                    LedgerDocument(
                        key, name, "invoice", document, "GBP", posted, posted_tax, Decimal(0), day, odd == 3, True
                    )
                )
            if odd == 4:
                ledger.add(
                    LedgerDocument(
                        key, name, "invoice", f"{document}-2", "GBP", total, tax, Decimal(0), day, False, True
                    )
                )
            if odd != 5:
                crm.add(CrmOrder(name, "GBP", total - _PENNY if odd == 6 else total, tax, day))
            if odd == 7:
                crm.add(CrmOrder(f"X-{number}", "GBP", total, tax, day))
    return Inputs(*(stage.as_parquet() for stage in stages))


if __name__ == "__main__":
    join(Inputs(*(Path(argument) for argument in sys.argv[1:4])), FIRST, LAST)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
