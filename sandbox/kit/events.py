"""Outbound events: webhooks to the functions, in order, with the sender's own retry habits.

Losses, repeats and disorder come on request, repeatable by seed.
"""

import asyncio
import random
import zlib
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import aiohttp
import msgspec

_LINGER_SECONDS: Final = 0.05
_SENT_KEPT: Final = 2_000


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How a sender repeats: `attempts` in all, on `statuses` (None = 400 and above) and on a lost connection."""

    attempts: int = 8
    backoff_seconds: float = 0.2
    backoff_seconds_max: float = 5.0
    statuses: frozenset[int] | None = None
    lost_connection: bool = True

    def repeats(self, status: int | None) -> bool:
        """Whether an answer with this status (None = no answer) is tried again."""
        if status is None:
            return self.lost_connection
        return status >= 400 and (self.statuses is None or status in self.statuses)


class Disorder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of PUT /__sim/events: probabilities of repeats and losses, and the window within which order is lost."""

    duplicate: float = 0.0
    shuffle: int = 0
    lose: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """One webhook: `path` below the functions url (query included), and the key whose order is kept."""

    path: str
    body: bytes
    headers: Mapping[str, str]
    key: str


@dataclass(slots=True)
class _Lane:
    waiting: deque[Event] = field(default_factory=deque)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    sender: asyncio.Task[None] | None = None


class Emitter:
    """Sends events to the functions url. `lanes` senders run side by side; events of one key stay in one, in order."""

    def __init__(
        self,
        functions_url: str | None,
        functions_key: str,
        *,
        retry: RetryPolicy | None = None,
        lanes: int = 1,
        queue_limit: int = 50_000,
        timeout_seconds: float = 60.0,
    ) -> None:
        self._url = functions_url.rstrip("/") if functions_url else None
        self._key = functions_key
        self._retry = retry or RetryPolicy()
        self._lanes = [_Lane() for _ in range(lanes)]
        self._queue_limit = queue_limit
        self._timeout_seconds = timeout_seconds
        self._disorder = Disorder()
        self._chance = random.Random(0)  # of repeats and losses, decided as events come
        self._order_chance = random.Random(0)  # its own: how far the sending is must not decide what is lost
        self._session: aiohttp.ClientSession | None = None
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._counts = {"sent": 0, "failed": 0, "lost": 0, "duplicated": 0, "muted": 0}
        self._log: deque[dict[str, object]] = deque(maxlen=_SENT_KEPT)

    def emit(self, path: str, body: bytes, *, key: str = "", headers: Mapping[str, str] | None = None) -> None:
        """Queue one event; never blocks. Without a functions url it is only counted (`muted`)."""
        if self._url is None:
            self._counts["muted"] += 1
            return
        if self._disorder.lose and self._chance.random() < self._disorder.lose:
            self._counts["lost"] += 1
            return
        if self._waiting() >= self._queue_limit:
            self._counts["lost"] += 1
            return
        event = Event(path, body, headers or {}, key)
        self._queue(event)
        if self._disorder.duplicate and self._chance.random() < self._disorder.duplicate:
            self._counts["duplicated"] += 1
            self._queue(event)

    def disturb(self, body: bytes) -> Disorder:
        """Take on new habits of disorder. Raises ValueError naming the fault in the order."""
        disorder = msgspec.json.decode(body, type=Disorder)
        if not (0 <= disorder.duplicate <= 1 and 0 <= disorder.lose <= 1):
            raise ValueError("duplicate, lose: probabilities between 0 and 1")
        if disorder.shuffle < 0:
            raise ValueError("shuffle: a window of 0 or more events")
        self._disorder = disorder
        self._chance, self._order_chance = random.Random(disorder.seed), random.Random(disorder.seed)
        return disorder

    def described(self) -> dict[str, object]:
        """Counts: `pending` is 0 when everything emitted has been sent, has failed or is lost."""
        return {"pending": self._waiting() + self._in_flight, **self._counts}

    def log(self) -> list[dict[str, object]]:
        """The latest deliveries: time, path, key, status (None = no answer), attempts."""
        return list(self._log)

    def reset(self) -> None:
        """Forget what waits and the counts, and keep order again."""
        for lane in self._lanes:
            lane.waiting.clear()
        if not self._in_flight:
            self._idle.set()
        self._counts = dict.fromkeys(self._counts, 0)
        self._log.clear()
        self._disorder = Disorder()

    async def start(self) -> None:
        """Begin sending."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._timeout_seconds))
        for lane in self._lanes:
            lane.sender = asyncio.create_task(self._send_all(lane, self._session))

    async def stop(self, *, drain_seconds: float = 1.0) -> None:
        """Send what waits for at most `drain_seconds`, then stop."""
        if self._session is None:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), drain_seconds)
        for lane in self._lanes:
            if lane.sender is not None:
                lane.sender.cancel()
                with suppress(asyncio.CancelledError):
                    await lane.sender
        await self._session.close()

    def _queue(self, event: Event) -> None:
        lane = self._lanes[zlib.crc32(event.key.encode()) % len(self._lanes)]
        lane.waiting.append(event)
        self._idle.clear()
        lane.arrived.set()

    def _waiting(self) -> int:
        return sum(len(lane.waiting) for lane in self._lanes)

    async def _send_all(self, lane: _Lane, session: aiohttp.ClientSession) -> None:
        while True:
            await lane.arrived.wait()
            if 1 < self._disorder.shuffle > len(lane.waiting):
                await asyncio.sleep(_LINGER_SECONDS)  # give disorder something to choose from
            if not lane.waiting:
                lane.arrived.clear()
                continue
            reach = min(self._disorder.shuffle, len(lane.waiting))
            chosen = self._order_chance.randrange(reach) if reach > 1 else 0
            event = lane.waiting[chosen]
            del lane.waiting[chosen]
            self._in_flight += 1
            try:
                await self._send(event, session)
            finally:
                self._in_flight -= 1
                if not self._waiting() + self._in_flight:
                    self._idle.set()

    async def _send(self, event: Event, session: aiohttp.ClientSession) -> None:
        attempt, backoff_seconds = 1, self._retry.backoff_seconds
        while True:
            status = await self._post(event, session)
            if status is not None and status < 400:
                self._counts["sent"] += 1
                break
            if attempt >= self._retry.attempts or not self._retry.repeats(status):
                self._counts["failed"] += 1
                break
            await asyncio.sleep(backoff_seconds)
            attempt, backoff_seconds = attempt + 1, min(backoff_seconds * 2, self._retry.backoff_seconds_max)
        sent_at = datetime.now(UTC).isoformat()
        self._log.append({"time": sent_at, "path": event.path, "key": event.key, "status": status, "attempts": attempt})

    async def _post(self, event: Event, session: aiohttp.ClientSession) -> int | None:
        headers = {"Content-Type": "application/json", **event.headers}
        if self._key:
            headers.setdefault("x-functions-key", self._key)
        url = f"{self._url}{event.path}" if event.path.startswith("/") else event.path
        try:
            async with session.post(url, data=event.body, headers=headers) as answer:
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return None
