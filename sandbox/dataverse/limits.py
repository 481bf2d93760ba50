"""Service protection: Dataverse refuses with 429 and Retry-After what one user asks too much of it."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import msgspec

from sandbox.dataverse.errors import Refused

_TOO_MANY: Final = "0x80072322"
_TOO_LONG: Final = "0x80072321"
_TOO_CONCURRENT: Final = "0x80072326"
_CONCURRENT_RETRY_SECONDS: Final = 2


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The limits per user; times in seconds. `service_seconds` is how long each request is made to last."""

    requests: int = 6000
    window_seconds: float = 300.0
    execution_seconds: float = 1200.0
    concurrent: int = 52
    service_seconds: float = 0.0


@dataclass(slots=True)
class _Usage:
    served: deque[tuple[float, float]] = field(default_factory=deque)
    executed_seconds: float = 0.0
    under_way: int = 0
    refused: int = 0


@dataclass(slots=True)
class Protection:
    """What each user has used within the window. Instants are epoch seconds."""

    limits: Limits = field(default_factory=Limits)
    _users: dict[str, _Usage] = field(default_factory=dict)

    def enter(self, user: str, now: float) -> None:
        """Let a request in. Raises Refused (429); whoever goes on sending waits longer."""
        usage = self._users.setdefault(user, _Usage())
        self._forget(usage, now)
        if usage.under_way >= self.limits.concurrent:
            reason = f"Number of concurrent requests exceeded the limit of {self.limits.concurrent}."
            raise _throttled(_TOO_CONCURRENT, reason, _CONCURRENT_RETRY_SECONDS)
        window = f"over time window of {self.limits.window_seconds:g} seconds."
        if len(usage.served) + usage.under_way >= self.limits.requests:
            reason = f"Number of requests exceeded the limit of {self.limits.requests} {window}"
            raise _throttled(_TOO_MANY, reason, self._wait_seconds(usage, now))
        if usage.executed_seconds >= self.limits.execution_seconds:
            limit = f"{self.limits.execution_seconds * 1000:,.0f} milliseconds {window}"
            reason = f"Combined execution time of incoming requests exceeded limit of {limit}"
            raise _throttled(_TOO_LONG, reason, self._wait_seconds(usage, now))
        usage.refused = 0
        usage.under_way += 1

    def leave(self, user: str, now: float, seconds: float) -> None:
        """The request that entered is done after `seconds`."""
        usage = self._users.setdefault(user, _Usage())
        usage.under_way = max(0, usage.under_way - 1)
        usage.served.append((now, seconds))
        usage.executed_seconds += seconds

    def remaining(self, user: str) -> int:
        """How many requests the user has left in the window."""
        usage = self._users.get(user, _Usage())
        return max(0, self.limits.requests - len(usage.served) - usage.under_way)

    def clear(self) -> None:
        """Forget all use; the limits stay."""
        for usage in self._users.values():
            usage.served.clear()
            usage.executed_seconds = 0.0
            usage.refused = 0

    def _forget(self, usage: _Usage, now: float) -> None:
        while usage.served and usage.served[0][0] <= now - self.limits.window_seconds:
            usage.executed_seconds -= usage.served.popleft()[1]

    def _wait_seconds(self, usage: _Usage, now: float) -> int:
        usage.refused += 1
        oldest = usage.served[0][0] if usage.served else now
        return max(1, int(oldest + self.limits.window_seconds - now) + 1) + usage.refused // 10


def _throttled(code: str, reason: str, retry_after_seconds: int) -> Refused:
    return Refused(429, code, reason, {"Retry-After": str(retry_after_seconds)})
