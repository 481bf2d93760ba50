"""What a sales order means: customer and sales area checked, items priced, confirmed, weighed against credit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from sandbox.kit.entities import LegalEntity, legal_entities
from sandbox.sap.configuration import BASE_UNIT, FIXED_CONDITIONS, FULLY_TAXED, TAX_CLASSES, decimals, plants
from sandbox.sap.edm import Deep, Value, Values
from sandbox.sap.errors import bad_property
from sandbox.sap.world import Priced, World, price_item, price_manually, round_to

_PRICES = frozenset({"PPR0", "PMP0"})


@dataclass(frozen=True, slots=True)
class OrderItem:
    """One item, priced; `confirmed` is the quantity that stock covers."""

    number: str
    material: str
    quantity: Decimal
    unit: str
    plant: str
    priced: Priced
    confirmed: Decimal
    tax_class: str
    given: Values

    @property
    def tax_percent(self) -> Decimal:
        """The rate of the item's tax classification, in per cent."""
        entity = plants()[self.plant]
        return TAX_CLASSES[entity][self.tax_class][1] * 100


@dataclass(frozen=True, slots=True)
class Order:
    """A checked order. `credit_status` is TotalCreditCheckStatus."""

    account: str
    entity: LegalEntity
    currency: str
    day: date
    delivery_day: date
    items: tuple[OrderItem, ...]
    net: Decimal
    tax: Decimal
    credit_status: str
    warnings: tuple[str, ...]

    @property
    def gross(self) -> Decimal:
        """Net and tax."""
        return self.net + self.tax


def read_order(world: World, deep: Deep) -> Order:
    """Check and price the body of an order. Raises SapError 400 naming the property."""
    given = deep.values
    entity = legal_entities().get(_needed(given, "SalesOrganization"))
    if entity is None:
        raise bad_property(
            "SalesOrganization", f"Sales organization {given['SalesOrganization']} is not defined", "V1/311"
        )
    order_type = _needed(given, "SalesOrderType")
    if order_type != "OR":  # returns (RE) and credit memo requests (CR) have services of their own
        message = f"Sales document type {order_type} is not defined for document category C"
        raise bad_property("SalesOrderType", message, "V1/313")
    account = _needed(given, "SoldToParty")
    area = (account, entity.code, _needed(given, "DistributionChannel"), _needed(given, "OrganizationDivision"))
    if area not in world.sales_areas:
        message = f"Sold-to party {account} not maintained for sales area {' '.join(area[1:])}"
        raise bad_property("SoldToParty", message, "VP/199")
    customer, sales_area = world.customers.get(account), world.sales_areas.get(area)
    if (customer and customer.get("OrderIsBlockedForCustomer")) or (sales_area or {}).get("OrderIsBlockedForCustomer"):
        raise bad_property("SoldToParty", f"Customer {account} is blocked for sales orders", "V1/075")
    currency = str(given.get("TransactionCurrency") or entity.currency)
    if decimals(currency) is None:
        raise bad_property("TransactionCurrency", f"Currency {currency} is not defined", "SG/016")
    day = _day(given.get("PricingDate")) or world.today(entity.code)
    bodies = deep.children.get("to_Item", [])
    items = tuple(
        _item(world, position, body, account, entity, currency, day) for position, body in enumerate(bodies, 1)
    )
    if deep.children.get("to_PricingElement"):
        raise bad_property("to_PricingElement", "Header conditions are not supported; send item conditions")
    if len({item.number for item in items}) != len(items):
        raise bad_property("SalesOrderItem", "Item numbers must be unique", "V1/384")
    net = sum((item.priced.net for item in items), Decimal(0))
    tax = sum((item.priced.tax for item in items), Decimal(0))
    return Order(
        account=account,
        entity=entity,
        currency=currency,
        day=day,
        delivery_day=_day(given.get("RequestedDeliveryDate")) or day,
        items=items,
        net=net,
        tax=tax,
        credit_status=world.credit_verdict(account, entity, net + tax, currency),
        warnings=tuple(
            f"Pricing error: Mandatory condition PPR0 is missing (item {item.number}, material {item.material})"
            for item in items
            if not item.priced.is_priced
        ),
    )


