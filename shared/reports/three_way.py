"""The three-way join: Commerce orders, SAP documents and CRM rows of one legal entity and period, in DuckDB.

Joined by posting key, never by period: an order posted late is found where it stands. What matches is only counted;
what does not comes back row by row, because it is little and each row has to be explained. Amounts are DECIMAL from
the file to the sum; files are Parquet or CSV with the columns of the classes below.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FindingClass = Literal[
    "missing_in_sap",
    "missing_in_crm",
    "missing_in_commerce",
    "duplicate",
    "amount",
    "tax",
    "currency",
    "period",
]
_MEMORY_MAX = "1200MB"
_THREADS = 2


@dataclass(frozen=True, slots=True)
class CommerceOrder:
    """An order as headquarters knows it; `key` is the posting key that its document has to carry."""

    key: str
    number: str
    currency: str
    total: Decimal
    tax: Decimal
    business_date: date


@dataclass(frozen=True, slots=True)
class LedgerDocument:
    """A document of the leading ledger; `gross` is what it is worth to the customer, `tax` the tax in it."""

    reference: str
    order_number: str
    kind: str
    document: str
    currency: str
    gross: Decimal
    tax: Decimal
    posting_date: date
    is_reversed: bool


@dataclass(frozen=True, slots=True)
class CrmOrder:
    """An order in the customer history."""

    number: str
    currency: str
    total: Decimal
    tax: Decimal


@dataclass(frozen=True, slots=True)
class Inputs:
    """The three files of one legal entity and period."""

    commerce: Path
    ledger: Path
    crm: Path


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not match. `expected` is Commerce's amount, `found` the other side's."""

    kind: FindingClass
    number: str
    reference: str
    document: str
    currency: str
    expected: Decimal
    found: Decimal
    message: str


@dataclass(frozen=True, slots=True)
class Joined:
    """What the join says: orders in all, those that match three ways, and everything else."""

    orders: int
    matched: int
    findings: tuple[Finding, ...]
    totals: dict[str, Decimal]


def join(inputs: Inputs, first: date, last: date) -> Joined:
    """Join the files of a period (both days included)."""
    import duckdb  # noqa: PLC0415 - only reconciliation pays for it

    with duckdb.connect(":memory:", config={"memory_limit": _MEMORY_MAX, "threads": _THREADS}) as database:
        _load(database, inputs)
        database.execute(_JOIN, {"first": first, "last": last})
        counts = database.execute("SELECT count(*), count(*) FILTER (sap IS NULL AND crm IS NULL) FROM joined")
        orders, matched = _one(counts)
        found = database.execute(_FINDINGS).fetchall()
        totals = database.execute("SELECT currency, sum(total) FROM c GROUP BY currency ORDER BY currency").fetchall()
    return Joined(
        orders=orders,
        matched=matched,
        findings=tuple(Finding(*row) for row in found),
        totals=dict(totals),
    )


