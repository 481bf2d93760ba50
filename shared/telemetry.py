"""What the app tells about itself: one log line per outcome, counters, and the trace a message belongs to.

No message content and no personal data is logged: keys, rulings, reasons and ids only.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections import Counter
from contextvars import ContextVar

_LOG = logging.getLogger("concord")
_TRACEPARENT = re.compile(r"^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$")

traceparent: ContextVar[str] = ContextVar("traceparent", default="")
"""W3C trace context of the work at hand; clients send it on."""


class Counters:
    """Counts since the worker started, read at the health door."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, name: str, amount: int = 1) -> None:
        self._counts[name] += amount

    def snapshot(self) -> dict[str, int]:
        return dict(sorted(self._counts.items()))


def correlation_of(parent: str) -> tuple[str, str]:
    """The correlation id (trace id) of a traceparent, and the one to send on; a new trace where none is valid."""
    match = _TRACEPARENT.match(parent or "")
    trace = match.group(1) if match and match.group(1) != "0" * 32 else secrets.token_hex(16)
    return trace, f"00-{trace}-{secrets.token_hex(8)}-01"


def log_outcome(flow: str, **fields: object) -> None:
    """One line per outcome: flow, key, correlation id, ruling, reason, policy version."""
    _LOG.info("%s", json.dumps({"flow": flow, **fields}, default=str))


def log_fault(flow: str, error: BaseException, **fields: object) -> None:
    """One line per failed attempt; the exception's type and own message, which carry no content of messages."""
    _LOG.warning(
        "%s", json.dumps({"flow": flow, "error": type(error).__name__, "what": str(error), **fields}, default=str)
    )
