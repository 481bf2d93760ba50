"""What the control surface arranges in the simulated world: accounts, prices, stock."""

from datetime import date
from decimal import Decimal
from typing import Final

import msgspec

from sandbox.kit import exact_json
from sandbox.kit.entities import LegalEntity, legal_entities
from sandbox.sap import ledger, state_view
from sandbox.sap.configuration import BASE_UNIT, decimals, plants
from sandbox.sap.records import Condition, CreditAccount, Stock
from sandbox.sap.world import World, forever

_DIGITS_MAX: Final = 12  # of a Decimal(15,3); quantities have room for more, and nobody stocks it
_DAYS_MAX: Final = 36_500


class CreditOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """PUT /__sim/credit-accounts/{account}. What is left out keeps its value, or its default on a new account."""

    legal_entity: str | None = None
    limit: Decimal | None = None
    currency: str | None = None
    exposure: Decimal | None = None
    blocked: bool | None = None
    risk_class: str | None = None
    prices: dict[str, Decimal] = {}
    overdue_days: int | None = None
    name: str | None = None
    critical: bool | None = None
    posting_blocked: bool | None = None
    order_blocked: bool | None = None


class StockOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    quantity: Decimal
    unit: str | None = None


class MovementOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    plant: str
    material: str
    quantity: Decimal
    text: str = ""


class _Scale(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from"}):
    start: Decimal
    price: Decimal


class ConditionOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}):
    price: Decimal
    currency: str | None = None
    start: date | None = None
    end: date | None = None
    per: int = 1
    unit: str | None = None
    legalEntity: str | None = None
    scales: list[_Scale] = []


class PaymentOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    account: str
    amount: Decimal
    legal_entity: str | None = None
    currency: str | None = None


class PeriodOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    open: bool


class LagOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    seconds: float


class RepeatabilityOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether the Gateway's framework for repeatable requests is set up."""

    supported: bool


def read[T](body: bytes, kind: type[T]) -> T:
    """Decode a control body, numbers exactly, also where they come as text. Raises ValueError naming the field."""
    return msgspec.convert(exact_json.loads_object(body), kind, strict=False)


def legal_entity(code: str) -> LegalEntity:
    entity = legal_entities().get(code)
    if entity is None:
        raise ValueError(f"legalEntity: one of {', '.join(legal_entities())} was expected, not {code!r}")
    return entity


def entity_of(world: World, account: str, code: str | None) -> LegalEntity:
    """The legal entity given, or that of the account's first credit account."""
    if code is not None:
        return legal_entity(code)
    credit = next(iter(world.credit_accounts.find("account", account)), None)
    if credit is None:
        raise ValueError(f"account: {account!r} has no credit account; give legalEntity")
    return legal_entity(credit.legal_entity)


def currency_of(world: World, account: str, entity: LegalEntity) -> str:
    credit = world.credit_accounts.get((account, entity.credit_segment))
    return credit.currency if credit else entity.currency


def check_amount(amount: Decimal, currency: str, name: str) -> None:
    allowed = decimals(currency)
    if allowed is None:
        raise ValueError(f"currency: {currency!r} is not known")
    if not amount.is_finite() or amount.adjusted() >= _DIGITS_MAX:
        raise ValueError(f"{name}: a number of at most {_DIGITS_MAX} digits before the point")
    if -int(amount.normalize().as_tuple().exponent) > allowed:
        raise ValueError(f"{name}: {amount} has more decimals than {currency}")


def set_credit_account(world: World, account: str, order: CreditOrder) -> CreditAccount:
    if not 1 <= len(account) <= 10:
        raise ValueError("account: 1 to 10 characters")
    known = next(iter(world.credit_accounts.find("account", account)), None)
    entity = legal_entity(order.legal_entity or (known.legal_entity if known else "GB01"))
    before = world.credit_accounts.get((account, entity.credit_segment))
    currency = order.currency or (before.currency if before else entity.currency)
    limit = order.limit if order.limit is not None else (before.limit if before else Decimal(0))
    check_amount(limit, currency, "limit")
    if not 0 <= (order.overdue_days or 0) <= _DAYS_MAX:
        raise ValueError(f"overdueDays: from 0 to {_DAYS_MAX}")
    for material, price in order.prices.items():
        set_condition(world, account, material, ConditionOrder(price, currency, legalEntity=entity.code))
    was_known = account in world.partners
    world.create_customer(account, entity, order.name or f"Customer {account}")
    _set_blocks(world, account, order)
    credit = CreditAccount(
        account=account,
        segment=entity.credit_segment,
        legal_entity=entity.code,
        limit=limit,
        currency=currency,
        blocked=_or(order.blocked, before.blocked if before else None, default=False),
        block_reason="01" if order.blocked else "",
        risk_class=order.risk_class or (before.risk_class if before else "B"),
        critical=_or(order.critical, before.critical if before else None, default=False),
        valid_until=before.valid_until if before else forever(),
        changed_at=world.stamp(),
    )
    world.credit_accounts.put((account, entity.credit_segment), credit)
    if order.exposure is not None or order.overdue_days is not None:
        opening = order.exposure if order.exposure is not None else _opening(world, account, entity.code)
        check_amount(opening, currency, "exposure")
        ledger.set_opening(world, account, entity.code, opening, currency, order.overdue_days or 0)
    if was_known and (order.name or order.posting_blocked is not None or order.order_blocked is not None):
        world.partner_changed(account)
    return credit


