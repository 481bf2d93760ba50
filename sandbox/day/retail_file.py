"""Reading a file in the UCI Online Retail layout: cells in, typed rows out, and a reason for every row that is neither.

A row that cannot be understood still belongs to its invoice: it is carried with its raw cells and its faults, so that
the whole invoice becomes a case instead of being posted without it.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

COLUMNS: Final = (
    "InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country",
)  # fmt: skip
_FILE_ZONE: Final = ZoneInfo("Europe/London")
_ROW_LINES_MAX: Final = 6
_BYTES_MAX: Final = 512 * 2**20  # unpacked; ten times the two years that the layout was first published with
_TOO_LONG: Final = f"a cell is longer than {csv.field_size_limit():,} characters"
_NUMBER_MAX: Final = Decimal(10) ** 9
_QUANTITY_DECIMALS_MAX: Final = 3  # of a SAP quantity
_PRICE_DECIMALS_MAX: Final = 5  # of a unit price at checkout
_ACCOUNT_CHARACTERS_MAX: Final = 10  # of a SAP business partner
_ITEM_CHARACTERS_MAX: Final = 40  # of a SAP material


class WrongFile(Exception):
    """The file as a whole cannot be read in this layout; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One understood row. `placed_at` is aware UTC; `customer` is empty for a sale without an account."""

    number: int
    invoice: str
    item: str
    description: str
    quantity: Decimal
    placed_at: datetime
    price: Decimal
    customer: str


@dataclass(frozen=True, slots=True)
class FaultyRow:
    """One row that is not understood: its cells as they came, and every reason."""

    number: int
    invoice: str
    cells: dict[str, str]
    reasons: tuple[str, ...]


def read_rows(path: Path) -> Iterator[Row | FaultyRow]:
    """Every row of the file in its order; empty rows carry nothing and are passed over.

    Raises WrongFile when the file cannot be opened, is not text, or lacks columns.
    """
    lines = io.StringIO(_text(path), newline=None).readlines()
    if not lines or not "".join(lines).strip():
        raise WrongFile(f"{path.name} is empty; its first row must name the columns {', '.join(COLUMNS)}")
    try:
        header = next(csv.reader([lines[0]]))
    except csv.Error as fault:
        raise WrongFile(f"{path.name} has no readable header: {fault}") from fault
    columns = [name.strip() for name in header]
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise WrongFile(
            f"{path.name} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
            f"it has {', '.join(columns)[:200]}"
        )
    twice = sorted({name for name in COLUMNS if columns.count(name) > 1})
    if twice:
        raise WrongFile(f"{path.name} has the column {', '.join(twice)} more than once")
    return _rows(lines, columns)


def _rows(lines: list[str], columns: list[str]) -> Iterator[Row | FaultyRow]:
    for number, cells, fault in _records(lines, len(columns)):
        if fault is None and not any(cell.strip() for cell in cells):
            continue
        named = dict(zip(columns, (cell.strip() for cell in cells), strict=False))
        if fault is not None:
            yield FaultyRow(number, named.get("InvoiceNo", ""), named, (fault,))
        else:
            yield _understood(number, named)


def _records(lines: list[str], width: int) -> Iterator[tuple[int, list[str], str | None]]:
    """(line number, cells, fault). A quoted cell may span a few lines; an unclosed quote spoils its own line only."""
    at, wrong = 1, ""
    while at < len(lines):
        for span in range(1, min(_ROW_LINES_MAX, len(lines) - at) + 1):
            try:
                cells = next(csv.reader(["".join(lines[at : at + span])], strict=True), [])
            except csv.Error as error:
                wrong = _TOO_LONG if "field limit" in str(error) else "the row's quotes are not closed"
                continue
            if span > 1 and len(cells) != width:
                continue
            break
        else:
            yield at + 1, lines[at].rstrip("\r\n").split(","), wrong
            at += 1
            continue
        fault = None
        if cells and any(cell.strip() for cell in cells) and len(cells) != width:
            fault = f"the row has {len(cells)} cells, the file {width} columns"
        yield at + 1, cells, fault
        at += span


def _understood(number: int, cells: dict[str, str]) -> Row | FaultyRow:
    reasons: list[str] = []

    def decimal(column: str, decimals_max: int) -> Decimal:
        try:
            value = Decimal(cells[column])
        except InvalidOperation:
            reasons.append(f"{column} {cells[column][:40]!r} is not a number")
            return Decimal(0)
        if not value.is_finite() or abs(value) >= _NUMBER_MAX or "_" in cells[column]:
            reasons.append(f"{column} {cells[column][:40]!r} is not a usable number")
            return Decimal(0)
        if value != round(value, decimals_max):
            reasons.append(f"{column} {cells[column][:40]} has more than {decimals_max} decimals")
        return value

    if not cells["StockCode"]:
        reasons.append("StockCode is missing")
    if len(cells["StockCode"]) > _ITEM_CHARACTERS_MAX:
        reasons.append(f"StockCode is longer than {_ITEM_CHARACTERS_MAX} characters")
    quantity, price = decimal("Quantity", _QUANTITY_DECIMALS_MAX), decimal("UnitPrice", _PRICE_DECIMALS_MAX)
    if not reasons and not quantity:
        reasons.append("Quantity is zero")
    if price < 0:
        reasons.append(f"UnitPrice {cells['UnitPrice']} is negative")
    placed_at = _moment(cells["InvoiceDate"])
    if placed_at is None:
        reasons.append(f"InvoiceDate {cells['InvoiceDate'][:40]!r} is not a date and time")
    customer = cells["CustomerID"].removesuffix(".0")
    if customer and not (
        customer.isascii() and customer.replace("-", "").isalnum() and len(customer) <= _ACCOUNT_CHARACTERS_MAX
    ):
        reasons.append(f"CustomerID {customer[:40]!r} is not an account number")
    if not cells["InvoiceNo"]:
        reasons.append("InvoiceNo is missing")
    if reasons or placed_at is None:
        return FaultyRow(number, cells["InvoiceNo"], cells, tuple(reasons))
    return Row(
        number, cells["InvoiceNo"], cells["StockCode"], cells["Description"], quantity, placed_at, price, customer
    )


def _moment(text: str) -> datetime | None:
    """ISO 8601, or the month/day/year of the layout's first publication; without a zone it is British time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = datetime.strptime(text, "%m/%d/%Y %H:%M")  # noqa: DTZ007 - the zone is set below
        except ValueError:
            return None
    if not 1990 <= moment.year <= 2099:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=_FILE_ZONE)).astimezone(UTC)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as content:
            raw = content.read(_BYTES_MAX + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
        raise WrongFile(f"{path.name} is damaged: {fault}") from fault
    except OSError as fault:
        raise WrongFile(f"{path} cannot be read: {fault.strerror or fault}") from fault
    if len(raw) > _BYTES_MAX:
        raise WrongFile(f"{path.name} holds more than {_BYTES_MAX // 2**20} MiB: replay it in parts")
    if b"\x00" in raw:
        raise WrongFile(f"{path.name} is not text")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")  # as the layout was first published
