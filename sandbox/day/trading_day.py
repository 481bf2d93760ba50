"""The written trading day: about two hundred orders in three legal entities, every awkward kind among the ordinary.

It is generated, always the same: what is ordinary is drawn from a seeded source, what is awkward is written out below
in words, one method for each kind of trouble, each with the ends that are right for it.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Final
from zoneinfo import ZoneInfo

from sandbox.day import catalogue, orders
from sandbox.day.catalogue import Product, product
from sandbox.day.orders import CARD, CASH, GIFT_VOUCHER, ON_ACCOUNT, Charge, JsonObject, Line, Order
from sandbox.day.plan import (
    UNCONFIRMED,
    Account,
    Act,
    Cancel,
    Checkout,
    Day,
    Deliver,
    End,
    Entry,
    Return,
    SetPrice,
    SetStock,
    Ship,
    Stock,
)
from sandbox.kit.entities import LegalEntity, legal_entities

DATE: Final = "2026-11-23"
_SEED: Final = 20261123
_OPENING_STOCK: Final = Decimal(400)
_POSTED: Final = frozenset({End.POSTED})
_CASE: Final = frozenset({End.CASE})
_REFUSED: Final = UNCONFIRMED
_PREFIX: Final = {"web": "WB", "till": "TL", "callcentre": "CC", "portal": "PP", "marketplace": "MP"}
# legal entity → ordinary orders by channel
_ORDINARY: Final = {
    "GB01": {"web": 30, "till": 28, "callcentre": 12, "portal": 20},
    "JP01": {"web": 10, "till": 10, "callcentre": 4, "portal": 8},
    "KW01": {"web": 8, "till": 10, "callcentre": 4, "portal": 8},
}


def written_day() -> Day:
    """The day of this project."""
    writer = _Writer()
    for entity in legal_entities().values():
        writer.ordinary_orders(entity)
    writer.odd_money()
    writer.vouchers()
    writer.returns()
    writer.cancellations()
    writer.credit_trouble()
    writer.repeats()
    writer.bad_input()
    writer.stock()
    writer.prices()
    return writer.day()


@dataclass(slots=True)
class _Writer:
    chance: random.Random = field(default_factory=lambda: random.Random(_SEED))
    acts: list[Act] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    numbered: int = 10_000
    minutes: int = 0

    # ordinary business

    def ordinary_orders(self, entity: LegalEntity) -> None:
        """Baskets of one to five articles in every channel, carriage on the web, credit in the portal."""
        channels = [channel for channel, count in _ORDINARY[entity.code].items() for _ in range(count)]
        self.chance.shuffle(channels)
        accounts = catalogue.trade_accounts(entity)
        for channel in channels:
            by_account = channel == "portal" or (channel == "callcentre" and self.chance.random() < 0.5)
            account = self.chance.choice(accounts) if by_account else None
            order = self.basket(entity, channel, account)
            self.sell(order)
            if channel in {"web", "portal"} and self.chance.random() < 0.3:
                self.acts.append(
                    Ship(
                        name=f"ship {order.number}",
                        after=(order.number,),
                        legal_entity=entity.code,
                        number=order.number,
                    )
                )

    def basket(self, entity: LegalEntity, channel: str, account: Account | None) -> Order:
        """One ordinary order, its tenders as that channel takes them."""
        articles = self.chance.sample(catalogue.PRODUCTS, self.chance.randint(1, 5))
        lines = []
        for article in articles:
            quantity = self.chance.randint(4, 24) if account else self.chance.randint(1, 3)
            price = account.prices[article.code] if account else article.price(entity)
            lines.append(_line(entity, article, quantity, price))
        charges = []
        if channel == "web":
            charges.append(orders.charge(entity, "POSTAGE", _amount(entity, "4.95", "850", "1.950")))
        if channel == "portal" and self.chance.random() < 0.4:
            charges.append(orders.charge(entity, "FREIGHT", _amount(entity, "35.00", "6800", "13.500")))
        if channel == "callcentre" and self.chance.random() < 0.3:
            charges.append(orders.charge(entity, "DISCOUNT", -_amount(entity, "3.00", "500", "1.250")))
        total = orders.total_of(lines, charges)
        rest: str = CARD
        paid: tuple[tuple[str, Decimal], ...] = ()
        if account:
            rest = ON_ACCOUNT
        elif channel == "till":
            rest, paid, charges = self.paid_at_the_till(entity, total, charges)
        return self.write(
            entity,
            channel,
            customer=account.number if account else "",
            lines=lines,
            charges=charges,
            paid=paid,
            rest=rest,
        )

    def paid_at_the_till(
        self, entity: LegalEntity, total: Decimal, charges: list[Charge]
    ) -> tuple[str, tuple[tuple[str, Decimal], ...], list[Charge]]:
        """Card, cash (rounded to five fils in Kuwait), or cash for one part and card for the rest."""
        way = self.chance.choice(("card", "cash", "cash", "split"))
        if way == "card":
            return CARD, (), charges
        if way == "split":
            part = orders.rounded(total / 3, entity)
            return CARD, ((CASH, part),) if part else (), charges
        step = Decimal("0.005")
        if entity.currency == "KWD" and total % step:
            payable = (total / step).quantize(Decimal(1), rounding=ROUND_DOWN) * step
            charges = [*charges, orders.charge(entity, "ROUNDING", payable - total, rate=Decimal(0))]
        return CASH, (), charges

    # every awkward kind

    def odd_money(self) -> None:
        """Charges that are no carriage, samples, goods without a price, amounts entered by hand."""
        britain, japan, kuwait = (legal_entities()[code] for code in ("GB01", "JP01", "KW01"))
        account = catalogue.trade_accounts(britain)[0]
        kettle, tea = product("KET-COP-12"), product("TEA-ASM-250")
        trade_kettle = _line(britain, kettle, 6, account.prices[kettle.code])

        def sell(
            entity: LegalEntity,
            channel: str,
            note: str,
            lines: Iterable[Line],
            charges: Iterable[Charge],
            rest: str = CARD,
        ) -> None:
            customer = account.number if rest == ON_ACCOUNT else ""
            self.sell(self.write(entity, channel, customer=customer, lines=lines, charges=charges, rest=rest), note)

        free_tea = orders.line(
            britain, catalogue.SAMPLE, Decimal(2), Decimal(0), rate=tea.rate(britain), name="Sample: Assam leaf tea"
        )
        sell(britain, "portal", "a free sample beside paid goods", [trade_kettle, free_tea], [], ON_ACCOUNT)
        sell(
            britain, "portal", "samples billed as a charge", [trade_kettle],
            [orders.charge(britain, "SAMPLE", Decimal("12.50"))], ON_ACCOUNT,
        )  # fmt: skip
        sell(
            britain, "portal", "freight and a bank's fee passed on", [trade_kettle],
            [
                orders.charge(britain, "FREIGHT", Decimal("48.00")),
                orders.charge(britain, "BANKCHARGE", Decimal("15.00"), rate=Decimal(0)),
            ], ON_ACCOUNT,
        )  # fmt: skip
        for pieces in (1, 3):
            pots = _listed(britain, "POT-STN-08", pieces)
            sell(
                britain, "marketplace", "the marketplace keeps its commission", [pots],
                [
                    orders.charge(britain, "POSTAGE", Decimal("3.95")),
                    orders.charge(britain, "MARKETPLACE", Decimal("-4.09") * pieces, rate=Decimal(0)),
                ],
            )  # fmt: skip
        sell(
            britain, "callcentre", "a surcharge entered by hand", [_listed(britain, "BRD-OAK-40", 1)],
            [orders.charge(britain, "ADJUSTMENT", Decimal("2.55"))],
        )  # fmt: skip
        sell(
            japan, "callcentre", "an allowance entered by hand", [_listed(japan, "KNF-PET-12", 1)],
            [orders.charge(japan, "ADJUSTMENT", Decimal(-333))],
        )  # fmt: skip
        sell(japan, "till", "food and goods at two tax rates, each rounded", [
            _listed(japan, "TEA-SEN-100", 3), _listed(japan, "CUP-GLS-04", 1), _listed(japan, "TEA-MNT-080", 7),
        ], [])  # fmt: skip
        sell(kuwait, "web", "thousandths that round per line", [
            _listed(kuwait, "CUP-STN-02", 3), _listed(kuwait, "MIL-PEP-18", 1), _listed(kuwait, "JAR-GLS-10", 7),
        ], [orders.charge(kuwait, "POSTAGE", Decimal("1.955"))])  # fmt: skip
        sell(britain, "web", "a line at the reduced rate, one without tax", [
            _listed(britain, "STV-WRM-01", 1), _listed(britain, "BOK-BRD-01", 1),
        ], [])  # fmt: skip
        free = self.write(
            britain, "till", lines=[_listed(britain, "TWL-LIN-03", 1)],
            charges=[orders.charge(britain, "DISCOUNT", -product("TWL-LIN-03").price(britain))],
        )  # fmt: skip
        self.sell(free, "discounted to nothing", ends=frozenset({End.POSTED, End.NO_LEDGER_MATTER}))
        self.credit(
            self.write(
                britain, "portal", customer=account.number,
                charges=[orders.charge(britain, "DISCOUNT", Decimal("-27.50"))], rest=ON_ACCOUNT, prefix="RT",
            ), "a yearly bonus credited, no goods",
        )  # fmt: skip

    def vouchers(self) -> None:
        """Gift vouchers sold and redeemed, and a promotion's voucher, which is a discount."""
        for code, amount, price in (("GB01", "40.00", "40.00"), ("JP01", "5000", "5000"), ("KW01", "15.000", "15.000")):
            entity = legal_entities()[code]
            sold = orders.line(
                entity, catalogue.GIFT_VOUCHER, Decimal(1), Decimal(price), name="Gift voucher", gift_voucher=True
            )
            self.sell(self.write(entity, "till", lines=[sold], rest=CASH), "a gift voucher sold")
            goods = [_listed(entity, "PAN-CAR-24", 1), _listed(entity, "TEA-ASM-250", 1)]
            paid = ((GIFT_VOUCHER, Decimal(amount)),)
            redeemed = self.write(entity, "web", lines=goods, paid=paid, rest=CARD)
            self.sell(redeemed, "a gift voucher redeemed, the rest by card")
        britain = legal_entities()["GB01"]
        promoted = self.write(
            britain, "web", lines=[_listed(britain, "PAN-CAR-30", 1)],
            charges=[orders.charge(britain, "VOUCHER", Decimal("-5.00"))], rest=CARD,
        )  # fmt: skip
        self.sell(promoted, "a promotion's voucher")
        both = [
            orders.line(
                britain, catalogue.GIFT_VOUCHER, Decimal(2), Decimal("25.00"), name="Gift voucher", gift_voucher=True
            ),
            _listed(britain, "APR-CAN-01", 1),
        ]
        self.sell(self.write(britain, "till", lines=both, rest=CARD), "vouchers and goods on one receipt")

    def returns(self) -> None:
        """Whole and partial, by line, of orders known, unknown and unnamed; and one of more than was sold."""
        britain, japan, kuwait = (legal_entities()[code] for code in ("GB01", "JP01", "KW01"))
        for entity, tender in ((britain, CARD), (japan, CASH), (kuwait, CARD)):
            whole = self.sell(self.write(entity, "web", lines=[_listed(entity, "KET-ENA-20", 1)], rest=tender))
            self.give_back(whole, {1: 1}, tender, "everything comes back")
        account = catalogue.trade_accounts(britain)[1]
        cups = product("CUP-STN-02")
        sold = self.sell(
            self.write(
                britain, "portal", customer=account.number, rest=ON_ACCOUNT,
                lines=[_line(britain, cups, 10, account.prices[cups.code]), _line(britain, product("JAR-GLS-10"), 4,
                       account.prices["JAR-GLS-10"])],
            ), "ten pairs of cups and four jars, of which parts come back",
        )  # fmt: skip
        first = self.give_back(sold, {1: 3}, ON_ACCOUNT, "three of ten come back")
        second = self.give_back(sold, {1: 4, 2: 1}, ON_ACCOUNT, "four more, and a jar", after=(first.number,))
        self.give_back(sold, {1: 11}, ON_ACCOUNT, "eleven of ten come back", ends=_CASE, after=(second.number,))
        stranger = self.write(
            britain, "till", prefix="RT", rest=CASH,
            lines=[_back(britain, "SPN-OLV-05", 1, ("WB-00001", "1"))],
        )  # fmt: skip
        self.credit(stranger, "a return of an order that was never seen", ends=_CASE)
        for entity in (britain, kuwait):
            unnamed = self.write(entity, "till", prefix="RT", rest=CASH, lines=[_back(entity, "TWL-LIN-03", 2, None)])
            self.credit(unnamed, "a return without a receipt")
        small = self.sell(self.write(japan, "till", lines=[_listed(japan, "TEA-SEN-100", 5)], rest=CASH))
        self.give_back(small, {1: 2}, CASH, "two of five packets, tax rounded anew")

    def cancellations(self) -> None:
        """Orders called off after they were confirmed, and one whose cancellation overtakes it."""
        britain, japan, _ = legal_entities().values()
        account = catalogue.trade_accounts(britain)[2]
        pan = product("PAN-CAR-24")
        for entity, customer, lines, tender in (
            (britain, account.number, [_line(britain, pan, 8, account.prices[pan.code])], ON_ACCOUNT),
            (britain, "", [_listed(britain, "SCL-BAL-05", 1)], CARD),
            (japan, "", [_listed(japan, "SCL-BAL-05", 1)], CARD),
        ):
            order = self.write(entity, "portal" if customer else "web", customer=customer, lines=lines, rest=tender)
            self.sell(order, "called off after it was confirmed", ends=frozenset({End.CANCELLED}))
            self.cancel(order, after=(order.number,))
        early = self.write(britain, "web", lines=[_listed(britain, "BSK-WIL-35", 2)], rest=CARD)
        self.cancel(early, before_order=True)
        self.sell(
            early, "its cancellation arrives first", ends=frozenset({End.CANCELLED}), after=(f"cancel {early.number}",)
        )

    def credit_trouble(self) -> None:
        """Buyers over their limit, blocked, overdue, at a price that is not theirs; two for one credit line."""
        britain, kuwait = legal_entities()["GB01"], legal_entities()["KW01"]
        prices = catalogue.contract_prices(britain)

        def attempt(
            number: str, code: str, pieces: int, note: str, ends: frozenset[End], price: Decimal | None = None
        ) -> None:
            line = _line(britain, product(code), pieces, prices[code] if price is None else price)
            order = self.write(britain, "portal", customer=number, lines=[line], rest=ON_ACCOUNT)
            self.sell(order, note, ends=ends)

        attempt(catalogue.NEAR_LIMIT, "PAN-CAR-30", 8, "over the limit by a little", _REFUSED)
        attempt(catalogue.NEAR_LIMIT, "TEA-ASM-250", 6, "still inside the limit", _POSTED)
        attempt(catalogue.SMALL_LIMIT, "SCL-BAL-05", 60, "over the limit many times", _REFUSED)
        attempt(catalogue.BLOCKED, "KET-COP-12", 1, "the account is blocked", _REFUSED)
        attempt(
            catalogue.PRICE_BOUND, "KNF-PET-12", 10, "offered below the contract's price", _REFUSED,
            price=Decimal("39.00"),
        )  # fmt: skip
        attempt(catalogue.PRICE_BOUND, "KNF-PET-12", 10, "the same at the contract's price", _POSTED)
        attempt(catalogue.OVERDUE, "POT-IRN-06", 4, "items overdue for 75 days", _REFUSED)
        for _ in range(2):
            attempt(
                catalogue.SHARED_LIMIT, "PAN-CAR-24", 14, "two orders for a credit line that carries one",
                _POSTED | _REFUSED,
            )  # fmt: skip
        prices_kuwait = catalogue.contract_prices(kuwait)
        over = self.write(
            kuwait, "portal", customer=catalogue.NEAR_LIMIT_KUWAIT, rest=ON_ACCOUNT,
            lines=[_line(kuwait, product("KET-COP-12"), 2, prices_kuwait["KET-COP-12"])],
        )  # fmt: skip
        self.sell(over, "over the limit, in thousandths", ends=_REFUSED)
        deposit = self.write(
            britain, "callcentre", customer=catalogue.SMALL_LIMIT, paid=((CARD, Decimal("450.00")),), rest=ON_ACCOUNT,
            lines=[_line(britain, product("KNF-BRD-25"), 14, prices["KNF-BRD-25"])],
        )  # fmt: skip
        self.sell(deposit, "a deposit by card, the rest inside a small limit")

    def repeats(self) -> None:
        """The same request again: at once, and after the answer."""
        britain = legal_entities()["GB01"]
        account = catalogue.trade_accounts(britain)[3]
        apron = product("APR-CAN-01")
        order = self.write(
            britain, "portal", customer=account.number, rest=ON_ACCOUNT,
            lines=[_line(britain, apron, 12, account.prices[apron.code])],
        )  # fmt: skip
        self.sell(order, "asked three times, sold once")
        self.acts.append(Checkout(name=f"again {order.number}", after=(order.number,), order=order))
        self.acts.append(Checkout(name=f"once more {order.number}", after=(order.number,), order=order))

    def bad_input(self) -> None:
        """Events whose orders nobody can post."""
        britain = legal_entities()["GB01"]
        order = self.write(britain, "web", lines=[_listed(britain, "CUP-GLS-04", 2)], rest=CARD)
        wrong = order.as_sales_order()
        wrong["TotalAmount"] = order.total + Decimal("0.01")
        self.deliver(order, wrong, "a penny more than its lines add up to")
        order = self.write(britain, "web", lines=[_listed(britain, "CUP-GLS-04", 1)], rest=CARD)
        wrong = order.as_sales_order()
        wrong["SalesLines"] = [{"LineId": "1", "ItemId": "CUP-GLS-04", "Quantity": "one", "Price": "11,99"}]
        self.deliver(order, wrong, "a quantity in words")

    def stock(self) -> None:
        """Counts in SAP that must reach Commerce: falling, running out, coming back; some twice in a row."""
        for entity in legal_entities().values():
            plant = entity.plants[0]
            for article in catalogue.PRODUCTS[::3]:
                last = ""
                for quantity in self.chance.sample(range(5, 390), 2):
                    last = self.count(plant, article.code, quantity, after=last)
        plant = legal_entities()["GB01"].plants[0]
        last = ""
        for quantity in (12, 3, 0, 48):
            last = self.count(plant, "KET-ENA-20", quantity, after=last)
        self.count(plant, "POT-IRN-06", 0)

    def prices(self) -> None:
        """Two contract prices change during the day."""
        britain = legal_entities()["GB01"]
        for account in catalogue.trade_accounts(britain)[:2]:
            price = (account.prices["MIL-PEP-18"] * Decimal("1.05")).quantize(Decimal("0.01"))
            self.acts.append(
                SetPrice(
                    name=f"price {account.number}/MIL-PEP-18", account=account.number, product="MIL-PEP-18",
                    price=price, currency="GBP", valid_from="2026-12-01",
                )
            )  # fmt: skip

    # the words the methods above are written in

    def write(
        self,
        entity: LegalEntity,
        channel: str,
        *,
        customer: str = "",
        lines: Iterable[Line] = (),
        charges: Iterable[Charge] = (),
        paid: Sequence[tuple[str, Decimal]] = (),
        rest: str | None = None,
        prefix: str = "",
    ) -> Order:
        """The next order in the day's numbering, placed in the entity's own opening hours."""
        self.numbered += 1
        self.minutes = (self.minutes + 7) % (9 * 60)
        opening = datetime.fromisoformat(f"{DATE}T09:00:00").replace(tzinfo=ZoneInfo(entity.time_zone))
        placed_at = (opening + timedelta(minutes=self.minutes, seconds=self.numbered % 60)).astimezone(UTC)
        number = f"{prefix or _PREFIX[channel]}-{self.numbered}"
        return orders.order(
            number, entity, channel, placed_at, customer=customer, lines=lines, charges=charges, paid=paid, rest=rest
        )

    def sell(
        self, order: Order, note: str = "", *, ends: frozenset[End] = _POSTED, after: tuple[str, ...] = ()
    ) -> Order:
        self.acts.append(Checkout(name=order.number, after=after, order=order))
        self.enter(order, "sale", ends, note)
        return order

    def credit(self, order: Order, note: str, *, ends: frozenset[End] = _POSTED, after: tuple[str, ...] = ()) -> Order:
        self.acts.append(Return(name=order.number, after=after, order=order))
        self.enter(order, "return", ends, note)
        return order

    def give_back(
        self,
        sold: Order,
        pieces: dict[int, int],
        tender: str,
        note: str,
        *,
        ends: frozenset[End] = _POSTED,
        after: tuple[str, ...] = (),
    ) -> Order:
        """A return of some pieces by line number of the order they were sold on."""
        lines = []
        for number, quantity in pieces.items():
            line = sold.lines[number - 1]
            lines.append(
                orders.line(
                    sold.entity, line.item, Decimal(-quantity), line.price, rate=line.rate, name=line.name,
                    original=(sold.number, str(number)),
                )
            )  # fmt: skip
        order = self.write(sold.entity, sold.channel, customer=sold.customer, lines=lines, rest=tender, prefix="RT")
        return self.credit(order, note, ends=ends, after=(sold.number, *after))

    def cancel(self, order: Order, *, after: tuple[str, ...] = (), before_order: bool = False) -> None:
        self.acts.append(
            Cancel(
                name=f"cancel {order.number}", after=after, legal_entity=order.entity.code, number=order.number,
                occurred_at=order.placed_at + timedelta(minutes=5), before_order=before_order,
            )
        )  # fmt: skip

    def deliver(self, order: Order, content: JsonObject, note: str) -> None:
        envelope: JsonObject = {
            "type": "order.confirmed",
            "id": f"event-{order.number}",
            "orderNumber": order.number,
            "legalEntity": order.entity.code,
            "occurredAt": order.placed_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "order": content,
            "decisionId": None,
        }
        self.acts.append(Deliver(name=order.number, envelope=envelope))
        self.enter(order, "not understood", _CASE, note, known=False)

    def count(self, plant: str, code: str, quantity: int, *, after: str = "") -> str:
        name = f"count {plant}/{code} {quantity}"
        stock = Stock(plant, code, Decimal(quantity))
        self.acts.append(SetStock(name=name, after=(after,) if after else (), stock=stock))
        return name

    def enter(self, order: Order, kind: str, ends: frozenset[End], note: str, *, known: bool = True) -> None:
        self.entries.append(
            Entry(
                number=order.number,
                legal_entity=order.entity.code,
                channel=order.channel,
                kind=kind,
                currency=order.entity.currency,
                gross=order.total if known else None,
                ends=ends,
                note=note,
                line_count=len(order.lines),
                customer=order.customer,
                placed_at=order.placed_at,
                business_date=order.business_date,
                on_account=order.on_account,
            )
        )

    def day(self) -> Day:
        """Everything written, in one shuffled stream that keeps what must follow behind what it follows."""
        entities = legal_entities().values()
        accounts = [account for entity in entities for account in catalogue.trade_accounts(entity)]
        return Day(
            title=f"The trading day of {DATE}",
            accounts=(*accounts, *catalogue.awkward_accounts()),
            stock=tuple(
                Stock(entity.plants[0], article.code, _OPENING_STOCK)
                for entity in entities
                for article in catalogue.PRODUCTS
            ),
            acts=tuple(_mixed(self.acts, self.chance.random)),
            entries=tuple(self.entries),
            periods=frozenset((entry.legal_entity, entry.business_date[:7]) for entry in self.entries),
            disorder={"duplicate": 0.15, "shuffle": 4, "lose": 0.0, "seed": _SEED % 1000},
        )


