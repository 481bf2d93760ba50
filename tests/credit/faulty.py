"""A table that gives way to others at every call, and fails where a test says: before, after, or without an answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from shared.errors import OutcomeUnknown, RemoteDown
from shared.stores.table import Op, Row, Table

Failure = Literal["before", "after", "crash before", "crash after"]
_WRITES = {"insert", "replace", "transact"}


class Crash(BaseException):
    """The worker died here."""


@dataclass
class Faulty:
    """`plan` says what happens at the n-th call (counted from 0); `seed` shuffles who goes first."""

    real: Table
    seed: int = 0
    plan: dict[int, Failure] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    async def read(self, partition: str, key: str) -> Row | None:
        return await self._call("read", lambda: self.real.read(partition, key))

    async def query(
        self, partition: str, *, prefix: str = "", before: str | None = None, limit: int | None = None
    ) -> list[Row]:
        return await self._call("query", lambda: self.real.query(partition, prefix=prefix, before=before, limit=limit))

    async def scan(self, *, where: str = "", limit: int | None = None) -> list[Row]:
        return await self._call("scan", lambda: self.real.scan(where=where, limit=limit))

    async def insert(self, row: Row) -> str:
        return await self._call("insert", lambda: self.real.insert(row))

    async def replace(self, row: Row, etag: str) -> str:
        return await self._call("replace", lambda: self.real.replace(row, etag))

    async def transact(self, partition: str, operations: Sequence[Op]) -> list[str]:
        return await self._call("transact", lambda: self.real.transact(partition, operations))

    async def _call[T](self, name: str, act: Callable[[], Awaitable[T]]) -> T:
        failure = self.plan.get(len(self.calls))
        self.calls.append(name)
        for _ in range(self._random.randrange(3)):
            await asyncio.sleep(0)
        if failure == "before":
            raise RemoteDown("the tables do not answer", system="tables")
        if failure == "crash before":
            raise Crash
        found = await act()
        for _ in range(self._random.randrange(3)):
            await asyncio.sleep(0)
        if failure == "crash after":
            raise Crash
        if failure == "after":
            if name in _WRITES:
                raise OutcomeUnknown("the tables gave no answer")
            raise RemoteDown("the tables do not answer", system="tables")
        return found
