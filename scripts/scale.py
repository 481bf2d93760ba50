"""What a day of orders needs and costs: the arithmetic behind docs/scale.md, which holds its output.

    python scripts/scale.py            prints the tables
    python scripts/scale.py --write    puts them into docs/scale.md

Change an assumption here and write again. Prices are list prices assumed for one region on the day named below; they
are parameters, not facts: put in those of your own agreement.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Final

DOCUMENT: Final = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
BEGIN, END = "<!-- scripts/scale.py: begin -->", "<!-- scripts/scale.py: end -->"
PRICES_AS_OF: Final = "2026-11-24"
DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Order:
    """One order of the average shop: what it sets off. Table calls are measured, the rest is counted in the flows."""

    lines: float = 4
    on_account: float = 0.3
    published: float = 3  # confirmed, posted, shipped
    delivered: float = 7  # confirmed to three flows, posted to two, shipped to two
    table_calls: float = 10  # measured on the trading day
    sap_calls_per_check: float = 5  # account, partner, simulation, open items, open orders
    sap_calls_per_posting: float = 1
    sap_calls_per_stock_change: float = 1
    dataverse_requests: float = 3  # a batch for each of its events: confirmed, posted, shipped
    state_kilobytes: float = 15
    telemetry_kilobytes: float = 60  # all spans and log lines, before sampling

    @property
    def messages_in(self) -> float:
        """Messages published: the order's own, and a stock change for each line."""
        return self.published + self.lines

    @property
    def messages_out(self) -> float:
        """Messages delivered."""
        return self.delivered + self.lines

    @property
    def bus_operations(self) -> float:
        """A send for each message in; a receive and a completion for each message out."""
        return self.messages_in + 2 * self.messages_out

    @property
    def sap_calls(self) -> float:
        """Calls to SAP."""
        return (
            self.on_account * self.sap_calls_per_check
            + self.sap_calls_per_posting
            + self.lines * self.sap_calls_per_stock_change
        )

    @property
    def executions(self) -> float:
        """Invocations of functions: the credit check, the events taken in, the messages handled."""
        return self.on_account + self.messages_in - 1 + self.messages_out


@dataclass(frozen=True, slots=True)
class Limits:
    """What one of a thing takes. `lane_seconds` is how long an order occupies its lane in the slowest flow."""

    peak_hour_share: float = 0.15
    burst: float = 2
    lane_seconds: float = 0.25
    lane_evenness: float = 0.7  # hashing spreads keys, not perfectly
    sessions_per_instance: int = 8
    flows: int = 6
    checks_per_instance: float = 25  # 8 calls to SAP at once, 5 a check, some in parallel, 80 ms each
    sap_seconds: float = 0.15
    standard_operations: float = 1000  # a second and namespace, then throttled
    unit_operations: float = 4000  # a second and Premium messaging unit, small messages
    account_transactions: float = 20000  # a second and storage account
    dataverse_requests: float = 6000 / 300  # a second, user and web server


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars, list, pay as you go. A month has 30 days."""

    standard_base: float = 10
    standard_included_millions: float = 13
    standard_per_million: float = 0.80
    unit_month: float = 677
    ready_gb_second: float = 0.000004
    busy_gb_second: float = 0.000016
    executions_per_million: float = 0.40
    table_per_10_000: float = 0.0006
    state_gb_month: float = 0.06
    log_gb: float = 2.76
    fixed_month: float = 120  # private endpoints and DNS, vault, alerts


ORDER, LIMITS, PRICES = Order(), Limits(), Prices()
SIZES: Final = {"10 thousand": 10_000, "1 million": 1_000_000, "100 million": 100_000_000}
SAMPLING: Final = {"10 thousand": 1.0, "1 million": 0.1, "100 million": 0.01}


def peak(orders: int) -> float:
    """Orders a second in the worst minutes of the day."""
    return orders * LIMITS.peak_hour_share / 3600 * LIMITS.burst


def lanes(orders: int) -> int:
    """Lanes that keep up at the peak: a multiple of an instance's sessions, 8 at least."""
    needed = peak(orders) * LIMITS.lane_seconds / LIMITS.lane_evenness
    return max(1, ceil(needed / LIMITS.sessions_per_instance)) * LIMITS.sessions_per_instance


def instances(orders: int) -> int:
    """Instances at the peak: for the lanes of every flow, and for checkout."""
    checkout = max(1, ceil(peak(orders) * ORDER.on_account / LIMITS.checks_per_instance))
    return lanes(orders) // LIMITS.sessions_per_instance * LIMITS.flows + checkout


