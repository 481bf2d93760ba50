"""Billing documents (API_BILLING_DOCUMENT_SRV): a billed order stops counting as open and becomes a receivable."""

import uuid
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from sandbox.kit.entities import legal_entities
from sandbox.sap import ledger
from sandbox.sap.configuration import FIXED_CONDITIONS, OUTPUT_TAX, REVENUE, TAX_CLASSES
from sandbox.sap.edm import EntitySet, Hints, Service, entity_type, service, to_many
from sandbox.sap.records import Document, Draft
from sandbox.sap.services.reading import wanted
from sandbox.sap.world import World

type Row = dict[str, Any]

_DOCUMENT: Final = entity_type(
    "A_BillingDocumentType",
    """BillingDocument 10 key ro, SDDocumentCategory 4 ro, BillingDocumentCategory 1 ro, BillingDocumentType 4 ro,
    CreatedByUser 12 ro, CreationDate date ro, LastChangeDate date ro, LastChangeDateTime offset ro,
    SalesOrganization 4 ro, DistributionChannel 2 ro, Division 2 ro, BillingDocumentDate date ro,
    BillingDocumentIsCancelled bool ro, CancelledBillingDocument 10 ro,
    TotalNetAmount 16.3@TransactionCurrency ro, TransactionCurrency 5 ro, TaxAmount 14.3@TransactionCurrency ro,
    TotalGrossAmount 17.3@TransactionCurrency ro, CustomerPaymentTerms 4 ro, CompanyCode 4 ro, FiscalYear 4 ro,
    AccountingDocument 10 ro, FiscalPeriod 3 ro, PayerParty 10 ro, SoldToParty 10 ro,
    PurchaseOrderByCustomer 35 ro, DocumentReferenceID 16 ro, AssignmentReference 18 ro,
    OverallBillingStatus 1 ro, AccountingPostingStatus 1 ro, AccountingTransferStatus 1 ro""",
    to_many("to_Item", "A_BillingDocumentItem", "BillingDocument"),
)
_ITEM: Final = entity_type(
    "A_BillingDocumentItemType",
    """BillingDocument 10 key ro, BillingDocumentItem 6 key ro, SalesDocumentItemCategory 4 ro, Material 40 ro,
    Plant 4 ro, BillingQuantity 13.3@BillingQuantityUnit ro, BillingQuantityUnit 3 ro,
    NetAmount 16.3@TransactionCurrency ro, TaxAmount 14.3@TransactionCurrency ro, TransactionCurrency 5 ro,
    SalesDocument 10 ro, SalesDocumentItem 6 ro""",
)


def billing_service(world: World) -> Service:
    """API_BILLING_DOCUMENT_SRV."""

    def documents(hints: Hints) -> Iterable[Row]:
        asked = wanted(hints, "BillingDocument")
        if asked is None:
            return world.billing_documents.values()
        return (row for number in sorted(asked) if (row := world.billing_documents.get(number)) is not None)

    return service(
        "API_BILLING_DOCUMENT_SRV",
        [
            EntitySet("A_BillingDocument", _DOCUMENT, documents),
            EntitySet(
                "A_BillingDocumentItem",
                _ITEM,
                lambda hints: (item for row in documents(hints) for item in row["_items"]),
            ),
        ],
    )


def due_on(order: Row) -> date | None:
    """The day on which an order is to be billed, None where it names none."""
    day = order.get("BillingDocumentDate")
    return day.date() if isinstance(day, datetime) else day if isinstance(day, date) else None


def cancel(world: World, billing: Row) -> Document:
    """Cancel a billing document: its accounting document is reversed and its order is open again."""
    number = billing["BillingDocument"]
    if billing["BillingDocumentIsCancelled"]:
        raise ValueError(f"billing document {number} is cancelled already")
    original = world.documents.get((billing["CompanyCode"], billing["FiscalYear"], billing["AccountingDocument"]))
    if original is None:
        raise ValueError(f"billing document {number} has no accounting document")
    cancelling = world.number("billing document", 90_000_000).lstrip("0")
    entry = ledger.Entry(
        company_code=original.company_code,
        type=original.type,
        posting_date=original.posting_date,
        document_date=original.document_date,
        drafts=(),
        reference=original.reference,
        original_type="VBRK",
        original_reference=cancelling.zfill(10),
        reversal_reason="01",
        reverses=original.original_reference,
        billing_document=cancelling,
        sales_document=original.sales_document,
    )
    found = ledger.problems(world, entry)
    if found:
        raise ValueError(f"billing document {number} cannot be cancelled: {found[0].note}")
    document = ledger.post(world, entry)
    now = world.stamp()
    changed = {"LastChangeDateTime": now, "LastChangeDate": now.date()}
    world.billing_documents.put(number, {**billing, **changed, "BillingDocumentIsCancelled": True})
    order = world.sales_orders.get(original.sales_document)
    if order is not None:
        opened = {"_open": True, "OverallOrdReltdBillgStatus": "A", "OverallSDProcessStatus": "A", **changed}
        world.sales_orders.put(original.sales_document, {**order, **opened})
        world.emit("salesorder.v1.SalesOrder.OvrlSDProcStsChgd.v1", {"SalesOrder": original.sales_document})
    return document


