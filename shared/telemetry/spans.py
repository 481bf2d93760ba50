"""Spans: which work belongs to which, as one tree from checkout to the CRM row, also across the bus.

The context of the work at hand is its W3C traceparent, in `traceparent`. It is kept and sent on whether or not anybody
records spans, because the correlation id of the evidence comes from it; a span is recorded only where telemetry was
started, and otherwise costs a few comparisons.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Literal, Protocol

Kind = Literal["server", "consumer", "client", "producer", "internal"]
Value = str | int | float | bool

_TRACEPARENT = re.compile(r"^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$")

traceparent: ContextVar[str] = ContextVar("traceparent", default="")
"""W3C trace context of the work at hand; clients send it on."""


class Recorded(Protocol):
    """A span under way, as a recorder gives it."""

    @property
    def traceparent(self) -> str: ...

    def note(self, attributes: dict[str, Value]) -> None: ...

    def end(self, error: BaseException | None) -> None: ...


class Recorder(Protocol):
    """What keeps spans."""

    def begin(
        self, name: str, kind: Kind, parent: str, links: Sequence[str], attributes: dict[str, Value]
    ) -> Recorded: ...


_recorder: Recorder | None = None
_at_work: ContextVar[Recorded | None] = ContextVar("span", default=None)


def record_spans(recorder: Recorder | None) -> None:
    """Send every span from now on there; None ends that."""
    global _recorder  # noqa: PLW0603 - one recorder for each worker process is the point
    _recorder = recorder


class span:
    """A piece of work: `with span("GET A_Customer", "client") as work: …`

    `parent` None continues the work at hand, "" begins a trace, anything else continues that traceparent; `links` are
    traceparents that also led here. An exception that leaves the block marks the span as failed by its type alone:
    messages of exceptions quote what people wrote.
    """

    __slots__ = ("_attributes", "_kind", "_links", "_mark", "_name", "_outer", "_parent", "_recorded")

    def __init__(
        self,
        name: str,
        kind: Kind = "internal",
        *,
        parent: str | None = None,
        links: Sequence[str] = (),
        attributes: dict[str, Value] | None = None,
    ) -> None:
        self._name = name
        self._kind: Kind = kind
        self._parent = parent
        self._links = links
        self._attributes = attributes
        self._recorded: Recorded | None = None
        self._mark: Token[str] | None = None
        self._outer: Token[Recorded | None] | None = None

    def __enter__(self) -> span:
        parent = self._parent
        recorder = _recorder
        if recorder is None:
            if parent is not None:
                self._mark = traceparent.set(parent if _TRACEPARENT.match(parent) else begun())
            return self
        above = traceparent.get() if parent is None else parent
        self._recorded = recorder.begin(self._name, self._kind, above, self._links, self._attributes or {})
        self._mark = traceparent.set(self._recorded.traceparent)
        self._outer = _at_work.set(self._recorded)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._mark is not None:
            traceparent.reset(self._mark)
        if self._outer is not None:
            _at_work.reset(self._outer)
        if self._recorded is not None:
            self._recorded.end(error)

    def note(self, attributes: dict[str, Value]) -> None:
        """Say more about the work, once it is known."""
        if self._recorded is not None:
            self._recorded.note(attributes)


def note(attributes: dict[str, Value]) -> None:
    """Say more about the work at hand."""
    if (at_work := _at_work.get()) is not None:
        at_work.note(attributes)


def is_recording() -> bool:
    """Whether anybody keeps spans; what is costly to say about work need not be made otherwise."""
    return _recorder is not None


def begun() -> str:
    """The traceparent of a new trace."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def trace_of(parent: str) -> str:
    """The trace id of a traceparent, "" where it is none."""
    match = _TRACEPARENT.match(parent or "")
    return match.group(1) if match and match.group(1) != "0" * 32 else ""


def correlation_of(parent: str) -> tuple[str, str]:
    """The correlation id (trace id) of a traceparent, and the one to send on; a new trace where none is valid."""
    trace = trace_of(parent)
    if trace:
        return trace, parent
    fresh = begun()
    return trace_of(fresh), fresh


def parts_of(parent: str) -> tuple[int, int, int] | None:
    """Trace id, span id and flags of a traceparent as numbers; None where it is none."""
    match = _TRACEPARENT.match(parent)
    if match is None:
        return None
    trace, above, flags = (int(part, 16) for part in match.groups())
    return (trace, above, flags) if trace and above else None