def _or(given: bool | None, before: bool | None, *, default: bool) -> bool:
    if given is not None:
        return given
    return default if before is None else before


def _opening(world: World, account: str, company_code: str) -> Decimal:
    lines = world.lines.find("customer", account)
    return sum(
        (
            line.amount
            for line in lines
            if line.document.reference == ledger.OPENING and line.document.company_code == company_code
        ),
        Decimal(0),
    )


def _set_blocks(world: World, account: str, order: CreditOrder) -> None:
    row = world.customers.get(account)
    assert row is not None
    changes: dict[str, str | bool] = {}
    if order.posting_blocked is not None:
        changes["PostingIsBlocked"] = order.posting_blocked
    if order.order_blocked is not None:
        changes["OrderIsBlockedForCustomer"] = "01" if order.order_blocked else ""
    if order.name is not None:
        changes |= {"CustomerName": order.name, "CustomerFullName": order.name}
        partner = world.partners.get(account) or {}
        names = {"OrganizationBPName1": order.name[:40], "BusinessPartnerFullName": order.name}
        world.partners.put(account, {**partner, **names, "BusinessPartnerName": order.name})
    if changes:
        world.customers.put(account, {**row, **changes})


def set_stock(world: World, plant: str, material: str, quantity: Decimal, unit: str | None) -> dict[str, object]:
    if plant not in plants():
        raise ValueError(f"plant: one of {', '.join(plants())} was expected, not {plant!r}")
    if not 1 <= len(material) <= 40:
        raise ValueError("material: 1 to 40 characters")
    if not quantity.is_finite() or quantity.adjusted() >= _DIGITS_MAX:
        raise ValueError(f"quantity: a number of at most {_DIGITS_MAX} digits before the point")
    world.add_material(material, unit or BASE_UNIT)
    base_unit = unit or world.unit_of(material)
    if base_unit != world.unit_of(material):
        world.materials.put(material, base_unit)
    world.stock.put((plant, material), Stock(plant, material, quantity, base_unit))
    number = world.number("material document", 4_900_000_000)
    keys = {"MaterialDocumentYear": str(world.today().year), "MaterialDocument": number}
    world.emit("materialdocument.v1.MaterialDocument.Created.v1", {**keys, "Material": material, "Plant": plant})
    return {"plant": plant, "material": material, "quantity": state_view.plain(quantity), "unit": base_unit}


def set_condition(world: World, account: str, material: str, order: ConditionOrder) -> Condition:
    if not 1 <= len(material) <= 40:
        raise ValueError("material: 1 to 40 characters")
    if not order.price.is_finite() or order.price < 0:
        raise ValueError("price: a number, not negative")
    known = next(iter(world.credit_accounts.find("account", account)), None) if account else None
    code = legal_entity(order.legalEntity).code if order.legalEntity else (known.legal_entity if known else "")
    currency = order.currency or (known.currency if known else legal_entity(code or "GB01").currency)
    if decimals(currency) is None:
        raise ValueError(f"currency: {currency!r} is not known")
    world.add_material(material, order.unit or BASE_UNIT)
    now = world.stamp()
    condition = Condition(
        record=world.number("condition", 1),
        account=account,
        material=material,
        company_code=code,
        price=order.price,
        currency=currency,
        valid_from=order.start or date(now.year, 1, 1),
        valid_to=order.end or forever(),
        per=order.per,
        unit=order.unit or world.unit_of(material),
        deleted=False,
        changed_at=now,
        created_on=now.date(),
        scales=tuple(sorted((scale.start, scale.price) for scale in order.scales)),
    )
    if condition.valid_to < condition.valid_from:
        raise ValueError("to: before from")
    world.put_condition(condition)
    return condition
