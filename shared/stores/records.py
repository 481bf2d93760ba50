"""What is remembered about one business key: one partition, read in one query, changed in one transaction.

State rows (`0|…`: claims, returned quantities, parked messages, pushed versions) are what a story decides on.
Evidence rows (`1|…`: lineage, one for each message and flow) are appended, never changed; they are what people read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from shared import exact_json
from shared.domain.changes import Change
from shared.domain.rulings import Hold, Reason, Ruling
from shared.stores.table import Op, Row, Table

ENDED_BY_HAND = frozenset({"discarded", "resolved"})
"""Reasons by which a message is unchanged because a person said so: it was not run."""
_TEXT_MAX = 30_000


@dataclass(frozen=True, slots=True)
class FieldRuling:
    """What was ruled on one field: old and new value as text, who sent it, who owns it, what was done."""

    name: str
    old: str
    new: str
    source: str
    owner: str
    ruling: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a story decided: the ruling, a line for people, state rows to write with it, links for the lifecycle."""

    ruling: Ruling
    summary: str = ""
    fields: tuple[FieldRuling, ...] = ()
    operations: tuple[Op, ...] = ()
    links: dict[str, str] = field(default_factory=dict)

    @classmethod
    def held(cls, code: str, message: str, remedy: str) -> Outcome:
        """For one reason a person has to decide; `remedy` says what there is to do."""
        return cls(Hold((Reason(code, message, remedy),)))


@dataclass(frozen=True, slots=True)
class Dossier:
    """The state rows of one business key as they were read; a story decides on exactly these."""

    business_key: str
    by_key: dict[str, Row]

    def row(self, key: str) -> Row | None:
        return self.by_key.get(key)

    def rows(self, prefix: str) -> list[Row]:
        return [row for key, row in sorted(self.by_key.items()) if key.startswith(prefix)]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One lineage row, as people read it."""

    flow: str
    kind: str
    source: str
    ruling: str
    summary: str
    reasons: list[dict[str, str]]
    fields: list[dict[str, str]]
    links: dict[str, str]
    message_id: str
    event_id: str
    correlation_id: str
    policy: str
    occurred_at: datetime
    received_at: datetime
    decided_at: datetime

    @property
    def ended_by_hand(self) -> str:
        """How a person ended its message without it being run, "" where it was run."""
        codes = (reason["code"] for reason in self.reasons if self.ruling == "unchanged")
        return next((code for code in codes if code in ENDED_BY_HAND), "")


class Records:
    """The records of all business keys in one table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def read(self, business_key: str) -> Dossier:
        """One query: every state row of the key."""
        rows = await self._table.query(business_key, prefix="0|")
        return Dossier(business_key, {row.key: row for row in rows})

    async def write(self, business_key: str, operations: Sequence[Op]) -> list[str]:
        """One transaction; raises `RowExists`/`RowChanged` when a story decided on something that no longer holds."""
        return await self._table.transact(business_key, operations)

    async def read_evidence(self, business_key: str) -> list[Evidence]:
        """The lineage of a key, oldest first."""
        rows = await self._table.query(business_key, prefix="1|")
        return sorted((_evidence(row) for row in rows), key=lambda one: one.decided_at)


def lineage_row(
    change: Change, flow: str, outcome: Outcome, *, policy: str, decided_at: datetime, turn: str = ""
) -> Row:
    """The evidence of one ruling. Its key comes from the message, so a repeat of the message cannot append twice."""
    when = change.received_at.astimezone(UTC).strftime("%Y%m%dT%H%M%S%f")
    return Row(
        change.business_key,
        f"1|{when}|{flow}|{change.message_id}{turn}",
        {
            "flow": flow,
            "kind": change.kind,
            "source": change.source,
            "ruling": outcome.ruling.kind,
            "summary": outcome.summary[:_TEXT_MAX],
            "reasons": as_text(list(outcome.ruling.reasons)),
            "fields": as_text(list(outcome.fields)),
            "links": as_text(outcome.links),
            "message_id": change.message_id,
            "event_id": change.id,
            "correlation_id": change.correlation_id,
            "policy": policy,
            "occurred_at": change.occurred_at.isoformat(),
            "received_at": change.received_at.isoformat(),
            "decided_at": decided_at.isoformat(),
        },
    )


def reasons_as_data(reasons: Sequence[Reason]) -> list[dict[str, str]]:
    return [
        {"code": reason.code, "message": reason.message} | ({"remedy": reason.remedy} if reason.remedy else {})
        for reason in reasons
    ]


def as_text(value: Any) -> str:
    """JSON that fits a table property; what is cut says so, because evidence may not end without a word."""
    text = exact_json.dumps(msgspec.to_builtins(value, builtin_types=())).decode()
    if len(text) <= _TEXT_MAX:
        return text
    if isinstance(value, list):
        kept = value[: max(1, len(value) * _TEXT_MAX // (2 * len(text)))]
        cut = {"code": "cut", "name": "cut", "message": f"{len(value) - len(kept)} more are not shown here"}
        return exact_json.dumps([*msgspec.to_builtins(kept), cut]).decode()[:_TEXT_MAX]
    return exact_json.dumps({"cut": "too large to show"}).decode()


def _evidence(row: Row) -> Evidence:
    values = row.values
    return Evidence(
        flow=values["flow"],
        kind=values["kind"],
        source=values["source"],
        ruling=values["ruling"],
        summary=values["summary"],
        reasons=exact_json.loads(values["reasons"]),
        fields=exact_json.loads(values["fields"]),
        links=exact_json.loads(values["links"]),
        message_id=values["message_id"],
        event_id=values["event_id"],
        correlation_id=values["correlation_id"],
        policy=values["policy"],
        occurred_at=datetime.fromisoformat(values["occurred_at"]),
        received_at=datetime.fromisoformat(values["received_at"]),
        decided_at=datetime.fromisoformat(values["decided_at"]),
    )
