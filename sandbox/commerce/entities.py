"""Headquarters' data entities: their fields by true name and type, and rows of orders in that form.

`BusinessDate`, `ReturnTransactionId` and `ReturnLineNumber` are extension fields, as a customer adds them: the standard
entities carry neither a retail business date nor the link from a return to what it returns.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final

from sandbox.commerce.world import JsonObject, StoredOrder
from sandbox.dataverse.errors import bad_query
from sandbox.dataverse.query import Family
from sandbox.kit import exact_json

_NAMESPACE: Final = "Microsoft.Dynamics.DataEntities"
_SALES_STATUS: Final = ("SalesStatus", "None", "Backorder", "Delivered", "Invoiced", "Canceled")
_BLOCKED: Final = ("CustVendorBlocked", "No", "Invoice", "All", "Payment", "Requisition", "Never")
_NO_YES: Final = ("NoYes", "No", "Yes")
_STATUS_OF: Final = {"Created": "Backorder", "Shipped": "Delivered", "Canceled": "Canceled"}


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `values` are those of `enumeration`, `length` the most characters it takes (0 = no limit)."""

    family: Family
    enumeration: str = ""
    values: tuple[str, ...] = ()
    length: int = 0
    writable: bool = True


@dataclass(frozen=True, slots=True)
class DataEntity:
    """One public data entity."""

    name: str
    key: tuple[str, ...]
    fields: Mapping[str, Field]

    def field(self, name: str) -> Field:
        """A field by name. Raises Refused (400)."""
        found = self.fields.get(name)
        if found is None:
            raise bad_query(f"Could not find a property named '{name}' on type '{_NAMESPACE}.{self.name}'.")
        return found

    def checked(self, body: Mapping[str, object]) -> JsonObject:
        """The body of a write, held to the entity's fields. Raises Refused (400) naming the field."""
        for name, value in body.items():
            if not name.startswith("@"):
                _check(self, name, value)
        return {name: value for name, value in body.items() if not name.startswith("@")}


def _text(length: int = 0, *, writable: bool = True) -> Field:
    return Field(Family.TEXT, length=length, writable=writable)


def _choice(enumeration: str, *values: str) -> Field:
    return Field(Family.ENUM, f"{_NAMESPACE}.{enumeration}", values)


_NUMBER: Final = Field(Family.NUMBER)
_MOMENT: Final = Field(Family.MOMENT)
_COMPANY: Final = Field(Family.TEXT, length=4)

