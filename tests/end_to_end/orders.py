"""Orders and credit accounts for the end-to-end tests."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.end_to_end.conftest import Outside


def sales_order(number: str, *, net: str = "100.00", tax: str = "20.00", **changes: Any) -> dict[str, Any]:
    """A guest's web order, paid by card, that adds up."""
    total = Decimal(net) + Decimal(tax)
    return {
        "SalesId": number, "ChannelId": "web", "CustomerId": "", "CurrencyCode": "GBP",
        "OrderPlacedDate": "2026-11-23T10:00:00Z", "BusinessDate": "2026-11-23",
        "SubtotalAmountWithoutTax": Decimal(net), "TaxAmount": Decimal(tax), "TotalAmount": total,
        "SalesLines": [{
            "LineId": "1", "ItemId": "TEA", "Quantity": 10, "UnitOfMeasureSymbol": "ea",
            "Price": Decimal(net) / 10, "NetAmount": Decimal(net), "TaxAmount": Decimal(tax), "TotalAmount": total,
        }],
        "ChargeLines": [],
        "TenderLines": [{"TenderTypeId": "3", "Amount": total, "Currency": "GBP"}],
    } | changes  # fmt: skip


def on_account(number: str, account: str, **changes: Any) -> dict[str, Any]:
    """The same, on a customer's account."""
    order = sales_order(number, CustomerId=account, **changes)
    return order | {"TenderLines": [{"TenderTypeId": "4", "Amount": order["TotalAmount"], "Currency": "GBP"}]}


def event(kind: str, order: dict[str, Any] | None, number: str, /, **changes: Any) -> dict[str, Any]:
    """A Commerce order event."""
    return {
        "type": f"order.{kind}", "id": f"{kind}-{number}", "orderNumber": number, "legalEntity": "GB01",
        "occurredAt": "2026-11-23T10:00:01Z", "order": order, "decisionId": None,
    } | changes  # fmt: skip


def check(request_id: str, account: str, /, **changes: Any) -> dict[str, Any]:
    """A credit check of 120.00 GBP."""
    return {
        "requestId": request_id, "legalEntity": "GB01", "account": account, "channel": "web", "currency": "GBP",
        "lines": [{"product": "TEA", "quantity": "10", "unitPrice": "10.00"}], "charges": [], "tax": "20.00",
        "total": "120.00",
    } | changes  # fmt: skip


async def open_account(outside: Outside, account: str, limit: str = "1000", **changes: Any) -> None:
    """A credit account in SAP, and its customer everywhere."""
    await outside.control(
        "sap", "PUT", f"credit-accounts/{account}",
        {"legalEntity": "GB01", "limit": limit, "currency": "GBP", "exposure": "0", "blocked": False,
         "riskClass": "A", "prices": {}, "overdueDays": 0} | changes,
    )  # fmt: skip
