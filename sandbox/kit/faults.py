"""Faults on request: what a real system does to its callers on a bad day, by method and path, repeatable by seed."""

import asyncio
import random
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from aiohttp import web

from sandbox.kit.state import State

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
type Refusal = Callable[[web.Request, int], web.Response]
type Contents = Callable[[web.Request], Awaitable[Sequence["Asked"]]]

KINDS: Final = frozenset(
    {"latency", "status", "reset", "timeout_before", "timeout_after", "timeout_late", "stale_read"}
)
HOLD_SECONDS: Final = 300.0
_OF_THE_WHOLE: Final = frozenset({401, 429, 502, 503, 504})
"""What is said at the gate: of a batch, never of one call inside."""
_WATCH_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Asked:
    """What a fault is matched against: one call, or one of those inside a batch. `path` is decoded, `query` raw."""

    method: str
    path: str
    query: str


@dataclass(frozen=True, slots=True)
class FailingPart:
    """The call inside of a batch, counted from 0, that is answered with `status`."""

    index: int
    status: int
    retry_after: int | str | None


FAILING_PART: Final = web.RequestKey("failing_part", FailingPart)
"""Where a request that is a batch carries the part that its simulator is to answer with an error."""


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which calls: `method` (GET, GET|PUT or a list of them; None or * = any) and `path`, a regular expression searched
    in path and in path?query.
    """

    method: str | list[str] | None = None
    path: str = ""


class FaultOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The body of POST /__sim/faults. Times in seconds; `count` None = until deleted."""

    kind: str
    match: Match = Match()
    status: int = 503
    retry_after: int | str | None = None
    seconds: float = 1.0
    applies_after: float = 1.0
    count: int | None = None
    probability: float = 1.0
    seed: int = 0


_READS: Final = frozenset({"GET", "HEAD"})


@dataclass(slots=True)
class Fault:
    """An ordered fault and how often it has struck."""

    id: int
    order: FaultOrder
    methods: re.Pattern[str] | None
    path: re.Pattern[str]
    chance: random.Random
    hits: int = 0

    def strikes(self, asked: Asked) -> bool:
        """Whether this call is hit; counts the hit."""
        order = self.order
        if order.count is not None and self.hits >= order.count:
            return False
        if order.kind == "stale_read" and asked.method not in _READS:
            return False
        if self.methods is not None and not self.methods.fullmatch(asked.method):
            return False
        if not (self.path.search(asked.path) or self.path.search(f"{asked.path}?{asked.query}")):
            return False
        if order.probability < 1.0 and self.chance.random() >= order.probability:
            return False
        self.hits += 1
        return True

    def described(self) -> dict[str, object]:
        """The fault as JSON."""
        return {"id": self.id, **msgspec.to_builtins(self.order), "hits": self.hits}


