"""The rows of the organization: versions, alternate keys, deletions kept for change tracking, and units of work."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import uuid4

from sandbox.dataverse.errors import KEY_VIOLATED, Refused, no_such_row
from sandbox.dataverse.model import Table
from sandbox.dataverse.query import Comparable, collated
from sandbox.dataverse.tables import TABLES
from sandbox.dataverse.values import Reference, Value
from sandbox.kit.state import State
from sandbox.kit.state import Table as StateTable

_ALSO_INDEXED: Final = frozenset({"ordernumber", "isocurrencycode", "concord_orderkey", "concord_accountnumber"})


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `version` is its row version, unique and increasing over the whole organization."""

    id: str
    version: int
    values: Mapping[str, Value]

    @property
    def etag(self) -> str:
        """The entity tag."""
        return f'W/"{self.version}"'

    def get(self, column: str) -> Value:
        """A column's value; None when it was never set."""
        return self.values.get(column)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A deleted row, kept for those who track changes."""

    id: str
    version: int
    deleted_at: datetime


@dataclass(frozen=True, slots=True)
class Caller:
    """Who writes and how: `tag` goes to SharedVariables, `silent` writes set no asynchronous logic off."""

    user_id: str
    tag: str | None = None
    silent: bool = False
    correlation_id: str = field(default_factory=lambda: str(uuid4()))
    request_id: str = field(default_factory=lambda: str(uuid4()))


@dataclass(frozen=True, slots=True)
class Change:
    """One message of the pipeline: Create, Update or Delete, with what the caller sent and what it became."""

    message: str
    table: Table
    before: Row | None
    after: Row | None
    sent: Mapping[str, Value]
    at: datetime


class Rows:
    """All rows. Reading sees the past inside a stale read, because the tables beneath do."""

    def __init__(self, state: State, *, native_pricing: bool = False) -> None:
        self._state = state
        self.native_pricing = native_pricing
        self._tables: dict[str, StateTable[str, Row]] = {
            name: state.table({column: _index_of(column) for column in _indexed(table)})
            for name, table in TABLES.items()
        }
        self._keys: StateTable[tuple[object, ...], str] = state.table()
        self._graves: StateTable[tuple[str, str], Tombstone] = state.table()
        self._counters: StateTable[str, int] = state.table()
        self._alternate_keys: StateTable[tuple[str, tuple[str, ...]], str] = state.table()
        self._not_made_yet: StateTable[tuple[str, str], bool] = state.table()

    def atomic(self) -> AbstractContextManager[None]:
        """Writes inside all stand, or, when a refusal leaves the block, all fall."""
        return self._state.atomic()

    def now(self) -> datetime:
        """The organization's clock, to the second as Dataverse keeps it."""
        return self._state.now().replace(microsecond=0)

    def get(self, table: Table, row_id: str) -> Row | None:
        """A row by its GUID."""
        return self._tables[table.name].get(row_id)

    def has(self, table: Table, column: str = "") -> bool:
        """Whether the organization has this table, or this column of it: customizations are made by somebody."""
        return not (self._not_made_yet.get((table.name, "")) or self._not_made_yet.get((table.name, column)))

    def unmake(self, table: Table, column: str = "") -> None:
        """Take a table or a column out of a fresh organization, as one is to which nobody has added it yet."""
        self._not_made_yet.put((table.name, column), True)

    def make(self, table: Table, column: str = "") -> None:
        """Add a table or a column that was not there."""
        self._not_made_yet.delete((table.name, column))

    def every(self, table: Table) -> Iterator[Row]:
        """All rows of a table in order of creation."""
        return self._tables[table.name].values()

    def having(self, table: Table, column: str, value: Comparable) -> Iterator[Row] | None:
        """Rows with this (collated) value in an indexed column; None when the column has no index."""
        if column not in _indexed(table):
            return None
        return self._tables[table.name].find(column, value)

    def by_key(self, table: Table, key: Mapping[str, Value]) -> Row | None:
        """A row by the values of an alternate key's columns, named in the key's own order or any other."""
        for columns in self.alternate_keys(table):
            if set(columns) == set(key):
                row_id = self._keys.get(_key_entry(table, columns, key))
                return None if row_id is None else self.get(table, row_id)
        return None

    def alternate_keys(self, table: Table) -> list[tuple[str, ...]]:
        """The keys defined on a table."""
        return [columns for name, columns in (key for key, _ in self._alternate_keys.items()) if name == table.name]

    def key_names(self, table: Table) -> dict[tuple[str, ...], str]:
        """The schema names of the keys defined on a table."""
        return {key[1]: name for key, name in self._alternate_keys.items() if key[0] == table.name}

    def define_key(self, table: Table, columns: tuple[str, ...], schema: str) -> None:
        """Add an alternate key over the rows there are. Raises Refused when two of them share its values."""
        entries: dict[tuple[object, ...], str] = {}
        for row in self.every(table):
            if all(row.get(column) is not None for column in columns):
                entry = _key_entry(table, columns, row.values)
                if entry in entries:
                    raise _key_violated(table, columns)
                entries[entry] = row.id
        self._alternate_keys.put((table.name, columns), schema)
        for entry, row_id in entries.items():
            self._keys.put(entry, row_id)

    def drop_key(self, table: Table, columns: tuple[str, ...]) -> None:
        """Remove an alternate key."""
        self._alternate_keys.delete((table.name, columns))
        for entry in [entry for entry, _ in self._keys.items() if entry[:2] == (table.name, columns)]:
            self._keys.delete(entry)

    def version(self) -> int:
        """The newest row version given out."""
        return self._counters.get("version") or 0

    def next_version(self) -> int:
        """A new row version."""
        version = (self._counters.get("version") or 1_000_000) + 1
        self._counters.put("version", version)
        return version

    def graves(self, table: Table) -> Iterator[Tombstone]:
        """What was deleted from a table."""
        return (grave for key, grave in self._graves.items() if key[0] == table.name)

    def write(self, table: Table, row_id: str, row: Row | None) -> None:
        """Put, replace or (None) remove one row, with its keys. Raises Refused when a key would not stay unique."""
        before = self._tables[table.name].get(row_id)
        for columns in self.alternate_keys(table):
            old = None if before is None else _key_or_none(table, columns, before)
            new = None if row is None else _key_or_none(table, columns, row)
            if new == old:
                continue
            if new is not None and self._keys.get(new) is not None:
                raise _key_violated(table, columns)
            if old is not None:
                self._keys.delete(old)
            if new is not None:
                self._keys.put(new, row_id)
        if row is not None:
            self._tables[table.name].put(row_id, row)
            self._graves.delete((table.name, row_id))
        elif before is not None:
            self._tables[table.name].delete(row_id)
            self._graves.put((table.name, row_id), Tombstone(row_id, self.next_version(), self.now()))


