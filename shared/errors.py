"""What can go wrong, in one place.

The network raises; the rules return. These are the exceptions; rulings are values (`shared.domain.rulings`).

    ConcordError
    ├── Malformed          the input itself is wrong: every faulty field is named; never retried
    ├── Permanent          the other system refused for good, or policy cannot answer: a case, never a retry
    ├── Conflict           another writer was first (row or record changed): read again and decide again
    └── Transient          try again after `retry_after_seconds`
        ├── RemoteDown     the system as a whole does not answer or throttles: the lane waits
        └── OutcomeUnknown the write may have landed: look before sending again
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True, slots=True)
class Fault:
    """One faulty field: where (a JSON pointer-like path), what is wrong, what to do about it."""

    where: str
    what: str


class ConcordError(Exception):
    """Base of everything this application raises on purpose."""


class Malformed(ConcordError):
    """The input cannot be understood; `faults` names each faulty field."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{fault.where}: {fault.what}" for fault in self.faults))


class Permanent(ConcordError):
    """Refused for good. `code` is stable for people and programs, `remedy` says what a person can do."""

    def __init__(self, message: str, *, code: str = "permanent", remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.remedy = remedy


class Conflict(ConcordError):
    """Somebody else wrote first; nothing was changed by this attempt."""


class Transient(ConcordError):
    """May succeed later; `retry_after_seconds` is the other side's wish, where it voiced one."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class RemoteDown(Transient):
    """The whole system is unreachable or throttles: `system` names it; nothing of this attempt took effect."""

    def __init__(self, message: str, *, system: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.system = system


class Unexpected(Exception):
    """What is handed to the host instead of any exception that a door lets out: its type and place, not its words."""

    def __init__(self, error: BaseException) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        place = f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        super().__init__(f"{type(error).__name__}{place}")


class OutcomeUnknown(Transient):
    """A write was sent and no answer came: it may have landed or may land later."""
