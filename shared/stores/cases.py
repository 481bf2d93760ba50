"""Cases: what the rules leave to a person, with the evidence and the way on.

A case's id comes from what it is about, so a repeated message opens no second one. It is open until a person replays,
resolves or discards it, or until a replay that they asked for succeeds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared import exact_json
from shared.domain.changes import Change
from shared.domain.rulings import Reason
from shared.stores.packing import pack, unpack
from shared.stores.records import as_text, reasons_as_data
from shared.stores.table import Row, RowChanged, RowExists, Table

OPEN = "open"
TAKEN_FOR = timedelta(seconds=60)
"""How long a replay that was begun keeps others from beginning one; longer than sending a message takes."""
_PARTITIONS = 16
_CASE_ID = re.compile(r"case-[0-9a-f]{20}")


@dataclass(frozen=True, slots=True)
class Case:
    """One case. `state` is open, replayed, resolved or discarded; `parked` tells whether the key waits behind it."""

    id: str
    state: str
    flow: str
    business_key: str
    legal_entity: str
    key: str
    kind: str
    code: str
    reasons: list[dict[str, str]]
    parked: bool
    correlation_id: str
    message_id: str
    opened_at: datetime
    ended_at: datetime | None
    ended_by: str
    comment: str
    body: bytes | None = None
    etag: str = ""
    taken_by: str = ""
    taken_at: datetime | None = None

    def is_taken(self, now: datetime) -> bool:
        """Whether somebody is replaying it at this moment."""
        return self.taken_at is not None and now - self.taken_at < TAKEN_FOR


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which cases: "" and None mean any. `opened_before` and `opened_after` are aware UTC, exclusive."""

    state: str = OPEN
    flow: str = ""
    code: str = ""
    legal_entity: str = ""
    key: str = ""
    opened_before: datetime | None = None
    opened_after: datetime | None = None

    def fits(self, case: Case) -> bool:
        return (
            self.state in ("", case.state)
            and self.flow in ("", case.flow)
            and self.code in ("", case.code)
            and self.legal_entity in ("", case.legal_entity)
            and self.key in ("", case.key)
            and (self.opened_before is None or case.opened_at < self.opened_before)
            and (self.opened_after is None or case.opened_at > self.opened_after)
        )


class Cases:
    """All cases in one table, spread over a few partitions by their id."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def open(
        self,
        *,
        flow: str,
        change: Change,
        code: str,
        reasons: Sequence[Reason],
        now: datetime,
        parked: bool = False,
        body: bytes | None = None,
    ) -> str:
        """Open the case of this change in this flow, or find it open already; a replayed one is opened again.

        `parked` tells that the message waits behind the parked key; otherwise `body` keeps it for the replay.
        """
        case_id = case_id_of(flow, change, code)
        case = Case(
            id=case_id,
            state=OPEN,
            flow=flow,
            business_key=change.business_key,
            legal_entity=change.legal_entity,
            key=change.key,
            kind=change.kind,
            code=code,
            reasons=reasons_as_data(reasons),
            parked=parked,
            correlation_id=change.correlation_id,
            message_id=change.message_id,
            opened_at=now,
            ended_at=None,
            ended_by="",
            comment="",
        )
        row = _row(case, body)
        try:
            await self._table.insert(row)
        except RowExists:
            known = await self.read(case_id)
            if known is not None and known.state != OPEN:
                try:
                    await self._table.replace(row, known.etag)
                except RowChanged:
                    return await self.open(
                        flow=flow, change=change, code=code, reasons=reasons, now=now, parked=parked, body=body
                    )
        return case_id

    async def read(self, case_id: str) -> Case | None:
        """One case, or None where there is none of this id, whatever its form."""
        if not _CASE_ID.fullmatch(case_id):
            return None
        row = await self._table.read(_partition(case_id), case_id)
        return None if row is None else _case(row)

    async def list(self, *, state: str = "", limit: int | None = None) -> list[Case]:
        """Cases in a state (all where none is given), newest first; all of them unless a limit is given."""
        rows = await self._table.scan(where=f"state={state}" if state else "", limit=limit)
        return sorted((_case(row) for row in rows), key=lambda case: (case.opened_at, case.id), reverse=True)

    async def find(self, wanted: Wanted) -> Sequence[Case]:
        """Every case that fits, newest first. The state is asked of the table, the rest is looked at here."""
        return [case for case in await self.list(state=wanted.state) if wanted.fits(case)]

    async def take(self, case: Case, *, by: str, now: datetime) -> Case:
        """Mark a case as being replayed from now on, so that nobody else replays it meanwhile.

        Raises `RowChanged` when somebody was faster. Who dies in between leaves a mark that ends by itself.
        """
        taken = replace(case, taken_by=by, taken_at=now)
        etag = await self._table.replace(_row(taken, case.body), case.etag)
        return replace(taken, etag=etag)

    async def end(self, case: Case, *, state: str, by: str, comment: str, now: datetime) -> None:
        """Move a case out of open; raises `RowChanged` when somebody else was first."""
        ended = replace(case, state=state, ended_at=now, ended_by=by, comment=comment)
        await self._table.replace(_row(ended, case.body), case.etag)


def case_id_of(flow: str, change: Change, code: str) -> str:
    digest = hashlib.sha256(f"{flow}\n{change.business_key}\n{change.message_id}\n{code}".encode()).hexdigest()
    return f"case-{digest[:20]}"


def _partition(case_id: str) -> str:
    return f"case|{int(case_id.removeprefix('case-')[:4], 16) % _PARTITIONS:x}"


def _row(case: Case, body: bytes | None) -> Row:
    return Row(
        _partition(case.id),
        case.id,
        {
            "state": case.state,
            "flow": case.flow,
            "business_key": case.business_key,
            "legal_entity": case.legal_entity,
            "key_": case.key,
            "kind": case.kind,
            "code": case.code,
            "reasons": as_text(case.reasons),
            "parked": case.parked,
            "correlation_id": case.correlation_id,
            "message_id": case.message_id,
            "opened_at": case.opened_at.isoformat(),
            "ended_at": case.ended_at.isoformat() if case.ended_at else "",
            "ended_by": case.ended_by,
            "comment": case.comment,
            "taken_by": case.taken_by,
            "taken_at": case.taken_at.isoformat() if case.taken_at else "",
            **(pack(body) if body is not None else {}),
        },
    )


def _case(row: Row) -> Case:
    values = row.values
    return Case(
        id=row.key,
        state=values["state"],
        flow=values["flow"],
        business_key=values["business_key"],
        legal_entity=values["legal_entity"],
        key=values["key_"],
        kind=values["kind"],
        code=values["code"],
        reasons=exact_json.loads(values["reasons"]),
        parked=values["parked"],
        correlation_id=values["correlation_id"],
        message_id=values["message_id"],
        opened_at=datetime.fromisoformat(values["opened_at"]),
        ended_at=datetime.fromisoformat(values["ended_at"]) if values["ended_at"] else None,
        ended_by=values["ended_by"],
        comment=values["comment"],
        body=unpack(row) if "body0" in values else None,
        etag=row.etag,
        taken_by=values.get("taken_by", ""),
        taken_at=datetime.fromisoformat(values["taken_at"]) if values.get("taken_at") else None,
    )
