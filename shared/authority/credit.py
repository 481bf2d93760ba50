"""The credit policy: how each legal entity decides a checkout on account, checked as a whole before anything is served.

A credit steward reads `credit.yaml`; this module turns it into types, lays the layers over each other and names every
fault with its place. What holds for an account is found by legal entity and SAP risk class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from shared.domain.money import DECIMALS, Money, decimal_of
from shared.errors import Fault, Malformed, Permanent

Answer = Literal["accept", "approval_required", "referred", "declined"]
ExposureSource = Literal["items", "cds", "totals"]


def _exact(value: object) -> Decimal:
    if isinstance(value, float):
        raise ValueError("is a binary float: write it as exact decimal text")
    return decimal_of(value)


def _day(value: object) -> object:
    return date.fromisoformat(value) if isinstance(value, str) else value


Exact = Annotated[Decimal, BeforeValidator(_exact)]
Amount = Annotated[Exact, Field(ge=0)]
Percent = Annotated[Exact, Field(ge=0, le=100)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
_OBJECT_ID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
Role = Literal["Approver", "SeniorApprover", "Controller"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tolerance(_Strict):
    """How far above the limit still counts as within: percent of the limit plus an amount."""

    percent: Percent
    amount: Amount


class Overdue(_Strict):
    """Open items more than `days` past due, together above `amount`, get `answer`."""

    days: int = Field(ge=0, le=3650)
    amount: Amount
    answer: Answer


class Price(_Strict):
    """How far an offered unit price may be from SAP's: percent of SAP's price plus an amount for each unit."""

    percent: Percent
    amount: Amount
    mismatch: Answer
    unknown: Answer


class SapStatus(_Strict):
    """What SAP's own verdict on the simulated order does. A blank status is unchecked, never passed."""

    refused: Answer
    unchecked: Answer


class SapDown(_Strict):
    """The answer when SAP gives none in time; `approved` only up to an amount and on a figure young enough."""

    answer: Literal["referred", "declined", "approved"]
    up_to: Amount
    figure_minutes: int = Field(ge=0, le=1440)

    @model_validator(mode="after")
    def _approval_is_bounded(self) -> Self:
        if self.answer == "approved" and (self.up_to == 0 or self.figure_minutes == 0):
            raise ValueError("answer approved needs up_to and figure_minutes above zero")
        return self


class Band(_Strict):
    """Orders up to an amount (None: any) are approved by people with `role`."""

    role: Role
    up_to: Annotated[Exact, Field(gt=0)] | None = None


class Approval(_Strict):
    """Who decides what the rules leave to a person, and how long it may wait."""

    timeout_minutes: int = Field(gt=0, le=60 * 24 * 30)
    bands: tuple[Band, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _bands_rise(self) -> Self:
        bounds = [band.up_to for band in self.bands]
        if any(bound is None for bound in bounds[:-1]):
            raise ValueError("bands: only the last band may be without up_to")
        known = [bound for bound in bounds if bound is not None]
        if known != sorted(set(known)):
            raise ValueError("bands: up_to must rise from band to band")
        return self


class Rules(_Strict):
    """What holds for one legal entity and risk class."""

    tolerance: Tolerance
    over_limit: Literal["approval_required", "declined"]
    blocked: Literal["declined", "referred"]
    critical: Answer
    overdue: Overdue
    price: Price
    sap_status: SapStatus
    hold_seconds: int = Field(gt=0, le=60 * 60 * 24 * 14)
    sap_down: SapDown
    approval: Approval


class SalesArea(_Strict):
    """Where SAP simulates the order."""

    order_type: str = Field(min_length=1, max_length=4)
    organization: str = Field(min_length=1, max_length=4)
    channel: str = Field(min_length=1, max_length=2)
    division: str = Field(min_length=1, max_length=2)


class Exposure(_Strict):
    """Where exposure is read: receivables and open orders (`items`), the customer's own service on credit exposure
    items (`cds`), or that service's sum alone (`totals`), whose figure contains a posting `lag_seconds` later."""

    source: ExposureSource
    lag_seconds: int = Field(ge=0, le=60 * 60 * 24)

    @model_validator(mode="after")
    def _totals_lag(self) -> Self:
        if self.source == "totals" and self.lag_seconds == 0:
            raise ValueError("totals needs lag_seconds above zero: a sum does not tell what it contains")
        return self


class Entity(_Strict):
    """One legal entity: its segment, its books, where SAP is asked, and how long the answer may take."""

    segment: str = Field(pattern=r"^[0-9A-Z]{1,10}$")
    company_code: str = Field(pattern=r"^[A-Z0-9]{4}$")
    currency: Currency
    time_zone: str
    sales_area: SalesArea
    exposure: Exposure
    deadline_seconds: Annotated[Exact, Field(ge=Decimal("0.2"), le=30)]
    memory_minutes: int = Field(
        ge=1, le=1440, description="how long a consumed hold is remembered, so that an older figure cannot unsee it"
    )
    order_tax_rate: Annotated[Exact, Field(ge=0, lt=1)] = Field(
        description="open sales orders are net in SAP: the tax that their invoice will add"
    )
    rules: dict[str, Any] = Field(default_factory=dict)
    risk_classes: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_that_exist(self) -> Self:
        wrong = []
        if self.currency not in DECIMALS:
            wrong.append(f"currency: {self.currency!r} is not an ISO 4217 currency")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError):
            wrong.append(f"time_zone: {self.time_zone!r} is not an IANA time zone")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    @property
    def zone(self) -> ZoneInfo:
        """The calendar in which this legal entity's items fall due."""
        return ZoneInfo(self.time_zone)


