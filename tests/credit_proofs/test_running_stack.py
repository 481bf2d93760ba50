"""Two workers, real Azurite, the simulated SAP on its bad days: nobody overspends, and nobody is refused for nothing.

Everything goes through the fixed surfaces; what a decision was based on is read from its own record. Accounts of risk
class S hold for a few seconds only, so that expiry is part of it; A's hold for half an hour.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox.day.systems import systems_of
from tests.end_to_end.conftest import Outside, Reply, two_workers
from tests.end_to_end.orders import check, event, on_account, open_account

pytestmark = [pytest.mark.prove, pytest.mark.timeout(900)]

CHECKS = "/api/credit-checks"
HOLD_SECONDS = 4
POLICY = f"credit: {{risk_classes: {{S: {{hold_seconds: {HOLD_SECONDS}}}}}}}\n"
CALLS = {
    "account": "/CreditManagementAccount",
    "partner": "/CreditMgmtBusinessPartner",
    "open orders": "/A_SalesOrder(\\?|$)",
    "receivables": "/A_OperationalAcctgDocItemCube",
    "simulation": "/A_SalesOrderSimulation",
}
KINDS: dict[str, dict[str, Any]] = {
    "latency": {"seconds": 1.0},
    "status": {"status": 500},
    "reset": {},
    "timeout_before": {},
    "timeout_after": {},
    "timeout_late": {"appliesAfter": 1},
    "stale_read": {"seconds": 3},
}
_PRICES = {"prices": {"TEA": "10.00"}}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A stack of two workers, and its stack.json."""
    folder = tmp_path_factory.mktemp("stack")
    overlay = folder / "policy.yaml"
    overlay.write_text(POLICY)
    with two_workers(folder, "--overlay", str(overlay)) as path:
        yield path


@pytest.fixture
async def outside(told: Path) -> AsyncIterator[Outside]:
    described = json.loads(told.read_bytes())
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60), connector=connector) as session:
        seen = Outside(told, described, session, systems_of(described, session))
        await seen.control("sap", "PUT", "periods/GB01/2026-11", {"open": True})
        yield seen
        await seen.control("sap", "DELETE", "faults")
        await seen.control("sap", "PUT", "exposure-lag", {"seconds": 0})


async def ask(outside: Outside, request: dict[str, Any], worker: int) -> dict[str, Any]:
    """The answer, asked again as a checkout asks again after a 503."""
    for _ in range(10):
        reply = await outside.ask("POST", CHECKS, request, worker=worker)
        if reply.status != 503:
            assert reply.status == 200, (reply.status, reply.body)
            return dict(reply.json)
    raise AssertionError("ten times 503")


