"""The three-way join: Commerce orders, SAP documents and CRM rows of one legal entity and period, in DuckDB.

Joined by key, never by period: an order posted late is found where it stands. One pass reads each file once, compares
what it joins and keeps only what does not match, which is little and comes back row by row because each row has to be
explained. Amounts are DECIMAL from the file to the sum; files are Parquet with the columns of the classes below.

A key that stands twice shows in the same pass: its order comes out of the join more often than it went in. The pass
joins by hashes of the keys, which are half as dear as the keys; what it picks out is classified by the keys themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from shared.stores.beside import Beside

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

System = Literal["sap", "crm"]
FindingClass = Literal[
    "missing_in_sap",
    "missing_in_crm",
    "missing_in_commerce",
    "duplicate",
    "amount",
    "tax",
    "currency",
    "period",
    "date",
    "lines",
]
FINDINGS_MAX = 100_000
"""Rows that come back one by one; what is beyond is counted and summed, never left out of the result."""
_MEMORY_MAX = "1200MB"
_THREADS = 2


@dataclass(frozen=True, slots=True)
class CommerceOrder:
    """An order as headquarters knows it; `key` is the posting key that its document has to carry, and unique."""

    key: str
    number: str
    currency: str
    total: Decimal
    tax: Decimal
    business_date: date


@dataclass(frozen=True, slots=True)
class LedgerDocument:
    """A document of the leading ledger; `gross` is what it is worth to the customer, `tax` the tax in it.

    `open_balance` is what it leaves on the one-time account, through which a buyer without a number only passes.
    `is_as_posted` says whether the seal that stands in it fits its lines (`shared.domain.sealing`).
    """

    reference: str
    order_number: str
    kind: str
    document: str
    currency: str
    gross: Decimal
    tax: Decimal
    open_balance: Decimal
    posting_date: date
    is_reversed: bool
    is_as_posted: bool


@dataclass(frozen=True, slots=True)
class CrmOrder:
    """An order in the customer history."""

    number: str
    currency: str
    total: Decimal
    tax: Decimal
    business_date: date


COLUMNS: dict[type, dict[str, str]] = {
    CommerceOrder: {
        "key": "VARCHAR",
        "number": "VARCHAR",
        "currency": "VARCHAR",
        "total": "DECIMAL(18,3)",
        "tax": "DECIMAL(18,3)",
        "business_date": "DATE",
    },
    LedgerDocument: {
        "reference": "VARCHAR",
        "order_number": "VARCHAR",
        "kind": "VARCHAR",
        "document": "VARCHAR",
        "currency": "VARCHAR",
        "gross": "DECIMAL(18,3)",
        "tax": "DECIMAL(18,3)",
        "open_balance": "DECIMAL(18,3)",
        "posting_date": "DATE",
        "is_reversed": "BOOLEAN",
        "is_as_posted": "BOOLEAN",
    },
    CrmOrder: {
        "number": "VARCHAR",
        "currency": "VARCHAR",
        "total": "DECIMAL(18,3)",
        "tax": "DECIMAL(18,3)",
        "business_date": "DATE",
    },
}
"""The columns of each file, with DuckDB's types."""
HASHES: dict[type, dict[str, str]] = {
    CommerceOrder: {"key": "key_hash", "number": "number_hash"},
    LedgerDocument: {"reference": "key_hash"},
    CrmOrder: {"number": "number_hash"},
}
"""The columns whose hash stands beside them, and the name of the hash."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The three Parquet files of one legal entity and period."""

    commerce: Path
    ledger: Path
    crm: Path


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not match between Commerce and `system`.

    `expected` is Commerce's amount, `found` the other side's: what all findings differ by is what the totals differ by.
    `is_beside` marks a document beside an order's own, of which Commerce's totals know nothing.
    `found_date` is the business date that the customer history has; `is_as_posted` is False where a document's seal
    does not fit its lines.
    """

    system: System
    kind: FindingClass
    number: str
    reference: str
    document: str
    currency: str
    expected: Decimal
    found: Decimal
    message: str
    found_currency: str = ""
    business_date: date | None = None
    posting_date: date | None = None
    expected_tax: Decimal = Decimal(0)
    found_tax: Decimal = Decimal(0)
    found_date: date | None = None
    is_as_posted: bool = True
    is_beside: bool = False


@dataclass(frozen=True, slots=True)
class Unlisted:
    """Findings beyond `FINDINGS_MAX`: how many of a kind, and what they come to in absolute amounts."""

    system: System
    kind: FindingClass
    currency: str
    count: int
    difference: Decimal


@dataclass(frozen=True, slots=True)
class Joined:
    """What the join says of the days from `first` to `last`: all orders, those that match three ways, and the rest.

    `reversed_keys` are posting keys of orders that are missing from the ledger and stand in reversed documents.
    """

    first: date
    last: date
    orders: int
    matched: int
    findings: tuple[Finding, ...]
    unlisted: tuple[Unlisted, ...] = ()
    reversed_keys: frozenset[str] = frozenset()


def join(
    inputs: Inputs, first: date, last: date, *, beside: Sequence[Beside] = (), findings_max: int = FINDINGS_MAX
) -> Joined:
    """Join the files of a period (both days included). `beside` is what was posted beside the orders' own documents."""
    import duckdb  # noqa: PLC0415 - only reconciliation pays for it

    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY_MAX,
        "threads": _THREADS,
        "preserve_insertion_order": False,
    }
    with duckdb.connect(":memory:", config=config) as database:
        for view, path in (("c", inputs.commerce), ("l", inputs.ledger), ("r", inputs.crm)):
            database.execute(f"CREATE VIEW {view} AS FROM read_parquet('{quoted(path)}')")
        database.execute(_JOIN, {"first": first, "last": last})
        orders, with_order = _one(database, "SELECT (SELECT count(*) FROM c), with_order FROM pass")
        database.execute(_REPEATED if with_order > orders else _NONE_REPEATED)
        for statement in _PICKED:
            database.execute(statement)
        database.execute(_CLASSIFIED, {"first": first, "last": last})
        database.execute(_FINDINGS)
        reversed_rows = database.execute(_REVERSED).fetchall()
        differing, _ = _one(database, "SELECT count(*), 0 FROM odd WHERE key IS NOT NULL")
        rows = database.execute(_LISTED, {"listed": findings_max}).fetchall()
        unlisted = database.execute(_UNLISTED, {"listed": findings_max}).fetchall()
        absent = database.execute(_ABSENT, {"keys": [one.key for one in beside]}).fetchall() if beside else []
    order_of = {one.key: one.order for one in beside}
    gone = [
        Finding("sap", "missing_in_sap", order_of[key], key, "", "", _ZERO, _ZERO, _GONE, is_beside=True)
        for (key,) in absent
    ]
    return Joined(
        first,
        last,
        orders=orders,
        matched=orders - differing,
        findings=(*(_named(Finding(*row), order_of) for row in rows), *gone),
        unlisted=tuple(Unlisted(*row) for row in unlisted),
        reversed_keys=frozenset(key for (key,) in reversed_rows),
    )


