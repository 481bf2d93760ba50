"""Credit: accounts and limits (API_CRDTMBUSINESSPARTNER), and a customer's own view of exposure (YY1_…)."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from sandbox.sap.edm import EntitySet, Hints, Service, Values, entity_type, service, to_many, to_one
from sandbox.sap.errors import bad_property
from sandbox.sap.records import CreditAccount
from sandbox.sap.services.reading import wanted
from sandbox.sap.world import World

_PARTNER: Final = entity_type(
    "CreditMgmtBusinessPartnerType",
    """BusinessPartner 10 key, CreditRiskClass 3, CreditRiskClassLastChangeDate date ro,
    CalculatedCreditRiskClass 3 ro, CreditWorthinessScoreValue 10, CreditCheckRule 10,
    CreditLimitCalculationRule 10, CreditRiskClassIsManuallyEntrd bool""",
    to_many("to_CreditMgmtAccountTP", "CreditManagementAccount", "BusinessPartner"),
)
_ACCOUNT: Final = entity_type(
    "CreditManagementAccountType",
    """BusinessPartner 10 key, CreditSegment 10 key, CreditLimitAmount 15.3@CreditSegmentCurrency,
    CreditLimitValidityEndDate date, CreditLimitIsZero bool,
    CreditLimitCalculatedAmount 15.3@CreditSegmentCurrency, CreditAccountIsBlocked bool,
    CreditAccountBlockReason 2, BusinessPartnerIsCritical bool, CreditSegmentCurrency 5 ro,
    CreditAccountResubmissionDate date""",
    to_one("to_CreditMgmtBusinessPartnerTP", "CreditMgmtBusinessPartner", "BusinessPartner"),
)
_EXPOSURE: Final = entity_type(
    "YY1_CreditExposureItemType",
    """BusinessPartner 10 key, CreditSegment 10 key, CreditManagementLineItem 40 key, CreditExposureCategory 3,
    ExposureAmount 15.3@Currency, HedgedAmount 15.3@Currency, Currency 5""",
)


@dataclass(frozen=True, slots=True)
class _Partner:
    account: str
    risk_class: str


@dataclass(frozen=True, slots=True)
class _ExposureItem:
    account: str
    segment: str
    category: str
    item: str
    amount: Decimal
    currency: str


def credit_service(world: World) -> Service:
    """API_CRDTMBUSINESSPARTNER."""

    def accounts(hints: Hints) -> Iterable[CreditAccount]:
        partners = wanted(hints, "BusinessPartner")
        if partners is None:
            return world.credit_accounts.values()
        return (row for partner in partners for row in world.credit_accounts.find("account", partner))

    def partners(hints: Hints) -> Iterable[_Partner]:
        found: dict[str, _Partner] = {}
        for row in accounts(hints):
            found.setdefault(row.account, _Partner(row.account, row.risk_class))
        return found.values()

    def update_account(row: CreditAccount, changes: Values) -> None:
        changed = replace(row, changed_at=world.stamp())
        for name, value in changes.items():
            match name, value:
                case "CreditLimitAmount", Decimal():
                    changed = replace(changed, limit=value)
                case "CreditLimitIsZero", bool():
                    changed = replace(changed, limit=Decimal(0) if value else changed.limit)
                case "CreditAccountIsBlocked", bool():
                    changed = replace(changed, blocked=value)
                case "CreditAccountBlockReason", str():
                    changed = replace(changed, block_reason=value)
                case "BusinessPartnerIsCritical", bool():
                    changed = replace(changed, critical=value)
                case _:
                    raise bad_property(name, f"Property {name} cannot be changed to {value!r}")
        world.credit_accounts.put((row.account, row.segment), changed)

    return service(
        "API_CRDTMBUSINESSPARTNER",
        [
            EntitySet(
                "CreditMgmtBusinessPartner",
                _PARTNER,
                partners,
                {
                    "BusinessPartner": lambda r: r.account,
                    "CreditRiskClass": lambda r: r.risk_class,
                    "CalculatedCreditRiskClass": lambda r: r.risk_class,
                    "CreditCheckRule": lambda _: "01",
                },
            ),
            EntitySet(
                "CreditManagementAccount",
                _ACCOUNT,
                accounts,
                {
                    "BusinessPartner": lambda r: r.account,
                    "CreditSegment": lambda r: r.segment,
                    "CreditLimitAmount": lambda r: r.limit,
                    "CreditLimitValidityEndDate": lambda r: r.valid_until,
                    "CreditLimitIsZero": lambda r: r.limit == 0,
                    "CreditAccountIsBlocked": lambda r: r.blocked,
                    "CreditAccountBlockReason": lambda r: r.block_reason,
                    "BusinessPartnerIsCritical": lambda r: r.critical,
                    "CreditSegmentCurrency": lambda r: r.currency,
                },
                update=update_account,
            ),
        ],
    )


def exposure_service(world: World) -> Service:
    """YY1_CREDITEXPOSUREITEM_CDS: what counts against each credit account, in the segment's currency."""

    def rows(hints: Hints) -> Iterable[_ExposureItem]:
        partners, segments = wanted(hints, "BusinessPartner"), wanted(hints, "CreditSegment")
        for credit in world.credit_accounts.values() if partners is None else _of(world, partners):
            if segments is not None and credit.segment not in segments:
                continue
            for category, item, amount, currency in world.exposure_items(credit.account, credit.segment):
                yield _ExposureItem(credit.account, credit.segment, category, item, amount, currency)

    return service(
        "YY1_CREDITEXPOSUREITEM_CDS",
        [
            EntitySet(
                "YY1_CreditExposureItem",
                _EXPOSURE,
                rows,
                {
                    "BusinessPartner": lambda r: r.account,
                    "CreditSegment": lambda r: r.segment,
                    "CreditManagementLineItem": lambda r: f"{r.category}{r.item}",
                    "CreditExposureCategory": lambda r: r.category,
                    "ExposureAmount": lambda r: r.amount,
                    "Currency": lambda r: r.currency,
                },
            )
        ],
    )


def _of(world: World, partners: frozenset[str]) -> Iterable[CreditAccount]:
    return (row for partner in partners for row in world.credit_accounts.find("account", partner))
