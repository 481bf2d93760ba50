"""`python -m sandbox.day`: replay a trading day on the local stack, reconcile it, and report.

Exit status: 0 every order is accounted for and nothing is unexplained; 1 something is not; 2 the file or the stack
cannot be used.
"""

import asyncio
import json
import signal
import tempfile
import time
from collections.abc import Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import aiohttp
import typer
from rich.console import Console
from rich.markup import escape

from sandbox.day import report
from sandbox.day.figures import Outcome, summary
from sandbox.day.invoices import day_of
from sandbox.day.observation import facts_of, inventory_of, latencies_of, parking_of, periods_of
from sandbox.day.plan import Day
from sandbox.day.progress import Steps
from sandbox.day.quiet import NeverQuiet, TimerFailed, fire_timers, product_counters, until_quiet
from sandbox.day.replay import replay, seed
from sandbox.day.retail_file import WrongFile, read_rows
from sandbox.day.systems import CallRefused, Systems, systems_of
from sandbox.day.trading_day import written_day
from sandbox.kit import exact_json
from sandbox.stack import ROOT, Stack, StackFailed

POLICY: Final = Path(__file__).with_name("policy.yaml")
POLICY_OF_FILES: Final = Path(__file__).with_name("policy_of_files.yaml")
_INTERRUPTS: Final = (signal.SIGTERM, signal.SIGINT)
_QUIET_SECONDS: Final = 600.0
_RETRIES_SECONDS: Final = 120.0


def main(
    data: Annotated[Path | None, typer.Option(help="a file in the Online Retail layout, .csv or .csv.gz")] = None,
    orders: Annotated[int | None, typer.Option(min=1, help="only that many invoices of the file")] = None,
    out: Annotated[Path, typer.Option(help="where the summary and the report go")] = ROOT / "out" / "demo",
    workers: Annotated[int, typer.Option(min=1, help="processes of the app")] = 1,
) -> None:
    """Replay a trading day end to end and say whether the three systems tell one truth."""
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    if orders is not None and data is None:
        raise typer.BadParameter("orders are counted in a file: name it with DATA", param_hint="ORDERS")
    _clear(out)
    try:
        day = written_day() if data is None else day_of(read_rows(data), data.name, first=orders)
        if not day.entries:
            raise WrongFile(f"{day.title} has no row below its header: 0 orders read, nothing to replay or to show")
    except WrongFile as fault:
        errors.print(f"[red]{escape(str(fault))}[/]")
        raise typer.Exit(2) from fault
    console.print(f"[bold]{escape(day.title)}[/]: {len(day.entries)} orders, {len(day.accounts)} accounts")
    try:
        outcome = asyncio.run(
            _interruptible(_run(day, out, workers, POLICY if data is None else POLICY_OF_FILES, console))
        )
    except (StackFailed, CallRefused, NeverQuiet, TimerFailed) as fault:
        errors.print(f"[red]the day could not be finished: {escape(str(fault))}[/]")
        raise typer.Exit(2) from fault
    except asyncio.CancelledError as fault:
        console.print("[yellow]interrupted: everything is stopped[/]")
        raise typer.Exit(130) from fault
    _write(outcome, out)
    report.on_screen(outcome, console)
    console.print(f"written: {out / 'summary.json'}, {out / 'report.html'}, and a month-end report of each period")
    raise typer.Exit(0 if outcome.ok else 1)


async def _interruptible[T](work: Coroutine[Any, Any, T]) -> T:
    """The work; SIGTERM and Ctrl-C cancel it, so that the stack stops what it started.

    Once is enough: an impatient second one must not cut the stopping short, and leave processes behind.
    """
    task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()

    def interrupt() -> None:
        for number in _INTERRUPTS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        task.cancel()

    for number in _INTERRUPTS:
        loop.add_signal_handler(number, interrupt)
    return await task


async def _run(day: Day, out: Path, workers: int, policy: Path, console: Console) -> Outcome:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="concord-day-") as folder, Steps(console) as steps:
        steps.begin("starting the stack")
        described = Path(folder) / "stack.json"
        async with (
            Stack(workers=workers, overlay=policy, out=described, logs=out / "logs"),
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as session,
        ):
            systems = systems_of(json.loads(described.read_text()), session)
            await seed(day, systems, steps.count)
            steps.begin("carrying accounts and stock to Commerce and CRM")
            await _rest(systems, steps)
            before = await product_counters(systems)
            replaying = time.monotonic()
            replayed = await replay(day, systems, steps.count)
            timers = await _settle(systems, steps)
            seconds = time.monotonic() - replaying
            counters = await product_counters(systems)
            steps.begin("reconciling and closing")
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


async def _settle(systems: Systems, steps: Steps) -> tuple[str, ...]:
    """Let everything come to rest, fire the timers, and again, until nothing waits for another try.

    What still waits at the deadline is left to the report, which names it.
    """
    deadline = time.monotonic() + _RETRIES_SECONDS
    steps.begin("coming to rest")
    while True:
        await _rest(systems, steps)
        steps.say("running the sweeps")
        fired = await fire_timers(systems)
        await _rest(systems, steps)
        retrying = (await parking_of(systems)).retrying
        if not retrying or time.monotonic() > deadline:
            return fired
        steps.say(f"{retrying} keys wait for another try")


async def _rest(systems: Systems, steps: Steps) -> None:
    await until_quiet(systems, deadline_seconds=_QUIET_SECONDS, look=lambda seen: steps.say(seen.described()))


def _clear(out: Path) -> None:
    """Take away what an earlier day wrote: should this one not end, nobody takes that for its outcome."""
    for old in (out / "summary.json", out / "report.html", *out.glob("month-end-*")):
        old.unlink(missing_ok=True)


def _write(outcome: Outcome, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "summary.json").write_bytes(exact_json.dumps(summary(outcome)) + b"\n")
    (out / "report.html").write_text(report.as_html(outcome), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
