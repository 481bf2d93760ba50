"""Closed periods: certificates, the reopenings between them, and the last reconciliation of each period.

Everything about one legal entity and month is the partition `period|<entity>|<yyyy-mm>` of the records: a head row
(open, closed or reopened), a row for each certificate and each reopening, none of which is ever changed. One more
partition lists the periods with their last result, so that a page of them costs one query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from shared import exact_json
from shared.stores.packing import pack, unpack
from shared.stores.records import Dossier, Records
from shared.stores.table import Op, Row

PeriodState = Literal["open", "closed", "reopened"]
_HEAD = "0|close"
_CERTIFICATE = "0|certificate|"
_REOPENING = "0|reopening|"
_INDEX = "periods"


@dataclass(frozen=True, slots=True)
class Closes:
    """What is known of one period's closing. `certificates` and `reopenings` are as they were told, oldest first."""

    legal_entity: str
    period: str
    state: PeriodState
    certificates: tuple[dict[str, Any], ...]
    reopenings: tuple[dict[str, Any], ...]
    etag: str = ""

    @property
    def business_key(self) -> str:
        return f"period|{self.legal_entity}|{self.period}"

    @property
    def latest(self) -> dict[str, Any] | None:
        """The certificate that holds, or held until the period was reopened."""
        return self.certificates[-1] if self.certificates else None

    def closed(self, certificate: dict[str, Any], now: datetime) -> list[Op]:
        """The transaction that closes the period; it fails when somebody closed or reopened it meanwhile."""
        row = self._row(f"{_CERTIFICATE}{len(self.certificates) + 1:04d}", certificate)
        return [self._head("closed", now), Op("insert", row)]

    def reopened(self, why: dict[str, Any], now: datetime) -> list[Op]:
        """The transaction that reopens it and says what changed."""
        row = self._row(f"{_REOPENING}{len(self.reopenings) + 1:04d}", why)
        return [self._head("reopened", now), Op("insert", row)]

    def _head(self, state: PeriodState, now: datetime) -> Op:
        row = Row(self.business_key, _HEAD, {"state": state, "changed_at": now.isoformat()})
        return Op("replace", row, self.etag) if self.etag else Op("insert", row)

    def _row(self, key: str, content: dict[str, Any]) -> Row:
        return Row(self.business_key, key, pack(exact_json.dumps(content)))


@dataclass(frozen=True, slots=True)
class Looked:
    """The last reconciliation of a period, in short."""

    legal_entity: str
    period: str
    state: PeriodState
    orders: int
    matched: int
    explained: int
    unexplained: int
    in_flight: int
    looked_at: datetime


async def read_closes(legal_entity: str, period: str, records: Records) -> Closes:
    """One query."""
    dossier = await records.read(f"period|{legal_entity}|{period}")
    head = dossier.row(_HEAD)
    return Closes(
        legal_entity,
        period,
        "open" if head is None else head.values["state"],
        _contents(dossier, _CERTIFICATE),
        _contents(dossier, _REOPENING),
        "" if head is None else head.etag,
    )


async def note_looked(looked: Looked, records: Records) -> None:
    """Remember the last result of a period; the latest writer stands."""
    values = {
        "state": looked.state,
        "orders": looked.orders,
        "matched": looked.matched,
        "explained": looked.explained,
        "unexplained": looked.unexplained,
        "in_flight": looked.in_flight,
        "looked_at": looked.looked_at.isoformat(),
    }
    row = Row(_INDEX, f"0|{looked.legal_entity}|{looked.period}", values)
    await records.write(_INDEX, [Op("upsert", row)])


async def list_looked(records: Records) -> Sequence[Looked]:
    """Every period that was ever reconciled, the newest month first."""
    rows = (await records.read(_INDEX)).rows("0|")
    found = [_looked(row) for row in rows]
    return sorted(found, key=lambda one: (one.period, one.legal_entity), reverse=True)


def _looked(row: Row) -> Looked:
    _, legal_entity, period = row.key.split("|")
    values = row.values
    return Looked(
        legal_entity,
        period,
        values["state"],
        values["orders"],
        values["matched"],
        values["explained"],
        values["unexplained"],
        values["in_flight"],
        datetime.fromisoformat(values["looked_at"]),
    )


def _contents(dossier: Dossier, prefix: str) -> tuple[dict[str, Any], ...]:
    return tuple(exact_json.loads(unpack(row)) for row in dossier.rows(prefix))
