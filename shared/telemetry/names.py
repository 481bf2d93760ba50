"""Every name that telemetry is found by: what queries, alerts and charts may ask for. A test holds them together.

Metrics arrive as `AppMetrics` (Name, Sum, ItemCount, Min, Max, Properties), spans as `AppRequests` (server, consumer)
and `AppDependencies` (client, producer, internal), log lines as `AppTraces` whose message is one JSON object.
"""

from __future__ import annotations

from typing import Final

OUTCOMES: Final = "concord.outcomes"
"""Messages decided: flow, ruling."""
LAG: Final = "concord.lag"
"""Seconds from an event's receipt to its effect: flow."""
MESSAGE_AGE: Final = "concord.message.age"
"""Seconds a message is old when a flow takes it up, each attempt anew: flow."""
FRESHNESS: Final = "concord.freshness"
"""Seconds from what happened in the source to its effect in the readers: flow, entity."""
WAITS: Final = "concord.waits"
"""Pauses of a lane because a system is down: flow."""
PARKED: Final = "concord.parked"
"""Keys parked: flow, state (due, case)."""
PARKED_KEYS: Final = "concord.parked_keys"
"""Keys parked now: flow, state. Also zero."""
PARKED_AGE: Final = "concord.parked_keys.age"
"""Seconds since the longest parked key was parked: flow."""
OPEN_CASES: Final = "concord.open_cases"
"""Cases open now: flow, code. Also zero."""
CASE_AGE: Final = "concord.open_cases.age"
"""Seconds since the oldest open case was opened: flow."""
CREDIT_CHECK: Final = "concord.credit_check.duration"
"""Milliseconds of one credit check: outcome, legal_entity."""
CREDIT_CHECK_SLOW: Final = "concord.credit_check.slow"
"""Credit checks that took longer than SLOW_CHECK_MS: legal_entity. More than one in twenty is a p95 beyond it."""
SLOW_CHECK_MS: Final = 1500
INVOCATIONS: Final = "concord.invocations"
"""Doors opened and messages taken up, every one: flow, outcome (done, failed)."""
REMOTE_CALL: Final = "concord.remote_call.duration"
"""Milliseconds of one call of a remote system: system, happening (answered, refused, throttled, lost, …)."""
THROTTLED: Final = "concord.throttled"
"""Answers of 429 or 503: system."""
CIRCUIT_OPEN: Final = "concord.circuit_open"
"""1 while calls of a system are refused without being sent, 0 once it answers again: system."""
PUBLISHED: Final = "concord.published"
"""Messages sent to the bus: topic, kind."""
RECONCILIATION: Final = "concord.reconciliation.orders"
"""Orders of a period by state (matched, explained, unexplained, in_flight): legal_entity, period, state."""

METRICS: Final = frozenset(
    {
        OUTCOMES, LAG, MESSAGE_AGE, FRESHNESS, WAITS, PARKED, PARKED_KEYS, PARKED_AGE, OPEN_CASES, CASE_AGE,
        CREDIT_CHECK, CREDIT_CHECK_SLOW, INVOCATIONS, REMOTE_CALL, THROTTLED, CIRCUIT_OPEN, PUBLISHED, RECONCILIATION,
    }
)  # fmt: skip

FLOW: Final = "concord.flow"
"""The flow or function a span belongs to."""
KEY: Final = "concord.key"
"""The business key, for instance `order|GB01|S-1`."""
KIND: Final = "concord.kind"
"""What happened, for instance `order.confirmed`."""
RULING: Final = "concord.ruling"
SYSTEM: Final = "peer.service"
"""The remote system of a client span: sap, dataverse, commerce-retail, commerce-hq, inventory, tables, bus, blobs."""
HAPPENING: Final = "concord.happening"
DECISION: Final = "concord.decision"
METHOD: Final = "http.request.method"
STATUS: Final = "http.response.status_code"
PATH: Final = "url.path"
CORRELATION: Final = "concord.correlation_id"
"""On a request that another trace goes on from: the id of that trace."""

ATTRIBUTES: Final = frozenset({FLOW, KEY, KIND, RULING, SYSTEM, HAPPENING, DECISION, METHOD, STATUS, PATH, CORRELATION})

DIMENSIONS: Final = frozenset(
    {
        "flow",
        "ruling",
        "entity",
        "state",
        "code",
        "outcome",
        "legal_entity",
        "period",
        "system",
        "happening",
        "topic",
        "kind",
    }
)
"""What metrics are told apart by."""

LINE_FIELDS: Final = frozenset(
    {
        "flow",
        "integration_key",
        "correlation_id",
        "ruling",
        "reason",
        "policy_version",
        "error",
        "code",
        "system",
        "where",
    }
)
"""What every outcome or fault line may carry; flows add their own counts."""
