"""The reconciliation of one legal entity and period as people read it: counts, bridges, differences with reasons."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from shared import exact_json
from shared.reports.amounts import amount_text
from shared.reports.explaining import Explained
from shared.reports.staging import Side, Staged
from shared.reports.three_way import Joined, System, Unlisted
from shared.stores.closes import Closes

_ZERO = Decimal(0)
_SYSTEM_NAMES = {"commerce": "Commerce", "sap": "SAP ledger", "crm": "CRM history"}


@dataclass(frozen=True, slots=True)
class Step:
    """One step from Commerce's total to the other system's, in one currency: how many rows it is made of."""

    code: str
    words: str
    rows: int
    amount: Decimal
    explained: bool


@dataclass(frozen=True, slots=True)
class Bridge:
    """Commerce's total, the steps, and the other system's total: start + all steps = end, to the last unit."""

    system: System
    currency: str
    start: Decimal
    steps: tuple[Step, ...]
    end: Decimal

    @property
    def adds_up(self) -> bool:
        return self.start + sum((step.amount for step in self.steps), _ZERO) == self.end


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What the door answers and the close certificate is made of.

    `rows` are the differences, `standing` what proved to be none (returns and cancellations with documents of their
    own); `unlisted` is what was too much to list. Counts are of orders, not of rows: of `explained` those `in_flight`
    are a part, and `beside` counts those explained or unexplained that are no order of Commerce in this period, so that
    orders = matched + explained + unexplained - beside as long as everything is listed.
    """

    legal_entity: str
    period: str
    currency: str
    orders: int
    matched: int
    explained: int
    unexplained: int
    in_flight: int
    beside: int
    difference: dict[str, Decimal]
    staged: Staged
    bridges: tuple[Bridge, ...]
    rows: tuple[Explained, ...]
    standing: tuple[Explained, ...]
    unlisted: tuple[Unlisted, ...]
    policy: str
    generated_at: datetime

    @property
    def sides(self) -> dict[str, Side]:
        return self.staged.sides

    @property
    def digest(self) -> str:
        """SHA-256 over what was found: inputs, counts and every row with its explanation; not over when."""
        content = {name: value for name, value in as_json(self).items() if name not in {"generatedAt", "digest"}}
        return hashlib.sha256(exact_json.canonical(content)).hexdigest()

    def blocking(self, carried: Iterable[str] = ()) -> list[Explained]:
        """What stands against a certificate: everything unexplained, and what is in flight and not carried over."""
        named = set(carried)
        return [row for row in self.rows if not row.explained or (row.is_in_flight and subject_of(row) not in named)]


def assemble(
    legal_entity: str,
    period: str,
    currency: str,
    staged: Staged,
    joined: Joined,
    rows: Sequence[Explained],
    *,
    policy: str,
    now: datetime,
) -> Reconciliation:
    """Count orders (not rows): an order with two findings is explained when both are."""
    open_rows = [row for row in rows if not row.stands]
    by_order: dict[str, list[Explained]] = defaultdict(list)
    for row in open_rows:
        by_order[subject_of(row)].append(row)
    unexplained = sum(1 for found in by_order.values() if not all(row.explained for row in found))
    differing = {name for name, found in by_order.items() if any(_is_of_commerce(row) for row in found)}
    proved = {subject_of(row) for row in rows if row.stands and _is_of_commerce(row)}
    return Reconciliation(
        legal_entity=legal_entity,
        period=period,
        currency=currency,
        orders=joined.orders,
        matched=joined.matched + len(proved - differing),
        explained=len(by_order) - unexplained,
        unexplained=unexplained + sum(one.count for one in joined.unlisted),
        in_flight=len({subject_of(row) for row in open_rows if row.is_in_flight}),
        beside=len(set(by_order) - differing),
        difference=_differences(open_rows, joined.unlisted, [currency, *staged.commerce.totals]),
        staged=staged,
        bridges=tuple(_bridges(staged, rows, joined.unlisted, currency)),
        rows=tuple(open_rows),
        standing=tuple(row for row in rows if row.stands),
        unlisted=joined.unlisted,
        policy=policy,
        generated_at=now,
    )


