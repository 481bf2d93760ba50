"""SAP's ledger: post a journal entry, ask whether one has landed, list what stands there.

Posting is SOAP and synchronous; it succeeded when a document number came back, whatever the HTTP status says. It is
not exactly-once by contract, so a lost answer is `OutcomeUnknown` and `find` is how one looks: by our posting key in
the reference field, over every fiscal year, because a posting near the turn of a year lands where its date says.
"""

from __future__ import annotations

import html
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from shared.authority.ledger import SapRules
from shared.clients.http import RemoteSystem, Response
from shared.clients.odata import ODataV2, any_of, day, decimal, where
from shared.clients.sap_refusals import CURRENCY, Rejected, Remedies, reason_of
from shared.domain.ledger import Document, DocumentLine
from shared.domain.money import Money
from shared.domain.sealing import content_of_document, header_text
from shared.errors import OutcomeUnknown

PATH = "/sap/bc/srt/scs_ext/sap/journalentrycreaterequestconfi"
NAMESPACE = "http://sap.com/xi/SAPSCORE/SFIN"
_ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
_ACTION = f'"{NAMESPACE}/JournalEntryCreateRequestConfirmation_In/JournalEntryCreateRequestConfirmation_InRequest"'
_CUBE = "API_OPLACCTGDOCITEMCUBE_SRV"
_ITEMS = "A_OperationalAcctgDocItemCube"
_SELECT = (
    "CompanyCode,FiscalYear,AccountingDocument,AccountingDocumentItem,AccountingDocumentType,DocumentReferenceID,"
    "Reference1InDocumentHeader,Reference2InDocumentHeader,PostingDate,DocumentDate,FinancialAccountType,Customer,"
    "GLAccount,TaxCode,AmountInTransactionCurrency,TransactionCurrency,DocumentItemText,ReverseDocument,"
    "AccountingDocumentHeaderText"
)
_ERROR_SEVERITY = 3
_HEADLINE = "609(RW)"
"""SAP heads every refusal with "error in document" and gives the reasons below."""

_REMEDIES: Remedies = (
    (r"period .*(not open|closed)|not open .*period", "closed_period", "open the posting period in SAP, then replay"),
    (r"account .*(blocked|locked)|blocked for posting", "blocked_account", "unblock the account in SAP, then replay"),
    (r"tax code", "unknown_tax_code", "create the tax code in SAP or correct ledger.yaml, then replay"),
    (r"balance", "unbalanced", "correct the order's amounts in Commerce, then replay"),
    (
        r"(account|customer) .*(not exist|unknown|not defined|not created)",
        "unknown_account",
        "create the account in SAP, then replay",
    ),
    CURRENCY,
)


@dataclass(frozen=True, slots=True)
class PostedDocument:
    """A document that stands on the ledger."""

    company_code: str
    fiscal_year: str
    document: str
    is_reversed: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """Company code, fiscal year and number, which together name a document."""
        return f"{self.company_code}/{self.fiscal_year}/{self.document}"


@dataclass(frozen=True, slots=True)
class LedgerItem:
    """One line of a posted document, `amount` in document currency, debit positive. Customer is "" on other lines."""

    document: PostedDocument
    item: str
    document_type: str
    reference: str
    order: str
    kind: str
    posting_date: date
    document_date: date
    customer: str
    account: str
    account_type: str
    tax_code: str
    amount: Money
    text: str
    header_text: str = ""


class LedgerPort(Protocol):
    """What the posting story needs of SAP."""

    async def post(self, document: Document, rules: SapRules, now: datetime) -> PostedDocument | Rejected: ...

    async def find(self, company_code: str, key: str) -> list[PostedDocument]: ...