def _drafts(items: Iterable[Row], company_code: str, currency: str) -> list[Draft]:
    """Revenue, freight, discounts and taxes of the billed items, each account once for a tax code."""
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    taxes: dict[str, tuple[Decimal, Decimal]] = {}
    for item in items:
        code = TAX_CLASSES[company_code][item["ProductTaxClassification1"]][0]
        charged = sum((amount for _, amount in item["_charges"]), Decimal(0))
        sums[REVENUE, code] += item["NetAmount"] - charged
        for kind, amount in item["_charges"]:
            sums[FIXED_CONDITIONS[kind][0], code] += amount
        base, tax = taxes.get(code, (Decimal(0), Decimal(0)))
        taxes[code] = (base + item["NetAmount"], tax + item["TaxAmount"])
    drafts = [
        Draft(-amount, currency, gl_account=account, tax_code=code)
        for (account, code), amount in sums.items()
        if amount
    ]
    drafts += [
        Draft(-tax, currency, gl_account=OUTPUT_TAX, tax_code=code, tax_base=-base, is_tax=True)
        for code, (base, tax) in taxes.items()
        if tax
    ]
    return drafts


def bill(world: World, order: Row) -> Document:
    """Bill a sales order in full and post it to accounting. Raises ValueError where it cannot be billed.

    Billing hands the order's accounting reference on to the document, and nothing into its reference keys.
    """
    number = order["SalesOrder"]
    if not order["_open"]:
        raise ValueError(f"order {number} is not open")
    if order["_credit_blocked"]:
        raise ValueError(f"order {number} is blocked for credit")
    if order.get("HeaderBillingBlockReason"):
        raise ValueError(f"order {number} is blocked for billing (reason {order['HeaderBillingBlockReason']})")
    entity = legal_entities()[order["SalesOrganization"]]
    currency, account = order["TransactionCurrency"], order["SoldToParty"]
    today = due_on(order) or world.today(entity.code)
    net, gross = order["TotalNetAmount"], order["_gross"]
    billing_number = world.number("billing document", 90_000_000).lstrip("0")
    live = [item for item in order["_items"] if not item["SalesDocumentRjcnReason"]]
    drafts = [Draft(gross, currency, customer=account), *_drafts(live, entity.code, currency)]
    entry = ledger.Entry(
        company_code=entity.code,
        type="RV",
        posting_date=today,
        document_date=today,
        drafts=drafts,
        reference=str(order.get("AccountingDocExternalReference") or billing_number),
        original_type="VBRK",
        original_reference=billing_number.zfill(10),
        billing_document=billing_number,
        sales_document=number,
    )
    found = ledger.problems(world, entry)
    if found:
        raise ValueError(f"order {number} cannot be billed: {found[0].note}")
    document = ledger.post(world, entry)
    now = world.stamp()
    items: list[Row] = [
        {
            "BillingDocument": billing_number, "BillingDocumentItem": item["SalesOrderItem"],
            "Material": item["Material"],
            "SalesDocumentItemCategory": "TAN", "Plant": item["ProductionPlant"],
            "BillingQuantity": item["RequestedQuantity"],
            "BillingQuantityUnit": item["OrderQuantityUnit"], "NetAmount": item["NetAmount"],
            "TaxAmount": item["TaxAmount"],
            "TransactionCurrency": currency, "SalesDocument": number, "SalesDocumentItem": item["SalesOrderItem"],
        }
        for item in live
    ]  # fmt: skip
    row: Row = {
        "BillingDocument": billing_number, "SDDocumentCategory": "M", "BillingDocumentType": "F2",
        "BillingDocumentCategory": "L", "CreatedByUser": "CONCORD", "CreationDate": today, "LastChangeDate": today,
        "LastChangeDateTime": now, "SalesOrganization": entity.code,
        "DistributionChannel": order["DistributionChannel"],
        "Division": order["OrganizationDivision"], "BillingDocumentDate": today, "BillingDocumentIsCancelled": False,
        "TotalNetAmount": net, "TransactionCurrency": currency, "TaxAmount": gross - net, "TotalGrossAmount": gross,
        "CompanyCode": entity.code, "FiscalYear": document.fiscal_year, "AccountingDocument": document.number,
        "FiscalPeriod": document.period, "PayerParty": account, "SoldToParty": account,
        "PurchaseOrderByCustomer": str(order.get("PurchaseOrderByCustomer") or ""),
        "DocumentReferenceID": document.reference, "OverallBillingStatus": "C", "AccountingPostingStatus": "C",
        "AccountingTransferStatus": "D", "_items": items
    }  # fmt: skip
    world.billing_documents.put(billing_number, row)
    flow: Row = {
        "SalesOrder": number, "DocRelationshipUUID": uuid.uuid4(), "SubsequentDocument": billing_number,
        "SubsequentDocumentCategory": "M", "ProcessFlowLevel": "00", "OverallSDProcessStatus": "C",
        "CreationDate": today,
    }  # fmt: skip
    billed = {
        **order, "_open": False, "_flow": [*order["_flow"], flow], "OverallOrdReltdBillgStatus": "C",
        "OverallSDProcessStatus": "C", "LastChangeDateTime": now, "LastChangeDate": today,
    }  # fmt: skip
    world.sales_orders.put(number, billed)
    world.emit("salesorder.v1.SalesOrder.OvrlSDProcStsChgd.v1", {"SalesOrder": number})
    world.emit("billingdocument.v1.BillingDocument.Created.v1", {"BillingDocument": billing_number})
    return document
