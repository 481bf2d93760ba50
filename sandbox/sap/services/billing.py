"""Billing documents (API_BILLING_DOCUMENT_SRV): a billed order stops counting as open and becomes a receivable."""

import uuid
from collections.abc import Iterable
from typing import Any, Final

from sandbox.kit.entities import legal_entities
from sandbox.sap import ledger
from sandbox.sap.configuration import OUTPUT_TAX, REVENUE
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


def bill(world: World, order: Row) -> Document:
    """Bill a sales order in full and post it to accounting. Raises ValueError where it cannot be billed."""
    number = order["SalesOrder"]
    if not order["_open"]:
        raise ValueError(f"order {number} is not open")
    if order["_credit_blocked"]:
        raise ValueError(f"order {number} is blocked for credit")
    entity = legal_entities()[order["SalesOrganization"]]
    today, currency, account = world.today(entity.code), order["TransactionCurrency"], order["SoldToParty"]
    net, gross = order["TotalNetAmount"], order["_gross"]
    billing_number = world.number("billing document", 90_000_000).lstrip("0")
    drafts = [Draft(gross, currency, customer=account), Draft(-net, currency, gl_account=REVENUE)]
    if gross != net:
        drafts.append(Draft(net - gross, currency, gl_account=OUTPUT_TAX, tax_base=-net, is_tax=True))
    entry = ledger.Entry(
        company_code=entity.code,
        type="RV",
        posting_date=today,
        document_date=today,
        drafts=drafts,
        reference=str(order.get("AccountingDocExternalReference") or billing_number),
        reference1=str(order.get("PurchaseOrderByCustomer") or "")[:20],
        reference2="invoice",
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
        for item in order["_items"]
        if not item["SalesDocumentRjcnReason"]
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