class Work:
    """What one request does to the rows, and the messages it sets off when all of it stands."""

    def __init__(self, rows: Rows, caller: Caller) -> None:
        self.rows = rows
        self.caller = caller
        self.changes: list[Change] = []

    def required(self, table: Table, row_id: str) -> Row:
        """A row that has to be there. Raises Refused (404)."""
        row = self.rows.get(table, row_id)
        if row is None:
            raise no_such_row(table.name, row_id)
        return row


def _indexed(table: Table) -> set[str]:
    lookups = {column.name for column in table.columns.values() if column.targets}
    return lookups | {name for key in table.keys for name in key} | (_ALSO_INDEXED & table.columns.keys())


def _index_of(column: str) -> Callable[[Row], Comparable]:
    def value(row: Row) -> Comparable:
        return comparable(row.get(column))

    return value


def comparable(value: Value) -> Comparable:
    """A value as comparisons see it: a lookup is the GUID it holds."""
    return collated(value.id if isinstance(value, Reference) else value)


def _key_entry(table: Table, columns: tuple[str, ...], values: Mapping[str, Value]) -> tuple[object, ...]:
    return (table.name, columns, *(comparable(values.get(column)) for column in columns))


def _key_or_none(table: Table, columns: tuple[str, ...], row: Row) -> tuple[object, ...] | None:
    if any(row.get(column) is None for column in columns):
        return None
    return _key_entry(table, columns, row.values)


def _key_violated(table: Table, columns: tuple[str, ...]) -> Refused:
    named = ",".join(columns)
    return Refused(
        412,
        KEY_VIOLATED,
        f"Entity Key {named} of {table.name} violated. A record with the same value for {named} already exists. "
        "A duplicate record cannot be created. Select one or more unique values and try again.",
    )
