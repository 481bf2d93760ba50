"""OpenTelemetry behind spans and metrics; imported by `export` alone: without telemetry nothing loads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import Meter
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from shared.telemetry.spans import Kind, Value, parts_of

_KINDS = {
    "server": SpanKind.SERVER,
    "consumer": SpanKind.CONSUMER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "internal": SpanKind.INTERNAL,
}
_FAILED = {"lost", "timeout", "broken", "throttled", "unsent"}


class OpenTelemetrySpans:
    """A recorder on an OpenTelemetry tracer. Parents are traceparents, alike in the process and across the bus."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def begin(
        self, name: str, kind: Kind, parent: str, links: Sequence[str], attributes: dict[str, Value]
    ) -> OpenTelemetrySpan:
        led_here = [Link(one) for one in map(_context, links) if one is not None]
        return OpenTelemetrySpan(
            self._tracer.start_span(name, _around(parent), kind=_KINDS[kind], attributes=attributes, links=led_here)
        )


class OpenTelemetrySpan:
    """One span under way."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: Span) -> None:
        self._span = span
        ids = span.get_span_context()
        self.traceparent = f"00-{ids.trace_id:032x}-{ids.span_id:016x}-{int(ids.trace_flags):02x}"

    def note(self, attributes: dict[str, Value]) -> None:
        self._span.set_attributes(attributes)
        if attributes.get("concord.happening") in _FAILED:
            self._span.set_status(Status(StatusCode.ERROR, str(attributes["concord.happening"])))

    def end(self, error: BaseException | None) -> None:
        if error is not None:
            self._span.set_attribute("error.type", type(error).__name__)
            self._span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        self._span.end()


class OpenTelemetryMeters:
    """Metrics on an OpenTelemetry meter; an instrument is made when its name is first used."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._made: dict[str, Any] = {}

    def count(self, name: str, amount: int, dimensions: dict[str, str]) -> None:
        self._instrument(name, self._meter.create_counter).add(amount, dimensions)

    def measure(self, name: str, value: float, dimensions: dict[str, str]) -> None:
        self._instrument(name, self._meter.create_histogram).record(value, dimensions)

    def state(self, name: str, value: float, dimensions: dict[str, str]) -> None:
        self._instrument(name, self._meter.create_gauge).set(value, dimensions)

    def _instrument(self, name: str, create: Callable[[str], Any]) -> Any:
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = create(name)
        return found


@lru_cache(maxsize=512)  # the calls of one piece of work have one parent: read once
def _around(traceparent: str) -> Context:
    above = _context(traceparent)
    return trace.set_span_in_context(NonRecordingSpan(above), Context()) if above else Context()


def _context(traceparent: str) -> SpanContext | None:
    parts = parts_of(traceparent)
    if parts is None:
        return None
    return SpanContext(parts[0], parts[1], is_remote=True, trace_flags=TraceFlags(parts[2]))
