"""A change on the bus: what happened to one record, in the form that every flow reads.

Intake stamps it, the bus carries it as JSON (decimals as exact JSON numbers), the lane comes from its business key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from shared import exact_json
from shared.domain.moments import moment_of
from shared.errors import Fault, Malformed

TEXT_MAX = 256
"""Longer than any name or number of these systems, and short enough for a table's keys."""
Source = Literal["sap", "dataverse", "commerce", "concord"]
SOURCES: tuple[Source, ...] = ("sap", "dataverse", "commerce", "concord")
ORDER_KINDS = (
    "order.confirmed",
    "order.changed",
    "order.shipped",
    "order.returned",
    "order.cancelled",
    "order.posted",
)
"""What can happen to an order."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one record.

    `entity` is the business object (order, stock, account, …), `kind` what happened (order.confirmed,
    stock.changed, record.updated, …), `key` the record's business key inside `legal_entity` ("" where a record
    belongs to none), `data` the event's own content, `occurred_at`/`received_at` aware UTC.
    """

    id: str
    source: Source
    entity: str
    kind: str
    legal_entity: str
    key: str
    occurred_at: datetime
    received_at: datetime
    correlation_id: str
    traceparent: str = ""
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def business_key(self) -> str:
        """What order is kept by, and the partition of everything that is remembered about the record."""
        return f"{self.entity}|{self.legal_entity}|{self.key}"

    @property
    def message_id(self) -> str:
        """The same event with the same content is the same message; anything else is another one."""
        content = exact_json.canonical([self.source, self.id, self.kind, self.business_key, self.data])
        return hashlib.sha256(content).hexdigest()[:40]


def encode(change: Change) -> bytes:
    """The change as it travels."""
    return exact_json.dumps(
        {
            "id": change.id,
            "source": change.source,
            "entity": change.entity,
            "kind": change.kind,
            "legalEntity": change.legal_entity,
            "key": change.key,
            "occurredAt": change.occurred_at.isoformat(),
            "receivedAt": change.received_at.isoformat(),
            "correlationId": change.correlation_id,
            "traceparent": change.traceparent,
            "data": change.data,
        }
    )


def decode(body: bytes) -> Change:
    """Read a change from the bus; raises `Malformed` naming every faulty field."""
    raw = exact_json.loads(body)
    if not isinstance(raw, dict):
        raise Malformed([Fault("body", "is not a JSON object")])
    faults: list[Fault] = []

    def text(name: str, *, required: bool = True) -> str:
        value = raw.get(name, "" if not required else None)
        if not isinstance(value, str) or (required and not value):
            faults.append(Fault(name, "is missing or not text"))
            return ""
        if len(value) > TEXT_MAX:
            faults.append(Fault(name, f"is longer than {TEXT_MAX} characters"))
            return ""
        return value

    def moment(name: str) -> datetime:
        try:
            return moment_of(raw.get(name))
        except ValueError as error:
            faults.append(Fault(name, str(error)))
            return datetime.min.replace(tzinfo=UTC)

    source = text("source")
    if source not in SOURCES:
        faults.append(Fault("source", f"is not one of {', '.join(SOURCES)}"))
    data = raw.get("data", {})
    if not isinstance(data, dict):
        faults.append(Fault("data", "is not a JSON object"))
        data = {}
    change = Change(
        id=text("id"),
        source=next((known for known in SOURCES if known == source), "concord"),
        entity=text("entity"),
        kind=text("kind"),
        legal_entity=text("legalEntity", required=False),
        key=text("key"),
        occurred_at=moment("occurredAt"),
        received_at=moment("receivedAt"),
        correlation_id=text("correlationId"),
        traceparent=text("traceparent", required=False),
        data=data,
    )
    if faults:
        raise Malformed(faults)
    return change


def lane_of(business_key: str, lanes: int) -> str:
    """The session a key belongs to: a stable hash over a fixed number of lanes."""
    digest = hashlib.sha256(business_key.encode()).digest()
    return f"lane-{int.from_bytes(digest[:8]) % lanes:02d}"
