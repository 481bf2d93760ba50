"""What happens in the proofs: histories of orders, the faults that strike them, and what must hold afterwards.

A run is named by its history, its faults (or its seed) and nothing else: `python -m tests.ledger_proofs` replays it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.broker.message import split_batch
from sandbox.sap import state_view
from shared.domain.changes import Change, decode
from shared.stores.claims import claims_in
from shared.stores.records import Evidence
from tests.hub import shipped_policy
from tests.ledger.rig import confirmed, event, line, sales_order
from tests.ledger_proofs.virtual_time import VirtualLoop, run
from tests.ledger_proofs.world import (
    CREDIT,
    LEDGER,
    Nature,
    Plan,
    World,
    by_sales_order,
    no_faults,
    one_by_one,
    world,
)

FAULTS = (
    "crash_before",
    "crash_after",
    "duplicate",
    "duplicate_renamed",
    "timeout_applied",
    "timeout_late",
    "timeout_lost",
    "429",
    "503",
    "reset",
    "stale_read",
    "two_workers",
    "lock_lost",
    "lock_lost_long",
)
"""What may go wrong at a place. A duplicate comes once as the same message (past the bus's window) and once under
another event id; a lock is lost for longer than a lock lasts, and for longer than a lease lasts."""
POSTING = "sap POST journalentrycreaterequestconfi"
PLACING = "sap POST API_SALES_ORDER_SRV"
BEGINNINGS: dict[str, str] = {
    "clean": "",
    "posted without an answer": "timeout_applied",
    "posted after the first look": "timeout_late",
    "never posted": "timeout_lost",
}
"""How a run begins: what befalls the first sending. Each leads over places of its own (the look, the wake-up, the
second sending)."""
Tell = Callable[[World], Awaitable[None]]


def can_strike(fault: str, place: str, nature: Nature) -> bool:
    """Whether a fault means anything here.

    A read that was lost and a read whose answer was lost are the same thing. A partial return under another event id
    is another return by contract, so only what concerns the whole order has a twin.
    """
    if fault == "duplicate_renamed":
        return place.startswith("order.confirmed")
    return not (nature.endswith("-read") and fault in ("timeout_applied", "timeout_late"))


@dataclass
class Ended:
    """What a run left behind, and what is wrong with it."""

    crossed: list[tuple[str, Nature]]
    struck: list[tuple[str, str]]
    documents: Counter[tuple[str, str, str]]
    wrong: list[str]
    seconds: float
    followed: set[str] = field(default_factory=set)


async def a_sale(at: World) -> None:
    """An order on account; while it posts, three of its goods come back and one of another line is cancelled."""
    order = sales_order(
        lines=[line("1", "10", "100.00", "20.00"), line("2", "4", "40.00", "8.00")], tenders=[("4", "168.00")]
    )
    decision = await at.check(order)
    await at.tell(confirmed(order, decision=decision, at=at.now()))
    await asyncio.sleep(0.5)
    await at.tell(event("returned", lines=[("1", "3")], at=at.now()))
    await at.tell(event("cancelled", lines=[("2", "1")], at=at.now()))


SALE = Counter({("S-1", "invoice", "168.00"): 1, ("S-1", "return", "-36.00"): 1, ("S-1", "cancellation", "-12.00"): 1})


def play(
    tell: Tell,
    expected: Counter[tuple[str, str, str]] | None,
    *,
    plan: Plan = no_faults,
    seed: int = 0,
    by_order: bool = False,
) -> Ended:
    """Run one history to its end and check everything; `expected` None: only what holds for every history.

    `by_order`: what is on account is posted by sales order, and SAP bills what is left open at the end.
    """

    async def history(loop: VirtualLoop) -> Ended:
        async with world(loop, seed=seed, plan=plan, policy=by_sales_order() if by_order else None) as at:
            faults: list[str] = []
            loop.set_exception_handler(lambda _, context: faults.append(str(context.get("exception") or context)))
            await tell(at)
            try:
                await at.come_to_rest()
                while await at.have_cases_replayed():
                    await at.come_to_rest()
            except AssertionError as error:
                faults.append(str(error))
            at.run_billing()
            documents = documents_of(at)
            wrong = [*faults, *await violations(at)]
            if expected is not None and documents != expected:
                wrong.append(f"documents: {dict(documents - expected)} too many, {dict(expected - documents)} missing")
            return Ended(at.crossed, at.struck, documents, wrong, loop.time())

    logging.disable(logging.CRITICAL)  # the product says loudly what goes wrong; here everything does
    try:
        return run(history)
    finally:
        logging.disable(logging.NOTSET)


def documents_of(at: World) -> Counter[tuple[str, str, str]]:
    """The documents that stand in SAP: order, kind, amount."""
    shown = [state_view.document(at.sap.world, one) for one in at.sap.world.documents.values()]
    return Counter((str(one["order"]), str(one["kind"]), str(one["gross"])) for one in shown if not one["reversed"])


async def violations(at: World) -> list[str]:
    """Everything that may never be so once a history has come to rest, whatever its faults were."""
    wrong: list[str] = []
    documents = [one for one in at.sap.world.documents.values() if one.reference]
    orders = {
        str(one["SalesOrder"]): str(one["AccountingDocExternalReference"]) for one in at.sap.world.sales_orders.values()
    }
    for what, keys in (("posted", [one.reference for one in documents]), ("placed", list(orders.values()))):
        if doubled := [key for key, count in Counter(keys).items() if count > 1]:
            wrong.append(f"{what} more than once: {doubled}")
    if unbilled := set(orders.values()) - {one.reference for one in documents if one.type == "RV"}:
        wrong.append(f"placed and never billed: {unbilled}")
    for subscription, queue in at.topic.subscriptions.items():
        assert queue.dead_letters is not None
        if dead := queue.dead_letters.counts().active:
            wrong.append(f"{dead} dead letters of {subscription}")
    if cases := await at.timer.hub.cases.list(state="open"):
        wrong.append(f"open cases: {[(case.key, case.code) for case in cases]}")
    left = [
        f"{partition} {key}" for partition, key in at.tables["records"].rows if key.startswith(("0|park", "0|wait"))
    ]
    if left:
        wrong.append(f"still parked: {left}")
    placed = {key: number for number, key in orders.items()}
    wrong += await _by_key(at, placed | {one.reference: one.number for one in documents if one.type != "RV"})
    wrong += _of_the_bus(at, {one.reference for one in documents})
    wrong += await _of_the_holds(at)
    return wrong


async def _by_key(at: World, numbers: dict[str, str]) -> list[str]:
    """Per key: claims settled with the document that stands, every message with its evidence, in the order told."""
    wrong: list[str] = []
    told: dict[str, list[Change]] = defaultdict(list)
    for change in at.told:
        told[change.business_key].append(change)
    records = at.timer.hub.records
    for key, changes in told.items():
        claims = claims_in(await records.read(key))
        wrong += [f"{key}: claim {one.key} of {one.kind} is {one.state}" for one in claims if not one.is_settled]
        wrong += [
            f"{key}: claim {one.key} says {one.document}, SAP has {numbers.get(one.key)}"
            for one in claims
            if one.is_settled and one.document != numbers.get(one.key)
        ]
        evidence = [one for one in await records.read_evidence(key) if one.flow == LEDGER]
        by_message: dict[str, list[Evidence]] = defaultdict(list)
        for one in evidence:
            by_message[one.message_id].append(one)
        for change in changes:
            if not by_message[change.message_id]:
                wrong.append(f"{key}: nothing is remembered of {change.kind}")
        firsts = [min(one.decided_at for one in by_message[c.message_id]) for c in changes if by_message[c.message_id]]
        if firsts != sorted(firsts):
            wrong.append(f"{key}: decided out of order: {[change.kind for change in changes]} at {firsts}")
        in_turn = sorted(claims, key=lambda claim: _place(claim.kind, claim.event, changes))
        posted = [list(numbers).index(claim.key) for claim in in_turn if claim.key in numbers]
        if posted != sorted(posted):
            wrong.append(f"{key}: posted out of order: {posted}")
    return wrong


def _place(kind: str, event_id: str, changes: Sequence[Change]) -> int:
    kinds = {"invoice": "order.confirmed", "return": "order.returned", "cancellation": "order.cancelled"}
    ids = [change.id for change in changes]
    if event_id.removesuffix("-again") in ids:
        return ids.index(event_id.removesuffix("-again"))
    return next((index for index, change in enumerate(changes) if change.kind == kinds[kind]), len(changes))


def _of_the_bus(at: World, references: set[str]) -> list[str]:
    """Each document was announced, every time with the same content; no other flow heard a wake-up of the ledger."""
    wrong: list[str] = []
    heard = at.topic.subscriptions["crm_history_update"].peek(1, 100_000)
    announced: dict[str, set[str]] = defaultdict(set)
    for message in heard:
        change = decode(split_batch(message.content.bare)[0])
        if message.content.application_properties.get("retryFor") == LEDGER or change.kind == "wake-up":
            wrong.append("a wake-up of the ledger reached crm_history_update")
        if change.kind == "order.posted":
            announced[change.data["posting"]["key"]].add(change.message_id)
    for change in at.published:
        announced[change.data["posting"]["key"]].add(change.message_id)
    if missing := references - announced.keys():
        wrong.append(f"never announced: {missing}")
    if forged := announced.keys() - references:
        wrong.append(f"announced and not posted: {forged}")
    wrong += [f"announced with {len(ids)} contents: {key}" for key, ids in announced.items() if len(ids) > 1]
    return wrong


async def _of_the_holds(at: World) -> list[str]:
    """A hold whose order was posted is posted, by that document, once."""
    wrong: list[str] = []
    book = at.timer.hub.credit_book
    for change in at.told:
        decision = change.data.get("decisionId")
        if change.kind != "order.confirmed" or not decision:
            continue
        claims = claims_in(await at.timer.hub.records.read(change.business_key))
        invoices = [claim.key for claim in claims if claim.kind == "invoice"]
        kept = await book.read_record(decision)
        assert kept.held is not None
        hold, posted = kept.held.hold, [step for step in kept.steps if step.kind == "posted"]
        if [posting.key for posting in hold.postings] != invoices or len(posted) != len(invoices):
            wrong.append(
                f"{change.key}: the hold is {hold.state} by {len(hold.postings)} postings, {len(posted)} steps"
            )
        if invoices and hold.state not in ("posted", "consumed"):  # consumed: a later checkout saw it in SAP's figure
            wrong.append(f"{change.key}: posted, but its hold is {hold.state}")
    return wrong


def strike(beginning: str, place: str, fault: str, *, by_order: bool = False) -> Ended:
    """The sale with one fault at one place, on top of its beginning."""
    plan = one_by_one(*_begun(beginning, by_order), (place, fault))
    return play(a_sale, SALE, plan=plan, by_order=by_order)


def _begun(beginning: str, by_order: bool) -> tuple[tuple[str, str], ...]:
    fault = BEGINNINGS[beginning]
    return ((f"order.confirmed: {PLACING if by_order else POSTING} #1", fault),) if fault else ()


def places_of(beginning: str, *, by_order: bool = False) -> list[tuple[str, Nature]]:
    """Every place that the sale crosses, found by crossing them."""
    begun = _begun(beginning, by_order)
    ended = play(a_sale, SALE, plan=one_by_one(*begun), by_order=by_order)
    assert not ended.wrong, ended.wrong
    struck = {place for place, _ in begun}
    return [(place, nature) for place, nature in ended.crossed if place not in struck]


def replay_command(*arguments: str) -> str:
    return "replay: python -m tests.ledger_proofs " + " ".join(f'"{one}"' if " " in one else one for one in arguments)


def strike_what_sap_taxes_otherwise(*faults: tuple[str, str]) -> tuple[list[tuple[str, str]], list[str]]:
    """A sale that SAP computes otherwise, with faults at places: what was struck, and what is wrong in the end.

    However often it is tried, and also by a billing run, it has to end as one blocked order, unbilled, and one case.
    """
    codes = shipped_policy().ledger.entity("GB01").tax_codes
    swapped = {"1": "2", "2": "1"}
    wrongly = tuple(
        code.model_copy(update={"tax_classification": swapped.get(str(code.tax_classification), "0")}) for code in codes
    )

    async def history(loop: VirtualLoop) -> tuple[list[tuple[str, str]], list[str]]:
        async with world(loop, plan=one_by_one(*faults), policy=by_sales_order(tax_codes=wrongly)) as at:
            order = sales_order(lines=[line("1", "10", "100.00", "20.00")], tenders=[("4", "120.00")])
            await at.tell(confirmed(order, decision=await at.check(order), at=at.now()))
            await at.come_to_rest()
            while await at.have_cases_replayed():
                await at.come_to_rest()
            at.run_billing()
            placed = [one["HeaderBillingBlockReason"] for one in at.sap.world.sales_orders.values()]
            cases = [case.code for case in await at.timer.hub.cases.list(state="open")]
            wrong = [] if placed == ["03"] else [f"sales orders by their block: {placed}"]
            wrong += [] if cases == ["sap_computed_otherwise"] else [f"open cases: {cases}"]
            wrong += [f"billed or posted: {len(at.sap.world.documents)}"] if documents_of(at) else []
            wrong += [f"announced: {len(at.published)}"] if at.published else []
            return at.struck, wrong

    logging.disable(logging.CRITICAL)
    try:
        return run(history)
    finally:
        logging.disable(logging.NOTSET)


# --- random histories ------------------------------------------------------------------------------------------------


def random_run(seed: int, *, orders: int = 5, by_order: bool = False) -> Ended:
    """Several orders, returns and cancellations at once, and a dozen faults wherever chance puts them.

    `by_order`: posted by sales order what is on account, with a billing run wherever chance puts one.
    """
    chance = random.Random(seed)
    budget = chance.randrange(3, 13)
    struck = 0

    def plan(place: str, nature: Nature) -> str:
        nonlocal struck
        if struck >= budget or chance.random() > 0.12:
            return ""
        struck += 1
        return chance.choice([fault for fault in FAULTS if can_strike(fault, place, nature)])

    expected: Counter[tuple[str, str, str]] = Counter()

    async def tell(at: World) -> None:
        for number in range(orders):
            await _random_order(at, f"S-{number + 1}", chance, expected)
            if by_order and chance.random() < 0.4:
                at.run_billing()

    return play(tell, expected, plan=plan, seed=seed, by_order=by_order)


async def _random_order(at: World, number: str, chance: random.Random, expected: Counter[tuple[str, str, str]]) -> None:
    """One order and what becomes of it; fills in the documents that have to stand in the end."""
    quantities = {str(n): chance.randrange(2, 9) for n in range(1, chance.randrange(2, 5))}
    lines = [line(one, str(q), f"{q * 10}.00", f"{q * 2}.00") for one, q in quantities.items()]
    total = sum(q * 12 for q in quantities.values())
    on_account = chance.random() < 0.6
    order = sales_order(
        number,
        customer=f"C-{chance.randrange(1, 4)}",
        lines=lines,
        tenders=[("4" if on_account else "3", f"{total}.00")],
    )
    decision = await at.check(order) if on_account else None
    await at.tell(confirmed(order, decision=decision, at=at.now()))
    expected[(number, "invoice", f"{total}.00")] += 1
    left = dict(quantities)
    for turn in range(chance.randrange(0, 4)):
        await asyncio.sleep(chance.choice([0.0, 0.01, 0.3, 100.0]))
        line_id = chance.choice(list(left))
        if not left[line_id]:
            continue
        taken = chance.randrange(1, left[line_id] + 1)
        left[line_id] -= taken
        kind = chance.choice(["returned", "cancelled"])
        await at.tell(
            event(kind, number, lines=[(line_id, str(taken))], event_id=f"{kind}-{number}-{turn}", at=at.now())
        )
        document = "return" if kind == "returned" else "cancellation"
        expected[(number, document, f"-{taken * 12}.00")] += 1


def describe(ended: Ended) -> dict[str, Any]:
    return {
        "struck": ended.struck,
        "documents": dict(ended.documents),
        "wrong": ended.wrong,
        "hours": ended.seconds / 3600,
    }


__all__ = ["BEGINNINGS", "CREDIT", "FAULTS", "SALE", "Ended", "a_sale", "play", "random_run", "strike"]
