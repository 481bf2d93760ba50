"""The in-memory twin of a table: the same contract as Azure Tables, held to it by one shared contract test."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from shared.stores.table import Op, Row, RowChanged, RowExists
from shared.telemetry import Counters


class MemoryTable:
    def __init__(self, counters: Counters | None = None) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self._versions = itertools.count(1)
        self._counters = counters or Counters()

    async def read(self, partition: str, key: str) -> Row | None:
        self._counters.add("table_calls")
        return self.rows.get((partition, key))

    async def query(
        self, partition: str, *, prefix: str = "", before: str | None = None, limit: int | None = None
    ) -> list[Row]:
        self._counters.add("table_calls")
        found = [
            row
            for (own, key), row in sorted(self.rows.items())
            if own == partition and key.startswith(prefix) and (before is None or key < before)
        ]
        return found[:limit]

    async def scan(self, *, where: str = "", limit: int | None = None) -> list[Row]:
        self._counters.add("table_calls")
        name, _, value = where.partition("=")
        found = [row for _, row in sorted(self.rows.items()) if not where or row.values.get(name) == value]
        return found[:limit]

    async def insert(self, row: Row) -> str:
        return (await self.transact(row.partition, [Op("insert", row)]))[0]

    async def replace(self, row: Row, etag: str) -> str:
        return (await self.transact(row.partition, [Op("replace", row, etag)]))[0]

    async def transact(self, partition: str, operations: Sequence[Op]) -> list[str]:
        self._counters.add("table_calls")
        if len(operations) > 100 or len({operation.row.key for operation in operations}) != len(operations):
            raise ValueError("at most 100 operations, one for each row")
        for operation in operations:
            if operation.row.partition != partition:
                raise ValueError("a transaction stays in one partition")
            known = self.rows.get((partition, operation.row.key))
            if operation.kind == "insert" and known is not None:
                raise RowExists(operation.row.key)
            if operation.kind in ("replace", "delete") and (known is None or operation.etag not in ("*", known.etag)):
                raise RowChanged
        etags = []
        for operation in operations:
            etag = f'W/"{next(self._versions)}"'
            if operation.kind == "delete":
                del self.rows[(partition, operation.row.key)]
            else:
                self.rows[(partition, operation.row.key)] = Row(
                    partition, operation.row.key, dict(operation.row.values), etag
                )
            etags.append(etag)
        return etags
