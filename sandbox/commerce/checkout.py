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
_PATIENCE_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.1
_PAUSE_SECONDS_MAX: Final = 2.0
_TIMEOUT_SECONDS: Final = 30.0


class CreditCheck:
    """Calls the credit check of the functions app, where there is one."""

    def __init__(self, functions_url: str | None, functions_key: str) -> None:
        self._url = f"{functions_url.rstrip('/')}/api/credit-checks" if functions_url else None
        self._key = functions_key
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the connections."""
        connector = aiohttp.TCPConnector(limit=200)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)

    async def stop(self) -> None:
        """Close them."""
        if self._session is not None:
            await self._session.close()

    async def ask(self, body: JsonObject) -> tuple[int, Any]:
        """Status and answer of the check; (0, text) where no answer came in all the time there is.

        A lost answer, 429 and 5xx are tried again with the same content; Retry-After is heeded.
        """
        if self._url is None or self._session is None:
            return 0, "no functions url is known"
        clock = asyncio.get_running_loop().time
        ends_at, pause_seconds = clock() + _PATIENCE_SECONDS, _PAUSE_SECONDS
        while True:
            status, said, wait_seconds = await self._ask_once(self._session, self._url, body)
            if 0 < status < 500 and status != 429:
                return status, said
            pause_seconds = max(pause_seconds, wait_seconds)
            if clock() + pause_seconds >= ends_at:
                return status, said
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, _PAUSE_SECONDS_MAX)

    async def _ask_once(self, session: aiohttp.ClientSession, url: str, body: JsonObject) -> tuple[int, Any, float]:
        headers = {"Content-Type": "application/json", "x-functions-key": self._key}
        try:
            async with session.post(url, data=exact_json.dumps(body), headers=headers) as answer:
                wait = answer.headers.get("Retry-After", "")
                said = _read(await answer.read())
                return answer.status, said, float(wait) if wait.isdigit() else 0.0
        except (aiohttp.ClientError, TimeoutError) as fault:
            return 0, repr(fault), 0.0


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
