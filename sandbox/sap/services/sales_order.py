"""Sales orders (API_SALES_ORDER_SRV): deep insert, change, rejection; open orders count against credit until billed."""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final

from sandbox.sap.edm import (
    Created,
    Deep,
    EntitySet,
    Hints,
    Service,
    Value,
    Values,
    entity_type,
    service,
    to_many,
    to_one,
)
from sandbox.sap.errors import SapError, bad_property
from sandbox.sap.services.ordering import Order, OrderItem, read_order
from sandbox.sap.services.reading import wanted
from sandbox.sap.world import World

type Row = dict[str, Any]

_INDEXES: Final = (
    ("AccountingDocExternalReference", "external"),
    ("PurchaseOrderByCustomer", "reference"),
    ("SoldToParty", "customer"),
)

_ORDER: Final = entity_type(
    "A_SalesOrderType",
    """SalesOrder 10 key, SalesOrderType 4 -u, SalesOrderTypeInternalCode 4 ro, SalesOrganization 4 -u,
    DistributionChannel 2 -u, OrganizationDivision 2 -u, SalesGroup 3, SalesOffice 4, SalesDistrict 6,
    SoldToParty 10, CreationDate date ro, CreatedByUser 12 ro, LastChangeDate date ro,
    SenderBusinessSystemName 60 ro, ExternalDocumentID 40 ro, LastChangeDateTime offset ro etag,
    ExternalDocLastChangeDateTime offset ro, PurchaseOrderByCustomer 35, PurchaseOrderByShipToParty 35,
    CustomerPurchaseOrderType 4, CustomerPurchaseOrderDate date, SalesOrderDate date,
    TotalNetAmount 16.3@TransactionCurrency ro, OverallDeliveryStatus 1 ro, TotalBlockStatus 1 ro,
    OverallOrdReltdBillgStatus 1 ro, OverallSDDocReferenceStatus 1 ro, TransactionCurrency 5,
    SDDocumentReason 3, PricingDate date, PriceDetnExchangeRate 9.5, RequestedDeliveryDate date,
    ShippingCondition 2, CompleteDeliveryIsDefined bool, ShippingType 2, HeaderBillingBlockReason 2,
    DeliveryBlockReason 2, DeliveryDateTypeRule 1, IncotermsClassification 3, IncotermsLocation1 70,
    IncotermsLocation2 70, CustomerPriceGroup 2, PriceListType 2, CustomerPaymentTerms 4, PaymentMethod 1,
    FixedValueDate date, AssignmentReference 18, ReferenceSDDocument 10, ReferenceSDDocumentCategory 4 ro,
    AccountingDocExternalReference 16, CustomerAccountAssignmentGroup 2, AccountingExchangeRate 9.5,
    CustomerGroup 2, AdditionalCustomerGroup1 3, CustomerTaxClassification1 1, TaxDepartureCountry 3,
    VATRegistrationCountry 3, SalesOrderApprovalReason 4 ro, SalesDocApprovalStatus 1 ro,
    OverallSDProcessStatus 1 ro, TotalCreditCheckStatus 1 ro, OverallTotalDeliveryStatus 1 ro,
    OverallSDDocumentRejectionSts 1 ro, BillingDocumentDate date, ContractAccount 12, ServicesRenderedDate date""",
    to_many("to_Item", "A_SalesOrderItem", "SalesOrder"),
    to_many("to_Partner", "A_SalesOrderHeaderPartner", "SalesOrder"),
    to_many("to_PricingElement", "A_SalesOrderHeaderPrElement", "SalesOrder"),
    to_many("to_SubsequentProcFlowDoc", "A_SalesOrderSubsqntProcFlow", "SalesOrder"),
    to_many("to_Text", "A_SalesOrderText", "SalesOrder"),
)
_ITEM: Final = entity_type(
    "A_SalesOrderItemType",
    """SalesOrder 10 key ro, SalesOrderItem 6 key, HigherLevelItem 6, HigherLevelItemUsage 1 ro,
    SalesOrderItemCategory 4, SalesOrderItemText 40, PurchaseOrderByCustomer 35, PurchaseOrderByShipToParty 35,
    UnderlyingPurchaseOrderItem 6, ExternalItemID 40 ro, Material 40, MaterialByCustomer 35, PricingDate date,
    PricingReferenceMaterial 40, RequestedQuantity 15.3@RequestedQuantityUnit, RequestedQuantityUnit 3,
    OrderQuantityUnit 3 ro, ConfdDelivQtyInOrderQtyUnit 15.3@OrderQuantityUnit ro,
    ItemGrossWeight 15.3@ItemWeightUnit ro, ItemNetWeight 15.3@ItemWeightUnit ro, ItemWeightUnit 3 ro,
    TransactionCurrency 5 ro, NetAmount 16.3@TransactionCurrency ro, MaterialGroup 9, MaterialPricingGroup 2,
    BillingDocumentDate date, Batch 10, ProductionPlant 4, OriginalPlant 4 ro, StorageLocation 4,
    DeliveryGroup 3, ShippingPoint 4, ShippingType 2, DeliveryPriority 2, IncotermsClassification 3,
    TaxAmount 14.3@TransactionCurrency -c -u, ProductTaxClassification1 1, MatlAccountAssignmentGroup 2,
    CostAmount 14.3@TransactionCurrency, CustomerPaymentTerms 4, FixedValueDate date, CustomerGroup 2,
    SalesDocumentRjcnReason 2, ItemBillingBlockReason 2, WBSElement 24, ProfitCenter 10, ReferenceSDDocument 10,
    ReferenceSDDocumentItem 6, SDProcessStatus 1 ro, DeliveryStatus 1 ro, OrderRelatedBillingStatus 1 ro,
    Subtotal1Amount 14.3@TransactionCurrency ro""",
    to_one("to_SalesOrder", "A_SalesOrder", "SalesOrder"),
    to_many("to_PricingElement", "A_SalesOrderItemPrElement", "SalesOrder", "SalesOrderItem"),
    to_many("to_ScheduleLine", "A_SalesOrderScheduleLine", "SalesOrder", "SalesOrderItem"),
    to_many("to_Partner", "A_SalesOrderItemPartner", "SalesOrder", "SalesOrderItem"),
    to_many("to_Text", "A_SalesOrderItemText", "SalesOrder", "SalesOrderItem"),
)
_PARTNER_FIELDS: Final = """
    PartnerFunction 2 key, PartnerFunctionInternalCode 2 ro, Customer 10, Supplier 10, Personnel 8,
    ContactPerson 10, ReferenceBusinessPartner 10 ro, AddressID 10, VATRegistration 20"""
