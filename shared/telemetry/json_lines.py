"""Spans and metrics as JSON lines, for a developer's machine: on stdout, or appended to a file that workers share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

_SPANS_EVERY_MS = 250
_METRICS_EVERY_MS = 2000
Write = Callable[[Iterable[dict[str, Any]]], None]


def providers(target: str, service: str) -> tuple[TracerProvider, MeterProvider]:
    """Providers that write to stdout, or to the file that `target` names."""
    write = _to_stdout if target == "stdout" else _to_file(Path(target))
    resource = Resource({"service.name": service})
    spans = TracerProvider(sampler=ALWAYS_ON, resource=resource)  # locally every span is wanted
    spans.add_span_processor(BatchSpanProcessor(_SpanLines(write), schedule_delay_millis=_SPANS_EVERY_MS))
    reader = PeriodicExportingMetricReader(_MetricLines(write), export_interval_millis=_METRICS_EVERY_MS)
    return spans, MeterProvider([reader], resource=resource)


class _SpanLines(SpanExporter):
    def __init__(self, write: Write) -> None:
        self._write = write

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._write(_span(one) for one in spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing is kept open."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


class _MetricLines(MetricExporter):
    def __init__(self, write: Write) -> None:
        super().__init__()
        self._write = write

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any) -> MetricExportResult:
        self._write(_metrics(metrics_data))
        return MetricExportResult.SUCCESS

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Nothing is kept open."""

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True


def _span(one: ReadableSpan) -> dict[str, Any]:
    ids = one.get_span_context()
    began, ended = one.start_time or 0, one.end_time or 0
    return {
        "trace": f"{ids.trace_id:032x}" if ids else "",
        "span": f"{ids.span_id:016x}" if ids else "",
        "parent": f"{one.parent.span_id:016x}" if one.parent else "",
        "name": one.name,
        "kind": one.kind.name.lower(),
        "start": began / 1e9,
        "milliseconds": (ended - began) / 1e6,
        "failed": one.status.description if not one.status.is_ok else None,
        "attributes": dict(one.attributes or {}),
        "links": [f"{link.context.trace_id:032x}-{link.context.span_id:016x}" for link in one.links],
    }


def _metrics(data: MetricsData) -> Iterable[dict[str, Any]]:
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    yield {
                        "metric": metric.name,
                        "value": getattr(point, "value", getattr(point, "sum", None)),
                        "count": getattr(point, "count", None),
                        "dimensions": dict(point.attributes or {}),
                    }


def _to_stdout(records: Iterable[dict[str, Any]]) -> None:
    sys.stdout.write(_text(records))
    sys.stdout.flush()


def _to_file(path: Path) -> Write:
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(records: Iterable[dict[str, Any]]) -> None:
        with path.open("a", encoding="utf-8") as file:  # one write for each batch: lines of workers never mix
            file.write(_text(records))

    return write


def _text(records: Iterable[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(record, separators=(',', ':'), default=str)}\n" for record in records)
