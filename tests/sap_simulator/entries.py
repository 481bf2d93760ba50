"""Journal entries for the tests, as their XML."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element

DAY = "2027-01-14"


def _amount(amount: str, currency: str) -> str:
    return f'<AmountInTransactionCurrency currencyCode="{currency}">{amount}</AmountInTransactionCurrency>'


def item(account: str, amount: str, currency: str = "GBP", more: str = "") -> str:
    """A G/L line."""
    return (
        f"<Item><ReferenceDocumentItem>1</ReferenceDocumentItem><GLAccount>{account}</GLAccount>"
        f"{_amount(amount, currency)}{more}</Item>"
    )


def debtor(customer: str, amount: str, currency: str = "GBP", more: str = "") -> str:
    """A customer line."""
    return (
        f"<DebtorItem><ReferenceDocumentItem>2</ReferenceDocumentItem><Debtor>{customer}</Debtor>"
        f"{_amount(amount, currency)}{more}</DebtorItem>"
    )


def tax(code: str, amount: str, base: str, currency: str = "GBP") -> str:
    """A tax line."""
    return (
        f"<ProductTaxItem><TaxCode>{code}</TaxCode>{_amount(amount, currency)}"
        f'<TaxBaseAmountInTransCrcy currencyCode="{currency}">{base}</TaxBaseAmountInTransCrcy></ProductTaxItem>'
    )


SALE = (item("41000000", "-100.00"), debtor("C-1", "120.00"), tax("A1", "-20.00", "-100.00"))


def entry(lines: Sequence[str] = SALE, **fields: str) -> str:
    """One JournalEntryCreateRequest; `fields` lie over those of an ordinary invoice, an empty one is left out."""
    header = {
        "OriginalReferenceDocumentType": "BKPFF", "BusinessTransactionType": "RFBU", "AccountingDocumentType": "DR",
        "DocumentReferenceID": "K-1", "DocumentHeaderText": "S-1", "CreatedByUser": "CONCORD", "CompanyCode": "GB01",
        "DocumentDate": DAY, "PostingDate": DAY, "Reference1InDocumentHeader": "S-1",
        "Reference2InDocumentHeader": "invoice",
    } | fields  # fmt: skip
    head = "".join(f"<{name}>{value}</{name}>" for name, value in header.items() if value)
    return (
        "<JournalEntryCreateRequest><MessageHeader><ID>SUB</ID><CreationDateTime>2027-01-14T00:00:00Z</CreationDateTime>"
        f"</MessageHeader><JournalEntry>{head}{''.join(lines)}</JournalEntry></JournalEntryCreateRequest>"
    )


def envelope(*entries: str, root: str = "JournalEntryBulkCreateRequest") -> str:
    """A bulk request of these entries."""
    return (
        '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
        ' xmlns:sfin="http://sap.com/xi/SAPSCORE/SFIN"><soapenv:Header/><soapenv:Body>'
        f"<sfin:{root}><MessageHeader><ID>MSG</ID><CreationDateTime>2027-01-14T00:00:00Z</CreationDateTime></MessageHeader>"
        f"{''.join(entries)}</sfin:{root}></soapenv:Body></soapenv:Envelope>"
    )


def numbers(confirmation: Element) -> list[str]:
    """The document numbers that came back, one per entry."""
    return [found.text or "" for found in confirmation.iter("AccountingDocument")]


def notes(confirmation: Element) -> str:
    """All notes of the logs."""
    return " | ".join(found.text or "" for found in confirmation.iter("Note"))


def fault(confirmation: Element) -> str:
    """The text of a SOAP fault."""
    return " ".join(found.text or "" for found in confirmation.iter("faultstring"))
