"""The synchronous journal entry SOAP service: request → ledger → confirmation.

Success is a document number in the confirmation; a business refusal is a confirmation with a log and document number
zero, HTTP 200 both. Only what cannot be read at all is a SOAP fault. A message it has seen before is posted again.
"""

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from sandbox.kit.state import State
from sandbox.sap import ledger
from sandbox.sap.configuration import OUTPUT_TAX
from sandbox.sap.ledger import Entry, Problem
from sandbox.sap.records import Document, Draft
from sandbox.sap.sessions import SYSTEM
from sandbox.sap.world import World

PATH: Final = "/sap/bc/srt/scs_ext/sap/journalentrycreaterequestconfi"
_NAMESPACE: Final = "http://sap.com/xi/SAPSCORE/SFIN"
_ENVELOPES: Final = frozenset({"http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope"})

# What the request may hold, level by level; the real service drops what it does not know, here it is a fault,
# because a dropped element (a misspelt reference, say) would only show much later.
_HEADER: Final = frozenset(
    {"ID", "UUID", "ReferenceID", "ReferenceUUID", "CreationDateTime", "TestDataIndicator", "ReconciliationIndicator",
     "SenderBusinessSystemID", "RecipientBusinessSystemID", "SenderParty", "RecipientParty", "BusinessScope"}
)  # fmt: skip
_ENTRY: Final = {
    "OriginalReferenceDocumentType": 5, "OriginalReferenceDocument": 20, "OriginalReferenceDocumentLogicalSystem": 10,
    "BusinessTransactionType": 4, "AccountingDocumentType": 5, "AccountingDocument": 10, "LedgerGroup": 4,
    "DocumentReferenceID": 16, "DocumentHeaderText": 25, "CreatedByUser": 12, "CompanyCode": 4, "DocumentDate": 0,
    "PostingDate": 0, "PostingFiscalPeriod": 3, "TaxReportingDate": 0, "TaxDeterminationDate": 0, "ExchangeRateDate": 0,
    "ExchangeRate": 0, "Reference1InDocumentHeader": 20, "Reference2InDocumentHeader": 20, "ReversalReason": 2,
    "ReversalReferenceDocument": 20, "ReversalReferenceDocumentLogicalSystem": 10, "ReversalDate": 0,
    "InvoiceReceiptDate": 0, "JointVentureAccounting": 0, "Branch": 4, "TransactionTypeCode": 4,
}  # fmt: skip
_LINE: Final = {
    "ReferenceDocumentItem": 10, "CompanyCode": 4, "DebitCreditCode": 1, "DocumentItemText": 0,
    "AssignmentReference": 0,
    "Reference1IDByBusinessPartner": 12, "Reference2IDByBusinessPartner": 12, "Reference3IDByBusinessPartner": 20,
    "AmountInTransactionCurrency": 0, "AmountInCompanyCodeCurrency": 0, "AmountInGroupCurrency": 0,
    "AmountInFreeDefinedCurrency1": 0, "BusinessPlace": 4, "BusinessArea": 4,
}  # fmt: skip
_GL: Final = _LINE | {
    "GLAccount": 0, "Tax": 0, "AccountAssignment": 0, "ValueDate": 0, "TradingPartner": 6, "Quantity": 0,
    "HouseBank": 5,
    "HouseBankAccount": 5, "ProfitabilitySupplement": 0, "TransactionTypeForConsolidation": 3,
}  # fmt: skip
_DEBTOR: Final = _LINE | {
    "Debtor": 10, "AltvRecnclnAccts": 10, "CashDiscountTerms": 0, "PaymentDetails": 0, "DownPaymentTerms": 0,
    "PaymentTerms": 4, "DunningDetails": 0, "ContractID": 0, "InvoiceReference": 0, "BusinessScope": 0,
}  # fmt: skip
_TAX: Final = {
    "TaxCode": 2, "TaxItemGroup": 3, "TaxJurisdiction": 15, "TaxItemClassification": 3, "ConditionType": 4,
    "DebitCreditCode": 1, "AmountInTransactionCurrency": 0, "AmountInCompanyCodeCurrency": 0,
    "TaxBaseAmountInTransCrcy": 0,
    "TaxBaseAmountInCoCodeCrcy": 0, "TaxDeterminationDate": 0, "TaxRate": 0, "ReferenceDocumentItem": 10,
}  # fmt: skip
_DECIMAL: Final = re.compile(r"[+-]?[0-9]{1,22}(\.[0-9]{1,6})?")
_DATE: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(Z|[+-][0-9]{2}:[0-9]{2})?")
_MANY: Final = frozenset({"JournalEntryCreateRequest", "Item", "DebtorItem", "CreditorItem", "ProductTaxItem"})
_STRUCTURES: Final = frozenset(
    {*_MANY, "MessageHeader", "JournalEntry", "SenderParty", "RecipientParty", "BusinessScope", "Tax",
     "AccountAssignment", "CashDiscountTerms", "PaymentDetails", "DownPaymentTerms", "DunningDetails",
     "InvoiceReference", "JointVentureAccounting", "ProfitabilitySupplement"}
)  # fmt: skip