_TEXT_FIELDS: Final = "Language 2 key, LongTextID 4 key, LongText string"
_PRICE_FIELDS: Final = """
    PricingProcedureStep 3 key, PricingProcedureCounter 3 key, ConditionType 4, PricingDateTime 14 ro,
    PriceConditionDeterminationDte date ro, ConditionCalculationType 3 ro, ConditionBaseValue 24.9 ro,
    ConditionRateValue 24.9@ConditionCurrency, ConditionCurrency 5, ConditionQuantity 5.0@ConditionQuantityUnit,
    ConditionQuantityUnit 3, ConditionCategory 1 ro, ConditionIsForStatistics bool ro, PricingScaleType 1 ro,
    ConditionOrigin 1 ro, IsGroupCondition 1 ro, ConditionRecord 10 ro, ConditionSequentialNumber 3 ro,
    TaxCode 2 ro, ConditionAmount 16.3@TransactionCurrency ro, TransactionCurrency 5, ConditionControl 1 ro,
    ConditionInactiveReason 1 ro, ConditionClass 1 ro, ConditionIsManuallyChanged bool ro"""
_HEADER_PARTNER: Final = entity_type("A_SalesOrderHeaderPartnerType", f"SalesOrder 10 key ro, {_PARTNER_FIELDS}")
_ITEM_PARTNER: Final = entity_type(
    "A_SalesOrderItemPartnerType", f"SalesOrder 10 key ro, SalesOrderItem 6 key ro, {_PARTNER_FIELDS}"
)
_TEXT: Final = entity_type("A_SalesOrderTextType", f"SalesOrder 10 key ro, {_TEXT_FIELDS}")
_ITEM_TEXT: Final = entity_type(
    "A_SalesOrderItemTextType", f"SalesOrder 10 key ro, SalesOrderItem 6 key ro, {_TEXT_FIELDS}"
)
_ITEM_PRICE: Final = entity_type(
    "A_SalesOrderItemPrElementType", f"SalesOrder 10 key ro, SalesOrderItem 6 key ro, {_PRICE_FIELDS}"
)
_HEADER_PRICE: Final = entity_type("A_SalesOrderHeaderPrElementType", f"SalesOrder 10 key ro, {_PRICE_FIELDS}")
_SCHEDULE: Final = entity_type(
    "A_SalesOrderScheduleLineType",
    """SalesOrder 10 key ro, SalesOrderItem 6 key ro, ScheduleLine 4 key, RequestedDeliveryDate date,
    ConfirmedDeliveryDate date, OrderQuantityUnit 3, ScheduleLineOrderQuantity 13.3@OrderQuantityUnit,
    ConfdOrderQtyByMatlAvailCheck 13.3@OrderQuantityUnit, DeliveredQtyInOrderQtyUnit 13.3@OrderQuantityUnit,
    OpenConfdDelivQtyInOrdQtyUnit 13.3@OrderQuantityUnit, CorrectedQtyInOrderQtyUnit 13.3@OrderQuantityUnit,
    DelivBlockReasonForSchedLine 2""",
)
_FLOW: Final = entity_type(
    "A_SalesOrderSubsqntProcFlowType",
    """SalesOrder 10 key ro, DocRelationshipUUID guid key ro, SubsequentDocument 10 ro,
    SubsequentDocumentCategory 4 ro, ProcessFlowLevel 2 ro, OverallSDProcessStatus 1 ro, CreationDate date ro,
    LastChangeDate date ro""",
)


