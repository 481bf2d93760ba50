"""Simulator state with a past: tables that can be read as they stood some seconds ago.

A stale read is a fault every real system shows (read replicas, caches, asynchronous aggregates). Each table journals
the row that a change replaced; reading as of an instant undoes the journal back to it. The instant travels in a
context variable, so simulators read their tables the same way whether an answer is fresh or stale.
"""

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import Enum
from typing import Final

type Clock = Callable[[], float]
type IndexOf[V] = Callable[[V], Hashable | None]

_as_of: ContextVar[float | None] = ContextVar("as_of", default=None)
_HISTORY_CHANGES: Final = 100_000


class _Missing(Enum):
    ROW = 0


class State:
    """The tables of one simulator and its clock (epoch seconds)."""

    def __init__(self, clock: Clock = time.time) -> None:
        self.clock = clock
        self._tables: list[Table[object, object]] = []
        self._undo: list[Callable[[], None]] | None = None
        self._committed: list[Callable[[], None]] = []

    def table[K: Hashable, V](self, indexes: Mapping[str, IndexOf[V]] | None = None) -> "Table[K, V]":
        """A new table; `indexes` name the values by which `find` reaches rows without a scan (None = not indexed)."""
        table: Table[K, V] = Table(self, indexes or {})
        self._tables.append(table)  # type: ignore[arg-type]
        return table

    def time(self) -> float:
        """The instant being read: now, or the past instant of a stale read. Epoch seconds."""
        instant = _as_of.get()
        return self.clock() if instant is None else instant

    def now(self) -> datetime:
        """The instant being read, as aware UTC."""
        return datetime.fromtimestamp(self.time(), UTC)

    @contextmanager
    def as_of(self, seconds_ago: float) -> Iterator[None]:
        """Reads inside see the tables as they stood `seconds_ago`."""
        token = _as_of.set(self.clock() - seconds_ago)
        try:
            yield
        finally:
            _as_of.reset(token)

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Changes inside take effect together or, on an exception, not at all. Must not await in between."""
        if self._undo is not None:  # the outer block decides
            yield
            return
        self._undo, self._committed = [], []
        try:
            yield
        except BaseException:
            changes, self._undo = self._undo, None
            for undo in reversed(changes):
                undo()
            raise
        self._undo, committed = None, self._committed
        for action in committed:
            action()

    def on_commit(self, action: Callable[[], None]) -> None:
        """Run `action` once the surrounding atomic block has taken effect; at once where there is none."""
        if self._undo is None:
            action()
        else:
            self._committed.append(action)

    def undoable(self, undo: Callable[[], None]) -> None:
        """Note how to take back a change, should the surrounding atomic block fail."""
        if self._undo is not None:
            self._undo.append(undo)

    def clear(self) -> None:
        """Empty every table and forget the past."""
        for table in self._tables:
            table.clear()


class Table[K: Hashable, V]:
    """Rows by key, in order of insertion. Never alter a row in place: `put` a new one, so the past stays true."""

    def __init__(self, state: State, indexes: Mapping[str, IndexOf[V]]) -> None:
        self._state = state
        self._rows: dict[K, V] = {}
        self._index_of = indexes
        self._indexes: dict[str, dict[Hashable, dict[K, None]]] = {name: {} for name in indexes}
        self._journal: deque[tuple[float, K, V | _Missing]] = deque(maxlen=_HISTORY_CHANGES)
        self._changes = 0
        self._undone: tuple[float, int, dict[K, V | _Missing]] = (0.0, -1, {})

    def put(self, key: K, row: V) -> None:
        """Insert or replace one row."""
        self._replace(key, row)

    def delete(self, key: K) -> bool:
        """Remove one row; says whether it was there."""
        if key not in self._rows:
            return False
        self._replace(key, _Missing.ROW)
        return True

    def get(self, key: K) -> V | None:
        """One row, or None."""
        past = self._past()
        row = past.get(key, self._rows.get(key)) if past else self._rows.get(key)
        return None if isinstance(row, _Missing) else row

    def items(self) -> Iterator[tuple[K, V]]:
        """All rows with their keys."""
        past = self._past()
        if not past:
            yield from list(self._rows.items())
            return
        for key in [*self._rows, *(key for key in past if key not in self._rows)]:
            row = past.get(key, self._rows.get(key, _Missing.ROW))
            if not isinstance(row, _Missing):
                yield key, row

    def values(self) -> Iterator[V]:
        """All rows."""
        for _, row in self.items():
            yield row

    def find(self, index: str, value: Hashable) -> Iterator[V]:
        """The rows whose `index` has this value."""
        keys = self._indexes[index].get(value, {})
        past = self._past()
        index_of = self._index_of[index]
        for key in [*keys, *(key for key in past if key not in keys)]:
            row = past.get(key, self._rows.get(key, _Missing.ROW)) if past else self._rows[key]
            if not isinstance(row, _Missing) and index_of(row) == value:
                yield row

    def clear(self) -> None:
        """Remove every row, and the past with them."""
        self._rows.clear()
        self._journal.clear()
        for index in self._indexes.values():
            index.clear()
        self._changes += 1

    def __contains__(self, key: K) -> bool:
        return self.get(key) is not None

    def __len__(self) -> int:
        return sum(1 for _ in self.items()) if self._past() else len(self._rows)

    def _replace(self, key: K, row: V | _Missing) -> None:
        old = self._rows.get(key, _Missing.ROW)
        self._state.undoable(lambda: self._replace(key, old))
        self._journal.append((self._state.clock(), key, old))
        self._changes += 1
        if not isinstance(old, _Missing):
            for name, index_of in self._index_of.items():
                value = index_of(old)
                if value is not None:
                    entries = self._indexes[name][value]
                    del entries[key]
                    if not entries:
                        del self._indexes[name][value]
        if isinstance(row, _Missing):
            self._rows.pop(key, None)
            return
        self._rows[key] = row
        for name, index_of in self._index_of.items():
            value = index_of(row)
            if value is not None:
                self._indexes[name].setdefault(value, {})[key] = None

    def _past(self) -> dict[K, V | _Missing]:
        """What to lay over the rows to see them as of the instant being read; empty when reading the present."""
        instant = _as_of.get()
        if instant is None:
            return {}
        known_instant, known_changes, undone = self._undone
        if known_instant == instant and known_changes == self._changes:
            return undone
        undone = {}
        for changed_at, key, old in reversed(self._journal):
            if changed_at <= instant:
                break
            undone[key] = old
        self._undone = (instant, self._changes, undone)
        return undone