def subject_of(row: Explained) -> str:
    """What a row is about: its order, or what else names it where it names none."""
    return row.finding.number or row.finding.reference or row.finding.document


def _is_of_commerce(row: Explained) -> bool:
    """Whether it is about an order that Commerce has in the period."""
    return row.finding.kind != "missing_in_commerce" and not row.finding.is_beside


def as_json(report: Reconciliation, closes: Closes | None = None) -> dict[str, Any]:
    """The report as the door answers it; amounts are text in the currency's own decimals."""
    told: dict[str, Any] = {
        "legalEntity": report.legal_entity,
        "period": report.period,
        "orders": report.orders,
        "matched": report.matched,
        "explained": report.explained,
        "unexplained": report.unexplained,
        "inFlight": report.in_flight,
        "beside": report.beside,
        "difference": _amounts(report.difference),
        "totals": _amounts(report.sides["commerce"].totals),
        "systems": {
            name: {"rows": side.rows, "totals": _amounts(side.totals), "sha256": side.digest}
            for name, side in report.sides.items()
        },
        "bridges": [bridge_as_json(bridge) for bridge in report.bridges],
        "classes": dict(sorted(Counter(row.row_class for row in report.rows).items())),
        "standing": dict(sorted(Counter(row.code for row in report.standing).items())),
        "rows": [row_as_json(report.legal_entity, row) for row in report.rows],
        "unlisted": [
            {
                "system": one.system,
                "class": one.kind,
                "count": one.count,
                "difference": amount_text(one.difference, one.currency),
                "currency": one.currency,
            }
            for one in report.unlisted
        ],
        "policy": report.policy,
        "generatedAt": report.generated_at.isoformat(),
    }
    if closes is not None:
        told["state"] = closes.state
        told["digest"] = report.digest
    return told


def row_as_json(legal_entity: str, row: Explained) -> dict[str, Any]:
    """One difference, with the ways on from it: the order's lifecycle and lineage, its case, what replays it."""
    finding, (expected, _, currency) = row.finding, row.expected
    links = {}
    number = quote(finding.number, safe="")
    if number:
        links = {
            "lifecycle": f"/api/lifecycle/{legal_entity}/{number}",
            "lineage": f"/api/lineage/order/{number}?legalEntity={legal_entity}",
        }
    if row.case_id:
        links |= {"case": f"/api/cases/{row.case_id}", "replay": f"/api/cases/{row.case_id}/replay"}
    if row.resend:
        links["replay"] = f"/api/lifecycle/{legal_entity}/{number}/recover"
    return {
        "class": row.row_class,
        "system": finding.system,
        "orderNumber": finding.number,
        "postingKey": finding.reference,
        "document": finding.document,
        "currency": currency,
        "expected": amount_text(expected, currency),
        "found": amount_text(finding.found, finding.found_currency or currency),
        "foundCurrency": finding.found_currency or currency,
        "difference": {name: amount_text(amount, name) for name, amount in row.differences.items()},
        "businessDate": finding.business_date.isoformat() if finding.business_date else None,
        "postingDate": finding.posting_date.isoformat() if finding.posting_date else None,
        "explained": row.explained,
        "code": row.code,
        "reason": row.reason,
        "link": links.get("case", links.get("lifecycle", "")),
        "links": links,
    }


def bridge_as_json(bridge: Bridge) -> dict[str, Any]:
    return {
        "from": "Commerce",
        "to": _SYSTEM_NAMES[bridge.system],
        "currency": bridge.currency,
        "start": amount_text(bridge.start, bridge.currency),
        "steps": [
            {
                "code": step.code,
                "words": step.words,
                "rows": step.rows,
                "amount": amount_text(step.amount, bridge.currency),
                "explained": step.explained,
            }
            for step in bridge.steps
        ],
        "end": amount_text(bridge.end, bridge.currency),
        "addsUp": bridge.adds_up,
    }


