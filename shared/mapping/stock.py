"""Stock: unrestricted stock of SAP, on hand in Inventory Visibility."""

from __future__ import annotations

from shared.mapping.engine import Field, compiled, number

STOCK = compiled(
    "stock",
    (
        Field("material", sap="Material", commerce="productId"),
        Field("plant", sap="Plant", commerce="siteId"),
        Field("quantity", sap="MatlWrhsStkQtyInMatlBaseUnit", commerce="quantities", convert=number),
        Field("unit", sap="MaterialBaseUnit"),
    ),
    sap="A_MatlStkInAcctMod",
    commerce="onhand",
)