def sales_order_service(world: World) -> Service:
    """API_SALES_ORDER_SRV."""

    def orders(hints: Hints) -> Iterable[Row]:
        asked = wanted(hints, "SalesOrder")
        if asked is not None:
            return (row for number in sorted(asked) if (row := world.sales_orders.get(number)) is not None)
        for name, index in _INDEXES:
            values = wanted(hints, name)
            if values is not None and "" not in values:
                return (row for value in sorted(values) for row in world.sales_orders.find(index, value))
        return world.sales_orders.values()

    def below(field: str) -> Callable[[Hints], Iterable[Row]]:
        return lambda hints: (child for order in orders(hints) for child in order[field])

    def create(deep: Deep) -> Created:
        order = read_order(world, deep)
        if not order.items:
            raise bad_property("to_Item", "The sales order has no items", "V1/046")
        for item in order.items:
            if item.material not in world.materials:
                message = f"Material {item.material} is not defined for sales org. {order.entity.code}"
                raise bad_property("Material", message, "V1/382")
        row = _order_row(world, deep, order)
        world.sales_orders.put(row["SalesOrder"], row)
        world.emit("salesorder.v1.SalesOrder.Created.v1", {"SalesOrder": row["SalesOrder"]})
        return Created(row, warnings=order.warnings)

    def update(row: Row, changes: Values) -> None:
        _store(world, row, {**row, **changes})

    def delete(row: Row) -> None:
        if not row["_open"]:
            raise SapError(
                400, "V1/080", f"Sales order {row['SalesOrder']} has subsequent documents and cannot be deleted"
            )
        world.sales_orders.delete(row["SalesOrder"])
        world.emit("salesorder.v1.SalesOrder.Deleted.v1", {"SalesOrder": row["SalesOrder"]})

    def update_item(item: Row, changes: Values) -> None:
        allowed = {"SalesDocumentRjcnReason", "SalesOrderItemText", "ItemBillingBlockReason", "PurchaseOrderByCustomer"}
        for name in changes:
            if name not in allowed:
                raise bad_property(name, f"Property {name} cannot be changed here", "V1/081")
        order = world.sales_orders.get(item["SalesOrder"])
        assert order is not None
        items = [{**i, **changes} if i["SalesOrderItem"] == item["SalesOrderItem"] else i for i in order["_items"]]
        live = [i for i in items if not i["SalesDocumentRjcnReason"]]
        net = sum((i["NetAmount"] for i in live), Decimal(0))
        gross = net + sum((i["TaxAmount"] for i in live), Decimal(0))
        rejected = "C" if not live else "B" if len(live) < len(items) else "A"
        changed = {
            **order, "_items": items, "TotalNetAmount": net, "_gross": gross, "OverallSDDocumentRejectionSts": rejected,
            "_open": order["_open"] and bool(live),
            "OverallSDProcessStatus": order["OverallSDProcessStatus"] if live else "C",
        }  # fmt: skip
        _store(world, order, changed)

    return service(
        "API_SALES_ORDER_SRV",
        [
            EntitySet("A_SalesOrder", _ORDER, orders, create=create, update=update, delete=delete),
            EntitySet("A_SalesOrderItem", _ITEM, below("_items"), update=update_item),
            EntitySet("A_SalesOrderHeaderPartner", _HEADER_PARTNER, below("_partners")),
            EntitySet("A_SalesOrderItemPartner", _ITEM_PARTNER, lambda _: ()),
            EntitySet("A_SalesOrderHeaderPrElement", _HEADER_PRICE, lambda _: ()),
            EntitySet("A_SalesOrderItemPrElement", _ITEM_PRICE, below("_prices")),
            EntitySet("A_SalesOrderScheduleLine", _SCHEDULE, below("_schedule")),
            EntitySet("A_SalesOrderSubsqntProcFlow", _FLOW, below("_flow")),
            EntitySet("A_SalesOrderText", _TEXT, below("_texts")),
            EntitySet("A_SalesOrderItemText", _ITEM_TEXT, lambda _: ()),
        ],
    )


