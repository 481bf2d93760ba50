"""W3C trace context: taken from the caller, or begun here."""

import random
import re
from collections.abc import Mapping
from typing import Final

from sandbox.host.runtime import Trace

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def trace_of(parent: str | None, state: str | None = None) -> Trace:
    """The caller's trace when `parent` is a valid traceparent, else a new one."""
    if parent is not None and _TRACEPARENT.fullmatch(parent):
        return Trace(parent, state or "")
    return Trace(f"00-{random.getrandbits(128) | 1:032x}-{random.getrandbits(64) | 1:016x}-01")


def trace_of_message(properties: Mapping[str, object]) -> Trace:
    """The trace that a message's application properties carry: traceparent, or Diagnostic-Id as the SDKs name it."""
    parent = properties.get("traceparent", properties.get("Diagnostic-Id"))
    state = properties.get("tracestate")
    return trace_of(parent if isinstance(parent, str) else None, state if isinstance(state, str) else None)
