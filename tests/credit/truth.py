"""What SAP really holds of one account, and how it tells it: late where told to, slow, or not at all.

The double stands where SAP's client stands, below the desk and the book; the client itself is held to the simulated
SAP elsewhere. It is stricter than any real figure: every grant is checked against the truth by `Truth.owed`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from shared.authority.credit import CreditPolicy, Entity
from shared.clients.sap_credit import Standing, UnknownAccount
from shared.domain.changes import Change
from shared.domain.credit import (
    ApprovalView,
    CheckLine,
    CheckRequest,
    CreditAccount,
    DecisionRecord,
    Figure,
    Hold,
    Item,
    Posting,
    Simulation,
)
from shared.domain.credit_request import request_of_record
from shared.domain.money import Money
from shared.errors import Conflict
from shared.stores.credit_book import CheckDesk, CreditBook
from shared.stores.table import Table
from shared.telemetry import Counters
from tests.hub import SetClock, shipped_policy
from tests.memory_table import MemoryTable

ACCOUNT = "4711"
GBP = "GBP"


def gbp(amount: str | int) -> Money:
    return Money(Decimal(amount), GBP)


@dataclass(frozen=True)
class OpenItem:
    """A receivable in SAP, and from when on its figures show it."""

    item: Item
    visible_at: datetime


@dataclass
class Truth:
    """One customer in SAP. `before` runs at the start of every call: it may wait, or raise."""

    clock: SetClock
    limit: Money | None = field(default_factory=lambda: gbp(1000))
    opening: Money = field(default_factory=lambda: gbp(0))
    lag: timedelta = timedelta()
    blocked: bool = False
    risk_class: str = "A"
    limit_valid_to: date | None = None
    currency: str = GBP
    items: list[OpenItem] = field(default_factory=list)
    paid: set[str] = field(default_factory=set)
    simulation: Simulation | None = None
    before: Callable[[str], Awaitable[None]] | None = None
    calls: list[str] = field(default_factory=list)

    async def read_standing(self, entity: Entity, account: str, now: datetime) -> Standing:
        await self._call("standing")
        if account != ACCOUNT:
            raise UnknownAccount("no such account", code="unknown_account")
        seen = [
            one.item for one in self.items if one.visible_at <= self.clock.now and one.item.reference not in self.paid
        ]
        opening = Item("OPENING", "GB01", "1", "2026", "GB01", "", "", None, self.opening)
        items = (opening, *seen)
        exposure = sum((one.amount for one in items), Money.zero(self.currency))
        known = CreditAccount(
            account, entity.segment, self.limit, self.limit_valid_to, self.blocked, "", False, self.risk_class
        )
        return Standing(known, Figure(now, "items", exposure, items))

    async def find_cleared(self, entity: Entity, keys: Sequence[str]) -> frozenset[str]:
        await self._call("cleared")
        return frozenset(key for key in keys if key in self.paid)

    async def find_open(self, entity: Entity, keys: Sequence[str]) -> list[Item]:
        raise AssertionError("a figure that tells references is not looked up by them")

    async def simulate(self, request: CheckRequest, entity: Entity) -> Simulation | None:
        await self._call("simulate")
        return self.simulation

    def post(self, order: str, key: str, amount: Money, kind: str = "invoice") -> Posting:
        """A document of ours on the ledger; what the book is told of it."""
        number = str(1_800_000_000 + len(self.items))
        item = Item(key, "GB01", number, "2026", "GB01", order, kind, None, amount)
        self.items.append(OpenItem(item, self.clock.now + self.lag))
        return Posting(key, "GB01", number, "2026", amount, self.clock.now)

    def pay(self, key: str) -> None:
        self.paid.add(key)

    @property
    def owed(self) -> Money:
        """What the customer really owes, seen or not."""
        return sum((one.item.amount for one in self.items if one.item.reference not in self.paid), self.opening)

    async def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.before is not None:
            await self.before(name)


@dataclass
class Checkout:
    """Desks on the same tables, as workers have them, in front of one truth."""

    truth: Truth
    clock: SetClock
    policy: CreditPolicy
    credit: Table
    requests: Table
    desks: list[CheckDesk]
    books: list[CreditBook]
    granted: list[DecisionRecord] = field(default_factory=list)

    @property
    def book(self) -> CreditBook:
        return self.books[0]

    async def check(
        self, request: CheckRequest, *, desk: int = 0, deadline_seconds: float = 30.0
    ) -> tuple[DecisionRecord, Hold | None]:
        """One decision by one worker."""
        entity = self.policy.legal_entities[request.legal_entity]
        deadline = asyncio.get_running_loop().time() + deadline_seconds
        record, hold = await self.desks[desk].decide(request, entity, deadline)
        if record.decision.outcome == "approved":
            self.granted.append(record)
        return record, hold

    async def approve(
        self, record: DecisionRecord, person: str = "amir", *, desk: int = 0
    ) -> tuple[DecisionRecord, Hold | None]:
        """A person says yes; the desk weighs the order again. Raises `Conflict` where it was decided before."""
        kept, said = await self._said(record, person, "approved", self.books[desk])
        request = request_of_record(record)
        entity = self.policy.legal_entities[request.legal_entity]
        deadline = asyncio.get_running_loop().time() + 30
        return await self.desks[desk].decide_again(request, entity, said, kept, deadline)

    async def refuse(self, record: DecisionRecord, person: str = "amir") -> None:
        """A person says no."""
        etag, said = await self._said(record, person, "refused", self.book)
        declined = replace(record, decision=replace(record.decision, outcome="declined"), approval=said)
        await self.book.rewrite(declined, etag)

    async def _said(
        self, record: DecisionRecord, person: str, state: Literal["approved", "refused"], book: CreditBook
    ) -> tuple[str, ApprovalView]:
        kept = await book.read_record(record.decision.id)
        assert kept.record is not None and kept.record.approval is not None
        if kept.record.approval.state != "open":
            raise Conflict(f"it is {kept.record.approval.state} already")
        said = replace(kept.record.approval, state=state, decided_by=person, decided_at=self.clock.now, via="api")
        return kept.record_etag, said

    async def holds(self) -> dict[str, str]:
        """State of every hold that stands in the live part of the book, by request."""
        return {one.hold.decision.request_id: one.hold.state for one in await self.book.live_holds(f"1000|{ACCOUNT}")}


def checkout(
    *,
    tables: tuple[Table, Table] | None = None,
    policy: CreditPolicy | None = None,
    workers: int = 2,
    wrap: Callable[[Table], Table] = lambda table: table,
    **truth: Any,
) -> Checkout:
    """A shop with `workers` desks. `wrap` puts something between the book and its tables."""
    clock = SetClock()
    stands = Truth(clock, **truth)
    credit, requests = tables or (MemoryTable(), MemoryTable())
    policy = policy or shipped_policy().credit
    books = [
        CreditBook(wrap(credit), wrap(requests), policy, clock=clock, counters=Counters(), digest="p")
        for _ in range(workers)
    ]
    return Checkout(stands, clock, policy, credit, requests, [CheckDesk(one, stands) for one in books], books)


def request(
    number: str,
    amount: str | int = 100,
    *,
    on_account: str | int | None = None,
    account: str = ACCOUNT,
    replaces: str = "",
    currency: str = GBP,
    digest: str = "",
    legal_entity: str = "GB01",
    segment: str = "1000",
) -> CheckRequest:
    total = Money(Decimal(amount), currency)
    return CheckRequest(
        request_id=number,
        digest=digest or f"{amount}|{account}|{replaces}",
        legal_entity=legal_entity,
        segment=segment,
        account=account,
        channel="web",
        currency=currency,
        lines=(CheckLine("TEA", Decimal(1), total.amount),),
        total=total,
        on_account=total if on_account is None else Money(Decimal(on_account), currency),
        requested_by="bea@buyer.example",
        replaces=replaces,
        correlation_id="c0ffee",
    )


def told(kind: str, key: str, event: str = "") -> Change:
    """An order event as the book's cause."""
    at = SetClock().now
    return Change(event or f"{kind}-{key}", "commerce", "order", f"order.{kind}", "GB01", key, at, at, "c0ffee")
