"""A return order made from lines of the original, as the till makes it: own number, negative quantities, links back."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from sandbox.commerce.world import JsonObject, Rejected, StoredOrder
from sandbox.kit.entities import currency_decimals


def return_order(original: StoredOrder, number: str, lines: Sequence[Mapping[str, Any]], placed_at: str) -> JsonObject:
    """The SalesOrder of a return; amounts in proportion to the quantity. Raises Rejected naming the line."""
    sold = {str(line.get("LineId")): line for line in original.order["SalesLines"]}
    currency = str(original.order["CurrencyCode"])
    returned = []
    for index, asked in enumerate(lines):
        line = sold.get(str(asked.get("lineId")))
        quantity = asked.get("quantity")
        if line is None:
            raise Rejected(f"lines[{index}].lineId: {asked.get('lineId')!r} is not a line of {original.number}")
        if isinstance(quantity, bool) or not isinstance(quantity, int | Decimal) or quantity == 0:
            raise Rejected(f"lines[{index}].quantity: a number other than 0 was expected")
        if not line["Quantity"]:
            raise Rejected(f"lines[{index}].lineId: nothing of {asked.get('lineId')!r} was sold")
        returned.append(_returned_line(line, abs(Decimal(quantity)), original, currency))
    if not returned:
        raise Rejected("lines: at least one was expected")
    net, tax, total = (_sum(returned, name) for name in ("NetAmount", "TaxAmount", "TotalAmount"))
    kept = ("ChannelId", "CustomerId", "CurrencyCode", "StoreId", "TerminalId")
    tender = next(iter(original.order["TenderLines"]), {"TenderTypeId": "1"})
    return {
        "SalesId": number,
        **{name: original.order[name] for name in kept if name in original.order},
        "OrderPlacedDate": placed_at,
        "BusinessDate": placed_at[:10],
        "SubtotalAmountWithoutTax": net,
        "TaxAmount": tax,
        "TotalAmount": total,
        "SalesLines": returned,
        "ChargeLines": [],
        "TenderLines": [{"TenderTypeId": tender["TenderTypeId"], "Amount": total, "Currency": currency}],
    }


def _returned_line(line: Mapping[str, Any], quantity: Decimal, original: StoredOrder, currency: str) -> JsonObject:
    share = quantity / Decimal(str(line["Quantity"]))
    net, tax = (-_rounded(Decimal(str(line.get(name, 0))) * share, currency) for name in ("NetAmount", "TaxAmount"))
    return {
        **line,
        "Quantity": -quantity,
        "NetAmount": net,
        "TaxAmount": tax,
        "TotalAmount": net + tax,
        "ReturnTransactionId": str(original.order.get("Id") or original.number),
        "ReturnLineNumber": line["LineId"],
    }


def _rounded(amount: Decimal, currency: str) -> Decimal:
    return amount.quantize(Decimal(1).scaleb(-currency_decimals().get(currency, 2)), ROUND_HALF_UP)


def _sum(lines: Sequence[JsonObject], name: str) -> Decimal:
    return sum((Decimal(str(line[name])) for line in lines), Decimal(0))
