"""How the simulated SAP system is customised: chart of accounts, document types, tax codes, rates, default periods."""

from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from sandbox.kit.entities import currency_decimals, legal_entities

CLIENT: Final = "100"
CHART: Final = "YCOA"
LEADING_LEDGER: Final = "0L"
LEDGERS: Final = (LEADING_LEDGER, "2L")
CHANNEL: Final = "10"
DIVISION: Final = "00"
BASE_UNIT: Final = "EA"
RECEIVABLES: Final = "12100000"
BANK: Final = "11020000"
CARRY_FORWARD: Final = "39000000"
REVENUE: Final = "41000000"
FREIGHT: Final = "41500000"
DISCOUNT: Final = "44000000"
OUTPUT_TAX: Final = "22000000"

# Number range per document type: the first number that it gives in each company code and fiscal year.
DOCUMENT_TYPES: Final = {
    "SA": 100_000_000, "AB": 100_000_000, "DR": 1_800_000_000, "DG": 1_600_000_000, "DZ": 1_400_000_000,
    "DA": 1_600_000_000, "RV": 90_000_000, "UE": 6_000_000_000,
}  # fmt: skip
TAX_CODES: Final = {
    "GB01": frozenset({"A0", "A1", "A5"}),
    "JP01": frozenset({"J0", "J1", "J8"}),
    "KW01": frozenset({"K0", "K1"}),
}
# Tax classification of a material (ProductTaxClassification1) → tax code and rate: 0 none, 1 full, 2 reduced.
TAX_CLASSES: Final = {
    "GB01": {"0": ("A0", Decimal(0)), "1": ("A1", Decimal("0.20")), "2": ("A5", Decimal("0.05"))},
    "JP01": {"0": ("J0", Decimal(0)), "1": ("J1", Decimal("0.10")), "2": ("J8", Decimal("0.08"))},
    "KW01": {"0": ("K0", Decimal(0)), "1": ("K1", Decimal("0.05"))},
}
FULLY_TAXED: Final = "1"
# Condition types of fixed amounts that an item may bring along: the account that billing posts them to, and the only
# sign that they can have.
FIXED_CONDITIONS: Final = {"KF00": (FREIGHT, 1), "RB00": (DISCOUNT, -1)}
# What one unit is worth in euro, fixed, so that a company code amount can be told from any document currency.
_IN_EURO: Final = {
    "EUR": Decimal(1), "GBP": Decimal("1.152"), "USD": Decimal("0.879"), "CHF": Decimal("1.0837"),
    "JPY": Decimal("0.005664"), "KWD": Decimal("2.865"), "AUD": Decimal("0.5712"), "SEK": Decimal("0.0920"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class AccountKind:
    """What the first digits of a G/L account say about it."""

    balance_sheet: bool
    tax: bool


def account_kind(gl_account: str) -> AccountKind:
    """Classes 1 to 3 are balance sheet accounts; 22 is tax payable."""
    return AccountKind(gl_account[:1] in {"1", "2", "3"}, gl_account.startswith("22"))


def is_gl_account(gl_account: str) -> bool:
    """Any eight-digit account of classes 1 to 9 (zero-filled to ten or not) is in the chart."""
    bare = gl_account.lstrip("0")
    return gl_account.isdigit() and len(gl_account) in {8, 10} and len(bare) == 8


def decimals(currency: str) -> int | None:
    """Decimals of a currency, or None where the currency is not known."""
    return currency_decimals().get(currency) if currency in _IN_EURO else None


def convert(amount: Decimal, source: str, target: str) -> Decimal:
    """An amount in another currency at the fixed rate, rounded to its decimals."""
    if source == target:
        return amount
    unit = Decimal(1).scaleb(-(decimals(target) or 0))
    return (amount * _IN_EURO[source] / _IN_EURO[target]).quantize(unit, ROUND_HALF_UP)


def open_by_default(month: str, today: date) -> bool:
    """Periods of this and the last year and of 2010 and 2011 are open unless closed. `month` is yyyy-mm."""
    return month[:4] in {str(today.year), str(today.year - 1), "2010", "2011"}


def one_time_account(company_code: str) -> str:
    """The customer on which sales to unknown buyers are posted."""
    return f"CPD{company_code}"


def plants() -> dict[str, str]:
    """Company code by plant."""
    return {plant: entity.code for entity in legal_entities().values() for plant in entity.plants}
