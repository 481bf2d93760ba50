"""A Commerce Scale Unit extension: before a sales order on account is created, ask for credit; only then confirm.

The extension sends the same request id again when the answer is lost, because the endpoint answers a repeat with the
same decision. Anything but `approved` leaves the order unconfirmed; polling an open approval is the caller's affair.
"""

import asyncio
from decimal import Decimal
from typing import Any, Final

import aiohttp

from sandbox.commerce.world import JsonObject, check_order
from sandbox.kit import exact_json

ON_ACCOUNT: Final = "4"
_ATTEMPTS: Final = 40
_PAUSE_SECONDS: Final = 0.25
_TIMEOUT_SECONDS: Final = 30.0


class CreditCheck:
    """Calls the credit check of the functions app, where there is one."""

    def __init__(self, functions_url: str | None, functions_key: str) -> None:
        self._url = f"{functions_url.rstrip('/')}/api/credit-checks" if functions_url else None
        self._key = functions_key
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        connector = aiohttp.TCPConnector(limit=200)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)

    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, body: JsonObject) -> tuple[int, Any]:
        """Status and answer of the check; (0, text) where no answer came however often it was asked."""
        if self._url is None or self._session is None:
            return 0, "no functions url is known"
        said: tuple[int, Any] = (0, "not asked")
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_PAUSE_SECONDS)
            try:
                async with self._session.post(
                    self._url,
                    data=exact_json.dumps(body),
                    headers={"Content-Type": "application/json", "x-functions-key": self._key},
                ) as answer:
                    content = await answer.read()
                    said = (answer.status, _read(content))
            except (aiohttp.ClientError, TimeoutError) as fault:
                said = (0, repr(fault))
                continue
            if said[0] < 500:
                return said
        return said


def credit_request(order: JsonObject, legal_entity: str, asked: JsonObject) -> JsonObject | None:
    """The question for an order with something on account, else None. Raises Rejected for what is no order."""
    checked = check_order(order)
    on_account = sum(
        (Decimal(str(t["Amount"])) for t in checked["TenderLines"] if str(t.get("TenderTypeId")) == ON_ACCOUNT),
        Decimal(0),
    )
    if on_account <= 0:
        return None
    lines, net = [], Decimal(0)
    for line in checked["SalesLines"]:
        quantity, amount = Decimal(str(line["Quantity"])), Decimal(str(line["NetAmount"]))
        if quantity <= 0:
            continue
        unit = _exact_quotient(amount, quantity)
        lines.append({"product": line["ItemId"], "quantity": _text(quantity), "unitPrice": _text(unit)})
        net += unit * quantity
    tax, total = Decimal(str(checked["TaxAmount"])), Decimal(str(checked["TotalAmount"]))
    charges = [
        {"code": str(charge.get("ChargeCode", "CHARGE")), "amount": _text(Decimal(str(charge["CalculatedAmount"])))}
        for charge in checked["ChargeLines"]
    ]
    rest = total - tax - net - sum((Decimal(charge["amount"]) for charge in charges), Decimal(0))
    if rest:
        charges.append({"code": "ROUNDING", "amount": _text(rest)})
    return {
        "requestId": asked.get("requestId") or checked["SalesId"],
        **({"replaces": asked["replaces"]} if asked.get("replaces") else {}),
        "requestedBy": asked.get("requestedBy") or f"{checked.get('ChannelId', 'commerce')} checkout",
        "legalEntity": legal_entity,
        "account": str(checked.get("CustomerId") or ""),
        "channel": str(checked.get("ChannelId") or "commerce"),
        "currency": checked["CurrencyCode"],
        "lines": lines,
        "charges": charges,
        "tax": _text(tax),
        "total": _text(total),
        "onAccount": _text(on_account),
    }


def _exact_quotient(amount: Decimal, quantity: Decimal) -> Decimal:
    """The net unit price; where it has no end, cut to five decimals, and the rest becomes a rounding charge."""
    unit = amount / quantity
    return unit if unit * quantity == amount and len(unit.as_tuple().digits) < 16 else unit.quantize(Decimal("0.00001"))


def _text(value: Decimal) -> str:
    return format(value, "f")


def _read(content: bytes) -> Any:
    try:
        return exact_json.loads(content)
    except exact_json.NotJson:
        return content.decode("utf-8", "replace")
