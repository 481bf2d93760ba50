"""Stock as SAP has it now: the unrestricted quantity of a material in a plant."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from shared.clients.odata import ODataV2, decimal, where
from shared.errors import Permanent

_SERVICE = "API_MATERIAL_STOCK_SRV"
_UNRESTRICTED = "01"
_FIELDS = (
    "Material",
    "Plant",
    "StorageLocation",
    "InventorySpecialStockType",
    "InventoryStockType",
    "MaterialBaseUnit",
    "MatlWrhsStkQtyInMatlBaseUnit",
)


@dataclass(frozen=True, slots=True)
class StockFigure:
    """What may be sold: `quantity` in the material's base `unit`, over all storage locations and batches."""

    plant: str
    material: str
    quantity: Decimal
    unit: str


class SapStock:
    """Reads the stock service. SAP's figures carry no time of change: the time of reading is all there is."""

    def __init__(self, odata: ODataV2) -> None:
        self.odata = odata

    async def read_unrestricted(self, plant: str, material: str) -> StockFigure:
        """The figure as of now; a material without stock rows in the plant has none, in no unit."""
        rows = await self.odata.read_all(
            _SERVICE,
            "A_MatlStkInAcctMod",
            {
                "$filter": where(
                    ("Material", "eq", material), ("Plant", "eq", plant), ("InventoryStockType", "eq", _UNRESTRICTED)
                ),
                "$select": ",".join(_FIELDS),
            },
        )
        # Consignment, project and order stock belongs to somebody already; it is not for sale.
        free = [row for row in rows if not row.get("InventorySpecialStockType")]
        units = {str(row.get("MaterialBaseUnit", "")) for row in free}
        if len(units) > 1:
            raise Permanent(f"{material} in {plant} has base units {', '.join(sorted(units))}", code="stock_units")
        quantity = sum((decimal(row, "MatlWrhsStkQtyInMatlBaseUnit") for row in free), Decimal(0))
        return StockFigure(plant, material, quantity, next(iter(units), ""))