class SoapFault(Exception):
    """The message cannot be processed as such: `code` is Client or Server."""

    def __init__(self, message: str, code: str = "Client") -> None:
        super().__init__(message)
        self.code = code

    def body(self) -> bytes:
        """The fault as an envelope; it goes out with HTTP 500."""
        return _envelope(
            f"<soap-env:Fault><faultcode>soap-env:{self.code}</faultcode>"
            f'<faultstring xml:lang="en">{escape(str(self))}</faultstring><detail/></soap-env:Fault>'
        )


@dataclass(frozen=True, slots=True)
class _Request:
    message_id: str
    entry: Entry
    refused: tuple[Problem, ...]


def post_journal_entries(state: State, world: World, body: bytes) -> bytes:
    """Carry out one bulk request and give the confirmation. Each journal entry stands for itself. Raises SoapFault."""
    message_id, requests = _parse(body)
    now = datetime.fromtimestamp(state.clock(), UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    confirmations = []
    for request in requests:
        found = [*request.refused, *ledger.problems(world, request.entry)]
        document: Document | None = None
        if not found:
            with state.atomic():
                document = ledger.post(world, request.entry)
        confirmations.append(_confirmation(request, document, found, now))
    return _envelope(
        f'<n0:JournalEntryBulkCreateConfirmation xmlns:n0="{_NAMESPACE}">'
        f"<MessageHeader><UUID>{uuid.uuid4()}</UUID><ReferenceID>{escape(message_id)}</ReferenceID>"
        f"<CreationDateTime>{now}</CreationDateTime><SenderBusinessSystemID>{SYSTEM}</SenderBusinessSystemID>"
        f"</MessageHeader><ConfirmationInterfaceOrignName/>{''.join(confirmations)}<Log/>"
        "</n0:JournalEntryBulkCreateConfirmation>"
    )


def _confirmation(request: _Request, document: Document | None, found: list[Problem], now: str) -> str:
    if document is not None:
        number, company_code, year, severity = document.number, document.company_code, document.fiscal_year, 1
        note = f"Document posted successfully: {document.original_type} {document.original_reference} {SYSTEM}"
        items = [(Problem("605(RW)", note), 1)]
    else:
        number, company_code, year, severity = "0000000000", "", "0000", 3
        head = Problem("609(RW)", f"Error in document: {request.entry.original_type} $ {SYSTEM}")
        items = [(problem, 3) for problem in (head, *found)]
    log = "".join(
        f"<Item><TypeID>{escape(problem.type_id)}</TypeID><SeverityCode>{level}</SeverityCode>"
        f"<Note>{escape(problem.note)}</Note></Item>"
        for problem, level in items
    )
    return (
        "<JournalEntryCreateConfirmation>"
        f"<MessageHeader><UUID>{uuid.uuid4()}</UUID><ReferenceID>{escape(request.message_id)}</ReferenceID>"
        f"<CreationDateTime>{now}</CreationDateTime></MessageHeader>"
        f"<JournalEntryCreateConfirmation><AccountingDocument>{number}</AccountingDocument>"
        f"<CompanyCode>{company_code}</CompanyCode><FiscalYear>{year}</FiscalYear></JournalEntryCreateConfirmation>"
        f"<Log><MaximumLogItemSeverityCode>{severity}</MaximumLogItemSeverityCode>{log}</Log>"
        "</JournalEntryCreateConfirmation>"
    )


def _envelope(content: str) -> bytes:
    return (
        '<soap-env:Envelope xmlns:soap-env="http://schemas.xmlsoap.org/soap/envelope/"><soap-env:Header/>'
        f"<soap-env:Body>{content}</soap-env:Body></soap-env:Envelope>"
    ).encode()


def _parse(body: bytes) -> tuple[str, list[_Request]]:
    try:
        envelope = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as fault:  # LookupError: an unknown encoding
        raise SoapFault(f"XML deserialization error: {fault}") from fault
    space, _, name = envelope.tag.removeprefix("{").rpartition("}")
    if name != "Envelope" or space not in _ENVELOPES:
        raise SoapFault("The message is not a SOAP envelope")
    bodies = [child for child in envelope if child.tag == f"{{{space}}}Body"]
    if len(bodies) != 1 or len(bodies[0]) != 1:
        raise SoapFault("The envelope needs one body with one element")
    bulk = bodies[0][0]
    if bulk.tag != f"{{{_NAMESPACE}}}JournalEntryBulkCreateRequest":
        raise SoapFault(f"No operation for element {bulk.tag}")
    _known(bulk, {"MessageHeader", "JournalEntryCreateRequest"})
    header = _required(bulk, "MessageHeader")
    entries = bulk.findall("JournalEntryCreateRequest")
    if not entries:
        raise SoapFault("JournalEntryBulkCreateRequest needs at least one JournalEntryCreateRequest")
    return _header(header), [_request(entry) for entry in entries]


def _request(element: Element) -> _Request:
    _known(element, {"MessageHeader", "JournalEntry"})
    message_id = _header(_required(element, "MessageHeader"))
    entry = _required(element, "JournalEntry")
    _known(entry, {*_ENTRY, "Item", "DebtorItem", "CreditorItem", "ProductTaxItem"})
    refused = _too_long(entry, _ENTRY)
    if _text(entry, "CreatedByUser") == "":
        raise SoapFault("CreatedByUser is missing in JournalEntry")
    company_code = _mandatory(entry, "CompanyCode")
    drafts: list[Draft] = []
    readers: tuple[tuple[str, Mapping[str, int], Callable[[Element], Draft]], ...] = (
        ("Item", _GL, _gl_line), ("DebtorItem", _DEBTOR, _debtor_line), ("ProductTaxItem", _TAX, _tax_line),
    )  # fmt: skip
    for name, known, read in readers:
        for line in entry.findall(name):
            _known(line, known)
            refused += _too_long(line, known)
            draft = read(line)
            refused += _contradictions(line, draft, company_code)
            drafts.append(draft)
    if entry.find("CreditorItem") is not None:
        refused.append(Problem("102(F5)", "Supplier is not defined in the company code"))
    if _mandatory(entry, "BusinessTransactionType") != "RFBU":
        refused.append(Problem("628(RW)", "Business transaction type must be RFBU"))
    return _Request(
        message_id,
        Entry(
            company_code=company_code,
            type=_mandatory(entry, "AccountingDocumentType"),
            posting_date=_date(entry, "PostingDate"),
            document_date=_date(entry, "DocumentDate"),
            drafts=drafts,
            reference=_text(entry, "DocumentReferenceID"),
            header_text=_text(entry, "DocumentHeaderText"),
            reference1=_text(entry, "Reference1InDocumentHeader"),
            reference2=_text(entry, "Reference2InDocumentHeader"),
            created_by=_text(entry, "CreatedByUser"),
            original_type=_mandatory(entry, "OriginalReferenceDocumentType"),
            original_reference=_text(entry, "OriginalReferenceDocument"),
            logical_system=_text(entry, "OriginalReferenceDocumentLogicalSystem"),
            reversal_reason=_text(entry, "ReversalReason"),
            reverses=_text(entry, "ReversalReferenceDocument"),
        ),
        tuple(refused),
    )


def _gl_line(line: Element) -> Draft:
    amount, currency = _amount(line, "AmountInTransactionCurrency")
    return Draft(
        amount,
        currency,
        gl_account=_mandatory(line, "GLAccount"),
        text=_text(line, "DocumentItemText"),
        assignment=_text(line, "AssignmentReference"),
        tax_code=_text(line, "Tax/TaxCode"),
        profit_center=_text(line, "AccountAssignment/ProfitCenter"),
        cost_center=_text(line, "AccountAssignment/CostCenter"),
        reference_key=_text(line, "Reference3IDByBusinessPartner"),
    )


def _debtor_line(line: Element) -> Draft:
    amount, currency = _amount(line, "AmountInTransactionCurrency")
    customer = _mandatory(line, "Debtor")
    return Draft(
        amount,
        currency,
        customer=customer.lstrip("0") if customer.isdigit() else customer,
        text=_text(line, "DocumentItemText"),
        assignment=_text(line, "AssignmentReference"),
        due=_date(line, "CashDiscountTerms/DueCalculationBaseDate") if _due_is_given(line) else None,
        reference_key=_text(line, "Reference3IDByBusinessPartner"),
    )


def _tax_line(line: Element) -> Draft:
    amount, currency = _amount(line, "AmountInTransactionCurrency")
    base, base_currency = _amount(line, "TaxBaseAmountInTransCrcy")
    if base_currency != currency:
        raise SoapFault("TaxBaseAmountInTransCrcy has another currency than its amount")
    return Draft(
        amount, currency, gl_account=OUTPUT_TAX, tax_code=_mandatory(line, "TaxCode"), tax_base=base, is_tax=True
    )


def _due_is_given(line: Element) -> bool:
    return _text(line, "CashDiscountTerms/DueCalculationBaseDate") != ""


def _contradictions(line: Element, draft: Draft, company_code: str) -> list[Problem]:
    found = []
    code = _text(line, "DebitCreditCode")
    if code and code not in {"S", "H"}:
        found.append(Problem("016(F5)", f"DebitCreditCode {code} is not S or H"))
    elif (code == "S" and draft.amount < 0) or (code == "H" and draft.amount > 0):
        found.append(Problem("628(RW)", f"DebitCreditCode {code} contradicts the sign of {draft.amount}"))
    if _text(line, "CompanyCode") not in {"", company_code}:
        found.append(Problem("628(RW)", "A line has another company code than the header"))
    return found


def _too_long(element: Element, known: Mapping[str, int]) -> list[Problem]:
    return [
        Problem("001(GB)", f"{name} is longer than {length} characters")
        for name, length in known.items()
        if length and len(_text(element, name)) > length
    ]


def _known(element: Element, names: Mapping[str, int] | set[str]) -> None:
    """Only known elements, once where they are no list, values without elements inside.

    Their order is free: the original reads by name, and clients in use send them in all orders.
    """
    where = element.tag.rpartition("}")[2]
    seen: set[str] = set()
    for child in element:
        if child.tag not in names:
            raise SoapFault(f"Element {child.tag} is not expected in {where}")
        if child.tag in seen and child.tag not in _MANY:
            raise SoapFault(f"Element {child.tag} is given more than once in {where}")
        if len(child) and child.tag not in _STRUCTURES:
            raise SoapFault(f"Element {child.tag} in {where} holds a value, no elements")
        seen.add(child.tag)


def _header(header: Element) -> str:
    _known(header, set(_HEADER))
    created = _mandatory(header, "CreationDateTime")
    try:
        if "T" not in created:
            raise ValueError("a time is missing")
        datetime.fromisoformat(created)
    except ValueError as fault:
        raise SoapFault(f"CreationDateTime {created!r} is not a date and time") from fault
    message_id = _text(header, "ID")
    if len(message_id) > 35:
        raise SoapFault("MessageHeader ID is longer than 35 characters")
    return message_id


def _required(element: Element, name: str) -> Element:
    found = element.findall(name)
    if len(found) != 1:
        raise SoapFault(f"{element.tag.rpartition('}')[2]} needs exactly one {name}")
    return found[0]


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _mandatory(element: Element, name: str) -> str:
    text = _text(element, name)
    if not text:
        raise SoapFault(f"{name} is missing in {element.tag}")
    return text


def _date(element: Element, name: str) -> date:
    found = _DATE.fullmatch(_mandatory(element, name))
    if found is None:
        raise SoapFault(f"{name} is not a date (yyyy-mm-dd)")
    try:
        return date.fromisoformat(found[1])
    except ValueError as fault:
        raise SoapFault(f"{name} is not a date: {fault}") from fault


def _amount(element: Element, name: str) -> tuple[Decimal, str]:
    found = _required(element, name)
    currency = found.get("currencyCode", "")
    if not currency:
        raise SoapFault(f"{name} needs the attribute currencyCode")
    text = (found.text or "").strip()
    if not _DECIMAL.fullmatch(text):
        raise SoapFault(f"{name} {text!r} is not a decimal number")
    return Decimal(text), currency
