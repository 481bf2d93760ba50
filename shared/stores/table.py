"""One thin table interface: everything that is remembered goes through these six calls.

Azure Tables in the cloud, Azurite locally, an in-memory twin in the tests: one contract test holds them together.
Keys are encoded here, so callers use business keys with any character. Amounts are stored as decimal text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

Value = str | int | bool | datetime | bytes
"""What a property may hold: text up to 32 Ki characters, bytes up to 64 KiB (Azure's limits)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One stored row; `etag` is the version it was read at."""

    partition: str
    key: str
    values: Mapping[str, Any]
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Op:
    """One write of a transaction. `replace` and `delete` need the etag they were decided on ("*" = whatever it is)."""

    kind: Literal["insert", "replace", "upsert", "delete"]
    row: Row
    etag: str = "*"


class RowExists(Exception):
    """An insert found the key taken; nothing of its transaction was written. `key` names the row where known."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class RowChanged(Exception):
    """A conditional write found another version, or none; nothing of its transaction was written."""


class Table(Protocol):
    """A table of rows. Every call is one request to the service and counts against the budget.

    Raises `RowExists`, `RowChanged`, `shared.errors.RemoteDown` (nothing happened) and, for writes whose answer was
    lost, `shared.errors.OutcomeUnknown`.
    """

    async def read(self, partition: str, key: str) -> Row | None: ...

    async def query(
        self, partition: str, *, prefix: str = "", before: str | None = None, limit: int | None = None
    ) -> list[Row]:
        """Rows of one partition in key order: those whose key starts with `prefix` and is below `before`."""
        ...

    async def scan(self, *, where: str = "", limit: int | None = None) -> list[Row]:
        """Rows over all partitions by property equality `where` ("name=value"): for sweeps and people's lists only."""
        ...

    async def insert(self, row: Row) -> str:
        """Returns the etag."""
        ...

    async def replace(self, row: Row, etag: str) -> str: ...

    async def transact(self, partition: str, operations: Sequence[Op]) -> list[str]:
        """All or nothing, at most 100 operations of one partition; returns the etags in order."""
        ...