class SapLedger:
    """The ledger of one SAP system, over the same pooled session as its OData services."""

    def __init__(self, odata: ODataV2, *, client: str) -> None:
        self._odata = odata
        self._system: RemoteSystem = odata.system
        self._client = client

    async def post(self, document: Document, rules: SapRules, now: datetime) -> PostedDocument | Rejected:
        """Send one journal entry; raises RemoteDown (nothing landed) or OutcomeUnknown (it may have, or may yet)."""
        response = await self._system.request(
            "POST",
            PATH,
            write="effect",
            params={"sap-client": self._client},
            headers={"Content-Type": "text/xml; charset=utf-8", "Accept": "text/xml", "SOAPAction": _ACTION},
            body=envelope(document, rules, now),
        )
        return self._confirmation(response)

    async def find(self, company_code: str, key: str) -> list[PostedDocument]:
        """The distinct documents that carry a posting key, in every fiscal year of the leading ledger.

        The item cube shows the general ledger view only, so a document posted to parallel ledgers appears once here.
        """
        rows = await self._odata.read_all(
            _CUBE,
            _ITEMS,
            {
                "$filter": where(("CompanyCode", "eq", company_code), ("DocumentReferenceID", "eq", key)),
                "$select": "CompanyCode,FiscalYear,AccountingDocument,AccountingDocumentItem,ReverseDocument",
            },
        )
        return sorted({_document(row) for row in rows}, key=str)

    async def item_pages(
        self, company_code: str, first: date, last: date, types: Sequence[str]
    ) -> AsyncIterator[list[LedgerItem]]:
        """Every line of the company's documents of some types whose business date lies in the days given, page by
        page in document order: a month of a large company is not held whole.
        """
        query = where(("CompanyCode", "eq", company_code), ("DocumentDate", "ge", first), ("DocumentDate", "le", last))
        order = "FiscalYear,AccountingDocument,AccountingDocumentItem"
        params = {
            "$filter": f"{query} and {any_of('AccountingDocumentType', types)}",
            "$select": _SELECT,
            "$orderby": order,
        }
        async for page in self._odata.read_pages(_CUBE, _ITEMS, params):
            yield [_item(row) for row in page]

    async def items_of(self, company_code: str, key: str) -> list[LedgerItem]:
        """Every line of the documents that carry a posting key, whenever they were posted."""
        rows = await self._odata.read_all(
            _CUBE,
            _ITEMS,
            {
                "$filter": where(("CompanyCode", "eq", company_code), ("DocumentReferenceID", "eq", key)),
                "$select": _SELECT,
            },
        )
        return [_item(row) for row in rows]

    def _confirmation(self, response: Response) -> PostedDocument | Rejected:
        try:
            return read_confirmation(response.body)
        except (ParseError, DefusedXmlException, ValueError) as error:
            raise OutcomeUnknown(f"{self._system.name}: the answer to a posting cannot be read ({error})") from error


def envelope(document: Document, rules: SapRules, now: datetime) -> bytes:
    """The SOAP request of one journal entry. Debits are positive amounts, each with its currency."""
    created = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    header = f"<MessageHeader><ID>{document.key}</ID><CreationDateTime>{created}</CreationDateTime></MessageHeader>"
    order = _text(document.order)
    fields = {
        "OriginalReferenceDocumentType": rules.reference_document_type,
        "OriginalReferenceDocument": document.key,
        "OriginalReferenceDocumentLogicalSystem": rules.logical_system,
        "BusinessTransactionType": rules.business_transaction_type,
        "AccountingDocumentType": document.document_type,
        "DocumentReferenceID": document.key,
        "DocumentHeaderText": header_text(order, content_of_document(replace(document, order=order)).seal),
        "CreatedByUser": rules.logical_system,
        "CompanyCode": document.company_code,
        "DocumentDate": document.document_date.isoformat(),
        "PostingDate": document.posting_date.isoformat(),
        "Reference1InDocumentHeader": order[:20],
        "Reference2InDocumentHeader": document.kind,
    }
    head = "".join(_element(name, value) for name, value in fields.items())
    lines = "".join(_line(line, number, order) for number, line in enumerate(_in_schema_order(document.lines), start=1))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<soapenv:Envelope xmlns:soapenv="{_ENVELOPE}" xmlns:sfin="{NAMESPACE}"><soapenv:Header/><soapenv:Body>'
        f"<sfin:JournalEntryBulkCreateRequest>{header}<JournalEntryCreateRequest>{header}"
        f"<JournalEntry>{head}{lines}</JournalEntry></JournalEntryCreateRequest></sfin:JournalEntryBulkCreateRequest>"
        "</soapenv:Body></soapenv:Envelope>"
    ).encode()


