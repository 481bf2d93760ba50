"""The day's report: tables on screen, and a page with a few pictures that a finance person can read."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
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
_WORDS: Final = {
    End.POSTED: "on the ledger",
    End.CASE: "a case for a person",
    End.CANCELLED: "cancelled and taken back",
    End.APPROVAL_REQUIRED: "waits for approval",
    End.DECLINED: "declined at checkout",
    End.REFERRED: "referred at checkout",
    End.NO_LEDGER_MATTER: "no ledger matter",
}


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
            {channel: Counter(_WORDS[f.end] if f.end else "unexplained" for f in findings if f.entry.channel == channel)
             for channel in channels},
            "orders",
        ),
        by_time=bars(
            _by_time(outcome), "orders posted, by hour (UTC)" if _one_day(outcome) else "orders posted, by day"
        ),
        speeds=[
            bars(_spread(samples), f"{name.replace('_', ' ')}: how many took how many milliseconds")
            for name, samples in outcome.latencies.named().items()
            if samples
        ],
        kept=_kept(outcome),
        refused=_REFUSED,
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
        ended = _WORDS[finding.end] if finding.end else "unexplained"
        table.add_row(*(escape(text) for text in (finding.entry.number, ended, _why(finding))))
    console.print(table)
    if len(kept) > _KEPT_ON_SCREEN:
        console.print(f"and {len(kept) - _KEPT_ON_SCREEN} more in report.html")


def _why(finding: Finding) -> str:
    """What does not hold; else what was wrong with the input, which its case says too; else what the product says."""
    return "; ".join(finding.problems) or "; ".join(finding.entry.faults) or finding.reason


def _ends(outcome: Outcome) -> list[tuple[str, int]]:
    counted = [(words, outcome.books.count(end)) for end, words in _WORDS.items()]
    unexplained = sum(finding.end is None for finding in outcome.books.findings)
    return [(words, count) for words, count in [*counted, ("unexplained", unexplained)] if count]


def _one_day(outcome: Outcome) -> bool:
    return len({finding.entry.business_date for finding in outcome.books.findings if finding.entry.business_date}) <= 1


def _by_time(outcome: Outcome) -> list[tuple[str, float]]:
    counted: Counter[str] = Counter()
    for finding in outcome.books.findings:
        if finding.end is not End.POSTED or finding.entry.placed_at is None:
            continue
        label = f"{finding.entry.placed_at:%H}h" if _one_day(outcome) else finding.entry.business_date[5:]
        counted[label] += 1
    return sorted((label, float(count)) for label, count in counted.items())


def _spread(samples: Sequence[float]) -> list[tuple[str, float]]:
    """Samples in steps that double, because latencies spread over orders of magnitude."""
    counted: Counter[int] = Counter()
    for sample in samples:
        step = 0
        while 2**step < sample:
            step += 1
        counted[step] += 1
    return [(f"≤{2**step}", float(counted[step])) for step in range(min(counted), max(counted) + 1)]


def _amount(amount: Decimal, currency: str) -> str:
    return f"{in_decimals(amount, currency):,}"
