"""What the join reads, staged: each system's rows of a month streamed page by page into a file, never held whole.

Rows come in key order and are counted, summed by currency and hashed as they are written, so the digest of an input is
the same however its pages were cut. Amounts stay text until DuckDB types them as DECIMAL: no binary float on the way.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

from shared.authority.ledger import LegalEntity
from shared.clients.sap_ledger import LedgerItem
from shared.domain.ledger import GIFT_CARD_SOLD, is_posting_key, posting_key
from shared.domain.money import decimal_of
from shared.domain.sealing import Content, amounts_by_place, seal_in
from shared.errors import Fault, Malformed
from shared.reports.three_way import COLUMNS, HASHES, CommerceOrder, CrmOrder, Inputs, LedgerDocument, quoted
from shared.wiring import Hub

_SETTLED = ("tender_clearing", "gift_card_liability", "receivable")
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Side:
    """One system's input: how many rows, what they come to by currency, and the SHA-256 of its rows in key order."""

    rows: int
    totals: dict[str, Decimal]
    digest: str


@dataclass(frozen=True, slots=True)
class Day:
    """One business day of Commerce: its orders and what they come to by currency."""

    day: date
    orders: int
    totals: dict[str, Decimal]


@dataclass(frozen=True, slots=True)
class Staged:
    """The three inputs of one legal entity and range of business days."""

    inputs: Inputs
    commerce: Side
    sap: Side
    crm: Side
    days: tuple[Day, ...]

    @property
    def sides(self) -> dict[str, Side]:
        return {"commerce": self.commerce, "sap": self.sap, "crm": self.crm}


async def stage(entity: LegalEntity, first: date, last: date, folder: Path, hub: Hub) -> Staged:
    """Read three systems for business days (both included) into Parquet files in `folder`, side by side."""
    commerce = Stage(folder / "commerce.csv", CommerceOrder)
    ledger = Stage(folder / "ledger.csv", LedgerDocument)
    crm = Stage(folder / "crm.csv", CrmOrder)
    with commerce, ledger, crm:
        async with asyncio.TaskGroup() as group:
            group.create_task(_fill(commerce, _commerce_orders(entity, first, last, hub)))
            group.create_task(_fill(ledger, _ledger_documents(entity, first, last, hub)))
            group.create_task(_fill(crm, _crm_orders(entity, first, last, hub)))
    paths = [await asyncio.to_thread(one.as_parquet) for one in (commerce, ledger, crm)]
    days = tuple(Day(day, found[0], found[1]) for day, found in sorted(commerce.by_day.items()))
    return Staged(Inputs(*paths), commerce.side, ledger.side, crm.side, days)


