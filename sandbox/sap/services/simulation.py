"""Sales order simulation (API_SALES_ORDER_SIMULATION_SRV): prices, credit verdict, quantities; nothing is saved."""

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final

from sandbox.sap.edm import Created, Deep, EntitySet, Hints, Service, Value, entity_type, service, to_many, to_one
from sandbox.sap.edm import EntityType as Type
from sandbox.sap.services.ordering import OrderItem, read_order
from sandbox.sap.values import to_json
from sandbox.sap.world import Priced, World

_ORDER: Final = entity_type(
    "A_SalesOrderSimulationType",
    """SalesOrder 10 key, SalesOrderType 4, SalesOrganization 4, DistributionChannel 2, OrganizationDivision 2,
    SalesGroup 3, SalesOffice 4, SalesDistrict 6, SoldToParty 10, CustomerGroup 2, PurchaseOrderByCustomer 35,
    CustomerPurchaseOrderType 4, CustomerPurchaseOrderDate date, SalesOrderDate date, TransactionCurrency 5,
    AccountingDocExternalReference 16, CustomerTaxClassification1 1, TaxDepartureCountry 3,
    VATRegistrationCountry 3, PriceListType 2, CustomerPriceGroup 2, SDDocumentReason 3, PricingDate date,
    SDPricingProcedure 6 ro, RequestedDeliveryDate date, ShippingCondition 2, CompleteDeliveryIsDefined bool,
    ShippingType 2, IncotermsClassification 3, IncotermsLocation1 70, ReferenceSDDocument 10,
    CustomerPaymentTerms 4, PaymentMethod 1""",
    to_one("to_Credit", "A_SalesOrderCreditSimulation", "SalesOrder"),
    to_many("to_Item", "A_SalesOrderItemSimulation", "SalesOrder"),
    to_many("to_Partner", "A_SalesOrderPartnerSimulation", "SalesOrder"),
    to_one("to_Pricing", "A_SalesOrderPricingSimulation", "SalesOrder"),
    to_many("to_PricingElement", "A_SalesOrderPrcgElmntSimln", "SalesOrder"),
)
_CREDIT: Final = entity_type("A_SalesOrderCreditSimulationType", "SalesOrder 10 key ro, TotalCreditCheckStatus 1")
_PRICING: Final = entity_type(
    "A_SalesOrderPricingSimulationType",
    "SalesOrder 10 key ro, TotalNetAmount 16.3@TransactionCurrency, TransactionCurrency 5 ro",
)
_PARTNER: Final = entity_type(
    "A_SalesOrderPartnerSimulationType",
    "SalesOrder 10 key ro, PartnerFunction 2 key, Customer 10, Supplier 10, Personnel 8, ContactPerson 10",
)
_ITEM: Final = entity_type(
    "A_SalesOrderItemSimulationType",
    """SalesOrder 10 key ro, SalesOrderItem 6 key, HigherLevelItem 6, HigherLevelItemUsage 1 ro,
    SalesOrderItemCategory 4, SalesOrderItemText 40, PurchaseOrderByCustomer 35, Material 40,
    MaterialByCustomer 35, PricingDate date, PricingReferenceMaterial 40,
    RequestedQuantity 15.3@RequestedQuantityUnit, RequestedQuantityUnit 3, OrderQuantityUnit 3 ro,
    ConfdDelivQtyInOrderQtyUnit 15.3@OrderQuantityUnit ro, TransactionCurrency 5 ro,
    NetAmount 16.3@TransactionCurrency ro, TaxAmount 14.3@TransactionCurrency ro,
    CostAmount 14.3@TransactionCurrency ro, Subtotal1Amount 14.3@TransactionCurrency ro, MaterialGroup 9,
    MaterialPricingGroup 2, Batch 10, Plant 4, StorageLocation 4, DeliveryGroup 3, ShippingPoint 4,
    ShippingType 2, DeliveryPriority 2, ReferenceSDDocument 10, ReferenceSDDocumentItem 6,
    CustomerPaymentTerms 4, SalesDocumentRjcnReason 2""",
    to_many("to_PricingElement", "A_SalesOrderItmPrcgElmntSimln", "SalesOrder", "SalesOrderItem"),
    to_many("to_ScheduleLine", "A_SalesOrderScheduleLineSimln", "SalesOrder", "SalesOrderItem"),
)
_ELEMENT_FIELDS: Final = """PricingProcedureStep 3 key, PricingProcedureCounter 3 key, ConditionType 4,
    PriceConditionDeterminationDte date ro, ConditionCalculationType 3 ro, ConditionBaseValue 24.9 ro,
    ConditionRateValue 24.9@ConditionCurrency, ConditionCurrency 5, ConditionQuantity 5.0@ConditionQuantityUnit,
    ConditionQuantityUnit 3, ConditionIsForStatistics bool ro, ConditionOrigin 1 ro, IsGroupCondition 1 ro,
    ConditionAmount 16.3@TransactionCurrency ro, TransactionCurrency 5, ConditionInactiveReason 1 ro,
    ConditionClass 1 ro, PricingScaleBasis 3 ro, ConditionScaleBasisValue 24.9 ro,
    ConditionIsManuallyChanged bool ro"""
