"""The day's report: tables on screen, and a page with a few pictures that a finance person can read."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sandbox.day.books import Books, Facts, Finding, draw
from sandbox.day.figures import Outcome, in_decimals, percentiles, summary
from sandbox.day.pictures import bars, stacked
from sandbox.day.plan import Day, End

_SHOWN: Final = 40
_KEPT_ON_SCREEN: Final = 15
_WHY_ON_SCREEN: Final = 400  # characters
_GAPS_MAX: Final = 62  # hours or days; where orders lie further apart, only those with any are shown
_UNEXPLAINED: Final = "unexplained"
_WORDS: Final = {
    End.POSTED: "on the ledger",
    End.CASE: "a case for a person",
    End.CANCELLED: "cancelled and taken back",
    End.APPROVAL_REQUIRED: "waits for approval",
    End.DECLINED: "declined at checkout",
    End.REFERRED: "referred at checkout",
    End.NO_LEDGER_MATTER: "no ledger matter",
}
_COLOURS: Final = {
    _WORDS[End.POSTED]: "#2a6fbb",
    _WORDS[End.CASE]: "#d98b2b",
    _WORDS[End.CANCELLED]: "#7f8c99",
    _WORDS[End.APPROVAL_REQUIRED]: "#8a5fb0",
    _WORDS[End.DECLINED]: "#c0504d",
    _WORDS[End.REFERRED]: "#b8a13a",
    _WORDS[End.NO_LEDGER_MATTER]: "#4b9c9e",
    _UNEXPLAINED: "#e11d8f",
}
_STEPS: Final = tuple(digit * 10**power for power in range(9) for digit in (1, 2, 5))
"""Where the bars of the latencies end, in milliseconds: they spread over orders of magnitude."""


def draw_books(day: Day, facts: Facts) -> Books:
    """The day's own accounts."""
    return draw(day.entries, facts, day.accounts)


def on_screen(outcome: Outcome, console: Console) -> None:
    """Money first, then how orders ended, then how fast; what does not hold last, in red."""
    money = Table("entity", "currency", title="Commerce, ledger and customer history")
    for name in ("orders", "Commerce", "ledger", "history", "difference"):
        money.add_column(name, justify="right")
    for total in outcome.books.totals:
        amounts = (total.commerce, total.ledger, total.crm, total.commerce - total.ledger)
        money.add_row(
            total.legal_entity, total.currency, str(total.orders), *(_amount(a, total.currency) for a in amounts)
        )
    console.print(money)
    ends = Table("how orders ended", title=outcome.day.title)
    ends.add_column("orders", justify="right")
    for end, count in _ends(outcome):
        ends.add_row(end, str(count))
    console.print(ends)
    for why, count in _passed_over(outcome):
        console.print(f"no ledger matter, {count:,}: {escape(why)}")
    _kept_on_screen(outcome, console)
    told = Table("what", title="The product's own reconciliation")
    for name in ("matched", "explained", "unexplained", "difference"):
        told.add_column(name, justify="right")
    for period in outcome.periods:
        difference = ", ".join(f"{amount} {currency}" for currency, amount in period.difference.items())
        told.add_row(
            f"{period.legal_entity} {period.period}", str(period.matched), str(period.explained),
            str(period.unexplained), difference,
        )  # fmt: skip
    console.print(told)
    speed = Table("milliseconds", title="How fast")
    for name in ("p50", "p95", "p99"):
        speed.add_column(name, justify="right")
    for name, samples in outcome.latencies.named().items():
        found = percentiles(samples)
        shown = ("–" if found[p] is None else f"{found[p]:,}" for p in ("p50", "p95", "p99"))
        speed.add_row(name.replace("_", " "), *shown)
    console.print(speed)
    rate = len(outcome.books.findings) / outcome.seconds if outcome.seconds else 0.0
    console.print(
        f"{len(outcome.books.findings)} orders in {outcome.seconds:.1f} s ({rate:.1f} a second until all is at rest), "
        f"{outcome.table_calls_per_order} table calls an order, {outcome.inventory.pushed} stock figures pushed"
    )
    for fault in outcome.faults[:_SHOWN]:
        console.print(f"[red]✗ {escape(fault)}[/]")
    if len(outcome.faults) > _SHOWN:
        console.print(f"[red]… and {len(outcome.faults) - _SHOWN} more[/]")
    console.print(
        "[green]✓ every order is accounted for, nothing is unexplained[/]" if outcome.ok else "[red]not in order[/]"
    )


