"""The day in figures: counts, latencies, differences; what out/demo/summary.json holds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from math import ceil

from sandbox.day.books import Books, Facts
from sandbox.day.orders import JsonObject
from sandbox.day.plan import Day, End
from sandbox.kit.entities import currency_decimals


@dataclass(frozen=True, slots=True)
class Latencies:
    """Samples in milliseconds."""

    credit_check: tuple[float, ...]
    order_to_ledger: tuple[float, ...]
    stock_to_commerce: tuple[float, ...]

    def named(self) -> dict[str, tuple[float, ...]]:
        """The samples by the name they have in the summary."""
        return {
            "credit_check": self.credit_check,
            "order_to_ledger": self.order_to_ledger,
            "stock_to_commerce": self.stock_to_commerce,
        }


@dataclass(frozen=True, slots=True)
class Inventory:
    """Stock as it travelled: changes made in SAP, figures pushed, stale ones refused; what differs at rest."""

    changes: int
    pushed: int
    stale_rejected: int
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parking:
    """What the product says still waits: open cases (`parked`) and keys that it will try again."""

    parked: int
    retrying: int


@dataclass(frozen=True, slots=True)
class Period:
    """The product's own reconciliation of one legal entity and month, as it answered.

    `certificate` is the number it was closed under, else `refusal` says why it was not.
    """

    legal_entity: str
    period: str
    matched: int
    explained: int
    unexplained: int
    difference: Mapping[str, Decimal]
    lines: tuple[str, ...] = ()
    certificate: str = ""
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything the report is written from."""

    day: Day
    books: Books
    facts: Facts
    periods: tuple[Period, ...]
    latencies: Latencies
    inventory: Inventory
    parking: Parking
    table_calls_per_order: Decimal
    seconds: float
    timers: tuple[str, ...]
    total_seconds: float = 0.0
    counters: Mapping[str, int] = field(default_factory=dict)

    @property
    def faults(self) -> tuple[str, ...]:
        """Every reason why the day is not in order."""
        return (
            *self.books.unexplained,
            *self.inventory.differences,
            *(
                f"the product's reconciliation of {p.legal_entity} {p.period} leaves {p.unexplained} unexplained"
                for p in self.periods
                if p.unexplained
            ),
            *(
                f"the product's reconciliation of {p.legal_entity} {p.period} differs by {amount} {currency}"
                for p in self.periods
                for currency, amount in p.difference.items()
                if amount
            ),
            *(
                f"{p.legal_entity} {p.period} does not close: {p.refusal}"
                for p in self.periods
                if not p.certificate and not p.unexplained
            ),
            *((f"{self.parking.retrying} keys are still being retried",) if self.parking.retrying else ()),
        )

    @property
    def ok(self) -> bool:
        """Every order is accounted for and nothing is unexplained."""
        return not self.faults


def summary(outcome: Outcome) -> JsonObject:
    """The content of summary.json; amounts are numbers in their currency's own decimals."""
    books, facts = outcome.books, outcome.facts
    kinds = [finding.entry.kind for finding in books.findings]
    confirmed = [
        f for f in books.findings if f.entry.number in facts.checkouts and facts.checkouts[f.entry.number].confirmed
    ]
    return {
        "orders": {
            "read": len(books.findings),
            "confirmed": len(confirmed),
            "referred": books.count(End.REFERRED),
            "declined": books.count(End.DECLINED),
            "approval_required": books.count(End.APPROVAL_REQUIRED),
            "returned": kinds.count("return"),
            "cancelled": books.count(End.CANCELLED),
            "not_understood": kinds.count("not understood"),
            "no_ledger_matter": books.count(End.NO_LEDGER_MATTER),
            "posted": books.count(End.POSTED),
            "cases": books.count(End.CASE),
        },
        "ledger": {
            "documents": len(facts.documents),
            "parked": outcome.parking.parked,
            "retrying": outcome.parking.retrying,
            "duplicates": len(books.duplicates),
        },
        "crm": {"orders": len(facts.crm), "lines": sum(row.lines for row in facts.crm)},
        "inventory": {
            "changes": outcome.inventory.changes,
            "pushed": outcome.inventory.pushed,
            "stale_rejected": outcome.inventory.stale_rejected,
        },
        "reconciliation": _reconciliation(outcome),
        "latency_ms": {name: percentiles(samples) for name, samples in outcome.latencies.named().items()},
        "table_calls_per_order": outcome.table_calls_per_order,
        "table_calls": {
            name.removeprefix("table_calls."): count
            for name, count in outcome.counters.items()
            if name.startswith("table_calls.") and count
        },
        "remote_calls": {
            name.removesuffix(".sent"): count
            for name, count in outcome.counters.items()
            if name.endswith(".sent") and count
        },
        "seconds": round(outcome.seconds, 1),
        "ok": outcome.ok,
    }


def percentiles(samples: Sequence[float]) -> JsonObject:
    """p50, p95 and p99 by nearest rank, in whole tenths; null where there is no sample."""
    ordered = sorted(samples)

    def at(percent: int) -> float | None:
        return round(ordered[max(0, ceil(percent / 100 * len(ordered)) - 1)], 1) if ordered else None

    return {"p50": at(50), "p95": at(95), "p99": at(99)}


def differences(outcome: Outcome) -> dict[str, Decimal]:
    """Per currency, Commerce less ledger by the day's own count, in the currency's decimals."""
    found: dict[str, Decimal] = {}
    for total in outcome.books.totals:
        found[total.currency] = found.get(total.currency, Decimal(0)) + total.commerce - total.ledger
    return {currency: in_decimals(amount, currency) for currency, amount in sorted(found.items())}


def in_decimals(amount: Decimal, currency: str) -> Decimal:
    """The amount with exactly the currency's decimals."""
    return amount.quantize(Decimal(1).scaleb(-currency_decimals()[currency]))


def _reconciliation(outcome: Outcome) -> JsonObject:
    """Orders by both accounts: matched where both agree, unexplained where either finds anything it cannot explain."""
    findings = outcome.books.findings
    matched = sum(f.is_accounted_for and f.end is End.POSTED for f in findings)
    explained = sum(f.is_accounted_for and f.end is not End.POSTED for f in findings)
    by_product = _added(period.difference for period in outcome.periods)
    own = differences(outcome)
    return {
        "matched": matched,
        "explained": explained,
        "unexplained": len(outcome.books.unexplained) + sum(period.unexplained for period in outcome.periods),
        "difference": {
            currency: own[currency] or in_decimals(by_product.get(currency, Decimal(0)), currency) for currency in own
        },
    }


def _added(parts: Iterable[Mapping[str, Decimal]]) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}
    for part in parts:
        for currency, amount in part.items():
            total[currency] = total.get(currency, Decimal(0)) + amount
    return total