def write_csv[Row: (CommerceOrder, LedgerDocument, CrmOrder)](path: Path, kind: type[Row], rows: Iterable[Row]) -> None:
    """Rows as the CSV that `join` reads."""
    names = [field.name for field in fields(kind)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows([getattr(row, name) for name in names] for row in rows)


_TYPES: dict[str, dict[str, str]] = {
    "c": {
        "key": "VARCHAR",
        "number": "VARCHAR",
        "currency": "VARCHAR",
        "total": "DECIMAL(18,3)",
        "tax": "DECIMAL(18,3)",
        "business_date": "DATE",
    },
    "l": {
        "reference": "VARCHAR",
        "order_number": "VARCHAR",
        "kind": "VARCHAR",
        "document": "VARCHAR",
        "currency": "VARCHAR",
        "gross": "DECIMAL(18,3)",
        "tax": "DECIMAL(18,3)",
        "posting_date": "DATE",
        "is_reversed": "BOOLEAN",
    },
    "r": {"number": "VARCHAR", "currency": "VARCHAR", "total": "DECIMAL(18,3)", "tax": "DECIMAL(18,3)"},
}


def _load(database: DuckDBPyConnection, inputs: Inputs) -> None:
    for view, path in (("c", inputs.commerce), ("l", inputs.ledger), ("r", inputs.crm)):
        columns = ", ".join(f"'{name}': '{kind}'" for name, kind in _TYPES[view].items())
        quoted = str(path).replace("'", "''")
        source = (
            f"read_parquet('{quoted}')"
            if path.suffix == ".parquet"
            else f"read_csv('{quoted}', header=true, delim=',', quote='\"', nullstr='', columns={{{columns}}})"
        )
        chosen = ", ".join(
            f"coalesce({name}, '') AS {name}" if kind == "VARCHAR" else name for name, kind in _TYPES[view].items()
        )
        database.execute(f"CREATE VIEW {view} AS SELECT {chosen} FROM {source}")  # noqa: S608 - our own names and paths


_JOIN = """
CREATE TEMP TABLE joined AS
WITH d AS (
    SELECT reference,
           count(*) AS documents,
           min(document) AS document,
           string_agg(document, ', ' ORDER BY document) AS all_documents,
           min(currency) AS currency, max(currency) AS other_currency,
           sum(gross) AS gross, sum(tax) AS tax, min(posting_date) AS posting_date
    FROM l WHERE NOT is_reversed GROUP BY reference
), crm_rows AS (
    SELECT number, count(*) AS copies, min(currency) AS currency, sum(total) AS total, sum(tax) AS tax
    FROM r GROUP BY number
)
SELECT c.key, c.number, c.currency, c.total, c.tax,
       d.all_documents AS documents, d.gross, d.tax AS posted_tax, d.currency AS posted_currency, d.posting_date,
       crm_rows.total AS crm_total, crm_rows.tax AS crm_tax, crm_rows.currency AS crm_currency,
       CASE
           WHEN d.reference IS NULL THEN 'missing_in_sap'
           WHEN d.documents > 1 THEN 'duplicate'
           WHEN d.currency <> c.currency OR d.other_currency <> c.currency THEN 'currency'
           WHEN d.gross <> c.total THEN 'amount'
           WHEN d.tax <> c.tax THEN 'tax'
           WHEN d.posting_date NOT BETWEEN $first AND $last THEN 'period'
       END AS sap,
       CASE
           WHEN crm_rows.number IS NULL THEN 'missing_in_crm'
           WHEN crm_rows.copies > 1 THEN 'duplicate'
           WHEN crm_rows.currency <> c.currency THEN 'currency'
           WHEN crm_rows.total <> c.total THEN 'amount'
           WHEN crm_rows.tax <> c.tax THEN 'tax'
       END AS crm
FROM c LEFT JOIN d ON d.reference = c.key LEFT JOIN crm_rows ON crm_rows.number = c.number
"""

_FINDINGS = """
SELECT sap, number, key, coalesce(documents, ''), currency, total, coalesce(gross, 0),
       CASE sap
           WHEN 'missing_in_sap' THEN 'no document on the ledger'
           WHEN 'duplicate' THEN 'posted more than once: ' || documents
           WHEN 'currency' THEN 'Commerce has ' || currency || ', SAP ' || posted_currency
           WHEN 'amount' THEN 'Commerce has ' || total || ', SAP ' || gross
           WHEN 'tax' THEN 'Commerce has ' || tax || ' of tax, SAP ' || posted_tax
           WHEN 'period' THEN 'posted on ' || posting_date
       END
FROM joined WHERE sap IS NOT NULL
UNION ALL
SELECT crm, number, key, coalesce(documents, ''), currency, total, coalesce(crm_total, 0),
       CASE crm
           WHEN 'missing_in_crm' THEN 'no row in the customer history'
           WHEN 'duplicate' THEN 'more than one row in the customer history'
           WHEN 'currency' THEN 'Commerce has ' || currency || ', CRM ' || crm_currency
           WHEN 'amount' THEN 'Commerce has ' || total || ', CRM ' || crm_total
           WHEN 'tax' THEN 'Commerce has ' || tax || ' of tax, CRM ' || crm_tax
       END
FROM joined WHERE crm IS NOT NULL
UNION ALL
SELECT 'missing_in_commerce', l.order_number, l.reference, l.document, l.currency, 0, l.gross,
       l.kind || ' without an order of its own in Commerce'
FROM l ANTI JOIN c ON c.key = l.reference WHERE NOT l.is_reversed
UNION ALL
SELECT 'missing_in_commerce', r.number, '', '', r.currency, 0, r.total, 'in the customer history, not in Commerce'
FROM r ANTI JOIN c ON c.number = r.number
ORDER BY ALL
"""


def _one(cursor: DuckDBPyConnection) -> tuple[int, int]:
    row = cursor.fetchone()
    if row is None:
        raise AssertionError("a count always has a row")
    return row[0], row[1]