def _store(world: World, before: Row, after: Row) -> None:
    now = world.stamp()
    world.sales_orders.put(before["SalesOrder"], {**after, "LastChangeDateTime": now, "LastChangeDate": now.date()})
    world.emit("salesorder.v1.SalesOrder.Changed.v1", {"SalesOrder": before["SalesOrder"]})


def _order_row(world: World, deep: Deep, order: Order) -> Row:
    number = world.number("sales order", 1).lstrip("0")
    given = str(deep.values.get("SalesOrder") or "")
    if given:
        if given in world.sales_orders:
            raise bad_property("SalesOrder", f"Sales order {given} already exists", "V1/302")
        number = given
    now = world.stamp()
    blocked = order.credit_status == "B"
    initial: Mapping[str, Value] = {
        "TransactionCurrency": order.currency, "SalesOrderDate": now.date(), "PricingDate": order.day,
        "RequestedDeliveryDate": order.delivery_day, "CustomerPaymentTerms": "NT30", "CustomerPurchaseOrderDate": None,
    }  # fmt: skip
    derived: Mapping[str, Value] = {
        "SalesOrder": number, "CreationDate": now.date(), "CreatedByUser": "CONCORD", "LastChangeDate": now.date(),
        "LastChangeDateTime": now, "TotalNetAmount": order.net, "OverallDeliveryStatus": "A",
        "TotalBlockStatus": "C" if blocked else "", "OverallOrdReltdBillgStatus": "A", "OverallSDProcessStatus": "A",
        "OverallTotalDeliveryStatus": "A", "OverallSDDocumentRejectionSts": "A",
        "TotalCreditCheckStatus": order.credit_status, "PricingDate": order.day,
    }  # fmt: skip
    return {
        **initial,
        **deep.values,
        **derived,
        "_items": [_item_row(number, order, item) for item in order.items],
        "_prices": [price for item in order.items for price in _price_rows(number, order, item)],
        "_schedule": [_schedule_row(number, order, item) for item in order.items],
        "_partners": _partner_rows(number, deep, order),
        "_texts": [{**text.values, "SalesOrder": number} for text in deep.children.get("to_Text", [])],
        "_flow": [],
        "_gross": order.gross,
        "_segment": order.entity.credit_segment,
        "_open": True,
        "_credit_blocked": blocked,
    }


