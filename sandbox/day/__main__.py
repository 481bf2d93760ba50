"""`python -m sandbox.day`: replay a trading day on the local stack, reconcile it, and report.

Exit status: 0 every order is accounted for and nothing is unexplained; 1 something is not; 2 the file or the stack
cannot be used.
"""

import asyncio
import json
import signal
import tempfile
import time
from collections.abc import Callable, Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import aiohttp
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sandbox.day import report
from sandbox.day.figures import Outcome, summary
from sandbox.day.invoices import day_of
from sandbox.day.observation import facts_of, inventory_of, latencies_of, parking_of, periods_of
from sandbox.day.plan import Day
from sandbox.day.quiet import NeverQuiet, Observed, TimerFailed, fire_timers, product_counters, until_quiet
from sandbox.day.replay import replay, seed
from sandbox.day.retail_file import WrongFile, read_rows
from sandbox.day.systems import CallRefused, systems_of
from sandbox.day.trading_day import written_day
from sandbox.kit import exact_json
from sandbox.stack import ROOT, Stack, StackFailed

POLICY: Final = Path(__file__).with_name("policy.yaml")
POLICY_OF_FILES: Final = Path(__file__).with_name("policy_of_files.yaml")
_QUIET_SECONDS: Final = 600.0
_RETRIES_SECONDS: Final = 120.0


def main(
    data: Annotated[Path | None, typer.Option(help="a file in the Online Retail layout, .csv or .csv.gz")] = None,
    orders: Annotated[int | None, typer.Option(min=1, help="only that many invoices of the file")] = None,
    out: Annotated[Path, typer.Option(help="where the summary and the report go")] = ROOT / "out" / "demo",
    workers: Annotated[int, typer.Option(min=1, help="processes of the app")] = 1,
) -> None:
    """Replay a trading day end to end and say whether the three systems tell one truth."""
    console = Console(highlight=False)
    try:
        day = written_day() if data is None else day_of(read_rows(data), data.name, first=orders)
    except WrongFile as fault:
        console.print(f"[red]{fault}[/]")
        raise typer.Exit(2) from fault
    console.print(f"[bold]{day.title}[/]: {len(day.entries)} orders, {len(day.accounts)} accounts")
    try:
        outcome = asyncio.run(
            _interruptible(_run(day, out, workers, POLICY if data is None else POLICY_OF_FILES, console))
        )
    except (StackFailed, CallRefused, NeverQuiet, TimerFailed) as fault:
        console.print(f"[red]the day could not be finished: {fault}[/]")
        raise typer.Exit(2) from fault
    except asyncio.CancelledError as fault:
        console.print("[yellow]interrupted: everything is stopped[/]")
        raise typer.Exit(130) from fault
    _write(outcome, out)
    report.on_screen(outcome, console)
    console.print(f"written: {out / 'summary.json'}, {out / 'report.html'}, and a month-end report of each period")
    raise typer.Exit(0 if outcome.ok else 1)


async def _interruptible[T](work: Coroutine[Any, Any, T]) -> T:
    """The work; SIGTERM and Ctrl-C cancel it, so that the stack stops what it started."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


async def _run(day: Day, out: Path, workers: int, policy: Path, console: Console) -> Outcome:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="concord-day-") as folder, _bars(console) as bars:
        starting = bars.add_task("starting the stack", total=None)
        described = Path(folder) / "stack.json"
        async with (
            Stack(workers=workers, overlay=policy, out=described, logs=out / "logs"),
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as session,
        ):
            bars.update(starting, description="the stack stands", total=1, completed=1)
            systems = systems_of(json.loads(described.read_text()), session)
            progress = _progress(bars)
            await seed(day, systems, progress)
            await until_quiet(systems, deadline_seconds=_QUIET_SECONDS, look=_looker(bars, "coming to rest"))
            before = await product_counters(systems)
            replaying = time.monotonic()
            replayed = await replay(day, systems, progress)
            timers = await _settle(systems, bars)
            seconds = time.monotonic() - replaying
            counters = await product_counters(systems)
            bars.add_task("reconciling", total=None)
            facts = await facts_of(day, replayed, systems)
            calls = counters.get("table_calls", 0) - before.get("table_calls", 0)
            return Outcome(
                day=day,
                books=report.draw_books(day, facts),
                facts=facts,
                periods=await periods_of(day, systems, out),
                latencies=await latencies_of(replayed, facts, systems),
                inventory=await inventory_of(day, counters, systems),
                parking=await parking_of(systems),
                table_calls_per_order=(Decimal(calls) / max(1, len(day.entries))).quantize(Decimal("0.1")),
                seconds=seconds,
                timers=timers,
                total_seconds=time.monotonic() - began,
                counters={name: count - before.get(name, 0) for name, count in counters.items()},
            )


async def _settle(systems: Any, bars: Progress) -> tuple[str, ...]:
    """Let everything come to rest, fire the timers, and again, until nothing waits for another try.

    What still waits at the deadline is left to the report, which names it.
    """
    deadline = time.monotonic() + _RETRIES_SECONDS
    while True:
        await until_quiet(systems, deadline_seconds=_QUIET_SECONDS, look=_looker(bars, "coming to rest"))
        fired = await fire_timers(systems)
        await until_quiet(systems, deadline_seconds=_QUIET_SECONDS, look=_looker(bars, "after the sweeps"))
        if not (await parking_of(systems)).retrying or time.monotonic() > deadline:
            return fired


def _bars(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console,
    )  # fmt: skip


def _progress(bars: Progress) -> Callable[[str, int, int], None]:
    tasks: dict[str, Any] = {}

    def progress(name: str, done: int, of: int) -> None:
        if name not in tasks:
            tasks[name] = bars.add_task(name, total=of)
        bars.update(tasks[name], completed=done, total=of)

    return progress


def _looker(bars: Progress, name: str) -> Callable[[Observed], None]:
    task = bars.add_task(name, total=None)

    def look(seen: Observed) -> None:
        bars.update(task, description=f"{name}: {seen.described()}")

    return look


def _write(outcome: Outcome, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "summary.json").write_bytes(exact_json.dumps(summary(outcome)) + b"\n")
    (out / "report.html").write_text(report.as_html(outcome), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
