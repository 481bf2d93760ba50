"""How far the day has come, one step after another: a bar for each on a terminal, elsewhere a line for each.

A step that is over keeps the time it took. Where nobody can redraw a line (a log, a pipe), a step is told when it is
over, and now and then before, so that a long one is not mistaken for a stuck one.
"""

import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

_TOLD_EVERY_SECONDS: Final = 15.0


class Steps:
    """The steps of one run, as a context; leaving it ends the last one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"), TextColumn("{task.description}"), BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}"), _Seconds(), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._name = self._detail = ""
        self._task: TaskID | None = None
        self._began = self._told = 0.0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if fault is None:
            self._end()
        self._bars.stop()

    def begin(self, name: str) -> None:
        """The step before is over; this one has begun, and nobody knows how long it takes."""
        self._end()
        self._name, self._detail = name, ""
        self._began = self._told = time.monotonic()
        self._task = self._bars.add_task(name, total=None, detail="")

    def count(self, name: str, done: int, of: int) -> None:
        """`done` of `of` things of a step; the first word of a step begins it."""
        if name != self._name or self._task is None:
            self.begin(name)
        self._show(f"{done:,} of {of:,}", done, of)

    def say(self, detail: str) -> None:
        """What the step that has begun waits for."""
        self._show(detail)

    def _show(self, detail: str, done: int | None = None, of: int | None = None) -> None:
        self._detail = detail
        if self._task is not None:
            self._bars.update(self._task, detail=detail, completed=done, total=of)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._told >= _TOLD_EVERY_SECONDS:
            self._told = now
            self._console.print(f"… {self._name}, {now - self._began:.0f} s: {detail}")

    def _end(self) -> None:
        if self._task is None:
            return
        detail = self._detail
        if self._bars.tasks[self._task].total is None:  # of unknown length: whole when it is over
            detail = ""
            self._bars.update(self._task, detail=detail, total=1, completed=1)
        self._bars.stop_task(self._task)
        self._task = None
        if not self._console.is_terminal:
            seconds = time.monotonic() - self._began
            self._console.print(f"✓ {self._name}{f': {detail}' if detail else ''} ({seconds:.1f} s)")


class _Seconds(ProgressColumn):
    """The time a step has taken so far, or took in all."""

    def render(self, task: Task) -> Text:
        """As `12.3 s`."""
        seconds = task.finished_time if task.finished else task.elapsed
        return Text("" if seconds is None else f"{seconds:.1f} s", style="progress.elapsed")
