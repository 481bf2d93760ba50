"""Parked keys: a message that cannot go on, and all later ones of its key and flow, in order.

One head row (`0|park|<flow>`) tells what the key waits for: its time, a case, or its flow, which is paused. Each
waiting message is a row behind it (`0|wait|<flow>|<number>`), the first of them the head. All live in the key's own
partition, so that parking, queueing and working off are transactions on what was read. An index row in another table
lets the sweep find overdue keys. It is written after the key is parked and before its message is completed: a sweep in
between takes away no note of a parked key, and a worker that dies in between is made up for by the next delivery. It
may be stale; the head row decides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from shared.domain.changes import Change, decode, encode
from shared.stores.packing import pack, unpack
from shared.stores.records import Dossier
from shared.stores.table import Op, Row, Table

_LANDS_WITHIN = timedelta(minutes=15)
_PARTITION = "parked"
ParkedState = Literal["due", "case", "paused"]
"""What the head waits for: its time, a person's decision, the flow itself."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One message that waits, in the order it came."""

    number: int
    message_id: str
    body: bytes
    etag: str

    @property
    def change(self) -> Change:
        return decode(self.body)


@dataclass(frozen=True, slots=True)
class Parked:
    """The head row of a parked key and what waits behind it."""

    business_key: str
    flow: str
    state: ParkedState
    due_at: datetime
    attempts: int
    next_number: int
    case_id: str
    decision: str
    decided_by: str
    reason: str
    parked_at: datetime
    etag: str
    waiting: tuple[Waiting, ...]

    @property
    def key(self) -> str:
        return f"0|park|{self.flow}"

    def holds(self, message_id: str) -> bool:
        return any(one.message_id == message_id for one in self.waiting)

    def operation(self) -> Op:
        """The head row as it is now, on the condition that nobody changed it since it was read."""
        return Op("replace", self._row(), self.etag)

    def followed_by(self, change: Change) -> list[Op]:
        """The operations that queue one more message behind the key."""
        return [
            replace(self, next_number=self.next_number + 1).operation(),
            Op("insert", _waiting_row(self.business_key, self.flow, self.next_number, change)),
        ]

    def after_head(self, now: datetime) -> list[Op]:
        """The operations that take the head off: the next message becomes the head, or the key is free."""
        head, rest = self.waiting[0], self.waiting[1:]
        gone = Op("delete", Row(self.business_key, _waiting_key(self.flow, head.number), {}), head.etag)
        if not rest:
            return [gone, Op("delete", Row(self.business_key, self.key, {}), self.etag)]
        on = replace(
            self, state="due", due_at=now, attempts=0, case_id="", decision="", decided_by="", reason="next in line"
        )
        return [gone, on.operation()]

    def _row(self) -> Row:
        return Row(
            self.business_key,
            self.key,
            {
                "state": self.state,
                "due_at": self.due_at.isoformat(),
                "attempts": self.attempts,
                "next_number": self.next_number,
                "case_id": self.case_id,
                "decision": self.decision,
                "decided_by": self.decided_by,
                "reason": self.reason[:4000],
                "parked_at": self.parked_at.isoformat(),
            },
        )


def parked_in(dossier: Dossier, flow: str) -> Parked | None:
    """The parked key of a flow, if it is parked."""
    row = dossier.row(f"0|park|{flow}")
    if row is None:
        return None
    values = row.values
    return Parked(
        business_key=dossier.business_key,
        flow=flow,
        state=values["state"],
        due_at=datetime.fromisoformat(values["due_at"]),
        attempts=values["attempts"],
        next_number=values["next_number"],
        case_id=values["case_id"],
        decision=values["decision"],
        decided_by=values["decided_by"],
        reason=values["reason"],
        parked_at=datetime.fromisoformat(values["parked_at"]),
        etag=row.etag,
        waiting=tuple(_waiting(one, flow) for one in dossier.rows(f"0|wait|{flow}|")),
    )


def park_operations(
    change: Change,
    flow: str,
    *,
    state: ParkedState,
    due_at: datetime,
    reason: str,
    case_id: str,
    now: datetime,
) -> list[Op]:
    """The operations that park a free key with this change as its head."""
    parked = Parked(
        business_key=change.business_key,
        flow=flow,
        state=state,
        due_at=due_at,
        attempts=1,
        next_number=1,
        case_id=case_id,
        decision="",
        decided_by="",
        reason=reason,
        parked_at=now,
        etag="",
        waiting=(),
    )
    return [
        Op("insert", parked._row()),
        Op("insert", _waiting_row(change.business_key, flow, 0, change)),
    ]


class ParkedIndex:
    """Where the sweep and the health door find parked keys without reading every partition.

    A key is announced before it is parked and noted after. An announcement alone says that the key *may* be parked, or
    may become so yet: a write that was not answered can land after its message was tried again and went through, and
    nobody else would know of a key that was parked by it.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    async def announce(self, change: Change, flow: str, now: datetime) -> None:
        """This key is about to be parked."""
        await self._write(change, flow, now, is_certain=False)

    async def note(self, change: Change, flow: str, now: datetime) -> None:
        """This key is parked."""
        await self._write(change, flow, now, is_certain=True)

    async def forget(self, row: Row) -> None:
        await self._table.transact(_PARTITION, [Op("delete", row, row.etag)])

    async def list_announced(self, flow: str = "") -> list[Row]:
        """The noted keys and those that were only announced."""
        return await self._table.query(_PARTITION, prefix=f"{flow}|" if flow else "")

    async def list(self, flow: str = "") -> list[Row]:
        """The noted keys of one flow, or of all."""
        return [row for row in await self.list_announced(flow) if row.values["is_certain"]]

    async def _write(self, change: Change, flow: str, now: datetime, *, is_certain: bool) -> None:
        row = Row(
            _PARTITION,
            f"{flow}|{change.business_key}",
            {
                "flow": flow,
                "entity": change.entity,
                "legal_entity": change.legal_entity,
                "key_": change.key,
                "correlation_id": change.correlation_id,
                "noted_at": now.isoformat(),
                "is_certain": is_certain,
            },
        )
        await self._table.transact(_PARTITION, [Op("upsert", row)])


def may_land_yet(row: Row, now: datetime) -> bool:
    """Whether the write that a row announces may still land, unanswered as it is."""
    return not row.values["is_certain"] and now < datetime.fromisoformat(row.values["noted_at"]) + _LANDS_WITHIN


def _waiting_key(flow: str, number: int) -> str:
    return f"0|wait|{flow}|{number:08d}"


def _waiting_row(business_key: str, flow: str, number: int, change: Change) -> Row:
    return Row(
        business_key,
        _waiting_key(flow, number),
        {"message_id": change.message_id, **pack(encode(change))},
    )


def _waiting(row: Row, flow: str) -> Waiting:
    number = int(row.key.removeprefix(f"0|wait|{flow}|"))
    return Waiting(number, row.values["message_id"], unpack(row), row.etag)
