"""Metrics: counts, measures and states by the names in `names`. Nothing is kept where telemetry was not started."""

from __future__ import annotations

from collections import Counter
from typing import Protocol


class Meters(Protocol):
    """What keeps metrics."""

    def count(self, name: str, amount: int, dimensions: dict[str, str]) -> None: ...

    def measure(self, name: str, value: float, dimensions: dict[str, str]) -> None: ...

    def state(self, name: str, value: float, dimensions: dict[str, str]) -> None: ...


_meters: Meters | None = None


def keep_metrics(meters: Meters | None) -> None:
    """Send every metric from now on there; None ends that."""
    global _meters  # noqa: PLW0603 - one set of meters for each worker process is the point
    _meters = meters


def count(name: str, amount: int = 1, **dimensions: str) -> None:
    """Something happened, `amount` times."""
    if _meters is not None:
        _meters.count(name, amount, dimensions)


def measure(name: str, value: float, **dimensions: str) -> None:
    """How long, how much: kept as a distribution."""
    if _meters is not None:
        _meters.measure(name, value, dimensions)


def state(name: str, value: float, **dimensions: str) -> None:
    """How it stands now: the last word counts."""
    if _meters is not None:
        _meters.state(name, value, dimensions)


class Counters:
    """Counts since the worker started, read at the health door."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, name: str, amount: int = 1) -> None:
        self._counts[name] += amount

    def snapshot(self) -> dict[str, int]:
        return dict(sorted(self._counts.items()))