def _mixed(acts: Sequence[Act], random: Callable[[], float]) -> list[Act]:
    """The acts as a day brings them: out of order, except that each stands behind those it comes after."""
    place = {act.name: random() for act in acts}
    behind: dict[str, float] = {}
    for act in acts:  # written in an order in which each act follows those it comes after
        behind[act.name] = max([place[act.name], *(behind[name] + 1e-9 for name in act.after)])
    return sorted(acts, key=lambda act: behind[act.name])


def _line(entity: LegalEntity, article: Product, quantity: int, price: Decimal) -> Line:
    return orders.line(entity, article.code, Decimal(quantity), price, rate=article.rate(entity), name=article.name)


def _listed(entity: LegalEntity, code: str, quantity: int) -> Line:
    article = product(code)
    return _line(entity, article, quantity, article.price(entity))


def _back(entity: LegalEntity, code: str, quantity: int, original: tuple[str, str] | None) -> Line:
    article = product(code)
    return orders.line(
        entity, code, Decimal(-quantity), article.price(entity), rate=article.rate(entity), name=article.name,
        original=original,
    )  # fmt: skip


def _amount(entity: LegalEntity, gbp: str, jpy: str, kwd: str) -> Decimal:
    return Decimal({"GBP": gbp, "JPY": jpy, "KWD": kwd}[entity.currency])
