"""Every mapped business object, and what a remote record is called here."""

from __future__ import annotations

from shared.mapping.customer import CUSTOMER
from shared.mapping.engine import ObjectMap
from shared.mapping.order import ORDER, ORDER_LINE
from shared.mapping.stock import STOCK

OBJECTS: dict[str, ObjectMap] = {table.object: table for table in (CUSTOMER, ORDER, ORDER_LINE, STOCK)}

GOVERNED: dict[str, str] = {"account": "customer", "salesorder": "order", "salesorderdetail": "order_line"}
"""Entity of a change on the bus → governed object. SAP's business partners arrive as `account` too."""
