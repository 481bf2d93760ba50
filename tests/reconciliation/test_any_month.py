"""Any month that Commerce can have reconciles: sold, given back, called off in every way, nothing is left over.

What a person has to decide is a case and explained; everything else matches in three systems, to the last unit.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from shared.flows.order_to_ledger import order_to_ledger
from shared.flows.reconciliation import close_period, reconcile
from tests.ledger.rig import confirmed, event, line, sales_order
from tests.reconciliation.trading import PERIOD, into_history
from tests.systems import Systems, systems

ENTITIES = {"GB01": ("GBP", "0.01", "0.20"), "JP01": ("JPY", "1", "0.10"), "KW01": ("KWD", "0.001", "0.05")}
CHARGES = ("FREIGHT", "POSTAGE", "BANKCHARGE", "MARKETPLACE", "DISCOUNT", "VOUCHER", "ADJUSTMENT", "SAMPLE", "ROUNDING")


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Systems]:
    async with systems(monkeypatch) as running:
        yield running


class Shop:
    """A shop of one legal entity that does what a shop can do, as the seed says."""

    def __init__(self, world: Systems, legal_entity: str, seed: int) -> None:
        self.world, self.legal_entity, self.chance = world, legal_entity, random.Random(seed)
        self.currency, unit, self.rate = ENTITIES[legal_entity]
        self.unit, self.tax = Decimal(unit), Decimal(self.rate)
        self.sold: dict[str, dict[str, Decimal]] = {}
        self.lines: dict[str, dict[str, dict[str, Any]]] = {}

    def rounded(self, amount: Decimal) -> Decimal:
        return amount.quantize(self.unit, rounding=ROUND_HALF_UP)

    def line(self, number: str, quantity: int) -> dict[str, Any]:
        price = self.unit * self.chance.randint(1, 99_999)
        gift = self.chance.random() < 0.1
        rate = Decimal(0) if gift or self.chance.random() < 0.2 else self.tax
        net = Decimal(0) if self.chance.random() < 0.1 else self.rounded(price * quantity)
        return line(number, str(quantity), str(net), str(self.rounded(net * rate)), gift_card=gift)

    def charges(self) -> list[tuple[str, str, str]]:
        found = []
        for code in self.chance.sample(CHARGES, self.chance.choice([0, 0, 1, 2])):
            amount = self.rounded(self.unit * self.chance.randint(1, 500))
            amount = -amount if code in {"DISCOUNT", "VOUCHER", "MARKETPLACE"} else amount
            rate = self.tax if self.chance.random() < 0.5 else Decimal(0)
            found.append((code, str(amount), str(self.rounded(amount * rate))))
        return found

    def order(self, number: str, lines: list[dict[str, Any]], charges: list[tuple[str, str, str]]) -> dict[str, Any]:
        customer = self.chance.choice(["", "C-1"])
        raw = sales_order(number, currency=self.currency, customer=customer, lines=lines, charges=charges)
        total = Decimal(raw["TotalAmount"])
        if total > 2 * self.unit and self.chance.random() < 0.3:
            part = self.rounded(total / 3)
            raw["TenderLines"] = [
                {"TenderTypeId": "8", "Amount": part},
                {"TenderTypeId": "1", "Amount": total - part},
            ]
        return raw

    async def tell(self, change: Any) -> str:
        """To the ledger and to the history, as far as each goes."""
        ruling = await self.world.settle("order_to_ledger", order_to_ledger, change)
        await into_history(self.world, change)
        return ruling

    async def sell(self, number: str) -> None:
        lines = [self.line(str(at), self.chance.randint(1, 9)) for at in range(1, self.chance.randint(1, 6) + 1)]
        order = self.order(number, lines, self.charges())
        await self.enter(number, order)
        await self.tell(confirmed(order, legal_entity=self.legal_entity))
        self.sold[number] = {one["LineId"]: Decimal(one["Quantity"]) for one in lines}
        self.lines[number] = {one["LineId"]: one for one in lines}

    async def enter(self, number: str, order: dict[str, Any]) -> None:
        body = {"order": order, "legalEntity": self.legal_entity}
        await self.world.control("commerce", "PUT", f"orders/{number}", body)

    async def give_back_by_line(self, number: str, turn: int) -> None:
        lines = [
            (name, str(self.chance.randint(1, int(left)))) for name, left in self.sold[number].items() if left >= 1
        ]
        if not lines:
            return
        told = event("returned", number, lines=lines, event_id=f"back-{turn}", legal_entity=self.legal_entity)
        if await self.tell(told) != "hold":
            for name, quantity in lines:
                self.sold[number][name] -= Decimal(quantity)

    async def give_back_by_order(self, number: str, originals: list[str]) -> None:
        """A return with a number of its own, whole lines of one or several originals."""
        back: list[dict[str, Any]] = []
        for original in originals:
            for name, left in self.sold[original].items():
                sold = self.lines[original][name]
                if left != sold["Quantity"] or self.chance.random() < 0.4:
                    continue
                back.append(
                    line(
                        str(len(back) + 1), str(-left), str(-sold["NetAmount"]), str(-sold["TaxAmount"]),
                        original=(original, name), gift_card=bool(sold.get("IsGiftCardLine")),
                    )
                )  # fmt: skip
                self.sold[original][name] = Decimal(0)
        if not back:
            return
        order = self.order(number, back, [])
        await self.enter(number, order)
        await self.tell(event("returned", number, order=order, legal_entity=self.legal_entity))

    async def exchange(self, number: str) -> None:
        """Something comes back and something else goes, in one order."""
        back, out = self.line("1", 1), self.line("2", self.chance.randint(1, 3))
        for name in ("Quantity", "NetAmount", "TaxAmount", "TotalAmount"):
            back[name] = -back[name]
        order = self.order(number, [back, out], [])
        await self.enter(number, order)
        await self.tell(confirmed(order, legal_entity=self.legal_entity))

    async def call_off_before(self, number: str) -> None:
        """The cancellation comes before the order itself."""
        order = self.order(number, [self.line("1", 2)], self.charges())
        await self.enter(number, order)
        await self.tell(event("cancelled", number, legal_entity=self.legal_entity))
        await self.tell(confirmed(order, legal_entity=self.legal_entity))

    async def call_off(self, number: str) -> None:
        await self.tell(event("cancelled", number, legal_entity=self.legal_entity))
        self.sold[number] = dict.fromkeys(self.sold[number], Decimal(0))

    async def trade(self, turns: int) -> None:
        for turn in range(turns):
            known = list(self.sold)
            match (
                self.chance.choice(["sell", "sell", "line", "order", "orders", "cancel", "again"]) if known else "sell"
            ):
                case "sell":
                    await self.sell(f"S-{turn}")
                case "line":
                    await self.give_back_by_line(self.chance.choice(known), turn)
                case "order":
                    await self.give_back_by_order(f"R-{turn}", [self.chance.choice(known)])
                case "orders":
                    await self.give_back_by_order(f"R-{turn}", self.chance.sample(known, min(3, len(known))))
                case "cancel":
                    await self.call_off(self.chance.choice(known))


@pytest.mark.parametrize("legal_entity", ENTITIES)
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.prove) for seed in range(2, 12))])
async def test_a_month_of_everything_reconciles_to_the_last_unit_and_closes(
    world: Systems, legal_entity: str, seed: int
) -> None:
    shop = Shop(world, legal_entity, seed)
    await world.control("sap", "PUT", f"periods/{legal_entity}/{PERIOD}", {"open": True})
    await shop.trade(30)
    cases = [(one.key, one.code, one.reasons) for one in await world.hub.cases.list(state="open")]
    assert cases == []
    report, _ = await reconcile(legal_entity, PERIOD, world.hub)
    assert [(row.finding.number, row.code, row.reason) for row in report.rows if not row.explained] == []
    assert all(bridge.adds_up for bridge in report.bridges), report.bridges
    assert report.orders == report.matched + report.explained
    closed = await close_period(legal_entity, PERIOD, by="Carla", carried=(), comment="", hub=world.hub)
    assert closed.issued


class ShippingShop(Shop):
    """A shop of a legal entity that posts at shipment: it ships in parts, and calls off what it has not shipped."""

    def __init__(self, world: Systems, legal_entity: str, seed: int) -> None:
        super().__init__(world, legal_entity, seed)
        self.to_ship: dict[str, dict[str, Decimal]] = {}

    async def sell(self, number: str) -> None:
        await super().sell(number)
        self.to_ship[number], self.sold[number] = self.sold[number], dict.fromkeys(self.sold[number], Decimal(0))

    async def move(self, kind: str, number: str, turn: int) -> None:
        """Ship or call off part of what is left of an order, or all of it without saying how much that is."""
        left = {name: quantity for name, quantity in self.to_ship[number].items() if quantity}
        if not left:
            return
        lines = None
        if self.chance.random() < 0.6:
            lines = [(name, str(self.chance.randint(1, int(quantity)))) for name, quantity in left.items()]
        told = event(kind, number, lines=lines, event_id=f"{kind}-{turn}", legal_entity=self.legal_entity)
        assert await self.tell(told) != "hold"
        for name, quantity in [(name, Decimal(q)) for name, q in lines] if lines else left.items():
            self.to_ship[number][name] -= quantity
            self.sold[number][name] += quantity if kind == "shipped" else 0

    async def trade(self, turns: int) -> None:
        for turn in range(turns):
            known = list(self.sold)
            match self.chance.choice(["sell", "ship", "ship", "ship", "off", "line"] if known else ["sell"]):
                case "sell":
                    await self.sell(f"S-{turn}")
                case "ship":
                    await self.move("shipped", self.chance.choice(known), turn)
                case "off":
                    await self.move("cancelled", self.chance.choice(known), turn)
                case "line":
                    await self.give_back_by_line(self.chance.choice(known), turn)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.prove) for seed in range(2, 12))])
async def test_a_month_that_posts_at_shipment_reconciles_however_much_of_it_has_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seed: int
) -> None:
    overlay = tmp_path / "policy.yaml"
    overlay.write_text("ledger: {legal_entities: {GB01: {post_when: shipment}}}\n")
    async with systems(monkeypatch, policy_overlay=overlay) as world:
        shop = ShippingShop(world, "GB01", seed)
        await world.control("sap", "PUT", f"periods/GB01/{PERIOD}", {"open": True})
        await shop.trade(40)
        assert [(one.key, one.code, one.reasons) for one in await world.hub.cases.list(state="open")] == []
        report, _ = await reconcile("GB01", PERIOD, world.hub)
        assert [(row.finding.number, row.code, row.reason) for row in report.rows if not row.explained] == []
        assert all(bridge.adds_up for bridge in report.bridges), report.bridges
        assert report.orders == report.matched + report.explained