def _item_row(number: str, order: Order, item: OrderItem) -> Row:
    return {
        "SalesOrderItemCategory": "TAN", "PricingDate": order.day, "SalesDocumentRjcnReason": "", **item.given,
        "SalesOrder": number, "SalesOrderItem": item.number, "RequestedQuantityUnit": item.unit,
        "OrderQuantityUnit": item.unit, "ConfdDelivQtyInOrderQtyUnit": item.confirmed, "ProductionPlant": item.plant,
        "ProductTaxClassification1": item.tax_class, "_charges": item.priced.charges,
        "TransactionCurrency": order.currency, "NetAmount": item.priced.net, "TaxAmount": item.priced.tax,
        "Subtotal1Amount": item.priced.net, "SDProcessStatus": "A", "DeliveryStatus": "A",
        "OrderRelatedBillingStatus": "A",
    }  # fmt: skip


def _price_rows(number: str, order: Order, item: OrderItem) -> list[Row]:
    if not item.priced.is_priced:
        return []
    condition = item.priced.condition
    common: Row = {
        "SalesOrder": number, "SalesOrderItem": item.number, "PricingProcedureCounter": "1", "ConditionOrigin": "A",
        "PriceConditionDeterminationDte": order.day, "TransactionCurrency": order.currency,
    }  # fmt: skip
    price: Row = {
        "PricingProcedureStep": "10", "ConditionType": item.priced.manual or "PPR0", "ConditionCalculationType": "C",
        "ConditionClass": "B",
        "ConditionBaseValue": item.quantity, "ConditionRateValue": item.priced.rate,
        "ConditionCurrency": condition.currency if condition else order.currency,
        "ConditionQuantity": Decimal(condition.per) if condition else item.priced.per,
        "ConditionQuantityUnit": condition.unit if condition else item.unit,
        "ConditionIsManuallyChanged": condition is None,
        "ConditionRecord": condition.record if condition else "", "ConditionSequentialNumber": "01",
        "ConditionAmount": item.priced.goods,
    }  # fmt: skip
    charges: list[Row] = [
        {
            "PricingProcedureStep": "500", "PricingProcedureCounter": str(place), "ConditionType": kind,
            "ConditionCalculationType": "B", "ConditionClass": "A", "ConditionRateValue": amount,
            "ConditionCurrency": order.currency, "ConditionIsManuallyChanged": True, "ConditionAmount": amount,
        }
        for place, (kind, amount) in enumerate(item.priced.charges, start=1)
    ]  # fmt: skip
    tax: Row = {
        "PricingProcedureStep": "820", "ConditionType": "TTX1", "ConditionCalculationType": "A", "ConditionClass": "D",
        "ConditionBaseValue": item.priced.net, "ConditionRateValue": item.tax_percent,
        "ConditionAmount": item.priced.tax,
    }  # fmt: skip
    return [{**common, **element} for element in (price, *charges, tax)]


def _schedule_row(number: str, order: Order, item: OrderItem) -> Row:
    day: date | None = order.delivery_day if item.confirmed else None
    return {
        "SalesOrder": number, "SalesOrderItem": item.number, "ScheduleLine": "1",
        "RequestedDeliveryDate": order.delivery_day, "ConfirmedDeliveryDate": day, "OrderQuantityUnit": item.unit,
        "ScheduleLineOrderQuantity": item.quantity, "ConfdOrderQtyByMatlAvailCheck": item.confirmed,
        "OpenConfdDelivQtyInOrdQtyUnit": item.confirmed,
    }  # fmt: skip


def _partner_rows(number: str, deep: Deep, order: Order) -> list[Row]:
    given = {str(p.values["PartnerFunction"]): p.values for p in deep.children.get("to_Partner", [])}
    functions = {"AG", "RE", "RG", "WE"} | set(given)
    return [
        {"Customer": order.account, **given.get(function, {}), "SalesOrder": number, "PartnerFunction": function}
        for function in sorted(functions)
    ]