def _named(finding: Finding, order_of: Mapping[str, str]) -> Finding:
    """A document beside an order's own belongs to the order it was posted for, whatever it says itself."""
    if finding.system != "sap" or finding.kind != "missing_in_commerce" or finding.reference not in order_of:
        return finding
    return replace(finding, number=order_of[finding.reference])


def quoted(path: Path) -> str:
    """A path as it stands between quotes in SQL."""
    return str(path).replace("'", "''")


_JOIN = """
CREATE TEMP TABLE pass AS
SELECT count(order_hash) AS with_order, list(order_hash) FILTER (order_hash IS NOT NULL) AS order_hashes,
       list({
           'key_hash': coalesce(order_hash, document_hash), 'number_hash': coalesce(number_hash, crm_hash)
       }) FILTER (is_odd) AS odd
FROM (
    SELECT c.key_hash AS order_hash, c.number_hash, d.key_hash AS document_hash, r.number_hash AS crm_hash,
           (order_hash IS NULL OR document_hash IS NULL OR crm_hash IS NULL
               OR d.currency <> c.currency OR d.gross <> c.total OR d.tax <> c.tax OR d.open_balance <> 0
               OR d.posting_date < $first OR d.posting_date > $last OR NOT d.is_as_posted
               OR r.currency <> c.currency OR r.total <> c.total OR r.tax <> c.tax
               OR r.business_date <> c.business_date) AS is_odd
    FROM c
    FULL JOIN (FROM l WHERE NOT is_reversed) AS d ON d.key_hash = c.key_hash
    FULL JOIN r ON r.number_hash = c.number_hash
)
"""
"""Every row of every file once, by the 64-bit hashes of the keys; what is odd is looked at again by the keys."""

