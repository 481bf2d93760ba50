"""Native pricing: totals that the platform works out again by itself, unless an order's prices are locked or skipped.

Off by default. Switched on, it does what a real organization does: totals written by a caller are gone
as soon as a line changes.
"""

from decimal import Decimal

from sandbox.dataverse.model import MONEY_DECIMALS
from sandbox.dataverse.rows import Row
from sandbox.dataverse.values import Value, padded

_SKIPPED = 1


def line_amounts(values: dict[str, Value]) -> dict[str, Value]:
    """Base and extended amount of an order line from its quantity, price, discount and tax."""
    if values.get("skippricecalculation") == _SKIPPED:
        return {}
    base = _amount(values.get("quantity")) * _amount(values.get("priceperunit"))
    extended = base - _amount(values.get("manualdiscountamount")) + _amount(values.get("tax"))
    return {"baseamount": padded(base, MONEY_DECIMALS), "extendedamount": padded(extended, MONEY_DECIMALS)}


def order_totals(order: Row, lines: list[Row]) -> dict[str, Value]:
    """Totals of an order from its lines; nothing for one whose prices are locked or skipped."""
    if order.get("ispricelocked") is True or order.get("skippricecalculation") == _SKIPPED:
        return {}
    net = sum(
        (_amount(line.get("baseamount")) - _amount(line.get("manualdiscountamount")) for line in lines), Decimal(0)
    )
    tax = sum((_amount(line.get("tax")) for line in lines), Decimal(0))
    less_freight = net - _amount(order.get("discountamount"))
    return {
        "totallineitemamount": padded(net, MONEY_DECIMALS),
        "totaltax": padded(tax, MONEY_DECIMALS),
        "totalamountlessfreight": padded(less_freight, MONEY_DECIMALS),
        "totalamount": padded(less_freight + _amount(order.get("freightamount")) + tax, MONEY_DECIMALS),
    }


def _amount(value: Value) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(0)