HEADERS: Final = DataEntity("SalesOrderHeadersV2", ("dataAreaId", "SalesOrderNumber"), {
    "dataAreaId": _COMPANY, "SalesOrderNumber": _text(), "SalesOrderName": _text(),
    "SalesOrderStatus": _choice(*_SALES_STATUS), "SalesOrderOriginCode": _text(),
    "OrderingCustomerAccountNumber": _text(), "InvoiceCustomerAccountNumber": _text(), "CurrencyCode": _text(),
    "CustomersOrderReference": _text(), "CustomerRequisitionNumber": _text(), "OrderCreationDateTime": _MOMENT,
    "RequestedReceiptDate": _MOMENT, "RequestedShippingDate": _MOMENT, "OrderTotalAmount": _NUMBER,
    "OrderTotalTaxAmount": _NUMBER, "OrderTotalChargesAmount": _NUMBER, "OrderTotalDiscountAmount": _NUMBER,
    "ArePricesIncludingSalesTax": _choice(*_NO_YES), "DefaultShippingSiteId": _text(),
    "DefaultShippingWarehouseId": _text(), "BusinessDate": _MOMENT, "ReturnTransactionId": _text(),
})  # fmt: skip
LINES: Final = DataEntity("SalesOrderLinesV3", ("dataAreaId", "InventoryLotId"), {
    "dataAreaId": _COMPANY, "InventoryLotId": _text(), "SalesOrderNumber": _text(), "LineNumber": _NUMBER,
    "ItemNumber": _text(), "LineDescription": _text(), "OrderedSalesQuantity": _NUMBER, "SalesUnitSymbol": _text(),
    "SalesPrice": _NUMBER, "SalesPriceQuantity": _NUMBER, "LineAmount": _NUMBER, "LineDiscountAmount": _NUMBER,
    "CurrencyCode": _text(), "ShippingSiteId": _text(), "ShippingWarehouseId": _text(),
    "SalesOrderLineStatus": _choice(*_SALES_STATUS), "OrderLineReference": _text(), "ReturnTransactionId": _text(),
    "ReturnLineNumber": _NUMBER,
})  # fmt: skip
CUSTOMERS: Final = DataEntity("CustomersV3", ("dataAreaId", "CustomerAccount"), {
    "dataAreaId": Field(Family.TEXT, length=4, writable=False), "CustomerAccount": _text(20, writable=False),
    "OrganizationName": _text(100), "NameAlias": _text(20), "CustomerGroupId": _text(10), "SalesCurrencyCode": _text(3),
    "CreditLimit": _NUMBER, "CreditLimitIsMandatory": _choice(*_NO_YES), "CreditRating": _text(10),
    "AllowOnAccount": _choice(*_NO_YES), "OnHoldStatus": _choice(*_BLOCKED), "PaymentTerms": _text(10),
    "PrimaryContactEmail": _text(255), "PrimaryContactPhone": _text(255), "TaxExemptNumber": _text(20),
    "AddressStreet": _text(250), "AddressCity": _text(60), "AddressZipCode": _text(10),
    "AddressCountryRegionId": _text(10), "LanguageId": _text(7), "SalesMemo": _text(),
})  # fmt: skip
PRICE_LINES: Final = DataEntity(
    "OpenSalesPriceJournalLinesV2", ("dataAreaId", "TradeAgreementJournalNumber", "LineNumber"), {
    "dataAreaId": _COMPANY, "TradeAgreementJournalNumber": _text(20), "LineNumber": _NUMBER, "ItemNumber": _text(20),
    "CustomerAccountNumber": _text(20), "PriceCustomerGroupCode": _text(10), "Price": _NUMBER,
    "PriceCurrencyCode": _text(3), "SalesPriceQuantity": _NUMBER, "QuantityUnitSymbol": _text(10),
    "FromQuantity": _NUMBER, "ToQuantity": _NUMBER, "PriceApplicableFromDate": _MOMENT,
    "PriceApplicableToDate": _MOMENT, "PriceSiteId": _text(10), "PriceWarehouseId": _text(10),
    "FixedPriceCharges": _NUMBER, "SalesLeadTimeDays": _NUMBER, "WillSearchContinue": _choice(*_NO_YES),
    "ProductColorId": _text(10), "ProductSizeId": _text(10), "ProductStyleId": _text(10),
})  # fmt: skip
# The unit's field is spelled like that in the real entity too.
PRICES: Final = DataEntity("SalesPriceAgreements", ("dataAreaId", "RecordId"), {
    **{name: field for name, field in PRICE_LINES.fields.items()
       if name not in {"TradeAgreementJournalNumber", "LineNumber", "QuantityUnitSymbol"}},
    "RecordId": _NUMBER, "QuantityUnitySymbol": _text(10), "ProductNumber": _text(),
})  # fmt: skip


