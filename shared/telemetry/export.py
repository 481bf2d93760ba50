"""Start telemetry, once for each worker and only where a setting asks for it.

APPLICATIONINSIGHTS_CONNECTION_STRING   Azure Monitor, through its OpenTelemetry distribution
Concord__traces                         stdout, or a file: JSON lines, for a developer's machine
neither                                 nothing: no SDK is loaded, a span costs a few comparisons
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

from shared.settings import Settings
from shared.telemetry.metrics import keep_metrics
from shared.telemetry.spans import record_spans

SERVICE = "concord"
_LIBRARIES = ("azure_sdk", "django", "fastapi", "flask", "psycopg2", "requests", "urllib", "urllib3")


class _Provider(Protocol):
    def shutdown(self) -> None: ...


@dataclass(slots=True)
class _Running:
    providers: tuple[_Provider, ...] = ()
    asked: bool = False


_RUNNING = _Running()


def start(settings: Settings) -> None:
    """Begin to record as the settings say; a second call does nothing."""
    if _RUNNING.asked:
        return
    _RUNNING.asked = True
    if settings.insights_connection is not None:
        _start_azure_monitor(settings, settings.insights_connection.get_secret_value())
    elif settings.traces:
        _start_json_lines(settings.traces)


def stop() -> None:
    """Write out what is still kept and record nothing from now on."""
    record_spans(None)
    keep_metrics(None)
    providers, _RUNNING.providers, _RUNNING.asked = _RUNNING.providers, (), False
    for provider in providers:
        provider.shutdown()


def _start_json_lines(target: str) -> None:
    from shared.telemetry.json_lines import providers  # noqa: PLC0415 - OpenTelemetry loads only where it is wanted
    from shared.telemetry.recording import OpenTelemetryMeters, OpenTelemetrySpans  # noqa: PLC0415

    spans, metrics = providers(target, SERVICE)
    record_spans(OpenTelemetrySpans(spans.get_tracer(SERVICE)))
    keep_metrics(OpenTelemetryMeters(metrics.get_meter(SERVICE)))
    _RUNNING.providers = (spans, metrics)


def _start_azure_monitor(settings: Settings, connection: str) -> None:
    # The host sends the app's log lines; a second way would show each twice. The distribution heeds only the variable.
    os.environ.setdefault("OTEL_LOGS_EXPORTER", "none")
    from azure.monitor.opentelemetry import configure_azure_monitor  # noqa: PLC0415 - most of a second
    from opentelemetry import metrics, trace  # noqa: PLC0415
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    from shared.telemetry.recording import OpenTelemetryMeters, OpenTelemetrySpans  # noqa: PLC0415

    configure_azure_monitor(
        connection_string=connection,  # the identity, where asked for, is in APPLICATIONINSIGHTS_AUTHENTICATION_STRING
        resource=Resource({"service.name": SERVICE}),
        sampling_ratio=settings.trace_ratio,
        # Every span is our own: those of libraries would double them, and would quote addresses with keys in them.
        instrumentation_options={name: {"enabled": False} for name in _LIBRARIES},
        enable_live_metrics=False,
        enable_performance_counters=False,
    )
    spans, meters = trace.get_tracer_provider(), metrics.get_meter_provider()
    record_spans(OpenTelemetrySpans(spans.get_tracer(SERVICE)))
    keep_metrics(OpenTelemetryMeters(meters.get_meter(SERVICE)))
    _RUNNING.providers = tuple(one for one in (spans, meters) if isinstance(one, (TracerProvider, MeterProvider)))
