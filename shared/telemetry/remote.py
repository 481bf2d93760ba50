"""One call of another system: its span and its metrics, named alike for every system.

Paths are told without what stands in parentheses and without the query: keys and filters may be about people.
"""

from __future__ import annotations

import asyncio
import re
import time
from types import TracebackType

from shared.telemetry.metrics import count, measure
from shared.telemetry.names import HAPPENING, METHOD, PATH, REMOTE_CALL, STATUS, SYSTEM, THROTTLED
from shared.telemetry.spans import is_recording, span

_KEYS = re.compile(r"\(([^()]|\([^()]*\))*\)")
_THROTTLES = (429, 503)


class remote_call:
    """`with remote_call("sap", "GET", path) as call: …`, told how it ended by `answered` or `ended`."""

    __slots__ = ("_began", "_happening", "_span", "_status", "_system")

    def __init__(self, system: str, method: str, path: str) -> None:
        self._system = system
        self._span: span | None = None
        self._began = 0.0
        self._happening = ""
        self._status = 0
        if is_recording():
            plain = _KEYS.sub("()", path)
            resource = plain.rstrip("/").rsplit("/", 1)[-1]
            self._span = span(
                f"{method} {resource}", "client", attributes={SYSTEM: system, METHOD: method, PATH: plain}
            )

    def __enter__(self) -> remote_call:
        if self._span is not None:
            self._span.__enter__()
            self._began = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._span is None:
            return
        milliseconds = (time.perf_counter() - self._began) * 1000
        if not self._happening:
            self._happening = _left_by(error)
        measure(REMOTE_CALL, milliseconds, system=self._system, happening=self._happening)
        said: dict[str, str | int | float | bool] = {HAPPENING: self._happening}
        if self._status:
            said[STATUS] = self._status
        self._span.note(said)
        self._span.__exit__(None, None, None)  # what happened says it: a row that is taken already is no failure

    def answered(self, status: int) -> None:
        """An answer came, of whatever kind."""
        self._status = status
        if status in _THROTTLES:
            self._happening = "throttled"
            count(THROTTLED, system=self._system)
        else:
            self._happening = "broken" if status >= 500 else "refused" if status >= 400 else "answered"

    def ended(self, happening: str) -> None:
        """No answer came; why not."""
        self._happening = happening


def _left_by(error: BaseException | None) -> str:
    if error is None:
        return "answered"
    return "cancelled" if isinstance(error, asyncio.CancelledError) else "refused"