def read_confirmation(body: bytes) -> PostedDocument | Rejected:
    """The document that came back, or why none did; raises ValueError (or a parse error) when it says neither."""
    confirmations = [one for one in fromstring(body).iter() if _name(one) == "JournalEntryCreateConfirmation"]
    if not confirmations:
        raise ValueError("it holds no confirmation")
    texts = {_name(one): (one.text or "").strip() for one in confirmations[0].iter() if len(one) == 0}
    document = texts.get("AccountingDocument", "")
    if document.strip("0"):
        return PostedDocument(texts.get("CompanyCode", ""), texts.get("FiscalYear", ""), document)
    notes = [
        {_name(part): (part.text or "").strip() for part in item}
        for confirmation in confirmations
        for log in confirmation.iter()
        if _name(log) == "Log"
        for item in log
        if _name(item) == "Item"
    ]
    errors = [note for note in notes if int(note.get("SeverityCode") or 0) >= _ERROR_SEVERITY] or notes
    errors = [note for note in errors if note.get("TypeID") != _HEADLINE] or errors
    if not errors:
        raise ValueError("it names neither a document nor a reason")
    return Rejected(tuple(reason_of(note.get("TypeID", ""), note.get("Note", ""), _REMEDIES) for note in errors))


def _in_schema_order(lines: Iterable[DocumentLine]) -> list[DocumentLine]:
    """The service's sequence: ledger items, customer items, tax items."""
    rank = {"account": 0, "customer": 1, "tax": 2}
    return sorted(lines, key=lambda line: rank[line.kind])


def _line(line: DocumentLine, number: int, order: str) -> str:
    amount = _amount("AmountInTransactionCurrency", line.amount)
    side = _element("DebitCreditCode", "S" if line.amount.amount > 0 else "H")
    item = _element("ReferenceDocumentItem", str(number))
    text = _element("DocumentItemText", _text(line.text)[:50])
    assignment = _element("AssignmentReference", order[:18])
    match line.kind:
        case "account":
            tax = f"<Tax>{_element('TaxCode', line.tax_code)}</Tax>" if line.tax_code else ""
            return f"<Item>{item}{_element('GLAccount', line.account)}{amount}{side}{text}{assignment}{tax}</Item>"
        case "customer":
            return f"<DebtorItem>{item}{_element('Debtor', line.account)}{amount}{side}{text}{assignment}</DebtorItem>"
        case "tax":
            base = _amount("TaxBaseAmountInTransCrcy", line.base) if line.base is not None else ""
            code = _element("TaxCode", line.tax_code)
            return f"<ProductTaxItem>{item}{code}{amount}{base}{side}</ProductTaxItem>"


def _amount(name: str, money: Money) -> str:
    return f'<{name} currencyCode="{money.currency}">{money.text}</{name}>'


def _element(name: str, value: str) -> str:
    return f"<{name}>{html.escape(value)}</{name}>"


def _text(value: str) -> str:
    """Text without the characters that XML 1.0 cannot carry."""
    return "".join(character for character in value if character.isprintable())


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _document(row: dict[str, object]) -> PostedDocument:
    return PostedDocument(
        str(row["CompanyCode"]),
        str(row["FiscalYear"]),
        str(row["AccountingDocument"]),
        is_reversed=bool(str(row.get("ReverseDocument") or "").strip()),
    )


def _item(row: dict[str, object]) -> LedgerItem:
    posting_date, document_date = day(row["PostingDate"]), day(row["DocumentDate"])
    if posting_date is None or document_date is None:
        raise ValueError(f"document {row['AccountingDocument']} has no date")
    currency = str(row["TransactionCurrency"])
    return LedgerItem(
        document=_document(row),
        item=str(row["AccountingDocumentItem"]),
        document_type=str(row["AccountingDocumentType"]),
        reference=str(row["DocumentReferenceID"] or ""),
        order=str(row["Reference1InDocumentHeader"] or ""),
        kind=str(row["Reference2InDocumentHeader"] or ""),
        posting_date=posting_date,
        document_date=document_date,
        customer=str(row["Customer"] or ""),
        account=str(row["GLAccount"] or ""),
        account_type=str(row["FinancialAccountType"] or ""),
        tax_code=str(row["TaxCode"] or ""),
        amount=Money(Decimal(decimal(row, "AmountInTransactionCurrency")), currency),
        text=str(row["DocumentItemText"] or ""),
        header_text=str(row["AccountingDocumentHeaderText"] or ""),
    )