class Rates(_Strict):
    """What one unit of `base` is worth in other currencies."""

    base: Currency
    as_of: Annotated[date, BeforeValidator(_day)]
    per_base: dict[Currency, Annotated[Exact, Field(gt=0)]]

    @model_validator(mode="after")
    def _currencies_exist(self) -> Self:
        unknown = sorted({self.base, *self.per_base} - set(DECIMALS))
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: not ISO 4217")
        return self

    def convert(self, money: Money, currency: str) -> Money:
        """The same value in another currency; raises Permanent when policy has no rate for it."""
        if money.currency == currency:
            return money
        return Money.rounded(money.amount / self._rate(money.currency) * self._rate(currency), currency)

    def _rate(self, currency: str) -> Decimal:
        rate = Decimal(1) if currency == self.base else self.per_base.get(currency)
        if rate is None:
            raise Permanent(
                f"credit policy has no rate for {currency}",
                code="no_rate",
                remedy=f"add {currency} to rates.per_base in credit.yaml",
            )
        return rate


class CreditPolicy(_Strict):
    """All of credit.yaml."""

    rates: Rates
    defaults: Rules
    risk_classes: dict[str, dict[str, Any]] = Field(default_factory=dict)
    legal_entities: dict[str, Entity] = Field(min_length=1)
    crm_approvers: dict[Annotated[str, Field(pattern=_OBJECT_ID)], tuple[Role, ...]] = Field(
        default_factory=dict, description="who may approve in CRM: the person's directory object id → roles"
    )
    _in_force: dict[tuple[str, str], Rules] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _layers_hold(self) -> Self:
        wrong: list[str] = []
        base = self.defaults.model_dump()
        for code, entity in self.legal_entities.items():
            own = _laid_over(base, entity.rules)
            self._read(code, "", own, f"legal_entities.{code}.rules", wrong)
            for risk_class in sorted({*self.risk_classes, *entity.risk_classes}):
                layers = (self.risk_classes.get(risk_class, {}), entity.rules, entity.risk_classes.get(risk_class, {}))
                merged = base
                for layer in layers:
                    merged = _laid_over(merged, layer)
                self._read(code, risk_class, merged, f"legal_entities.{code}.risk_classes.{risk_class}", wrong)
            for (owner, risk_class), rules in self._in_force.items():
                if owner == code and rules.sap_down.figure_minutes > entity.memory_minutes:
                    wrong.append(
                        f"legal_entities.{code}.memory_minutes: is below sap_down.figure_minutes"
                        f"{f' of risk class {risk_class}' if risk_class else ''}: what was consumed since the figure "
                        "was read would be forgotten"
                    )
        wrong += self._shared_segments_that_differ()
        if wrong:
            raise ValueError("; ".join(dict.fromkeys(wrong)))
        return self

    def entity(self, code: str) -> Entity | None:
        """The legal entity of that code, None where policy knows none."""
        return self.legal_entities.get(code)

    def rules_for(self, legal_entity: str, risk_class: str) -> Rules:
        """What holds there; a risk class of which policy says nothing gets the legal entity's own rules."""
        return self._in_force.get((legal_entity, risk_class)) or self._in_force[(legal_entity, "")]

    def company_codes(self, segment: str) -> tuple[str, ...]:
        """The company codes whose receivables use up the limit of a segment."""
        return tuple(
            sorted({entity.company_code for entity in self.legal_entities.values() if entity.segment == segment})
        )

    def sales_organizations(self, segment: str) -> tuple[str, ...]:
        """The sales organisations whose open orders use up the limit of a segment."""
        return tuple(
            sorted(
                {entity.sales_area.organization for entity in self.legal_entities.values() if entity.segment == segment}
            )
        )

    def _read(self, code: str, risk_class: str, raw: Mapping[str, Any], place: str, wrong: list[str]) -> None:
        try:
            self._in_force[code, risk_class] = Rules.model_validate(raw)
        except ValidationError as error:
            wrong.extend(f"{place}.{fault.where}: {fault.what}" for fault in faults_of(error))

    def _shared_segments_that_differ(self) -> Iterable[str]:
        by_segment: dict[str, tuple[str, Entity]] = {}
        for code, entity in self.legal_entities.items():
            first_code, first = by_segment.setdefault(entity.segment, (code, entity))
            for name in ("exposure", "memory_minutes"):
                if getattr(first, name) != getattr(entity, name):
                    yield f"legal_entities.{code}.{name}: differs from {first_code}, same segment {entity.segment}"


def read_credit_policy(raw: object) -> CreditPolicy:
    """Read the policy; raises `Malformed` naming every fault."""
    try:
        return CreditPolicy.model_validate(raw)
    except ValidationError as error:
        raise Malformed(faults_of(error)) from error


def faults_of(error: ValidationError) -> list[Fault]:
    """Each complaint with its place."""
    return [
        Fault(".".join(str(part) for part in problem["loc"]) or "credit", problem["msg"].removeprefix("Value error, "))
        for problem in error.errors(include_url=False, include_input=False)
    ]


def _laid_over(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = _laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