_ITEM_ELEMENT: Final = entity_type(
    "A_SalesOrderItmPrcgElmntSimlnType", f"SalesOrder 10 key ro, SalesOrderItem 6 key ro, {_ELEMENT_FIELDS}"
)
_ELEMENT: Final = entity_type("A_SalesOrderPrcgElmntSimlnType", f"SalesOrder 10 key ro, {_ELEMENT_FIELDS}")
_SCHEDULE: Final = entity_type(
    "A_SalesOrderScheduleLineSimlnType",
    """SalesOrder 10 key ro, SalesOrderItem 6 key ro, ScheduleLine 4 key, RequestedDeliveryDate date,
    ConfirmedDeliveryDate date, OrderQuantityUnit 3, ScheduleLineOrderQuantity 13.3@OrderQuantityUnit,
    ConfdOrderQtyByMatlAvailCheck 13.3@OrderQuantityUnit, OpenConfdDelivQtyInOrdQtyUnit 13.3@OrderQuantityUnit""",
)


def simulation_service(world: World) -> Service:
    """API_SALES_ORDER_SIMULATION_SRV."""

    def nothing(_: Hints) -> Iterable[Any]:
        return ()

    def simulate(deep: Deep) -> Created:
        order = read_order(world, deep)
        item_bodies = [child.children for child in deep.children.get("to_Item", [])]
        row: dict[str, Value] = {
            **deep.values,
            "TransactionCurrency": order.currency,
            "SalesOrderDate": order.day,
            "PricingDate": order.day,
            "RequestedDeliveryDate": order.delivery_day,
            "SDPricingProcedure": "YFAA01",
        }
        expand: dict[str, Any] = {}
        sent = deep.children
        if "to_Pricing" in sent:
            values: dict[str, Value] = {"TotalNetAmount": order.net, "TransactionCurrency": order.currency}
            expand["to_Pricing"] = _shown(_PRICING, values)
        if "to_Credit" in sent:
            expand["to_Credit"] = _shown(_CREDIT, {"TotalCreditCheckStatus": order.credit_status})
        if "to_PricingElement" in sent:
            elements = _elements(Priced(order.net, order.tax, Decimal(0), None), order.currency, order.day, "")
            expand["to_PricingElement"] = {"results": [_shown(_ELEMENT, element) for element in elements]}
        if "to_Partner" in sent:
            functions = [{"PartnerFunction": f, "Customer": order.account} for f in ("AG", "RE", "RG", "WE")]
            expand["to_Partner"] = {"results": [_shown(_PARTNER, partner) for partner in functions]}
        if "to_Item" in sent:
            expand["to_Item"] = {
                "results": [
                    _item(item, order.currency, order.day, order.delivery_day, asked)
                    for item, asked in zip(order.items, item_bodies, strict=True)
                ]
            }
        return Created(row, expand, order.warnings)

    sets = [
        EntitySet("A_SalesOrderSimulation", _ORDER, nothing, create=simulate, addressable=False),
        *(
            EntitySet(entity.name.removesuffix("Type"), entity, nothing, addressable=False)
            for entity in (_CREDIT, _PRICING, _PARTNER, _ITEM, _ITEM_ELEMENT, _ELEMENT, _SCHEDULE)
        ),
    ]
    return service("API_SALES_ORDER_SIMULATION_SRV", sets)