@dataclass(slots=True)
class Stage:
    """One input while it is written. A row that comes twice running is one: pages may overlap while orders come in."""

    path: Path
    kind: type
    rows: int = 0
    totals: dict[str, Decimal] = field(default_factory=dict)
    by_day: dict[date, tuple[int, dict[str, Decimal]]] = field(default_factory=dict)

    def __enter__(self) -> Stage:
        self._names = [one.name for one in fields(self.kind)]
        self._hash = hashlib.sha256()
        self._last: object = None
        self._file = self.path.open("wb")
        self._file.write((",".join(self._names) + "\n").encode())
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    _names: list[str] = field(init=False, default_factory=list)
    _hash: Any = field(init=False, default=None)
    _last: object = field(init=False, default=None)
    _file: Any = field(init=False, default=None)

    def add(self, row: CommerceOrder | LedgerDocument | CrmOrder, identity: str = "") -> None:
        """Write one row, in key order. `identity` tells it from another with the same content, where there may be one:
        an order that somebody entered a second time is no page that overlaps.
        """
        if (identity, row) == self._last:
            return
        self._last = (identity, row)
        line = (",".join([_cell(getattr(row, name)) for name in self._names]) + "\n").encode()
        self._file.write(line)
        self._hash.update(line)
        self.rows += 1
        if isinstance(row, LedgerDocument):
            if row.is_reversed:
                return
            amount = row.gross
        else:
            amount = row.total
        self.totals[row.currency] = self.totals.get(row.currency, _ZERO) + amount
        if isinstance(row, CommerceOrder):
            orders, sums = self.by_day.get(row.business_date, (0, {}))
            sums[row.currency] = sums.get(row.currency, _ZERO) + amount
            self.by_day[row.business_date] = (orders + 1, sums)

    @property
    def side(self) -> Side:
        return Side(self.rows, dict(sorted(self.totals.items())), self._hash.hexdigest())

    def as_parquet(self) -> Path:
        """The same rows typed, as the join reads them."""
        import duckdb  # noqa: PLC0415 - only reconciliation pays for it

        types = COLUMNS[self.kind]
        columns = ", ".join(f"'{name}': '{kind}'" for name, kind in types.items())
        chosen = ", ".join(
            f"coalesce({name}, '') AS {name}" if kind == "VARCHAR" else name for name, kind in types.items()
        )
        hashed = ", ".join(f"hash(coalesce({name}, '')) AS {own}" for name, own in HASHES[self.kind].items())
        target = self.path.with_suffix(".parquet")
        source = (
            f"read_csv('{quoted(self.path)}', header=true, delim=',', quote='\"', escape='\"', columns={{{columns}}})"
        )
        with duckdb.connect(":memory:", config={"memory_limit": "400MB", "threads": 1}) as database:
            database.execute(f"COPY (SELECT {chosen}, {hashed} FROM {source}) TO '{quoted(target)}' (FORMAT parquet)")  # noqa: S608 - ours
        self.path.unlink()
        return target


async def _fill[Row: (CommerceOrder, LedgerDocument, CrmOrder)](
    stage: Stage, rows: AsyncIterator[tuple[str, Row]]
) -> None:
    async for identity, row in rows:
        stage.add(row, identity)