def units(orders: int) -> int:
    """Premium messaging units; 0 where Standard is enough."""
    operations = peak(orders) * ORDER.bus_operations
    return 0 if operations <= LIMITS.standard_operations else ceil(operations / LIMITS.unit_operations)


def costs(orders: int, sampling: float) -> dict[str, float]:
    """Dollars a month, by what they are for."""
    month = orders * DAYS
    operations_millions = month * ORDER.bus_operations / 1e6
    standard = PRICES.standard_base + PRICES.standard_per_million * max(
        0.0, operations_millions - PRICES.standard_included_millions
    )
    ready = instances(orders) * 2 * 86400 * DAYS * PRICES.ready_gb_second
    busy_seconds = month * (ORDER.delivered * LIMITS.lane_seconds) / LIMITS.sessions_per_instance
    busy = busy_seconds * 2 * PRICES.busy_gb_second + month * ORDER.executions / 1e6 * PRICES.executions_per_million
    return {
        "Functions": ready + busy,
        "Service Bus": units(orders) * PRICES.unit_month or standard,
        "tables, transactions": month * ORDER.table_calls / 1e4 * PRICES.table_per_10_000,
        "tables, a year's rows": orders * 365 * ORDER.state_kilobytes / 1e6 * PRICES.state_gb_month,
        "telemetry": month * ORDER.telemetry_kilobytes / 1e6 * sampling * PRICES.log_gb,
        "the rest": PRICES.fixed_month,
    }


def tables() -> Iterator[str]:
    """The document's tables, line by line."""
    rows: dict[str, Callable[[str, int], str]] = {
        "orders a second, average": lambda _, n: _number(n / 86400),
        "orders a second, worst minutes": lambda _, n: _number(peak(n)),
        "messages a day, in / out": lambda _, n: f"{_count(n * ORDER.messages_in)} / {_count(n * ORDER.messages_out)}",
        "bus operations a second, worst": lambda _, n: _number(peak(n) * ORDER.bus_operations),
        "Service Bus": lambda _, n: f"{units(n)} Premium units" if units(n) else "Standard",
        "lanes": lambda _, n: f"{lanes(n):,}",
        "instances at the peak": lambda _, n: f"{instances(n):,}",
        "table calls a day": lambda _, n: _count(n * ORDER.table_calls),
        "table calls a second, worst": lambda _, n: _number(peak(n) * ORDER.table_calls),
        "state accounts": lambda _, n: str(ceil(peak(n) * ORDER.table_calls / LIMITS.account_transactions)),
        "calls to SAP a day": lambda _, n: _count(n * ORDER.sap_calls),
        "calls to SAP at once, worst": lambda _, n: _number(peak(n) * ORDER.sap_calls * LIMITS.sap_seconds),
        "requests to Dataverse a day": lambda _, n: _count(n * ORDER.dataverse_requests),
        "Dataverse users × web servers, worst": lambda _, n: str(
            ceil(peak(n) * ORDER.dataverse_requests / LIMITS.dataverse_requests)
        ),
    }
    head = " | ".join(SIZES)
    yield f"| a day of | {head} |"
    yield "|---|" + "---:|" * len(SIZES)
    for name, cell in rows.items():
        yield f"| {name} | " + " | ".join(cell(label, n) for label, n in SIZES.items()) + " |"
    yield ""
    yield f"| US dollars a month (assumed list prices, {PRICES_AS_OF}) | {head} |"
    yield "|---|" + "---:|" * len(SIZES)
    month = {label: costs(n, SAMPLING[label]) for label, n in SIZES.items()}
    for name in costs(1, 1):
        yield f"| {name} | " + " | ".join(f"{round(month[label][name]):,}" for label in SIZES) + " |"
    yield "| **together** | " + " | ".join(f"**{round(sum(month[label].values())):,}**" for label in SIZES) + " |"
    yield "| for a thousand orders | " + " | ".join(
        f"{sum(month[label].values()) / (n * DAYS) * 1000:.3f}" for label, n in SIZES.items()
    ) + " |"  # fmt: skip
    yield "| part of all traces kept | " + " | ".join(f"{SAMPLING[label]:.0%}" for label in SIZES) + " |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _count(value: float) -> str:
    for size, word in ((1e9, "bn"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:,.3g} {word}"
    return f"{value:.0f}"


def written(text: str) -> str:
    """The document with the tables as they are now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n\n" + "\n".join(tables()) + "\n\n" + END + after


def main() -> int:
    """Print the tables, or put them into the document."""
    if sys.argv[1:] == ["--write"]:
        DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print("\n".join(tables()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
