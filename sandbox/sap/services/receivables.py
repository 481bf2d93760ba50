"""Operational accounting document items (API_OPLACCTGDOCITEMCUBE_SRV): customer lines and their G/L counterparts.

Customer lines become readable only after the exposure lag; G/L lines at once.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from sandbox.sap.configuration import CHART, LEADING_LEDGER, account_kind
from sandbox.sap.edm import EntitySet, Hints, Service, entity_type, service
from sandbox.sap.records import Line
from sandbox.sap.services.reading import wanted
from sandbox.sap.world import World

_ITEM: Final = entity_type(
    "A_OperationalAcctgDocItemCubeType",
    """CompanyCode 4 key ro, FiscalYear 4 key ro, AccountingDocument 10 key ro, AccountingDocumentItem 3 key ro,
    CompanyCodeName 25 ro, ChartOfAccounts 4 ro, AccountingDocumentItemType 1 ro, ClearingDate date ro,
    ClearingCreationDate date ro, ClearingAccountingDocument 10 ro, IsCleared bool ro, PostingKey 2 ro,
    FinancialAccountType 1 ro, SpecialGLCode 1 ro, SpecialGLTransactionType 1 ro, DebitCreditCode 1 ro,
    BusinessArea 4 ro, TaxCode 2 ro, TaxType 1 ro, TransactionTypeDetermination 3 ro, ValueDate date ro,
    AssignmentReference 18 ro, DocumentItemText 50 ro, ControllingArea 4 ro, CostCenter 10 ro,
    BillingDocument 10 ro, SalesDocument 10 ro, SalesDocumentItem 6 ro, IsSalesRelated bool ro,
    IsOpenItemManaged 1 ro, IsAutomaticallyCreated bool ro, IsUsedInPaymentTransaction bool ro,
    OperationalGLAccount 10 ro, GLAccount 10 ro, Customer 10 ro, CustomerName 80 ro, Supplier 10 ro,
    IsBalanceSheetAccount bool ro, DueCalculationBaseDate date ro, PaymentTerms 4 ro, NetPaymentDays 3.0 ro,
    PaymentMethod 1 ro, PaymentBlockingReason 1 ro, InvoiceReference 10 ro, InvoiceReferenceFiscalYear 4 ro,
    InvoiceItemReference 3 ro, FollowOnDocumentType 1 ro, DunningKey 1 ro, DunningBlockingReason 1 ro,
    LastDunningDate date ro, DunningLevel 1 ro, DunningArea 2 ro, Material 40 ro, Product 40 ro, Plant 4 ro,
    ProfitCenter 10 ro, ClearingIsReversed bool ro, Reference1IDByBusinessPartner 12 ro,
    Reference2IDByBusinessPartner 12 ro, IsNegativePosting bool ro, CreditControlArea 4 ro,
    Reference3IDByBusinessPartner 20 ro, PaymentReference 30 ro, TaxDeterminationDate date ro,
    ClearingDocFiscalYear 4 ro, LedgerGLLineItem 6 ro, ReferenceDocumentType 5 ro,
    OriginalReferenceDocument 20 ro, ReferenceDocumentLogicalSystem 10 ro, FiscalPeriod 3 ro,
    AccountingDocumentCategory 1 ro, PostingDate date ro, DocumentDate date ro, AccountingDocumentType 2 ro,
    NetDueDate date ro, CompanyCodeCurrency 5 ro, AmountInCompanyCodeCurrency 24.3@CompanyCodeCurrency ro,
    TaxBaseAmountInCoCodeCrcy 24.3@CompanyCodeCurrency ro, TransactionCurrency 5 ro,
    AmountInTransactionCurrency 24.3@TransactionCurrency ro,
    TaxBaseAmountInTransCrcy 24.3@TransactionCurrency ro, CreditControlAreaCurrency 5 ro,
    HedgedAmount 24.3@CreditControlAreaCurrency ro, AccountingDocumentCreationDate date ro,
    CreationTime time ro, LastChangeDate date ro, AccountingDocCreatedByUser 12 ro, TransactionCode 20 ro,
    DocumentReferenceID 16 ro, ReverseDocument 10 ro, ReverseDocumentFiscalYear 4 ro,
    AccountingDocumentHeaderText 25 ro, BusinessTransactionType 4 ro, ReversalReason 2 ro,
    Reference1InDocumentHeader 20 ro, Reference2InDocumentHeader 20 ro, Ledger 2 ro, IsReversal bool ro,
    IsReversed bool ro""",
)
# Equalities that an index answers, the most selective first.
_INDEXES: Final = (
    ("DocumentReferenceID", "reference"),
    ("AccountingDocument", "document"),
    ("Reference1InDocumentHeader", "order"),
    ("OriginalReferenceDocument", "original"),
    ("AssignmentReference", "assignment"),
    ("Customer", "customer"),
    ("CompanyCode", "company_code"),
)


def receivables_service(world: World) -> Service:
    """API_OPLACCTGDOCITEMCUBE_SRV."""
    head = world.head

    def rows(hints: Hints) -> Iterable[Line]:
        return (line for line in candidates(world, hints, _INDEXES) if world.is_visible(line))

    return service(
        "API_OPLACCTGDOCITEMCUBE_SRV",
        [
            EntitySet(
                "A_OperationalAcctgDocItemCube",
                _ITEM,
                rows,
                {
                    "CompanyCode": lambda r: r.document.company_code,
                    "FiscalYear": lambda r: r.document.fiscal_year,
                    "AccountingDocument": lambda r: r.document.number,
                    "AccountingDocumentItem": lambda r: f"{r.item:03d}",
                    "ChartOfAccounts": lambda _: CHART,
                    "AccountingDocumentItemType": lambda r: "T" if r.is_tax else "",
                    "ClearingDate": lambda r: r.cleared_on,
                    "ClearingCreationDate": lambda r: r.cleared_on,
                    "ClearingAccountingDocument": lambda r: r.cleared_by,
                    "ClearingDocFiscalYear": lambda r: str(r.cleared_on.year) if r.cleared_on else "",
                    "IsCleared": lambda r: bool(r.cleared_by),
                    "PostingKey": posting_key,
                    "FinancialAccountType": lambda r: "D" if r.customer else "S",
                    "DebitCreditCode": debit_credit,
                    "TaxCode": lambda r: r.tax_code,
                    "AssignmentReference": lambda r: r.assignment,
                    "DocumentItemText": lambda r: r.text,
                    "BillingDocument": lambda r: r.document.billing_document,
                    "SalesDocument": lambda r: r.document.sales_document,
                    "IsOpenItemManaged": lambda r: "X" if r.customer else "",
                    "OperationalGLAccount": lambda r: r.gl_account,
                    "GLAccount": lambda r: r.gl_account,
                    "Customer": lambda r: r.customer,
                    "CustomerName": lambda r: customer_name(world, r.customer),
                    "IsBalanceSheetAccount": lambda r: account_kind(r.gl_account).balance_sheet,
                    "DueCalculationBaseDate": lambda r: r.due - timedelta(days=30) if r.due else None,
                    "PaymentTerms": lambda r: "NT30" if r.customer else "",
                    "NetDueDate": lambda r: r.due,
                    "ProfitCenter": lambda r: r.profit_center,
                    "CostCenter": lambda r: r.cost_center,
                    "Reference3IDByBusinessPartner": lambda r: r.reference_key,
                    "CreditControlArea": lambda r: r.document.company_code if r.customer else "",
                    "LedgerGLLineItem": lambda r: f"{r.item:06d}",
                    "ReferenceDocumentType": lambda r: r.document.original_type,
                    "OriginalReferenceDocument": lambda r: r.document.original_reference,
                    "ReferenceDocumentLogicalSystem": lambda r: r.document.logical_system,
                    "FiscalPeriod": lambda r: r.document.period,
                    "PostingDate": lambda r: r.document.posting_date,
                    "DocumentDate": lambda r: r.document.document_date,
                    "AccountingDocumentType": lambda r: r.document.type,
                    "CompanyCodeCurrency": lambda r: r.local_currency,
                    "AmountInCompanyCodeCurrency": lambda r: r.local_amount,
                    "TransactionCurrency": lambda r: r.currency,
                    "AmountInTransactionCurrency": lambda r: r.amount,
                    "TaxBaseAmountInTransCrcy": lambda r: r.tax_base,
                    "CreditControlAreaCurrency": lambda r: r.local_currency,
                    "AccountingDocumentCreationDate": lambda r: r.document.created_at.date(),
                    "CreationTime": lambda r: timedelta(
                        hours=r.document.created_at.hour,
                        minutes=r.document.created_at.minute,
                        seconds=r.document.created_at.second,
                    ),
                    "LastChangeDate": lambda r: head(r).changed_at.date(),
                    "AccountingDocCreatedByUser": lambda r: r.document.created_by,
                    "DocumentReferenceID": lambda r: r.document.reference,
                    "ReverseDocument": lambda r: head(r).reversed_by or r.document.reverses[:10],
                    "ReverseDocumentFiscalYear": lambda r: r.document.reverses[14:],
                    "AccountingDocumentHeaderText": lambda r: r.document.header_text,
                    "BusinessTransactionType": lambda r: r.document.business_transaction,
                    "ReversalReason": lambda r: r.document.reversal_reason,
                    "Reference1InDocumentHeader": lambda r: r.document.reference1,
                    "Reference2InDocumentHeader": lambda r: r.document.reference2,
                    "Ledger": lambda _: LEADING_LEDGER,
                    "IsReversal": lambda r: bool(r.document.reverses),
                    "IsReversed": lambda r: bool(head(r).reversed_by),
                },
            )
        ],
    )


def candidates(world: World, hints: Hints, indexes: Iterable[tuple[str, str]]) -> Iterable[Line]:
    """The lines that may match, through the most selective index that an equality allows."""
    if hints.get("IsCleared") == frozenset({False}):
        customers = wanted(hints, "Customer")
        if customers is not None and "" not in customers:
            return (line for customer in sorted(customers) for line in world.lines.find("open", customer))
    for name, index in indexes:
        values = wanted(hints, name)
        if values is not None and "" not in values:
            return (line for value in sorted(values) for line in world.lines.find(index, value))
    return world.lines.values()


def customer_name(world: World, customer: str) -> str:
    """The name of a customer."""
    row = world.customers.get(customer) if customer else None
    return str(row["CustomerName"]) if row else ""


def posting_key(line: Line) -> str:
    """01/11 on customers, 40/50 on G/L accounts."""
    if line.customer:
        return "01" if line.amount >= 0 else "11"
    return "40" if line.amount >= 0 else "50"


def debit_credit(line: Line) -> str:
    """S debit (Soll), H credit (Haben)."""
    return "S" if line.amount >= 0 else "H"
