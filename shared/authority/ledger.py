"""The ledger policy: how each legal entity posts, checked as a whole before the app serves anything.

An accountant reads `ledger.yaml`; this module turns it into types and names every fault with its place, because a
wrong account found at start costs a minute and one found at month-end costs a week.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from shared.domain.money import DECIMALS, decimal_of
from shared.errors import Fault, Malformed

AccountRole = Literal[
    "receivable",
    "tender_clearing",
    "gift_card_liability",
    "revenue",
    "tax",
    "freight",
    "discount",
    "voucher",
    "fees",
    "adjustment",
    "sample",
    "rounding",
]
PostingKind = Literal["invoice", "return", "cancellation"]
PostingWay = Literal["journal_entry", "sales_order"]

_ACCOUNT = r"^[0-9A-Z]{1,10}$"
_ISO_COUNTRY = r"^[A-Z]{2}$"
_CONDITION = r"^[0-9A-Z]{4}$"
Account = Annotated[str, Field(pattern=_ACCOUNT)]


Rate = Annotated[Decimal, BeforeValidator(decimal_of), Field(ge=0, lt=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SapRules(_Strict):
    """What SAP's installation imposes on every posting; durations in seconds."""

    maximum_runtime_seconds: float = Field(gt=0)
    lease_margin_seconds: float = Field(ge=0)
    send_window_seconds: float = Field(gt=0)
    leading_ledger: str = Field(pattern=r"^[0-9A-Z]{2}$")
    reference_document_type: str = Field(min_length=1, max_length=5)
    business_transaction_type: str = Field(min_length=1, max_length=4)
    logical_system: str = Field(min_length=1, max_length=10)
    repeatable_requests: bool


class FiscalCalendar(_Strict):
    """Months grouped into years: the month a year begins with, and which of its calendar years it is named after."""

    first_month: int = Field(ge=1, le=12)
    named_after: Literal["start", "end"]


class TaxCode(_Strict):
    """One SAP tax code: the rate it stands for in one jurisdiction, and the materials' tax class that leads to it."""

    code: str = Field(min_length=1, max_length=2)
    rate: Rate
    jurisdiction: str = Field(min_length=2, max_length=15)
    tax_classification: str | None = Field(None, pattern=r"^[0-9A-Z]$")


class UnknownOriginal(_Strict):
    """How long a return waits for its original, and what happens after."""

    wait_seconds: float = Field(ge=0)
    then: Literal["hold", "post_unlinked"]


class SalesOrderPosting(_Strict):
    """How sales become sales orders that SAP bills: the sales area, the conditions, and what billing makes of them."""

    sales_organization: str = Field(pattern=r"^[0-9A-Z]{4}$")
    distribution_channel: str = Field(pattern=r"^[0-9A-Z]{2}$")
    division: str = Field(pattern=r"^[0-9A-Z]{2}$")
    type: str = Field(pattern=r"^[0-9A-Z]{1,4}$")
    price_condition: str = Field(pattern=_CONDITION)
    charge_conditions: dict[str, Annotated[str, Field(pattern=_CONDITION)]]
    billing_block: str = Field(pattern=r"^[0-9A-Z]{1,2}$")
    billing_document_type: str = Field(pattern=r"^[A-Z0-9]{2}$")
    billed_within_days: int = Field(ge=0, le=366)