_REPEATED = """
CREATE TEMP TABLE keys AS
SELECT key_hash FROM (SELECT unnest(order_hashes) AS key_hash FROM pass) GROUP BY key_hash HAVING count(*) > 1
"""
"""Orders that came out of the join more often than they went in: their documents or their CRM rows stand twice."""
_NONE_REPEATED = "CREATE TEMP TABLE keys (key_hash UBIGINT)"

_PICKED = (
    "CREATE TEMP TABLE places AS SELECT unnest(odd, recursive := true) FROM pass",
    "INSERT INTO keys SELECT key_hash FROM places WHERE key_hash IS NOT NULL",
    "CREATE TEMP TABLE orders AS FROM c WHERE key_hash IN (FROM keys)",
    "CREATE TEMP TABLE documents AS FROM l WHERE NOT is_reversed AND key_hash IN (FROM keys)",
    """
    CREATE TEMP TABLE history AS FROM r
    WHERE number_hash IN (SELECT number_hash FROM orders UNION ALL SELECT number_hash FROM places)
    """,
)
"""The rows of every odd or repeated order, with all that bears its key."""

_CLASSIFIED = """
CREATE TEMP TABLE odd AS
WITH d AS (
    SELECT reference, count(*) AS copies, min(order_number) AS order_number, min(kind) AS document_kind,
           string_agg(document, ', ' ORDER BY document) AS document, min(currency) AS posted_currency,
           max(currency) AS other_currency, sum(gross) AS gross, sum(tax) AS posted_tax,
           sum(open_balance) AS open_balance, min(posting_date) AS posting_date, bool_and(is_as_posted) AS is_as_posted
    FROM documents GROUP BY reference, CASE WHEN reference NOT IN (SELECT key FROM orders) THEN document END
), h AS (
    SELECT number AS crm_number, count(*) AS crm_copies, min(currency) AS crm_currency, sum(total) AS crm_total,
           sum(tax) AS crm_tax, min(business_date) AS crm_date
    FROM history GROUP BY number
)
SELECT CASE
           WHEN key IS NULL THEN CASE WHEN reference IS NOT NULL THEN 'missing_in_commerce' END
           WHEN reference IS NULL THEN 'missing_in_sap'
           WHEN copies > 1 THEN 'duplicate'
           WHEN posted_currency <> currency OR other_currency <> currency THEN 'currency'
           WHEN gross <> total OR open_balance <> 0 THEN 'amount'
           WHEN posted_tax <> tax THEN 'tax'
           WHEN posting_date < $first OR posting_date > $last THEN 'period'
           WHEN NOT is_as_posted THEN 'lines'
       END AS sap,
       CASE
           WHEN key IS NULL THEN CASE WHEN crm_number IS NOT NULL THEN 'missing_in_commerce' END
           WHEN crm_number IS NULL THEN 'missing_in_crm'
           WHEN crm_copies > 1 THEN 'duplicate'
           WHEN crm_currency <> currency THEN 'currency'
           WHEN crm_total <> total THEN 'amount'
           WHEN crm_tax <> tax THEN 'tax'
           WHEN crm_date <> business_date THEN 'date'
       END AS crm,
       *
FROM orders FULL JOIN d ON d.reference = orders.key FULL JOIN h ON h.crm_number = orders.number
WHERE sap IS NOT NULL OR crm IS NOT NULL
"""

