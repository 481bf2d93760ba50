"""What a benchmark found: ratios against a floor of the same run; absolute figures are told, never asserted."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
from rich.console import Console
from rich.table import Table

Sense = Literal["at most", "at least"]


@dataclass(frozen=True, slots=True)
class Ratio:
    """`value` is the product's figure over the floor's, medians of `runs` interleaved runs; `goal` is the aim."""

    bench: str
    name: str
    value: float
    sense: Sense
    goal: float
    runs: int
    detail: str = ""

    @property
    def reached(self) -> bool:
        return self.value <= self.goal if self.sense == "at most" else self.value >= self.goal


@dataclass(frozen=True, slots=True)
class Figure:
    """One absolute figure of this machine at this hour, with its unit; `goal` in words where there is one."""

    bench: str
    name: str
    value: float
    unit: str
    goal: str = ""


@dataclass(slots=True)
class Report:
    """Collects what the benchmarks of one run say."""

    bench: str = ""
    ratios: list[Ratio] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    console: Console = field(default_factory=Console)

    def say(self, text: str) -> None:
        """Progress, for the person who waits."""
        self.console.print(f"[dim]{self.bench}:[/dim] {text}", highlight=False)

    def ratio(self, name: str, value: float, sense: Sense, goal: float, *, runs: int, detail: str = "") -> None:
        self.ratios.append(Ratio(self.bench, name, value, sense, goal, runs, detail))

    def figure(self, name: str, value: float, unit: str, goal: str = "") -> None:
        self.figures.append(Figure(self.bench, name, value, unit, goal))

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        said = {
            "ratios": [asdict(one) | {"reached": one.reached} for one in self.ratios],
            "figures": [asdict(one) for one in self.figures],
            "failed": self.failed,
        }
        path.write_bytes(msgspec.json.format(msgspec.json.encode(said), indent=1) + b"\n")

    def show(self) -> None:
        ratios = Table(title="Ratios against a floor in the same run", title_justify="left")
        for column in ("benchmark", "what", "ratio", "goal", "runs", "detail"):
            ratios.add_column(column, justify="right" if column in {"ratio", "runs"} else "left")
        for one in self.ratios:
            style = "green" if one.reached else "yellow"
            ratios.add_row(
                one.bench,
                one.name,
                f"[{style}]{one.value:.2f}[/{style}]",
                f"{one.sense} {one.goal:g}",
                str(one.runs),
                one.detail,
            )
        figures = Table(title="Figures of this machine at this hour", title_justify="left")
        for column in ("benchmark", "what", "value", "goal"):
            figures.add_column(column, justify="right" if column == "value" else "left")
        for told in self.figures:
            value = f"{told.value:,.0f}" if abs(told.value) >= 1_000 else f"{told.value:.4g}"
            figures.add_row(told.bench, told.name, f"{value} {told.unit}", told.goal)
        self.console.print(ratios, figures)
        for bench, why in self.failed.items():
            self.console.print(f"[red]{bench} did not finish:[/red] {why}", highlight=False)


async def interleaved(runs: int, contestants: Mapping[str, Callable[[], Awaitable[float]]]) -> dict[str, list[float]]:
    """Each contestant once in every round, so that what the machine does meanwhile falls on all alike.

    A contestant returns its own figure (seconds, operations a second, …). One round before the counted ones warms up.
    """
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(runs + 1):
        for name, contestant in contestants.items():
            figure = await contestant()
            if turn:
                found[name].append(figure)
    return found


def median(values: list[float]) -> float:
    return statistics.median(values)