class LegalEntity(_Strict):
    """One legal entity: its company code, its books and how orders reach them."""

    code: str = Field(pattern=r"^[A-Z0-9]{2,8}$")
    company_code: str = Field(pattern=r"^[A-Z0-9]{4}$")
    name: str = Field(min_length=1)
    country: str = Field(pattern=_ISO_COUNTRY)
    currency: str
    plants: tuple[Annotated[str, Field(pattern=r"^[A-Z0-9]{1,4}$")], ...] = Field(min_length=1)
    time_zone: str
    fiscal_calendar: str
    credit_segment: str = Field(pattern=r"^[0-9A-Z]{1,10}$")
    one_time_account: str = Field(pattern=_ACCOUNT)
    tax_codes: tuple[TaxCode, ...] = Field(min_length=1)
    accounts: dict[AccountRole, Account]
    tender_accounts: dict[str, Account]
    charge_accounts: dict[str, AccountRole]
    document_types: dict[PostingKind, Annotated[str, Field(pattern=r"^[A-Z0-9]{2}$")]]
    posting: PostingWay
    sales_order: SalesOrderPosting | None = None
    post_when: Literal["confirmation", "shipment"]
    unlinked_return: Literal["post", "hold"]
    unknown_original: UnknownOriginal
    changed_after_posting: Literal["hold"]

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        wrong: list[str] = []
        if self.currency not in DECIMALS:
            wrong.append(f"currency: {self.currency!r} is not an ISO 4217 currency")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError):
            wrong.append(f"time_zone: {self.time_zone!r} is not an IANA time zone")
        for role in sorted(set(get_args(AccountRole)) - set(self.accounts)):
            wrong.append(f"accounts.{role}: is missing")
        for kind in sorted(set(get_args(PostingKind)) - set(self.document_types)):
            wrong.append(f"document_types.{kind}: is missing")
        if "4" in self.tender_accounts:
            wrong.append("tender_accounts.4: a payment on account is the customer's receivable, not an account")
        if "8" in self.tender_accounts:
            wrong.append("tender_accounts.8: a gift card redeemed reduces accounts.gift_card_liability")
        own = [tax for tax in self.tax_codes if tax.jurisdiction.startswith(self.country)]
        if not any(tax.rate == 0 for tax in own):
            wrong.append(f"tax_codes: none is zero-rated in {self.country}")
        codes = [(tax.code, tax.jurisdiction) for tax in self.tax_codes]
        wrong += [f"tax_codes: {code} stands twice for {place}" for code, place in _twice(codes)]
        rates = [(str(tax.rate.normalize()), tax.jurisdiction) for tax in self.tax_codes]
        wrong += [f"tax_codes: rate {rate} has two codes in {place}" for rate, place in _twice(rates)]
        wrong += self._wrong_with_sales_orders(own)
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def _wrong_with_sales_orders(self, tax_codes: Sequence[TaxCode]) -> list[str]:
        rules = self.sales_order
        if rules is None:
            return ["sales_order: is missing, and posting is sales_order"] if self.posting == "sales_order" else []
        wrong = [
            f"sales_order.charge_conditions.{charge}: is not among charge_accounts"
            for charge in sorted(set(rules.charge_conditions) - set(self.charge_accounts))
        ]
        if rules.billing_document_type in self.document_types.values():
            wrong.append("sales_order.billing_document_type: journal entries have this type, billing needs its own")
        if rules.price_condition in rules.charge_conditions.values():
            wrong.append("sales_order.price_condition: is a condition of charges too")
        if self.posting == "sales_order":
            wrong += [
                f"tax_codes.{tax.code}: names no tax_classification" for tax in tax_codes if not tax.tax_classification
            ]
        classes = [(tax.tax_classification, tax.jurisdiction) for tax in tax_codes if tax.tax_classification]
        wrong += [f"tax_codes: tax_classification {one} stands twice for {place}" for one, place in _twice(classes)]
        return wrong

    @property
    def zone(self) -> ZoneInfo:
        """The time zone in which this legal entity's business day turns."""
        return ZoneInfo(self.time_zone)


class LedgerPolicy(_Strict):
    """All of ledger.yaml."""

    sap: SapRules
    fiscal_calendars: dict[str, FiscalCalendar] = Field(min_length=1)
    legal_entities: dict[str, LegalEntity] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _lay_defaults(cls, raw: object) -> object:
        return _with_defaults(raw) if isinstance(raw, Mapping) else raw

    @model_validator(mode="after")
    def _names_that_exist(self) -> Self:
        wrong = [
            f"legal_entities.{code}.fiscal_calendar: {entity.fiscal_calendar!r} is not among fiscal_calendars"
            for code, entity in self.legal_entities.items()
            if entity.fiscal_calendar not in self.fiscal_calendars
        ]
        for what in ("company_code", "one_time_account"):
            taken = [(getattr(entity, what), "") for entity in self.legal_entities.values()]
            wrong += [f"legal_entities: {what} {value} belongs to two of them" for value, _ in _twice(taken)]
        plants = [(plant, "") for entity in self.legal_entities.values() for plant in entity.plants]
        wrong += [f"legal_entities: plant {plant} belongs to two of them" for plant, _ in _twice(plants)]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def entity(self, code: str) -> LegalEntity:
        """The legal entity, or `Malformed` naming the field: its code came from outside."""
        entity = self.legal_entities.get(code)
        if entity is None:
            raise Malformed([Fault("legalEntity", f"{code!r} is not a legal entity of this ledger")])
        return entity

    def calendar(self, entity: LegalEntity) -> FiscalCalendar:
        """The fiscal calendar that the legal entity keeps its books by."""
        return self.fiscal_calendars[entity.fiscal_calendar]


def _with_defaults(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `defaults` under each legal entity; the entity's own values win, down to the single account."""
    content = {name: value for name, value in raw.items() if name != "defaults"}
    defaults = raw.get("defaults", {})
    entities = content.get("legal_entities")
    if isinstance(entities, dict) and isinstance(defaults, dict):
        content["legal_entities"] = {
            code: {**_laid_over(defaults, own), "code": code} if isinstance(own, dict) else own
            for code, own in entities.items()
        }
    return content


def _laid_over(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = _laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _twice(values: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted({value for value in values if values.count(value) > 1})