_FINDINGS = """
CREATE TEMP TABLE findings AS
SELECT row_number() OVER (ORDER BY number, reference, system DESC, document, kind) AS place, *
FROM (
SELECT 'sap' AS system, sap AS kind, coalesce(number, order_number, '') AS number,
       coalesce(key, reference, '') AS reference, coalesce(document, '') AS document,
       coalesce(currency, posted_currency) AS currency, coalesce(total, 0) AS expected, coalesce(gross, 0) AS found,
       CASE sap
           WHEN 'missing_in_sap' THEN 'no document on the ledger'
           WHEN 'missing_in_commerce'
               THEN document || ': ' || document_kind || ' without an order of its own in Commerce'
           WHEN 'duplicate' THEN 'posted more than once: ' || document
           WHEN 'currency' THEN 'Commerce has ' || currency || ', SAP ' || posted_currency
           WHEN 'amount' THEN CASE
               WHEN gross <> total THEN 'Commerce has ' || total || ', SAP ' || gross
               ELSE document || ' leaves ' || open_balance || ' on the one-time account'
           END
           WHEN 'tax' THEN 'Commerce has ' || tax || ' of tax, SAP ' || posted_tax
           WHEN 'period' THEN 'posted on ' || posting_date
           WHEN 'lines' THEN document || ': its lines are not those its seal was made of'
       END AS message,
       coalesce(posted_currency, currency) AS found_currency, business_date, posting_date,
       coalesce(tax, 0) AS expected_tax, coalesce(posted_tax, 0) AS found_tax, NULL AS found_date,
       coalesce(is_as_posted, true) AS is_as_posted
FROM odd WHERE sap IS NOT NULL
UNION ALL
SELECT 'crm', crm, coalesce(number, crm_number, ''), coalesce(key, ''), '', coalesce(currency, crm_currency),
       coalesce(total, 0), coalesce(crm_total, 0),
       CASE crm
           WHEN 'missing_in_crm' THEN 'no row in the customer history'
           WHEN 'missing_in_commerce' THEN 'in the customer history, not in Commerce'
           WHEN 'duplicate' THEN 'more than one row in the customer history'
           WHEN 'currency' THEN 'Commerce has ' || currency || ', CRM ' || crm_currency
           WHEN 'amount' THEN 'Commerce has ' || total || ', CRM ' || crm_total
           WHEN 'tax' THEN 'Commerce has ' || tax || ' of tax, CRM ' || crm_tax
           WHEN 'date' THEN 'Commerce has the business date ' || business_date || ', CRM ' || crm_date
       END,
       coalesce(crm_currency, currency), business_date, posting_date, coalesce(tax, 0), coalesce(crm_tax, 0), crm_date,
       true
FROM odd WHERE crm IS NOT NULL
)
"""

_REVERSED = """
SELECT DISTINCT reference FROM l
WHERE is_reversed AND reference IN (SELECT reference FROM findings WHERE kind = 'missing_in_sap')
"""

_LISTED = "SELECT * EXCLUDE (place) FROM findings WHERE place <= $listed ORDER BY place"

_UNLISTED = """
SELECT system, kind, currency, count(*), sum(abs(expected - found)) FROM findings WHERE place > $listed
GROUP BY ALL ORDER BY ALL
"""


_ABSENT = """
SELECT key FROM (SELECT unnest($keys) AS key) ANTI JOIN (FROM l WHERE NOT is_reversed) AS l ON l.reference = key
ORDER BY key
"""
_GONE = "a document beside the order's own is not on the ledger"
_ZERO = Decimal(0)


def _one(database: DuckDBPyConnection, statement: str) -> tuple[int, int]:
    row: Sequence[Any] | None = database.execute(statement).fetchone()
    if row is None:
        raise AssertionError("a count always has a row")
    return row[0], row[1]
