"""What the simulated system holds, as immutable rows; amounts are signed: debits positive, credits negative."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

type DocumentKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Document:
    """The head of an accounting document. `visible_at` is when its customer lines reach the receivables figures."""

    company_code: str
    fiscal_year: str
    number: str
    type: str
    posting_date: date
    document_date: date
    currency: str
    reference: str
    header_text: str
    reference1: str
    reference2: str
    created_by: str
    created_at: datetime
    changed_at: datetime
    visible_at: float
    original_type: str
    original_reference: str
    business_transaction: str = "RFBU"
    logical_system: str = ""
    reversal_reason: str = ""
    reverses: str = ""
    reversed_by: str = ""
    billing_document: str = ""
    sales_document: str = ""

    @property
    def key(self) -> DocumentKey:
        """Company code, fiscal year, number."""
        return self.company_code, self.fiscal_year, self.number

    @property
    def id(self) -> str:
        """The key as one text, for the control surface."""
        return "-".join(self.key)

    @property
    def period(self) -> str:
        """Fiscal period, three digits."""
        return f"{self.posting_date.month:03d}"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a document. `customer` is empty on G/L lines; `cleared_by` names the clearing document."""

    document: Document
    item: int
    gl_account: str
    customer: str
    amount: Decimal
    currency: str
    local_amount: Decimal
    local_currency: str
    text: str = ""
    assignment: str = ""
    tax_code: str = ""
    tax_base: Decimal = Decimal(0)
    is_tax: bool = False
    due: date | None = None
    cleared_by: str = ""
    cleared_on: date | None = None
    profit_center: str = ""
    cost_center: str = ""
    reference_key: str = ""

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Document key and item number."""
        return (*self.document.key, self.item)

    @property
    def is_open(self) -> bool:
        """A customer line that is not cleared."""
        return bool(self.customer) and not self.cleared_by


@dataclass(frozen=True, slots=True)
class Draft:
    """A line before it is posted: amounts in document currency only."""

    amount: Decimal
    currency: str
    gl_account: str = ""
    customer: str = ""
    text: str = ""
    assignment: str = ""
    tax_code: str = ""
    tax_base: Decimal = Decimal(0)
    is_tax: bool = False
    due: date | None = None
    profit_center: str = ""
    cost_center: str = ""
    reference_key: str = ""


@dataclass(frozen=True, slots=True)
class CreditAccount:
    """A business partner's credit account in one credit segment."""

    account: str
    segment: str
    legal_entity: str
    limit: Decimal
    currency: str
    blocked: bool
    block_reason: str
    risk_class: str
    critical: bool
    valid_until: date | None
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Condition:
    """A price: `account` empty = for every customer. `price` is for `per` units of `unit`."""

    record: str
    account: str
    material: str
    company_code: str
    price: Decimal
    currency: str
    valid_from: date
    valid_to: date
    per: int
    unit: str
    deleted: bool
    changed_at: datetime
    created_on: date
    contract: str = ""
    scales: tuple[tuple[Decimal, Decimal], ...] = ()


@dataclass(frozen=True, slots=True)
class Stock:
    """Unrestricted stock of a material in a plant; `base_unit` is the material's."""

    plant: str
    material: str
    quantity: Decimal
    unit: str
