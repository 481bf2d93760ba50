"""General ledger line items (API_GLACCOUNTLINEITEM): every line of every document, once per ledger.

It carries no document reference: a caller that knows only its own reference goes through the receivables cube.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sandbox.sap.configuration import CHART, LEDGERS
from sandbox.sap.edm import EntitySet, Hints, Service, entity_type, service
from sandbox.sap.records import Line
from sandbox.sap.services.reading import wanted
from sandbox.sap.services.receivables import candidates, debit_credit, posting_key
from sandbox.sap.world import World

_ITEM: Final = entity_type(
    "GLAccountLineItemType",
    """ID 80 key ro, SourceLedger 2 ro, CompanyCode 4 ro, FiscalYear 4 ro, AccountingDocument 10 ro,
    LedgerGLLineItem 6 ro, Ledger 2 ro, LedgerFiscalYear 4 ro, ControllingArea 4 ro, ChartOfAccounts 4 ro,
    GLAccount 10 ro, BusinessTransactionType 4 ro, ReferenceDocumentType 5 ro, LogicalSystem 10 ro,
    ReferenceDocumentContext 10 ro, ReferenceDocument 10 ro, ReferenceDocumentItem 6 ro, IsReversal bool ro,
    IsReversed bool ro, ReversalReferenceDocumentCntxt 10 ro, ReversalReferenceDocument 10 ro, CostCenter 10 ro,
    ProfitCenter 10 ro, Segment 10 ro, BalanceTransactionCurrency 5 ro,
    AmountInBalanceTransacCrcy 24.3@BalanceTransactionCurrency ro, TransactionCurrency 5 ro,
    AmountInTransactionCurrency 24.3@TransactionCurrency ro, CompanyCodeCurrency 5 ro,
    AmountInCompanyCodeCurrency 24.3@CompanyCodeCurrency ro, BaseUnit 3 ro, Quantity 23.3@BaseUnit ro,
    DebitCreditCode 1 ro, FiscalPeriod 3 ro, FiscalYearVariant 2 ro, FiscalYearPeriod 7 ro, PostingDate date ro,
    DocumentDate date ro, AccountingDocumentType 2 ro, AccountingDocumentItem 3 ro, AssignmentReference 18 ro,
    AccountingDocumentCategory 1 ro, PostingKey 2 ro, AccountingDocCreatedByUser 12 ro,
    LastChangeDateTime offset ro, CreationDateTime offset ro, CreationDate date ro, DocumentItemText 50 ro,
    SalesDocument 10 ro, SalesDocumentItem 6 ro, Product 40 ro, Plant 4 ro, Supplier 10 ro, Customer 10 ro,
    FinancialAccountType 1 ro, SpecialGLCode 1 ro, TaxCode 2 ro, IsOpenItemManaged 1 ro, ClearingDate date ro,
    ClearingAccountingDocument 10 ro, ClearingDocFiscalYear 4 ro, OffsettingAccount 10 ro,
    OffsettingAccountType 1 ro""",
)
_INDEXES: Final = (
    ("AccountingDocument", "document"),
    ("ReferenceDocument", "awref"),
    ("AssignmentReference", "assignment"),
    ("Customer", "customer"),
    ("CompanyCode", "company_code"),
)


@dataclass(frozen=True, slots=True)
class _Item:
    ledger: str
    line: Line


def gl_items_service(world: World) -> Service:
    """API_GLACCOUNTLINEITEM."""

    def rows(hints: Hints) -> Iterable[_Item]:
        ledgers = wanted(hints, "Ledger")
        shown = [ledger for ledger in LEDGERS if ledgers is None or ledger in ledgers]
        return (_Item(ledger, line) for line in candidates(world, hints, _INDEXES) for ledger in shown)

    return service(
        "API_GLACCOUNTLINEITEM",
        [
            EntitySet(
                "GLAccountLineItem",
                _ITEM,
                rows,
                {
                    "ID": lambda r: ".".join((r.ledger, *r.line.document.key, f"{r.line.item:06d}")),
                    "SourceLedger": lambda r: r.ledger,
                    "CompanyCode": lambda r: r.line.document.company_code,
                    "FiscalYear": lambda r: r.line.document.fiscal_year,
                    "AccountingDocument": lambda r: r.line.document.number,
                    "LedgerGLLineItem": lambda r: f"{r.line.item:06d}",
                    "Ledger": lambda r: r.ledger,
                    "LedgerFiscalYear": lambda r: r.line.document.fiscal_year,
                    "ChartOfAccounts": lambda _: CHART,
                    "GLAccount": lambda r: r.line.gl_account,
                    "BusinessTransactionType": lambda r: r.line.document.business_transaction,
                    "ReferenceDocumentType": lambda r: r.line.document.original_type,
                    "LogicalSystem": lambda r: r.line.document.logical_system,
                    "ReferenceDocumentContext": lambda r: r.line.document.original_reference[10:],
                    "ReferenceDocument": lambda r: r.line.document.original_reference[:10],
                    "ReferenceDocumentItem": lambda r: f"{r.line.item:06d}",
                    "IsReversal": lambda r: bool(r.line.document.reverses),
                    "IsReversed": lambda r: bool(world.head(r.line).reversed_by),
                    "ReversalReferenceDocument": lambda r: (
                        r.line.document.reverses[:10] or world.head(r.line).reversed_by
                    ),
                    "ReversalReferenceDocumentCntxt": lambda r: r.line.document.reverses[10:],
                    "CostCenter": lambda r: r.line.cost_center,
                    "ProfitCenter": lambda r: r.line.profit_center,
                    "BalanceTransactionCurrency": lambda r: r.line.currency,
                    "AmountInBalanceTransacCrcy": lambda r: r.line.amount,
                    "TransactionCurrency": lambda r: r.line.currency,
                    "AmountInTransactionCurrency": lambda r: r.line.amount,
                    "CompanyCodeCurrency": lambda r: r.line.local_currency,
                    "AmountInCompanyCodeCurrency": lambda r: r.line.local_amount,
                    "DebitCreditCode": lambda r: debit_credit(r.line),
                    "FiscalPeriod": lambda r: r.line.document.period,
                    "FiscalYearVariant": lambda _: "K4",
                    "FiscalYearPeriod": lambda r: r.line.document.fiscal_year + r.line.document.period,
                    "PostingDate": lambda r: r.line.document.posting_date,
                    "DocumentDate": lambda r: r.line.document.document_date,
                    "AccountingDocumentType": lambda r: r.line.document.type,
                    "AccountingDocumentItem": lambda r: f"{r.line.item:03d}",
                    "AssignmentReference": lambda r: r.line.assignment,
                    "PostingKey": lambda r: posting_key(r.line),
                    "AccountingDocCreatedByUser": lambda r: r.line.document.created_by,
                    "LastChangeDateTime": lambda r: world.head(r.line).changed_at,
                    "CreationDateTime": lambda r: r.line.document.created_at,
                    "CreationDate": lambda r: r.line.document.created_at.date(),
                    "DocumentItemText": lambda r: r.line.text,
                    "SalesDocument": lambda r: r.line.document.sales_document,
                    "Customer": lambda r: r.line.customer,
                    "FinancialAccountType": lambda r: "D" if r.line.customer else "S",
                    "TaxCode": lambda r: r.line.tax_code,
                    "IsOpenItemManaged": lambda r: "X" if r.line.customer else "",
                    "ClearingDate": lambda r: r.line.cleared_on,
                    "ClearingAccountingDocument": lambda r: r.line.cleared_by,
                    "ClearingDocFiscalYear": lambda r: str(r.line.cleared_on.year) if r.line.cleared_on else "",
                },
            )
        ],
    )
