"""Replaying a day: seed what is known before it, then let everything happen, each act after those it follows."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from sandbox.day.orders import JsonObject
from sandbox.day.plan import (
    Account,
    Act,
    Cancel,
    Checkout,
    Day,
    Deliver,
    MoveGoods,
    Return,
    SetPrice,
    SetStock,
    Ship,
    Stock,
)
from sandbox.day.systems import CallRefused, Systems
from sandbox.kit.entities import legal_entities

IN_FLIGHT: Final = 16
_SEEDS_IN_FLIGHT: Final = 8

type Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Done:
    """One act as it went: when it was sent and answered (aware UTC), how long that took, and the answer."""

    act: Act
    sent_at: datetime
    answered_at: datetime
    milliseconds: float
    status: int
    answer: object


@dataclass(slots=True)
class Replayed:
    """Every act by its name."""

    done: dict[str, Done] = field(default_factory=dict)

    def of(self, name: str) -> Done:
        """The act of that name."""
        return self.done[name]


async def seed(day: Day, systems: Systems, progress: Progress) -> None:
    """Open the periods, make accounts and stock known. Nothing of it is part of the day."""
    for legal_entity, period in sorted(day.periods):
        await systems.call("sap", "PUT", f"/__sim/periods/{legal_entity}/{period}", {"open": True})

    async def account(given: Account) -> None:
        await systems.call("sap", "PUT", f"/__sim/credit-accounts/{given.number}", _credit_account(given))

    async def stock(given: Stock) -> None:
        await systems.call("sap", "PUT", _stock_path(given), {"quantity": given.quantity, "unit": given.unit})

    await _all("accounts", day.accounts, account, progress)
    await _all("stock", day.stock, stock, progress)


async def replay(day: Day, systems: Systems, progress: Progress, *, in_flight: int = IN_FLIGHT) -> Replayed:
    """Perform every act. A refusal of the replay's own calls is a fault of the stack and ends it (CallRefused)."""
    if day.disorder is not None:
        for system in ("commerce", "sap"):
            await systems.call(system, "PUT", "/__sim/events", day.disorder)
    over = {act.name: asyncio.Event() for act in day.acts}
    replayed = Replayed()
    places = asyncio.Semaphore(in_flight)

    async def perform(act: Act) -> None:
        for name in act.after:
            await over[name].wait()
        async with places:
            replayed.done[act.name] = await _perform(act, systems)
        over[act.name].set()
        progress("replay", len(replayed.done), len(day.acts))

    await _bounded(day.acts, perform, limit=in_flight * 4)
    return replayed


async def _perform(act: Act, systems: Systems) -> Done:
    sent_at, started = datetime.now(UTC), time.perf_counter()
    status, answer = await _send(act, systems)
    milliseconds = (time.perf_counter() - started) * 1000
    return Done(act, sent_at, datetime.now(UTC), milliseconds, status, answer)


async def _send(act: Act, systems: Systems) -> tuple[int, object]:
    match act:
        case Checkout(order=order):
            sold: JsonObject = {"legalEntity": order.entity.code, "order": order.as_sales_order()}
            return await systems.call("commerce", "POST", "/__sim/checkouts", sold)
        case Return(order=order):
            returned: JsonObject = {"legalEntity": order.entity.code, "order": order.as_sales_order()}
            return await systems.call("commerce", "POST", "/__sim/returns", returned)
        case Ship(legal_entity=entity, number=number):
            shipped: JsonObject = {"legalEntity": entity, "orderNumber": number}
            return await systems.call("commerce", "POST", "/__sim/shipments", shipped)
        case Cancel(before_order=True):
            return await systems.call("functions", "POST", "/api/webhooks/commerce", _cancellation(act))
        case Cancel(legal_entity=entity, number=number):
            cancelled: JsonObject = {"legalEntity": entity, "orderNumber": number}
            return await systems.call("commerce", "POST", "/__sim/cancellations", cancelled)
        case Deliver(envelope=envelope):
            refusals = {200, 202, *range(400, 500)}
            return await systems.call("functions", "POST", "/api/webhooks/commerce", envelope, accept=refusals)
        case SetStock(stock=stock):
            return await systems.call(
                "sap", "PUT", _stock_path(stock), {"quantity": stock.quantity, "unit": stock.unit}
            )
        case MoveGoods(stock=stock):
            moved: JsonObject = {"plant": stock.plant, "material": stock.product, "quantity": stock.quantity}
            return await systems.call("sap", "POST", "/__sim/goods-movements", moved)
        case SetPrice():
            price: JsonObject = {
                "price": act.price,
                "currency": act.currency,
                "from": act.valid_from,
                "to": act.valid_to,
            }
            return await systems.call("sap", "PUT", f"/__sim/conditions/{act.account}/{act.product}", price)
        case _:
            raise TypeError(f"{type(act).__name__} is no act of a day")


def _cancellation(act: Cancel) -> dict[str, object]:
    """The event as Commerce would send it: this one arrives before the order's own, which Commerce cannot play."""
    return {
        "type": "order.cancelled",
        "id": f"event-{act.name.replace(' ', '-')}",
        "orderNumber": act.number,
        "legalEntity": act.legal_entity,
        "occurredAt": act.occurred_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "order": None,
        "decisionId": None,
    }


def _credit_account(account: Account) -> dict[str, object]:
    return {
        "legalEntity": account.legal_entity,
        "limit": account.limit,
        "currency": account.currency,
        "exposure": account.exposure,
        "blocked": account.blocked,
        "riskClass": account.risk_class,
        "prices": account.prices,
        "overdueDays": account.overdue_days,
    }


def _stock_path(stock: Stock) -> str:
    assert stock.plant in {plant for entity in legal_entities().values() for plant in entity.plants}, stock.plant
    return f"/__sim/stock/{stock.plant}/{quote(stock.product, safe='')}"


async def _all[T](name: str, things: Iterable[T], do: Callable[[T], Awaitable[None]], progress: Progress) -> None:
    given = list(things)
    done = 0

    async def one(thing: T) -> None:
        nonlocal done
        await do(thing)
        done += 1
        progress(name, done, len(given))

    await _bounded(given, one, limit=_SEEDS_IN_FLIGHT)


async def _bounded[T](things: Iterable[T], do: Callable[[T], Awaitable[None]], *, limit: int) -> None:
    """Run over everything with at most `limit` begun and not done, in order of beginning; a refusal ends all."""
    begun = asyncio.Semaphore(limit)

    async def one(thing: T) -> None:
        try:
            await do(thing)
        finally:
            begun.release()

    try:
        async with asyncio.TaskGroup() as group:
            for thing in things:
                await begun.acquire()
                group.create_task(one(thing))
    except* CallRefused as refused:
        raise _first(refused) from None


def _first(refused: BaseExceptionGroup[CallRefused]) -> CallRefused:
    first = refused.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
