"""An event loop whose clock jumps: nobody waits for a lease of eleven minutes, and a run can be repeated.

Real sockets on loopback work on it: as long as there is anything to read or to run, time stands still; when there is
nothing left, it jumps to the next timer.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

EPOCH = 1_795_521_600.0
"""2026-11-24T12:00:00Z in seconds: where every run begins."""
_QUIET_LOOKS = 2
_THREAD_SECONDS = 0.02
_THREAD_LOOKS_MAX = 500


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` is what has gone by in the run, in seconds."""

    def __init__(self) -> None:
        self.gone_by = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.gone_by

    def epoch(self) -> float:
        """Seconds since 1970, as the simulated systems and the broker count them."""
        return EPOCH + self.gone_by

    now = epoch

    def call_at_epoch(self, when: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        return self.call_at(when - EPOCH, call)


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self._thread_looks = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        for _ in range(_QUIET_LOOKS):
            events: list[Any] = super().select(0)
            if events or (timeout is not None and timeout <= 0):
                self._thread_looks = 0
                return events
        if timeout is None:  # nothing is due ever: only a thread can still bring something
            self._thread_looks += 1
            if self._thread_looks > _THREAD_LOOKS_MAX:
                raise RuntimeError("everybody waits and nothing is due: the run hangs")
            return list(super().select(_THREAD_SECONDS))
        self._loop.gone_by += timeout
        return []


def run[T](work: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Run one history on a loop of its own and leave nothing behind."""
    loop = VirtualLoop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(work(loop))
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
