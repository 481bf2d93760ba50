"""Waiting for quiescence by observation: nothing is waiting to be sent, carried or handled anywhere.

The simulators say what they still have to send, the broker what it holds, the product what it has counted. Where the
broker shows no control port, the product's counters must have stood still for a while instead.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sandbox.day.systems import System, Systems, Tally
from sandbox.kit import exact_json

POLL_SECONDS: Final = 0.5
STILL_SECONDS: Final = 4.0
_ORDERLY: Final = {"duplicate": 0.0, "shuffle": 0, "lose": 0.0, "seed": 0}
_SENDERS: Final[tuple[System, ...]] = ("commerce", "sap", "dataverse")


class TimerFailed(Exception):
    """A timer function that was fired did not succeed."""


class NeverQuiet(Exception):
    """Work was still going on at the deadline; the text says where."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One look at the stack. `held` is what the broker holds by entity, None where it does not show.

    `counters` leave out table calls: looking makes some itself.
    """

    pending: dict[str, int]
    held: dict[str, int] | None
    counters: dict[str, int]

    @property
    def is_idle(self) -> bool:
        """Nothing to send, and nothing held where that can be seen."""
        return not any(self.pending.values()) and not any((self.held or {}).values())

    def described(self) -> str:
        """What is still going on, in words."""
        waiting = [f"{name} has {count:,} events to send" for name, count in self.pending.items() if count]
        held = (self.held or {}).items()
        waiting += [f"{count:,} messages wait for {name.rpartition('/')[2]}" for name, count in held if count]
        return "; ".join(waiting) or "nothing is under way that shows; looking again"


async def until_quiet(systems: Systems, *, deadline_seconds: float, look: Callable[[Observed], None]) -> None:
    """Return when the stack is at rest. Raises NeverQuiet at the deadline, saying what was still under way."""
    deadline = time.monotonic() + deadline_seconds
    still_since, before = time.monotonic(), None
    while True:
        seen = await observe(systems)
        look(seen)
        if before is None or seen.counters != before.counters or not seen.is_idle:
            still_since = time.monotonic()
        still_seconds = time.monotonic() - still_since
        if seen.is_idle and still_seconds >= (2 * POLL_SECONDS if seen.held is not None else STILL_SECONDS):
            return
        if time.monotonic() > deadline:
            raise NeverQuiet(f"not at rest after {deadline_seconds:.0f} s: {seen.described()}")
        before = seen
        await asyncio.sleep(POLL_SECONDS)


async def observe(systems: Systems) -> Observed:
    """One look. Asking a simulator to keep order again also answers with what it has yet to send."""
    answers = await asyncio.gather(
        *(systems.call(name, "PUT", "/__sim/events", _ORDERLY) for name in _SENDERS),
    )
    pending: dict[str, int] = {
        name: _count(answer, "pending") for name, (_, answer) in zip(_SENDERS, answers, strict=True)
    }
    held = _held(await systems.read("broker", "/state")) if "broker" in systems.urls else None
    counters = await product_counters(systems)
    return Observed(pending, held, {name: count for name, count in counters.items() if "table" not in name})


async def product_counters(systems: Systems) -> dict[str, int]:
    """The product's own counters, summed over its workers."""
    total: Counter[str] = Counter()
    for url in systems.workers:
        _, answer = await systems.call("functions", "GET", "/api/health", base=url, accept=(200, 503))
        if not isinstance(answer, Mapping) or not isinstance(answer.get("counters"), Mapping):
            raise exact_json.NotJson("GET /api/health: counters were expected")
        seen = Counter({str(name): _count(answer["counters"], name) for name in answer["counters"]})
        total += systems.tallies.setdefault(url, Tally()).add(seen)
    return dict(total)


async def fire_timers(systems: Systems) -> tuple[str, ...]:
    """Run every timer function once, now, and wait for each; their names."""
    names = _timers(await systems.administer("GET", "/admin/functions"))
    for name in names:
        fired = await systems.administer("POST", f"/admin/functions/{name}?wait", {"input": ""})
        if isinstance(fired, Mapping) and fired.get("succeeded") is False:
            raise TimerFailed(f"timer {name}: {fired.get('failure')}")
    return tuple(names)


def _timers(functions: object) -> list[str]:
    if not isinstance(functions, list):
        raise exact_json.NotJson("GET /admin/functions: a list was expected")
    return [
        str(function["name"])
        for function in functions
        if any(binding.get("type") == "timerTrigger" for binding in function["config"]["bindings"])
    ]


def _held(state: Mapping[str, object]) -> dict[str, int]:
    entities = state["entities"]
    if not isinstance(entities, Mapping):
        raise exact_json.NotJson("the broker's state has no entities")
    return {
        str(name): _count(entity, "active")  # what is scheduled is due later: the sweeps see to it
        for name, entity in entities.items()
        if "active" in entity
    }


def _count(answer: object, name: str) -> int:
    if not isinstance(answer, Mapping) or not isinstance(answer.get(name), int):
        raise exact_json.NotJson(f"{name}: a count was expected")
    count: int = answer[name]
    return count