def as_html(outcome: Outcome) -> str:
    """One page without anything from elsewhere."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined
    )
    findings = outcome.books.findings
    channels = sorted({finding.entry.channel for finding in findings})
    return environment.get_template("report.html").render(
        outcome=outcome,
        summary=summary(outcome),
        written_at=datetime.now().astimezone(),
        amount=_amount,
        why=_why,
        ends=_ends(outcome),
        words=_WORDS,
        by_channel=stacked(
            {channel: Counter(_WORDS[f.end] if f.end else _UNEXPLAINED for f in findings if f.entry.channel == channel)
             for channel in channels},
            _COLOURS,
            "orders, by channel",
        ),
        by_time=bars(
            _by_time(outcome), "orders posted, by hour (UTC)" if _one_day(outcome) else "orders posted, by day"
        ),
        speeds=[
            bars(_spread(samples), f"{name.replace('_', ' ')}: how many of {len(samples):,} took how long")
            for name, samples in outcome.latencies.named().items()
            if samples
        ],
        latencies={
            name.replace("_", " "): (len(samples), percentiles(samples))
            for name, samples in outcome.latencies.named().items()
        },
        kept=_kept(outcome),
        passed_over=_passed_over(outcome),
        no_matter=[finding for finding in outcome.books.findings if finding.end is End.NO_LEDGER_MATTER],
    )  # fmt: skip


_REFUSED: Final = (End.APPROVAL_REQUIRED, End.DECLINED, End.REFERRED)


def _kept(outcome: Outcome) -> list[Finding]:
    """What a person has to look at: cases, what checkout refused, and whatever does not hold."""
    return [finding for finding in outcome.books.findings if finding.end in (End.CASE, *_REFUSED) or finding.problems]


def _kept_on_screen(outcome: Outcome, console: Console) -> None:
    kept = _kept(outcome)
    if not kept:
        return
    table = Table("order", "how it ended", "why", title="Left for people, or refused at checkout")
    for finding in kept[:_KEPT_ON_SCREEN]:
        ended = _WORDS[finding.end] if finding.end else _UNEXPLAINED
        why = _why(finding)
        if len(why) > _WHY_ON_SCREEN:
            why = f"{why[:_WHY_ON_SCREEN].rpartition(' ')[0]} … (all of it in report.html)"
        table.add_row(*(escape(text) for text in (finding.entry.number, ended, why)))
    console.print(table)
    if len(kept) > _KEPT_ON_SCREEN:
        console.print(f"and {len(kept) - _KEPT_ON_SCREEN} more in report.html")


def _why(finding: Finding) -> str:
    """What does not hold; else what was wrong with the input, which its case says too; else what the product says."""
    return "; ".join(finding.problems) or "; ".join(finding.entry.faults) or finding.reason


def _ends(outcome: Outcome) -> list[tuple[str, int]]:
    counted = [(words, outcome.books.count(end)) for end, words in _WORDS.items()]
    unexplained = sum(finding.end is None for finding in outcome.books.findings)
    return [(words, count) for words, count in [*counted, (_UNEXPLAINED, unexplained)] if count]


def _one_day(outcome: Outcome) -> bool:
    return len({finding.entry.business_date for finding in outcome.books.findings if finding.entry.business_date}) <= 1


def _passed_over(outcome: Outcome) -> list[tuple[str, int]]:
    """Why orders were no matter for the ledger, the most frequent reason first."""
    reasons = Counter(f.reason for f in outcome.books.findings if f.end is End.NO_LEDGER_MATTER)
    return reasons.most_common()


def _by_time(outcome: Outcome) -> list[tuple[str, int]]:
    """Orders posted by hour, or by day where there are several; hours and days without any in between show as none."""
    counted: Counter[datetime] = Counter()
    one_day = _one_day(outcome)
    for finding in outcome.books.findings:
        placed_at, day = finding.entry.placed_at, finding.entry.business_date
        if finding.end is not End.POSTED or placed_at is None:
            continue
        hour = placed_at.replace(minute=0, second=0, microsecond=0)
        counted[hour if one_day else datetime.fromisoformat(day).replace(tzinfo=UTC)] += 1
    step = timedelta(hours=1) if one_day else timedelta(days=1)
    shown = [f"{at:%H}h" if one_day else f"{at:%m-%d}" for at in sorted(counted)]
    if not counted or max(counted) - min(counted) > _GAPS_MAX * step:
        return list(zip(shown, (counted[at] for at in sorted(counted)), strict=True))
    every = [min(counted) + number * step for number in range((max(counted) - min(counted)) // step + 1)]
    return [(f"{at:%H}h" if one_day else f"{at:%m-%d}", counted[at]) for at in every]


def _spread(samples: Sequence[float]) -> list[tuple[str, int]]:
    """How many samples lie in each step, those without any in between included."""
    counted = Counter(bisect_left(_STEPS, sample) for sample in samples)
    return [
        (f"{_STEPS[step - 1] if step else 0:,}–{_STEPS[step]:,} ms", counted[step])
        for step in range(min(counted), max(counted) + 1)
    ]


def _amount(amount: Decimal, currency: str) -> str:
    return f"{in_decimals(amount, currency):,}"
