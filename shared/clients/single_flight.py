"""Many callers, one piece of work: what is being fetched already is waited for, not fetched again.

Tokens and CSRF sessions need this: parallel fetches storm the identity service and, at SAP, break each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class SingleFlight[T]:
    """One running task per key. A caller that is cancelled leaves the task to the others."""

    def __init__(self) -> None:
        self._flying: dict[str, asyncio.Task[T]] = {}

    async def run(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of `work`, started only if none is under way for `key`; its exception reaches every caller."""
        task = self._flying.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(work())
            self._flying[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(task)

    def _landed(self, key: str, task: asyncio.Task[T]) -> None:
        self._flying.pop(key, None)
        if not task.cancelled():
            task.exception()  # looked at here, so that nothing is reported when every caller has gone