def _cell(value: object) -> str:
    """One CSV cell; text is quoted always, so that an empty one stays text."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return '"' + value.replace('"', '""').replace("\n", " ").replace("\r", " ") + '"'
        case Decimal():
            return f"{value:f}"
        case _:
            return str(value)


async def _commerce_orders(
    entity: LegalEntity, first: date, last: date, hub: Hub
) -> AsyncIterator[tuple[str, CommerceOrder]]:
    async for page in hub.commerce.header_pages(entity.code, first, last):
        for row in page:
            yield "", commerce_order(row, entity)


def commerce_order(row: Mapping[str, Any], entity: LegalEntity) -> CommerceOrder:
    """A SalesOrderHeadersV2 row. Its origin says whether it is a return; so does money that only goes back."""
    number, total = str(row["SalesOrderNumber"]), _amount(row, "OrderTotalAmount")
    kind = "return" if str(row.get("SalesOrderOriginCode") or "") == "RETURN" or total < 0 else "invoice"
    return CommerceOrder(
        key=posting_key(entity.code, number, kind, ""),
        number=number,
        currency=str(row["CurrencyCode"]),
        total=total,
        tax=_amount(row, "OrderTotalTaxAmount"),
        business_date=date.fromisoformat(str(row["BusinessDate"])[:10]),
    )


async def _ledger_documents(
    entity: LegalEntity, first: date, last: date, hub: Hub
) -> AsyncIterator[tuple[str, LedgerDocument]]:
    """Our documents by business date: those of the configured types. Lines come in document order, so only the last
    document of a page waits for the next page.

    Of billing documents those are ours that carry a posting key: SAP bills other sales orders too.
    """
    types = set(entity.document_types.values())
    billing = entity.sales_order.billing_document_type if entity.sales_order else ""
    open_lines: list[LedgerItem] = []
    async for page in hub.sap_ledger.item_pages(entity.company_code, first, last, sorted(types | {billing} - {""})):
        open_lines += [one for one in page if one.document_type != billing or is_posting_key(one.reference)]
        documents = [list(lines) for _, lines in groupby(open_lines, key=lambda item: item.document.name)]
        for lines in documents[:-1]:
            yield "", ledger_document(lines, entity)
        open_lines = documents[-1] if documents else []
    if open_lines:
        yield "", ledger_document(open_lines, entity)


def ledger_document(items: Sequence[LedgerItem], entity: LegalEntity) -> LedgerDocument:
    """One document from its lines (each once, however often it was read)."""
    lines = list({item.item: item for item in items}.values())
    head = lines[0]
    accounts = {entity.accounts[role] for role in _SETTLED}  # type: ignore[index]
    accounts |= set(entity.tender_accounts.values())
    is_billing = entity.sales_order is not None and head.document_type == entity.sales_order.billing_document_type
    settled = [item for item in lines if (item.customer or item.account in accounts) and item.text != GIFT_CARD_SOLD]
    return LedgerDocument(
        reference=head.reference,
        order_number=head.order,
        kind=head.kind or ("invoice" if is_posting_key(head.reference) else ""),
        document=str(head.document),
        currency="/".join(sorted({item.amount.currency for item in lines})),
        gross=_sum(settled),
        tax=-_sum(item for item in lines if item.account == entity.accounts["tax"]),
        open_balance=_sum(item for item in lines if item.customer == entity.one_time_account),
        posting_date=head.posting_date,
        is_reversed=any(item.document.is_reversed for item in lines),
        is_as_posted=is_billing or seal_in(head.header_text) == content_of_items(lines, entity).seal,
    )


def content_of_items(items: Iterable[LedgerItem], entity: LegalEntity) -> Content:
    """What one document says on the ledger, in the words of its seal."""
    lines = list({item.item: item for item in items}.values())
    head, tax_account = lines[0], entity.accounts["tax"]
    return Content(
        head.reference,
        head.order,
        head.document.company_code,
        "/".join(sorted({item.amount.currency for item in lines})),
        head.document_date,
        head.posting_date,
        amounts_by_place(
            (
                "customer" if item.customer else "tax" if item.account == tax_account else "account",
                item.customer or item.account,
                item.tax_code,
                item.amount.amount,
            )
            for item in lines
        ),
    )


def _sum(items: Iterable[LedgerItem]) -> Decimal:
    return sum((item.amount.amount for item in items), _ZERO)


async def _crm_orders(entity: LegalEntity, first: date, last: date, hub: Hub) -> AsyncIterator[tuple[str, CrmOrder]]:
    query = {
        "$select": "salesorderid,ordernumber,concord_orderkey,concord_businessdate,totalamount,totaltax,"
        "_transactioncurrencyid_value",
        "$filter": f"concord_legalentity eq '{entity.code}' and concord_businessdate ge {first} "
        f"and concord_businessdate le {last}",
        "$orderby": "concord_orderkey,salesorderid",
    }
    async for page in hub.dataverse.find_pages("salesorders", query):
        for row in page:
            yield str(row["salesorderid"]), await crm_order(row, hub)


async def crm_order(row: Mapping[str, Any], hub: Hub) -> CrmOrder:
    """A salesorders row; one without our key goes by its own order number."""
    key = str(row.get("concord_orderkey") or "").partition("|")[2]
    currency = str(row.get("_transactioncurrencyid_value") or "")
    return CrmOrder(
        number=unescaped(key) or str(row.get("ordernumber") or ""),
        currency=await hub.dataverse.currency_code(currency) or "unknown" if currency else "unknown",
        total=_amount(row, "totalamount"),
        tax=_amount(row, "totaltax"),
        business_date=date.fromisoformat(str(row["concord_businessdate"])[:10]),
    )


def unescaped(key: str) -> str:
    """An order number from the part of an alternate key that stands for it (`~2F` is a slash)."""
    head, *coded = key.split("~")
    return head + "".join(chr(int(one[:2], 16)) + one[2:] for one in coded)


def _amount(row: Mapping[str, Any], name: str) -> Decimal:
    value = row.get(name)
    if value is None:
        return _ZERO
    try:
        return decimal_of(value)
    except ValueError as error:
        raise Malformed([Fault(name, str(error))]) from error