@dataclass(slots=True)
class Faults:
    """The faults in force at one simulator.

    `refuse` makes its error body for a status, `contents` tells the calls inside of a batch. A fault that fits one of
    those strikes: the batch as a whole, or, being a status that one call can have, that call alone.
    """

    state: State
    refuse: Refusal
    contents: Contents
    _active: list[Fault] = field(default_factory=list)
    _late: set[asyncio.Task[None]] = field(default_factory=set)
    _closing: bool = False
    _ordered: int = 0

    def add(self, body: bytes) -> Fault:
        """Put one fault in force. Raises ValueError naming what is wrong with the order."""
        order = msgspec.json.decode(body, type=FaultOrder)
        if order.kind not in KINDS:
            raise ValueError(f"kind: one of {', '.join(sorted(KINDS))} was expected, not {order.kind!r}")
        if order.count is not None and order.count < 1:
            raise ValueError("count: at least 1")
        if not 0 <= order.probability <= 1:
            raise ValueError("probability: between 0 and 1")
        if order.seconds < 0 or order.applies_after < 0:
            raise ValueError("seconds, appliesAfter: not negative")
        if not 200 <= order.status <= 599:
            raise ValueError("status: between 200 and 599")
        if not str("" if order.retry_after is None else order.retry_after).isprintable():
            raise ValueError("retryAfter: seconds or a date, as they stand in a header")
        methods, path = _methods(order.match.method), _pattern("match.path", order.match.path)
        self._ordered += 1
        fault = Fault(self._ordered, order, methods, path, random.Random(order.seed))
        self._active.append(fault)
        return fault

    def clear(self) -> None:
        """No more faults for new calls; effects already promised by timeout_late still come."""
        self._active.clear()

    def described(self) -> dict[str, object]:
        """What is in force, and how many late effects are still to come."""
        return {"active": [fault.described() for fault in self._active], "late_effects_pending": len(self._late)}

    def close(self) -> None:
        """Let go of every held connection and drop late effects: the simulator is going down."""
        self._closing = True
        for task in self._late:
            task.cancel()

    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse | None:
        """Answer `request` through the first fault that strikes, or plainly. None = never answered."""
        asked = [Asked(request.method, request.path, request.query_string)]
        if self._active:
            asked += await self.contents(request)
        only_reads = all(one.method in _READS for one in asked[1:] or asked)  # what writes is no stale read
        fitting = [fault for fault in self._active if only_reads or fault.order.kind != "stale_read"]
        struck = next(((at, fault) for fault in fitting for at, one in enumerate(asked) if fault.strikes(one)), None)
        if struck is None:
            return await handler(request)
        at, order = struck[0], struck[1].order
        match order.kind:
            case "status" if at and order.status not in _OF_THE_WHOLE:
                request[FAILING_PART] = FailingPart(at - 1, order.status, order.retry_after)
                return await handler(request)
            case "latency":
                await asyncio.sleep(order.seconds)
                return await handler(request)
            case "status":
                await request.read()
                answer = self.refuse(request, order.status)
                if order.retry_after is not None:
                    answer.headers["Retry-After"] = str(order.retry_after)
                return answer
            case "stale_read":
                with self.state.as_of(order.seconds):
                    return await handler(request)
            case "reset":
                _reset(request)
            case "timeout_before":
                await self._hold(request)
            case "timeout_after":
                await _apply(request, handler)
                await self._hold(request)
            case "timeout_late":
                await request.read()  # the caller will be gone by then, and its bytes with it
                late = asyncio.create_task(self._apply_late(request, handler, order.applies_after))
                self._late.add(late)
                late.add_done_callback(self._late.discard)
                await self._hold(request)
        return None

    async def _apply_late(self, request: web.Request, handler: Handler, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await _apply(request, handler)

    async def _hold(self, request: web.Request) -> None:
        """Keep the caller waiting until it goes away."""
        waited = 0.0
        while waited < HOLD_SECONDS and not self._closing:
            if request.transport is None or request.transport.is_closing():
                return
            await asyncio.sleep(_WATCH_SECONDS)
            waited += _WATCH_SECONDS
        if request.transport is not None:
            request.transport.abort()


async def _apply(request: web.Request, handler: Handler) -> None:
    """Run the call for its effect; a refusal has none, and nobody hears of it."""
    try:
        await handler(request)
    except web.HTTPException:
        return


def _reset(request: web.Request) -> None:
    """Close with RST, as a crashed peer or a firewall does."""
    if request.transport is None:
        return
    connection = request.transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()


def _methods(asked: str | list[str] | None) -> re.Pattern[str] | None:
    """The methods to strike; None for any."""
    named = [asked] if isinstance(asked, str) else asked
    if named is None or "*" in named:
        return None
    return _pattern("match.method", "|".join(named))


def _pattern(field_name: str, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE if field_name == "match.method" else 0)
    except re.error as wrong:
        raise ValueError(f"{field_name}: {wrong}") from wrong