async def at_once(outside: Outside, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list(await asyncio.gather(*(ask(outside, one, number % 2) for number, one in enumerate(requests))))


def fits(answer: dict[str, Any], amount: Decimal) -> bool:
    """Whether a grant stays within the limit by the figures it was taken on."""
    credit = answer["credit"]
    return Decimal(credit["exposure"]) + Decimal(credit["held"]) + amount <= Decimal(credit["limit"])


def amount_of(answer: dict[str, Any]) -> Decimal:
    return Decimal(answer["hold"]["amount"]) if answer["hold"] else Decimal(0)


def worth(request_id: str, account: str, total: Decimal) -> dict[str, Any]:
    """A check of any amount, as a charge without lines."""
    return check(request_id, account, lines=[], tax="0", charges=[{"code": "ALL", "amount": str(total)}],
                 total=str(total))  # fmt: skip


@pytest.mark.parametrize("turn", range(6))
async def test_64_at_once_on_an_account_that_fits_10_are_approved_10_times(outside: Outside, turn: int) -> None:
    account = f"STORM{turn}"
    await open_account(outside, account, "1200", **_PRICES)
    requests = [check(f"storm-{turn}-{number}", account) for number in range(64)]
    answers = await at_once(outside, requests)
    outcomes = [answer["outcome"] for answer in answers]
    assert outcomes.count("approved") == 10, outcomes
    assert outcomes.count("approval_required") == 54
    assert all(fits(answer, Decimal(120)) for answer in answers if answer["outcome"] == "approved")
    again = await at_once(outside, requests[::-1])
    assert [one["decisionId"] for one in again[::-1]] == [one["decisionId"] for one in answers]
    assert [one["outcome"] for one in again[::-1]] == outcomes


@dataclass
class Traffic:
    """What goes on around one account: checkouts, orders, releases, payments; seeded."""

    outside: Outside
    account: str
    seed: int
    numbers: Iterator[int] = field(default_factory=itertools.count)
    granted: list[dict[str, Any]] = field(default_factory=list)
    confirmed: list[str] = field(default_factory=list)
    refused: int = 0

    async def shopper(self, number: int, rounds: int) -> None:
        chance = random.Random(self.seed * 100 + number)
        for _ in range(rounds):
            key = f"{self.account}-{next(self.numbers)}"
            answer = await ask(self.outside, check(key, self.account), chance.randrange(2))
            if answer["outcome"] != "approved":
                self.refused += 1
                await asyncio.sleep(chance.random() / 4)
                continue
            self.granted.append(answer)
            await self._go_on(chance, key, answer["decisionId"])

    async def _go_on(self, chance: random.Random, key: str, decision: str) -> None:
        what = chance.random()
        if what < 0.6:
            order = f"S-{key}"
            sent = event("confirmed", on_account(order, self.account), order, decisionId=decision)
            assert (await self.outside.ask("POST", "/api/webhooks/commerce", sent)).status == 202
            self.confirmed.append(decision)
        elif what < 0.85:
            reply = await self.outside.ask("POST", f"{CHECKS}/{decision}/release", worker=chance.randrange(2))
            assert reply.status == 200, reply.body

    async def payer(self, rounds: int) -> None:
        chance = random.Random(self.seed)
        for _ in range(rounds):
            await asyncio.sleep(0.7)
            if sum(await owed(self.outside, self.account)) >= 120:
                amount = {"account": self.account, "amount": str(120 * chance.randint(1, 2))}
                await self.outside.control("sap", "POST", "payments", amount)

    async def sweeper(self, rounds: int) -> None:
        for _ in range(rounds):
            await asyncio.sleep(1.5)
            await fire(self.outside, "credit_hold_sweep")


async def owed(outside: Outside, account: str) -> list[Decimal]:
    state = await outside.control("sap", "GET", "state")
    return [Decimal(str(one["amount"])) for one in state["open_items"] if one["customer"] == account]


@pytest.mark.parametrize(("seed", "lag"), [(1, 0), (2, 2), (3, 4)])
async def test_amid_postings_releases_expiries_and_a_lagging_figure_every_grant_fits_and_in_the_end_nothing_is_lost(
    outside: Outside, seed: int, lag: int
) -> None:
    traffic = Traffic(outside, f"TRAFFIC{seed}", seed)
    await open_account(outside, traffic.account, "1200", riskClass="S", **_PRICES)
    await outside.control("sap", "PUT", "exposure-lag", {"seconds": lag})
    await asyncio.gather(*(traffic.shopper(number, 16) for number in range(8)), traffic.payer(8), traffic.sweeper(4))
    assert traffic.granted and traffic.refused, "the account was never tight: nothing was shown"
    assert all(fits(answer, amount_of(answer)) for answer in traffic.granted)
    await asyncio.sleep(HOLD_SECONDS + lag)
    await outside.sweep()
    debt = sum(await owed(outside, traffic.account), Decimal(0))
    assert debt <= 1200
    left = Decimal(1200) - debt
    over = await ask(outside, worth(f"over-{seed}", traffic.account, left + Decimal("0.01")), 0)
    assert over["outcome"] == "approval_required", (over["credit"], debt)
    if left:
        last = await ask(outside, worth(f"last-{seed}", traffic.account, left), 1)
        assert last["outcome"] == "approved", (last["credit"], debt)
    for decision in traffic.confirmed:
        kept = (await outside.ask("GET", f"{CHECKS}/{decision}")).json["hold"]
        assert kept["state"] in {"posted", "consumed"}, (decision, kept)


async def test_under_every_kind_of_fault_on_every_call_nobody_overspends_and_no_hold_leaks(outside: Outside) -> None:
    told: list[str] = []
    firm: list[str] = []
    trials = [one for one in itertools.product(CALLS, KINDS) if one != ("simulation", "stale_read")]  # that is no read
    accounts = [f"FAULT{number}" for number in range(len(trials))]
    for account in accounts:
        await open_account(outside, account, "360", riskClass="S", **_PRICES)
    for number, (account, (call, kind)) in enumerate(zip(accounts, trials, strict=True)):
        requests = [check(f"fault-{number}-{one}", account) for one in range(8)]
        match = {"path": CALLS[call]}
        fault = {"match": match, "kind": kind, "probability": 0.6, "seed": number} | KINDS[kind]
        await outside.control("sap", "POST", "faults", fault)
        answers = await at_once(outside, requests)
        again = await at_once(outside, requests[::-1])
        assert [(one["decisionId"], one["outcome"]) for one in again[::-1]] == [
            (one["decisionId"], one["outcome"]) for one in answers
        ], (call, kind)
        granted = [one for one in answers if one["outcome"] == "approved"]
        assert len(granted) <= 3, (call, kind)
        assert all(fits(one, Decimal(120)) for one in granted), (call, kind)
        for one in answers:
            if one["outcome"] == "referred":
                assert any(reason["code"] == "sap_unavailable" for reason in one["reasons"]), (call, kind, one)
        if granted:  # its order is confirmed while SAP is still away
            order = f"S-FAULT{number}"
            sent = event("confirmed", on_account(order, account), order, decisionId=granted[0]["decisionId"])
            assert (await outside.ask("POST", "/api/webhooks/commerce", sent)).status == 202
            firm.append(granted[0]["decisionId"])
        await outside.control("sap", "DELETE", "faults")
        live = await ask(outside, check(f"fault-{number}-live", account), number % 2)
        assert live["outcome"] in {"approved", "approval_required"}, (call, kind, live["reasons"])
        told.append(f"{call}, {kind}: {[one['outcome'] for one in answers].count('referred')} referred")
    assert any("8 referred" in line or "7 referred" in line for line in told), told
    await asyncio.sleep(HOLD_SECONDS)
    await outside.sweep()
    states = await asyncio.gather(*(outside.ask("GET", f"{CHECKS}/{decision}") for decision in firm))
    assert {reply.json["hold"]["state"] for reply in states} <= {"firm", "posted", "consumed"}
    for account in accounts:
        left = Decimal(360) - sum(await owed(outside, account), Decimal(0))
        last = await ask(outside, worth(f"{account}-last", account, left), 0)
        assert last["outcome"] == "approved", (account, last["credit"], left)


async def test_while_sap_is_away_an_answer_comes_by_policy_and_says_so_and_the_first_one_after_is_live(
    outside: Outside,
) -> None:
    await open_account(outside, "AWAY", "10000", riskClass="S", **_PRICES)
    first = await ask(outside, check("away-first", "AWAY"), 0)
    order = on_account("S-AWAY", "AWAY")
    sent = event("confirmed", order, "S-AWAY", decisionId=first["decisionId"])
    await outside.control("sap", "POST", "faults", {"match": {}, "kind": "status", "status": 500})
    assert (await outside.ask("POST", "/api/webhooks/commerce", sent)).status == 202
    for number in range(30):  # more than enough for every circuit to open, and to stay open for its longest
        answer = await ask(outside, check(f"away-{number}", "AWAY"), number % 2)
        assert (answer["outcome"], answer["hold"]) == ("referred", None)
        assert answer["reasons"][0]["code"] == "sap_unavailable"
    await asyncio.sleep(HOLD_SECONDS)
    for _ in range(3):
        await asyncio.gather(*(fire(outside, name) for name in ("credit_hold_sweep", "parked_sweep")))
    kept = (await outside.ask("GET", f"{CHECKS}/{first['decisionId']}")).json["hold"]
    assert kept["state"] == "firm", kept
    await outside.control("sap", "DELETE", "faults")
    for worker in (0, 1):
        live = await ask(outside, check(f"away-live-{worker}", "AWAY"), worker)
        assert live["outcome"] == "approved", live["reasons"]
        assert Decimal(live["credit"]["held"]) + Decimal(live["credit"]["exposure"]) >= 120


async def test_an_order_that_comes_after_its_hold_expired_is_a_case_and_takes_no_credit(outside: Outside) -> None:
    await open_account(outside, "LATE", "120", riskClass="S", **_PRICES)
    first = await ask(outside, check("late-1", "LATE"), 0)
    await asyncio.sleep(HOLD_SECONDS)
    second = await ask(outside, check("late-2", "LATE"), 1)
    assert (first["outcome"], second["outcome"]) == ("approved", "approved"), "its credit went to the next"
    sent = event("confirmed", on_account("S-LATE", "LATE"), "S-LATE", decisionId=first["decisionId"])
    assert (await outside.ask("POST", "/api/webhooks/commerce", sent)).status == 202
    await outside.rest()
    assert await outside.cases_about("GB01/S-LATE") or await outside.cases_about("S-LATE")
    assert await outside.documents_of("S-LATE") == []
    told = (await outside.ask("GET", f"{CHECKS}/{first['decisionId']}")).json
    assert told["hold"]["state"] == "released"


async def fire(outside: Outside, timer: str) -> Reply:
    key = outside.described["functions"]["keys"]["master"]
    return await outside.ask("POST", f"/admin/functions/{timer}?wait", {"input": ""}, headers={"x-functions-key": key})
