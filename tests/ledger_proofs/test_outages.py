"""SAP away for two minutes, and an order that nobody can post: who waits, who does not, and what SAP sees of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import pytest

from sandbox.kit import exact_json
from shared.stores.claims import claims_in
from tests.ledger.rig import confirmed, event, line, sales_order
from tests.ledger_proofs.histories import documents_of, play, violations
from tests.ledger_proofs.virtual_time import VirtualLoop, run
from tests.ledger_proofs.world import LEDGER, World, world

OUTAGE_SECONDS = 120.0
_WORKERS = 2
_STATUS_503 = {"kind": "status", "status": 503, "match": {"path": "^/sap/"}}
_SILENCE = {"kind": "timeout_before", "match": {"path": "^/sap/"}}


@dataclass
class Seen:
    """What SAP was called with, by the second of the world's time, and what waited when it came back."""

    posted_before_return: int = 0
    dead_letters: int = 0
    while_away: int = 0
    by_second_after: Counter[int] = field(default_factory=Counter)


@pytest.mark.parametrize("fault", [_STATUS_503, _SILENCE], ids=["refuses", "is silent"])
def test_while_sap_is_away_for_two_minutes_orders_wait_and_then_all_post_in_order_without_a_stampede(
    fault: dict[str, object],
) -> None:
    orders, seen = 60, Seen()
    expected: Counter[tuple[str, str, str]] = Counter()

    async def tell(at: World) -> None:
        at.sap.faults.add(exact_json.dumps(fault))
        at.sap.calls.clear()
        for number in range(orders):
            name = f"S-{number}"
            await at.tell(confirmed(sales_order(name, lines=[line("1", "4", "40.00", "8.00")]), at=at.now()))
            expected[name, "invoice", "48.00"] += 1
            if number % 3 == 0:  # and a return behind it, that must not overtake it
                await at.tell(event("returned", name, lines=[("1", "1")], at=at.now()))
                expected[name, "return", "-12.00"] += 1
            await asyncio.sleep(1)
        await asyncio.sleep(OUTAGE_SECONDS - orders)
        seen.posted_before_return = sum(documents_of(at).values())
        dead = at.queue(LEDGER).dead_letters
        seen.dead_letters = 0 if dead is None else dead.counts().active
        seen.while_away = len(at.sap.calls)
        at.sap.faults.clear()
        back = at.loop.epoch()
        await at.come_to_rest()
        posts = [call for call in at.sap.calls if call.method == "POST" and call.time >= back]
        seen.by_second_after.update(int(call.time - back) for call in posts)

    ended = play(tell, expected)
    assert not ended.wrong
    assert (seen.posted_before_return, seen.dead_letters) == (0, 0)
    assert seen.while_away <= OUTAGE_SECONDS / 4, "the circuit lets a probe through now and then, not every order"
    assert max(seen.by_second_after.values()) <= sum(expected.values()) / 4, seen.by_second_after
    assert sum(seen.by_second_after.values()) <= sum(expected.values()) + 2 * _WORKERS


def _poisoned(orders: int, *, poison: int | None) -> tuple[float, Counter[str], list[str]]:
    """How long until all others stand, in the world's seconds; what became of the odd one."""

    async def history(loop: VirtualLoop) -> tuple[float, Counter[str], list[str]]:
        async with world(loop) as at:
            began = loop.time()
            for number in range(orders):
                charges = [("NOBODY-KNOWS", "1.00", "0.00")] if number == poison else []
                order = sales_order(f"S-{number}", charges=charges)
                await at.tell(confirmed(order, at=at.now()))
            wanted = orders - (poison is not None)
            while sum(documents_of(at).values()) < wanted:
                assert loop.time() - began < 3600, "others wait for the poison"
                await asyncio.sleep(0.25)
            took = loop.time() - began
            await at.come_to_rest()
            cases = [case.key for case in await at.timer.hub.cases.list(state="open")]
            dossiers = [await at.timer.hub.records.read(f"order|GB01|S-{number}") for number in range(orders)]
            claims: Counter[str] = Counter(claim.state for dossier in dossiers for claim in claims_in(dossier))
            wrong = [one for one in await violations(at) if not one.startswith(("open cases", "still parked"))]
            assert not wrong
            return took, claims, cases

    return run(history)


@pytest.mark.parametrize("orders", [100, pytest.param(1000, marks=pytest.mark.prove)])
def test_a_poison_order_delays_none_of_the_others(orders: int) -> None:
    undisturbed, _, none = _poisoned(orders, poison=None)
    took, claims, cases = _poisoned(orders, poison=orders // 3)
    assert (none, cases) == ([], [f"S-{orders // 3}"])
    assert claims == {"settled": orders - 1}
    assert took <= undisturbed + 1.0
