"""Material stock (API_MATERIAL_STOCK_SRV) and availability (API_PRODUCT_AVAILY_INFO_BASIC)."""

from collections.abc import Iterable
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Final

from sandbox.sap.configuration import plants
from sandbox.sap.edm import (
    EntitySet,
    FunctionImport,
    Hints,
    Service,
    Values,
    entity_type,
    properties,
    service,
    to_many,
    to_one,
)
from sandbox.sap.errors import SapError, bad_property
from sandbox.sap.records import Stock
from sandbox.sap.services.reading import wanted
from sandbox.sap.world import World, forever

_MATERIAL: Final = entity_type(
    "A_MaterialStockType",
    "Material 40 key ro, MaterialBaseUnit 3 ro",
    to_many("to_MatlStkInAcctMod", "A_MatlStkInAcctMod", "Material"),
)
_STOCK: Final = entity_type(
    "A_MatlStkInAcctModType",
    """Material 40 key ro, Plant 4 key ro, StorageLocation 4 key ro, Batch 10 key ro, Supplier 10 key ro,
    Customer 10 key ro, WBSElementInternalID 24 key ro, SDDocument 10 key ro, SDDocumentItem 6 key ro,
    InventorySpecialStockType 1 key ro, InventoryStockType 2 key ro, WBSElementExternalID 24 ro,
    MaterialBaseUnit 3 ro, MatlWrhsStkQtyInMatlBaseUnit 31.14@MaterialBaseUnit ro""",
    to_one("to_MaterialStock", "A_MaterialStock", "Material"),
)
_AVAILABILITY: Final = entity_type(
    "AvailabilityRecord",
    """RequestedDeliveryDate offset, PeriodStartUTCDateTime offset, PeriodStartTimeZone 6, PeriodEndUTCDateTime offset,
    PeriodEndTimeZone 6, AvailableQuantityInBaseUnit 16.3@BaseUnit, BaseUnit 3""",
)
_AT: Final = properties(
    "SupplyingPlant 4, Material 40, ATPCheckingRule 2, RequestedUTCDateTime offset",
)
_OF: Final = properties("RequestedQuantityInBaseUnit 16.3, SupplyingPlant 4, Material 40, ATPCheckingRule 2")
_SERIES: Final = properties("SupplyingPlant 4, Material 40, ATPCheckingRule 2")


def stock_service(world: World) -> Service:
    """API_MATERIAL_STOCK_SRV."""

    def rows(hints: Hints) -> Iterable[Stock]:
        materials = wanted(hints, "Material")
        if materials is None:
            return world.stock.values()
        return (row for material in sorted(materials) for row in world.stock.find("material", material))

    def materials(hints: Hints) -> Iterable[tuple[str, str]]:
        asked = wanted(hints, "Material")
        if asked is None:
            return world.materials.items()
        return ((material, unit) for material in sorted(asked) if (unit := world.materials.get(material)))

    return service(
        "API_MATERIAL_STOCK_SRV",
        [
            EntitySet(
                "A_MaterialStock",
                _MATERIAL,
                materials,
                {"Material": lambda r: r[0], "MaterialBaseUnit": lambda r: r[1]},
            ),
            EntitySet(
                "A_MatlStkInAcctMod",
                _STOCK,
                rows,
                {
                    "Material": lambda r: r.material,
                    "Plant": lambda r: r.plant,
                    "StorageLocation": lambda r: f"{r.plant[:2]}1A",
                    "InventoryStockType": lambda _: "01",
                    "MaterialBaseUnit": lambda r: r.unit,
                    "MatlWrhsStkQtyInMatlBaseUnit": lambda r: r.quantity,
                },
            ),
        ],
    )


def availability_service(world: World) -> Service:
    """API_PRODUCT_AVAILY_INFO_BASIC: three function imports, no entity sets."""

    def stock_of(arguments: Values) -> tuple[Decimal, str]:
        plant, material = str(arguments["SupplyingPlant"]), str(arguments["Material"])
        if plant not in plants():
            raise bad_property("SupplyingPlant", f"Plant {plant} does not exist", "ATP_APPL/009")
        if material not in world.materials:
            raise SapError(404, "ATP_APPL/010", f"Material {material} does not exist in plant {plant}")
        return world.available(plant, material) or Decimal(0), world.unit_of(material)

    def record(start: datetime, quantity: Decimal, unit: str) -> Values:
        return {
            "PeriodStartUTCDateTime": start,
            "PeriodStartTimeZone": "UTC",
            "PeriodEndUTCDateTime": datetime.combine(forever(), time(23, 59, 59), UTC),
            "PeriodEndTimeZone": "UTC",
            "AvailableQuantityInBaseUnit": quantity,
            "BaseUnit": unit,
        }

    def at(arguments: Values) -> list[Values]:
        moment = arguments["RequestedUTCDateTime"]
        assert isinstance(moment, datetime)
        return [record(moment, *stock_of(arguments))]

    def of(arguments: Values) -> list[Values]:
        quantity, unit = stock_of(arguments)
        asked = arguments["RequestedQuantityInBaseUnit"]
        assert isinstance(asked, Decimal)
        return [record(world.state.now(), min(quantity, asked), unit)]

    def series(arguments: Values) -> list[Values]:
        return [record(world.state.now(), *stock_of(arguments))]

    return service(
        "API_PRODUCT_AVAILY_INFO_BASIC",
        [],
        [
            FunctionImport("DetermineAvailabilityAt", _AT, _AVAILABILITY, many=False, call=at),
            FunctionImport("DetermineAvailabilityOf", _OF, _AVAILABILITY, many=True, call=of),
            FunctionImport("CalculateAvailabilityTimeseries", _SERIES, _AVAILABILITY, many=True, call=series),
        ],
        namespace="BasicProductAvailabilityInfo",
    )