def _item(
    world: World, position: int, body: Deep, account: str, entity: LegalEntity, currency: str, day: date
) -> OrderItem:
    given = body.values
    for name, children in body.children.items():
        if children and name != "to_PricingElement":
            raise bad_property(name, f"{name} of an item is determined by SAP and must be sent empty")
    material = _needed(given, "Material")
    quantity = given.get("RequestedQuantity")
    if not isinstance(quantity, Decimal) or quantity <= 0:
        raise bad_property("RequestedQuantity", "Enter an order quantity greater than zero", "V1/118")
    plant = str(given.get("Plant") or given.get("ProductionPlant") or entity.plants[0])
    if plants().get(plant) != entity.code:
        raise bad_property("Plant", f"Plant {plant} is not assigned to sales organization {entity.code}", "V1/301")
    available = world.available(plant, material)
    tax_class = str(given.get("ProductTaxClassification1") or FULLY_TAXED)
    if tax_class not in TAX_CLASSES[entity.code]:
        message = f"Tax classification {tax_class} is not defined for tax category TTX1 in {entity.country}"
        raise bad_property("ProductTaxClassification1", message, "VK/060")
    priced = _manual_price(body, quantity, entity, currency) or price_item(
        world, account, material, quantity, entity, currency, day
    )
    return OrderItem(
        number=str(given.get("SalesOrderItem") or position * 10),
        material=material,
        quantity=quantity,
        unit=str(given.get("RequestedQuantityUnit") or world.materials.get(material) or BASE_UNIT),
        plant=plant,
        priced=_charged_and_taxed(
            priced, _fixed_conditions(body, currency), TAX_CLASSES[entity.code][tax_class][1], currency
        ),
        confirmed=quantity if available is None else min(quantity, available),
        tax_class=tax_class,
        given=dict(given),
    )


def _manual_price(body: Deep, quantity: Decimal, entity: LegalEntity, currency: str) -> Priced | None:
    """The price an item brings along in its pricing elements (condition types PPR0 and PMP0), if it does."""
    elements = [one for one in body.children.get("to_PricingElement", []) if one.values.get("ConditionType") in _PRICES]
    if len(elements) > 1:
        raise bad_property("ConditionType", "An item has one price", "VE/107")
    for element in elements:
        per = element.values.get("ConditionQuantity")
        units = per if isinstance(per, Decimal) and per > 0 else Decimal(1)
        kind = str(element.values["ConditionType"])
        return price_manually(_rate(element, currency), units, quantity, entity, currency, kind)
    return None


def _fixed_conditions(body: Deep, currency: str) -> tuple[tuple[str, Decimal], ...]:
    """Freight and discounts that an item brings along, each with the sign that its condition type has."""
    found = []
    for element in body.children.get("to_PricingElement", []):
        kind = str(element.values.get("ConditionType"))
        if kind in _PRICES:
            continue
        if kind not in FIXED_CONDITIONS:
            raise bad_property("ConditionType", f"Condition type {kind} cannot be entered manually", "VE/108")
        amount, (_, sign) = _rate(element, currency), FIXED_CONDITIONS[kind]
        if amount * sign < 0:
            raise bad_property("ConditionRateValue", f"Condition type {kind} cannot have this sign", "VE/111")
        if amount != round_to(amount, currency):
            raise bad_property("ConditionRateValue", f"{currency} does not have so many decimals", "VE/112")
        found.append((kind, amount))
    return tuple(found)


def _rate(element: Deep, currency: str) -> Decimal:
    rate = element.values.get("ConditionRateValue")
    if not isinstance(rate, Decimal):
        raise bad_property("ConditionRateValue", "Enter ConditionRateValue", "VE/109")
    if element.values.get("ConditionCurrency") not in {None, currency}:
        raise bad_property("ConditionCurrency", "A manual price must be in the currency of the order", "VE/110")
    return rate


def _charged_and_taxed(
    priced: Priced, charges: tuple[tuple[str, Decimal], ...], tax_rate: Decimal, currency: str
) -> Priced:
    """An item's net amount with its charges, and the tax on all of it."""
    net = priced.net + sum((amount for _, amount in charges), Decimal(0))
    return replace(priced, net=net, tax=round_to(net * tax_rate, currency), charges=charges)


def _needed(given: Mapping[str, Value], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise bad_property(name, f"Enter {name}", "V1/047")
    return value


def _day(value: Value) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else None