_WORDS = {
    "cancellation": "cancelled after posting: credited under the order's own number",
    "return": "returned by line: credited under the order's own number",
    "shipment": "posted by shipment",
    "in_flight": "in flight: on the way, not yet there",
    "case": "held in a case for a person",
    "no_ledger_matter": "no ledger matter: nothing in it has a price",
    "cancelled_before_posting": "cancelled before it was posted",
    "before_its_order": "cancelled or returned before the order itself came",
    "posted_in_parts": "posted in parts, by shipment",
    "altered_in_sap": "altered in SAP after it was posted",
    "altered_in_crm": "altered in CRM after it was written",
    "altered_in_commerce": "altered in Commerce after it was posted",
    "forged_in_sap": "in SAP, and neither Commerce nor anything here knows it",
    "forged_in_crm": "in CRM, and neither Commerce nor anything here knows it",
    "document_gone": "posted, and deleted in SAP",
    "row_gone": "written, and deleted in CRM",
    "order_gone": "posted, and deleted in Commerce",
    "reversed": "posted, and reversed in SAP",
    "duplicate": "there more than once",
    "never_received": "in Commerce, and never received here",
    "partly_shipped": "shipped in part: the rest is no revenue yet, or was called off",
    "posted_as_sale": "an exchange: goods came back and others went, in one document",
    "header_text": "its header text was edited in SAP, its lines are those posted",
    "not_listed": "differences beyond what can be listed",
}
"""A code of an explanation → the words of a step; others are shown as they are, in words."""


def in_words(code: str) -> str:
    """A code as people read it."""
    return _WORDS.get(code, code.replace("_", " "))


def _bridges(staged: Staged, rows: Sequence[Explained], unlisted: Sequence[Unlisted], own: str) -> Iterable[Bridge]:
    """From Commerce to each other system, by currency. A row moves what it differs by, explained or not."""
    systems: tuple[System, ...] = ("sap", "crm")
    for system in systems:
        other = staged.sides[system].totals
        for currency in sorted({own, *staged.commerce.totals, *other}):
            start, end = staged.commerce.totals.get(currency, _ZERO), other.get(currency, _ZERO)
            grouped: dict[tuple[str, bool], list[Decimal]] = defaultdict(list)
            for row in rows:
                finding = row.finding
                if finding.is_beside:
                    continue
                if finding.system == system and currency in {finding.currency, finding.found_currency}:
                    there = finding.found if finding.found_currency == currency else _ZERO
                    here = finding.expected if finding.currency == currency else _ZERO
                    grouped[row.code, row.explained].append(there - here)
            steps = [
                Step(code, in_words(code), len(amounts), sum(amounts, _ZERO), explained)
                for (code, explained), amounts in sorted(grouped.items(), key=lambda one: (not one[0][1], one[0][0]))
                if any(amounts)
            ]
            rest = end - start - sum((step.amount for step in steps), _ZERO)
            if rest and any(one.system == system and one.currency == currency for one in unlisted):
                steps.append(Step("not_listed", _WORDS["not_listed"], sum(one.count for one in unlisted), rest, False))
            if start or end or steps:
                yield Bridge(system, currency, start, tuple(steps), end)


def _differences(
    rows: Iterable[Explained], unlisted: Iterable[Unlisted], currencies: Iterable[str]
) -> dict[str, Decimal]:
    """What nothing accounts for, in absolute amounts: two errors of opposite sign may not hide each other."""
    sums = dict.fromkeys(currencies, _ZERO)
    for row in rows:
        if not row.explained:
            for currency, amount in row.differences.items():
                sums[currency] = sums.get(currency, _ZERO) + amount
    for one in unlisted:
        sums[one.currency] = sums.get(one.currency, _ZERO) + one.difference
    return dict(sorted(sums.items()))


def _amounts(totals: Mapping[str, Decimal]) -> dict[str, str]:
    return {currency: amount_text(amount, currency) for currency, amount in totals.items()}
