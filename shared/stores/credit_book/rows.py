"""The credit book's rows: how its nouns lie in a table.

    partition  segment|account
      0|account            what SAP said last; its ETag is the epoch that a grant is conditional on
      0|hold|<key>         a hold that may still count
      1|<key>              a decision, kept
      1|<key>|hold         a hold that ended, kept
      1|<key>|step|<id>    evidence: one row for each step of the hold, keyed by the message that caused it
    partition  request|legal entity|request id
      0                    the request's fingerprint and its decision: inserted before anything is decided

Everything live stands under `0|`, everything kept under `1|`: the first is what a check reads, and it stays small.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from shared.domain.credit import CheckRequest, CreditAccount, Decision, DecisionRecord, Figure, Hold, Item, place_of
from shared.domain.credit_counting import REMEMBERED
from shared.domain.money import Money
from shared.stores.table import Op, Row

ACCOUNT = "0|account"
_HOLD = "0|hold|"
_KEPT = "1|"
_CHUNK = 30_000
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Remembered:
    """What SAP said last, for the time when it does not answer: the account, the sum, and what was overdue then."""

    account: CreditAccount
    exposure: Money
    as_of: datetime
    overdue: tuple[Item, ...] = ()

    def figure(self) -> Figure:
        return Figure(self.as_of, REMEMBERED, self.exposure, self.overdue)


@dataclass(frozen=True, slots=True)
class Held:
    """A hold as it stands in a row: its version, and whether the row is live or kept."""

    hold: Hold
    etag: str
    is_live: bool


@dataclass(frozen=True, slots=True)
class Step:
    """Evidence of one step of a hold: from where to where, why, caused by which message under which policy."""

    decision_id: str
    message_id: str
    kind: str
    source: str
    before: str
    after: str
    order: str
    amount: Money
    reason: str
    policy: str
    correlation_id: str
    at: datetime


def partition_of(decision: Decision) -> str:
    return f"{decision.segment}|{decision.account}"


def partition_of_request(request: CheckRequest) -> str:
    return f"{request.segment}|{request.account}"


def key_of(decision_id: str) -> str:
    return place_of(decision_id)[1]


def account_row(partition: str, remembered: Remembered | None) -> Row:
    return Row(partition, ACCOUNT, {"body": _text(remembered)})


def read_remembered(row: Row) -> Remembered | None:
    return msgspec.json.decode(row.values["body"], type=Remembered | None)


def live_row(hold: Hold) -> Row:
    return Row(
        partition_of(hold.decision),
        live_key(hold.id),
        {"live": hold.state, "expires_at": hold.expires_at.isoformat(), "order": hold.order, "body": _text(hold)},
    )


def kept_row(hold: Hold) -> Row:
    return Row(
        partition_of(hold.decision),
        kept_key(hold.id),
        {"state": hold.state, "order": hold.order, "body": _text(hold)},
    )


def live_key(decision_id: str) -> str:
    return _HOLD + key_of(decision_id)


def kept_key(decision_id: str) -> str:
    return f"{_KEPT}{key_of(decision_id)}|hold"


def decision_key(decision_id: str) -> str:
    return _KEPT + key_of(decision_id)


def is_hold(row: Row) -> bool:
    return row.key.startswith(_HOLD) or row.key.endswith("|hold")


def read_held(row: Row) -> Held:
    return Held(msgspec.json.decode(row.values["body"], type=Hold), row.etag, row.key.startswith(_HOLD))


def decision_row(record: DecisionRecord) -> Row:
    """The whole record, in chunks that each fit a property; `waiting` marks what a person has to decide."""
    text = _text(record)
    chunks = {f"body{index}": text[at : at + _CHUNK] for index, at in enumerate(range(0, len(text), _CHUNK))}
    waiting = record.approval.state if record.approval else ""
    return Row(
        partition_of(record.decision),
        decision_key(record.decision.id),
        {"outcome": record.decision.outcome, "waiting": waiting, **chunks},
    )


def read_record(row: Row) -> DecisionRecord:
    chunks: list[str] = []
    while isinstance(chunk := row.values.get(f"body{len(chunks)}"), str):
        chunks.append(chunk)
    return msgspec.json.decode("".join(chunks), type=DecisionRecord)


def step_row(step: Step) -> Row:
    partition, key = place_of(step.decision_id)
    return Row(partition, f"{_KEPT}{key}|step|{step.message_id}", {"body": _text(step)})


def read_step(row: Row) -> Step:
    return msgspec.json.decode(row.values["body"], type=Step)


def is_step(row: Row) -> bool:
    return "|step|" in row.key


def stands_live(hold: Hold) -> bool:
    """Whether a hold in this state belongs among the live rows: consumed ones are remembered there for a while."""
    return hold.closed_at is None or hold.state == "consumed"


def move(held: Held, hold: Hold) -> list[Op]:
    """Rewrite a hold, moving it to where its new state belongs; conditional on the version it was read at."""
    live_now = stands_live(hold)
    if live_now == held.is_live:
        return [Op("replace", live_row(hold) if live_now else kept_row(hold), held.etag)]
    before, after = (live_row, kept_row) if held.is_live else (kept_row, live_row)
    return [Op("delete", before(held.hold), held.etag), Op("insert", after(hold))]


def forget(held: Held) -> list[Op]:
    """A consumed hold whose memory has passed goes to what is kept."""
    return [Op("delete", live_row(held.hold), held.etag), Op("insert", kept_row(held.hold))]


def request_partition(legal_entity: str, request_id: str) -> str:
    return f"request|{legal_entity}|{request_id}"


def memory_passed(hold: Hold, now: datetime, memory: timedelta) -> bool:
    return hold.state == "consumed" and hold.closed_at is not None and hold.closed_at + memory <= now


def _text(value: object) -> str:
    return _ENCODER.encode(value).decode()
