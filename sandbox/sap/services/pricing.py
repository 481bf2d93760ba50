"""Sales prices (API_SLSPRICINGCONDITIONRECORD_SRV): condition records, their validity, their scales."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Final

from sandbox.sap.edm import Created, Deep, EntitySet, Hints, Service, Values, entity_type, service, to_many, to_one
from sandbox.sap.errors import bad_property
from sandbox.sap.records import Condition
from sandbox.sap.services.reading import wanted
from sandbox.sap.world import World, forever

_RECORD: Final = entity_type(
    "A_SlsPrcgConditionRecordType",
    """ConditionRecord 10 key, ConditionSequentialNumber 2, ConditionTable 3, ConditionApplication 2,
    ConditionType 4, ConditionValidityEndDate date, ConditionValidityStartDate date, CreatedByUser 12,
    CreationDate date, PricingScaleType 1, PricingScaleBasis 1,
    ConditionScaleQuantity 15.3@ConditionScaleQuantityUnit, ConditionScaleQuantityUnit 3,
    ConditionCalculationType 1, ConditionRateValue 12.3@ConditionRateValueUnit, ConditionRateValueUnit 5,
    ConditionRateRatio 24.9@ConditionRateRatioUnit, ConditionRateRatioUnit 3,
    ConditionRateAmount 24.9@ConditionCurrency, ConditionCurrency 5,
    ConditionQuantity 5.0@ConditionQuantityUnit, ConditionQuantityUnit 3, ConditionToBaseQtyNmrtr 5.0,
    ConditionToBaseQtyDnmntr 5.0, BaseUnit 3, ConditionAlternativeCurrency 5, ConditionExclusion 1,
    ConditionIsDeleted bool, PaymentTerms 4, IncrementalScale 4, PricingScaleLine 4, ConditionReleaseStatus 1,
    ConditionChangeReason 3, LastChangeDateTime offset, SAPObjectNodeType 30 ro, ETag 40 etag""",
    to_many("to_SlsPrcgCndnRecdValidity", "A_SlsPrcgCndnRecdValidity", "ConditionRecord"),
    to_many("to_SlsPrcgCndnRecordScale", "A_SlsPrcgCndnRecordScale", "ConditionRecord"),
)
_VALIDITY: Final = entity_type(
    "A_SlsPrcgCndnRecdValidityType",
    """ConditionRecord 10 key, ConditionValidityEndDate date key, ConditionValidityStartDate date,
    ConditionApplication 2, ConditionType 4, ConditionReleaseStatus 1, SalesDocument 10, SalesDocumentItem 6,
    CustomerGroup 2, CustomerPriceGroup 2, MaterialPricingGroup 2, SoldToParty 10, Customer 10, PayerParty 10,
    ShipToParty 10, DestinationCountry 3, MaterialGroup 9, Material 40, PriceListType 2, Region 3, Division 2,
    SalesOffice 4, SalesGroup 3, SalesOrganization 4, OrderQuantityUnit 3, DistributionChannel 2,
    TransactionCurrency 5, Plant 4, TaxCode 2, SalesDistrict 6, ETag 40 etag""",
    to_one("to_SlsPrcgConditionRecord", "A_SlsPrcgConditionRecord", "ConditionRecord"),
)
_SCALE: Final = entity_type(
    "A_SlsPrcgCndnRecordScaleType",
    """ConditionRecord 10 key, ConditionSequentialNumber 2 key, ConditionScaleLine 4 key,
    ConditionScaleQuantity 15.3@ConditionScaleQuantityUnit, ConditionScaleQuantityUnit 3,
    ConditionScaleAmount 16.3@ConditionScaleAmountCurrency, ConditionScaleAmountCurrency 5,
    ConditionRateValue 12.3@ConditionRateValueUnit, ConditionRateValueUnit 5,
    ConditionRateRatio 24.9@ConditionRateRatioUnit, ConditionRateRatioUnit 3,
    ConditionRateAmount 24.9@ConditionCurrency, ConditionCurrency 5, ETag 40 etag""",
    to_one("to_SlsPrcgConditionRecord", "A_SlsPrcgConditionRecord", "ConditionRecord"),
)


@dataclass(frozen=True, slots=True)
class _Scale:
    condition: Condition
    line: int
    start: Decimal
    rate: Decimal


def pricing_service(world: World) -> Service:
    """API_SLSPRICINGCONDITIONRECORD_SRV."""

    def records(hints: Hints) -> Iterable[Condition]:
        asked = wanted(hints, "ConditionRecord")
        if asked is not None:
            return (found for record in sorted(asked) if (found := world.conditions.get(record)))
        materials = wanted(hints, "Material")
        if materials is not None:
            return (row for material in sorted(materials) for row in world.conditions.find("material", material))
        return world.conditions.values()

    def scales(hints: Hints) -> Iterable[_Scale]:
        for condition in records(hints):
            for line, (start, rate) in enumerate(condition.scales, start=1):
                yield _Scale(condition, line, start, rate)

    def create(deep: Deep) -> Created:
        given = deep.values
        validity = deep.children.get("to_SlsPrcgCndnRecdValidity", [])
        if len(validity) != 1:
            raise bad_property("to_SlsPrcgCndnRecdValidity", "A condition record needs exactly one validity")
        key = validity[0].values
        if given.get("ConditionType") != "PPR0":
            raise bad_property("ConditionType", f"Condition type {given.get('ConditionType')} is not maintained here")
        now = world.stamp()
        condition = Condition(
            record=world.number("condition", 1),
            account=str(key.get("Customer") or ""),
            material=str(key.get("Material") or ""),
            company_code=str(key.get("SalesOrganization") or ""),
            price=_decimal(given, "ConditionRateAmount"),
            currency=str(given.get("ConditionCurrency") or ""),
            valid_from=_date(key.get("ConditionValidityStartDate")) or now.date(),
            valid_to=_date(key.get("ConditionValidityEndDate")) or forever(),
            per=int(_decimal(given, "ConditionQuantity") or 1),
            unit=str(given.get("ConditionQuantityUnit") or world.unit_of(str(key.get("Material")))),
            deleted=False,
            changed_at=now,
            created_on=now.date(),
            contract=str(key.get("SalesDocument") or ""),
        )
        if not condition.material or not condition.currency:
            raise bad_property("Material", "Material and ConditionCurrency are needed")
        world.put_condition(condition)
        return Created(condition)

    def update(condition: Condition, changes: Values) -> None:
        changed = replace(condition, changed_at=world.stamp())
        for name, value in changes.items():
            match name, value:
                case "ConditionRateAmount", Decimal():
                    changed = replace(changed, price=value)
                case "ConditionIsDeleted", bool():
                    changed = replace(changed, deleted=value)
                case "ConditionCurrency", str():
                    changed = replace(changed, currency=value)
                case _:
                    raise bad_property(name, f"Property {name} cannot be changed")
        world.conditions.put(condition.record, changed)

    def delete(condition: Condition) -> None:
        world.conditions.put(condition.record, replace(condition, deleted=True, changed_at=world.stamp()))

    return service(
        "API_SLSPRICINGCONDITIONRECORD_SRV",
        [
            EntitySet(
                "A_SlsPrcgConditionRecord",
                _RECORD,
                records,
                {
                    "ConditionRecord": lambda r: r.record,
                    "ConditionSequentialNumber": lambda _: "01",
                    "ConditionTable": lambda r: "305" if r.account else "304",
                    "ConditionApplication": lambda _: "V",
                    "ConditionType": lambda _: "PPR0",
                    "ConditionValidityEndDate": lambda r: r.valid_to,
                    "ConditionValidityStartDate": lambda r: r.valid_from,
                    "CreatedByUser": lambda _: "CONCORD",
                    "CreationDate": lambda r: r.created_on,
                    "PricingScaleType": lambda r: "A" if r.scales else "",
                    "PricingScaleBasis": lambda r: "C" if r.scales else "",
                    "ConditionCalculationType": lambda _: "C",
                    "ConditionRateValue": lambda r: r.price,
                    "ConditionRateValueUnit": lambda r: r.currency,
                    "ConditionRateAmount": lambda r: r.price,
                    "ConditionCurrency": lambda r: r.currency,
                    "ConditionQuantity": lambda r: Decimal(r.per),
                    "ConditionQuantityUnit": lambda r: r.unit,
                    "ConditionToBaseQtyNmrtr": lambda _: Decimal(1),
                    "ConditionToBaseQtyDnmntr": lambda _: Decimal(1),
                    "BaseUnit": lambda r: world.unit_of(r.material),
                    "ConditionIsDeleted": lambda r: r.deleted,
                    "LastChangeDateTime": lambda r: r.changed_at,
                    "SAPObjectNodeType": lambda _: "SalesPricingConditionRecord",
                    "ETag": _version,
                },
                create=create,
                update=update,
                delete=delete,
            ),
            EntitySet(
                "A_SlsPrcgCndnRecdValidity",
                _VALIDITY,
                records,
                {
                    "ConditionRecord": lambda r: r.record,
                    "ConditionValidityEndDate": lambda r: r.valid_to,
                    "ConditionValidityStartDate": lambda r: r.valid_from,
                    "ConditionApplication": lambda _: "V",
                    "ConditionType": lambda _: "PPR0",
                    "SalesDocument": lambda r: r.contract,
                    "Customer": lambda r: r.account,
                    "Material": lambda r: r.material,
                    "SalesOrganization": lambda r: r.company_code,
                    "DistributionChannel": lambda r: "10" if r.company_code else "",
                    "TransactionCurrency": lambda r: r.currency,
                    "ETag": _version,
                },
            ),
            EntitySet(
                "A_SlsPrcgCndnRecordScale",
                _SCALE,
                scales,
                {
                    "ConditionRecord": lambda r: r.condition.record,
                    "ConditionSequentialNumber": lambda _: "01",
                    "ConditionScaleLine": lambda r: f"{r.line:04d}",
                    "ConditionScaleQuantity": lambda r: r.start,
                    "ConditionScaleQuantityUnit": lambda r: r.condition.unit,
                    "ConditionRateValue": lambda r: r.rate,
                    "ConditionRateValueUnit": lambda r: r.condition.currency,
                    "ConditionRateAmount": lambda r: r.rate,
                    "ConditionCurrency": lambda r: r.condition.currency,
                    "ETag": lambda r: _version(r.condition),
                },
            ),
        ],
    )


def _version(condition: Condition) -> str:
    return f"{condition.changed_at:%Y%m%d%H%M%S%f}"


def _decimal(values: Values, name: str) -> Decimal:
    value = values.get(name)
    return value if isinstance(value, Decimal) else Decimal(0)


def _date(value: object) -> date | None:
    return value if isinstance(value, date) else None
