"""The seal of a document: a short digest of what was posted, which stands in the document itself.

A month's reconciliation reads every line of every document anyway. With the seal it sees by those lines alone whether
a document is still the one that was posted, also where its total and tax are: a penny moved from revenue to freight, a
receivable moved to another customer, another date. The seal only says that something is different; what it is follows
from the claim, to the cent. Nobody is kept from working out a new seal for a forged document, so it proves nothing by
itself: it finds what the totals cannot show.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

from shared import exact_json
from shared.domain.ledger import Document

SEAL_LENGTH = 10
_ORDER_LENGTH = 20


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where an amount stands in a document. `account` is the customer of a customer line and "" of a tax line."""

    kind: Literal["account", "customer", "tax"]
    account: str
    tax_code: str
    side: Literal["debit", "credit"]

    def __str__(self) -> str:
        where = f"tax {self.tax_code}" if self.kind == "tax" else f"{self.kind} {self.account}"
        return f"{where} {self.tax_code}".rstrip() if self.kind == "account" else where


@dataclass(frozen=True, slots=True)
class Content:
    """What a document says that matters: `amounts` by place, debits positive, in the document's currency."""

    key: str
    order: str
    company_code: str
    currency: str
    document_date: date
    posting_date: date
    amounts: Mapping[Place, Decimal]

    @property
    def seal(self) -> str:
        """Ten characters, fifty bits of a hash."""
        told = [
            self.key,
            self.order[:_ORDER_LENGTH].strip(),
            self.company_code,
            self.currency,
            self.document_date.isoformat(),
            self.posting_date.isoformat(),
            [
                [place.kind, place.account, place.tax_code, f"{amount.normalize():f}"]
                for place, amount in sorted(self.amounts.items())
            ],
        ]
        digest = hashlib.sha256(exact_json.canonical(told)).digest()
        return base64.b32encode(digest).decode()[:SEAL_LENGTH]


def content_of_document(document: Document) -> Content:
    """What a document says as it is sent."""
    return Content(
        document.key,
        document.order,
        document.company_code,
        document.currency,
        document.document_date,
        document.posting_date,
        amounts_by_place((line.kind, line.account, line.tax_code, line.amount.amount) for line in document.lines),
    )


def amounts_by_place(
    lines: Iterable[tuple[Literal["account", "customer", "tax"], str, str, Decimal]],
) -> dict[Place, Decimal]:
    """Lines of kind, account, tax code and amount, added up where they stand alike."""
    amounts: dict[Place, Decimal] = {}
    for kind, account, tax_code, amount in lines:
        name = "" if kind == "tax" else account.lstrip("0")
        code = "" if kind == "customer" else tax_code
        place = Place(kind, name, code, "debit" if amount > 0 else "credit")
        amounts[place] = amounts.get(place, Decimal(0)) + amount
    return amounts


def header_text(order: str, seal: str) -> str:
    """The text in a document's header: the order as people look for it (shortened: it stands whole beside) and the
    seal; 25 characters at most.
    """
    return f"{order[: 24 - len(seal)]} {seal}"


def seal_in(text: str) -> str:
    """The seal that a header text ends with; "" where there is none."""
    seal = text.rpartition(" ")[2]
    return seal if len(seal) == SEAL_LENGTH else ""
