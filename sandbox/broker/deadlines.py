"""Time, as the entities see it: a clock that is given, deadlines on one timer, and the ids of a window of time."""

import heapq
from collections import OrderedDict
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final, Protocol

_DEADLINE_SLACK: Final = 1024


class Timer(Protocol):
    """A call that can be called off."""

    def cancel(self) -> None:
        """Call it off; harmless when it has been made."""
        ...


class Clock(Protocol):
    """The time, and calls at a time."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        """Make a call once `now() >= when`."""
        ...


class Deadline(IntEnum):
    """What can fall due."""

    LOCK = 0
    SESSION = 1
    EXPIRY = 2
    SCHEDULE = 3


class Deadlines:
    """Due times on one heap with one timer; what they stand for is looked up by key when they fall due."""

    def __init__(self, clock: Clock, due: Callable[[Deadline, Any, float], None], alive: Callable[[], int]) -> None:
        self._clock = clock
        self._due = due
        self._alive = alive
        self._heap: list[tuple[float, int, Any]] = []
        self._timer: Timer | None = None
        self._timer_at = 0.0

    def add(self, when: float, kind: Deadline, key: Any) -> None:
        heapq.heappush(self._heap, (when, kind, key))
        if len(self._heap) > _DEADLINE_SLACK and len(self._heap) > 4 * self._alive():
            self._forget_stale()
        self._arm()

    def stale(self, is_stale: Callable[[Deadline, Any], bool]) -> None:
        self._is_stale = is_stale

    def _forget_stale(self) -> None:
        self._heap = [entry for entry in self._heap if not self._is_stale(Deadline(entry[1]), entry[2])]
        heapq.heapify(self._heap)

    def _arm(self) -> None:
        if not self._heap:
            return
        when = self._heap[0][0]
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._clock.call_at(when, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self._clock.now()
        while self._heap and self._heap[0][0] <= now:
            when, kind, key = heapq.heappop(self._heap)
            self._due(Deadline(kind), key, when)
        self._arm()


class DuplicateHistory:
    """The message ids of a window of time."""

    def __init__(self, clock: Clock, window_seconds: float) -> None:
        self._clock = clock
        self._window_seconds = window_seconds
        self._seen: OrderedDict[Any, float] = OrderedDict()

    def is_duplicate(self, message_id: Any) -> bool:
        """Whether the id was seen within the window; if not, it is now. None is never a duplicate."""
        if message_id is None:
            return False
        now = self._clock.now()
        while self._seen:
            oldest, seen_at = next(iter(self._seen.items()))
            if seen_at + self._window_seconds > now:
                break
            del self._seen[oldest]
        if message_id in self._seen:
            return True
        self._seen[message_id] = now
        return False