def _item(
    item: OrderItem, currency: str, day: date, delivery_day: date, asked: Mapping[str, list[Deep]]
) -> dict[str, object]:
    values: dict[str, Value] = {
        **item.given,
        "SalesOrderItem": item.number,
        "SalesOrderItemCategory": "TAN",
        "PricingDate": day,
        "RequestedQuantityUnit": item.unit,
        "OrderQuantityUnit": item.unit,
        "ConfdDelivQtyInOrderQtyUnit": item.confirmed,
        "TransactionCurrency": currency,
        "NetAmount": item.priced.net,
        "TaxAmount": item.priced.tax,
        "Subtotal1Amount": item.priced.net,
        "Plant": item.plant,
    }
    shown = _shown(_ITEM, values)
    if "to_PricingElement" in asked:
        elements = _elements(item.priced, currency, day, item.unit) if item.priced.is_priced else []
        shown["to_PricingElement"] = {
            "results": [_shown(_ITEM_ELEMENT, {**element, "SalesOrderItem": item.number}) for element in elements]
        }
    if "to_ScheduleLine" in asked:
        schedule: dict[str, Value] = {
            "SalesOrderItem": item.number,
            "ScheduleLine": "1",
            "RequestedDeliveryDate": delivery_day,
            "ConfirmedDeliveryDate": delivery_day if item.confirmed else None,
            "OrderQuantityUnit": item.unit,
            "ScheduleLineOrderQuantity": item.quantity,
            "ConfdOrderQtyByMatlAvailCheck": item.confirmed,
            "OpenConfdDelivQtyInOrdQtyUnit": item.confirmed,
        }
        shown["to_ScheduleLine"] = {"results": [_shown(_SCHEDULE, schedule)]}
    return shown


def _elements(priced: Priced, currency: str, day: date, unit: str) -> list[dict[str, Value]]:
    """The price and the tax of an item or, without unit, of the whole order."""
    condition = priced.condition
    common: dict[str, Value] = {
        "PricingProcedureCounter": "1", "PriceConditionDeterminationDte": day, "TransactionCurrency": currency,
        "ConditionOrigin": "A",
    }  # fmt: skip
    price: dict[str, Value] = {
        "PricingProcedureStep": "10", "ConditionType": priced.manual or "PPR0", "ConditionCalculationType": "C",
        "ConditionRateValue": priced.rate, "ConditionCurrency": condition.currency if condition else currency,
        "ConditionQuantity": Decimal(condition.per if condition else 1), "ConditionQuantityUnit": unit,
        "ConditionAmount": priced.goods, "ConditionClass": "B", "ConditionIsManuallyChanged": bool(priced.manual),
    }  # fmt: skip
    levy: dict[str, Value] = {
        "PricingProcedureStep": "820", "ConditionType": "TTX1", "ConditionCalculationType": "A",
        "ConditionBaseValue": priced.net, "ConditionAmount": priced.tax, "ConditionClass": "D",
    }  # fmt: skip
    return [{**common, **price}, {**common, **levy}]


def _shown(entity: Type, values: Mapping[str, Value]) -> dict[str, object]:
    """A row that is shown but never stored."""
    name = entity.name.removesuffix("Type")
    entity_set = EntitySet(name, entity, lambda _: ())
    about = {"type": f"API_SALES_ORDER_SIMULATION_SRV.{entity.name}"}
    fields = {p.name: to_json(entity_set, values, p) for p in entity.properties.values()}
    return {"__metadata": about, **fields}