def header_row(stored: StoredOrder) -> JsonObject:
    """An order as a row of SalesOrderHeadersV2; dates of headquarters stand at noon."""
    order = stored.order
    charges = sum((Decimal(str(one.get("CalculatedAmount", 0))) for one in order["ChargeLines"]), Decimal(0))
    customer = str(order.get("CustomerId") or "")
    day = f"{stored.business_date}T12:00:00Z"
    return {
        "dataAreaId": stored.company,
        "SalesOrderNumber": stored.number,
        "SalesOrderName": f"{order.get('ChannelId', '')} {stored.number}".strip(),
        "SalesOrderStatus": _STATUS_OF.get(stored.status, stored.status),
        "SalesOrderOriginCode": "RETURN" if stored.is_return else "SALE",
        "OrderingCustomerAccountNumber": customer,
        "InvoiceCustomerAccountNumber": customer,
        "CurrencyCode": order["CurrencyCode"],
        "CustomersOrderReference": str(order.get("ChannelReferenceId") or ""),
        "CustomerRequisitionNumber": str(order.get("CustomerRequisition") or ""),
        "OrderCreationDateTime": order["OrderPlacedDate"],
        "RequestedReceiptDate": day,
        "RequestedShippingDate": day,
        "OrderTotalAmount": order["TotalAmount"],
        "OrderTotalTaxAmount": order["TaxAmount"],
        "OrderTotalChargesAmount": charges,
        "OrderTotalDiscountAmount": order.get("DiscountAmount", 0),
        "ArePricesIncludingSalesTax": "No",
        "DefaultShippingSiteId": "",
        "DefaultShippingWarehouseId": "",
        "BusinessDate": day,
        "ReturnTransactionId": next(
            (str(line["ReturnTransactionId"]) for line in order["SalesLines"] if line.get("ReturnTransactionId")), ""
        ),
    }


def line_rows(stored: StoredOrder) -> Iterator[JsonObject]:
    """The lines of an order as rows of SalesOrderLinesV3."""
    for index, line in enumerate(stored.order["SalesLines"], start=1):
        yield {
            "dataAreaId": stored.company,
            "InventoryLotId": f"{stored.number}-{line.get('LineId', index)}",
            "SalesOrderNumber": stored.number,
            "LineNumber": index,
            "ItemNumber": line.get("ItemId", ""),
            "LineDescription": line.get("Description", ""),
            "OrderedSalesQuantity": line["Quantity"],
            "SalesUnitSymbol": line.get("UnitOfMeasureSymbol", ""),
            "SalesPrice": line["Price"],
            "SalesPriceQuantity": 1,
            "LineAmount": line["NetAmount"],
            "LineDiscountAmount": line.get("DiscountAmount", 0),
            "CurrencyCode": stored.order["CurrencyCode"],
            "ShippingSiteId": "",
            "ShippingWarehouseId": str(line.get("WarehouseId") or ""),
            "SalesOrderLineStatus": _STATUS_OF.get(stored.status, stored.status),
            "OrderLineReference": str(line.get("LineId", index)),
            "ReturnTransactionId": str(line.get("ReturnTransactionId") or ""),
            "ReturnLineNumber": _number(line.get("ReturnLineNumber")),
        }


def etag_of(row: JsonObject) -> str:
    """The entity tag of a row: another one for other content."""
    return f'W/"{sha256(exact_json.dumps(row)).hexdigest()[:16]}"'


def comparable(field: Field, value: Any) -> Any:
    """A field's value as $filter and $orderby compare it."""
    if field.family is not Family.MOMENT:
        return value
    return _instant(value) if isinstance(value, str) and value else None


def _number(value: object) -> object:
    if value is None or value == "":
        return 0
    return value if isinstance(value, int | Decimal) else Decimal(str(value))


def _check(entity: DataEntity, name: str, value: object) -> None:
    field = entity.field(name)
    if not field.writable:
        raise bad_query(f"The field '{name}' of {entity.name} cannot be changed.")
    match field.family:
        case Family.NUMBER:
            fits = isinstance(value, int | Decimal) and not isinstance(value, bool)
        case Family.ENUM:
            fits = value in field.values
        case Family.MOMENT:
            fits = isinstance(value, str) and _is_moment(value)
        case _:
            fits = value is None or isinstance(value, str)
    if not fits:
        kind = f"{_NAMESPACE} enumeration" if field.family is Family.ENUM else field.family.value
        raise bad_query(f"Cannot convert the value {value!r} of '{name}' to the expected type '{kind}'.")
    if field.length and isinstance(value, str) and len(value) > field.length:
        raise bad_query(f"The value of '{name}' is longer than the {field.length} characters of the field.")


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _instant(text: str) -> datetime:
    read = datetime.fromisoformat(text)
    return read if read.tzinfo else read.replace(tzinfo=UTC)
