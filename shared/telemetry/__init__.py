"""What the app tells about itself: log lines, metrics, and the trace that a piece of work belongs to.

No message content and no personal data: keys, rulings, codes and ids only. OpenTelemetry is loaded by `export` alone,
and only where a setting asks for it.
"""

from __future__ import annotations

from shared.telemetry.lines import log_fault, log_outcome
from shared.telemetry.metrics import Counters, count, measure, state
from shared.telemetry.remote import remote_call
from shared.telemetry.spans import begun, correlation_of, is_recording, note, span, trace_of, traceparent

__all__ = [
    "Counters",
    "begun",
    "correlation_of",
    "count",
    "is_recording",
    "log_fault",
    "log_outcome",
    "measure",
    "note",
    "remote_call",
    "span",
    "state",
    "trace_of",
    "traceparent",
]
