"""SAP's sales orders: place one, ask whether one has landed, and keep one from being billed.

The deep insert is not exactly-once (retried sales orders are duplicates), so a lost answer is `OutcomeUnknown` and
`find` is how one looks: by our posting key in the accounting reference, in every sales organization. Where the Gateway
remembers requests it is told that ours are repeatable; nothing here relies on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Protocol

from shared.clients.http import RemoteRefused
from shared.clients.odata import ODataV2, decimal, entity_path, where
from shared.clients.sap_refusals import CURRENCY, Rejected, Remedies, reason_of
from shared.domain.ledger import is_posting_key
from shared.domain.rulings import Reason
from shared.domain.sales_orders import (
    ORDER_NUMBER_MAX,
    Computed,
    ComputedItem,
    SalesOrder,
    SalesOrderItem,
)
from shared.errors import Malformed, OutcomeUnknown

_SERVICE = "API_SALES_ORDER_SRV"
_ORDERS = "A_SalesOrder"
_SELECT = (
    "SalesOrder,AccountingDocExternalReference,PurchaseOrderByCustomer,TotalNetAmount,TransactionCurrency,"
    "HeaderBillingBlockReason,OverallSDDocumentRejectionSts,OverallOrdReltdBillgStatus,TotalCreditCheckStatus,"
    "to_Item/SalesOrderItem,to_Item/NetAmount,to_Item/TaxAmount,to_Item/SalesDocumentRjcnReason"
)
_WHOLLY = "C"
_REMEDIES: Remedies = (
    (
        r"material .*(not (exist|defined|maintained|listed)|unknown|locked|flagged)",
        "unknown_material",
        "create the material for the sales organization in SAP or correct the product, then replay",
    ),
    (
        r"not (maintained|defined|created) .*sales area|sales area .*not (defined|maintained)",
        "customer_not_in_sales_area",
        "extend the customer to the sales area in SAP, then replay",
    ),
    (r"(customer|sold-to party|account) .*blocked", "blocked_account", "unblock the customer in SAP, then replay"),
    (
        r"tax classification",
        "tax_classification",
        "allow the tax classification in SAP or correct tax_codes in ledger.yaml, then replay",
    ),
    (
        r"condition type|pricing procedure",
        "condition_type",
        "allow the condition type in SAP or correct sales_order in ledger.yaml (an order with a charge that is not in "
        "charge_conditions becomes a journal entry), then replay",
    ),
    CURRENCY,
    (r"quantity|unit of measure", "quantity", "correct the quantity or the material's units, then replay"),
    (
        r"sales (organization|document type)|order type|distribution channel|division",
        "sales_area",
        "define it in SAP or correct sales_order in ledger.yaml, then replay",
    ),
)


@dataclass(frozen=True, slots=True)
class Placed:
    """A sales order that stands in SAP, with what SAP computed. `computed` is None where the answer did not tell."""

    number: str
    key: str
    order: str
    etag: str
    billing_block: str
    is_rejected: bool
    is_billed: bool
    credit_status: str
    computed: Computed | None
    repeatability: str = ""

    def carries(self, number: str) -> bool:
        """Whether it was placed for this order of Commerce."""
        return self.order == number[:ORDER_NUMBER_MAX]


@dataclass(frozen=True, slots=True)
class Repeatable:
    """What makes a request the same one when it is sent again: the key and the time of the first attempt."""

    key: str
    first_attempted_at: datetime

    @property
    def headers(self) -> dict[str, str]:
        """The time is part of the id: a Gateway repeats refusals too, and a corrected order is another request."""
        created = self.first_attempted_at.astimezone(UTC).isoformat(timespec="seconds").removesuffix("+00:00")
        digest = hashlib.sha256(f"{self.key}|{created}".encode()).hexdigest()
        return {"RequestID": digest[:32].upper(), "RepeatabilityCreation": created}


class OrderPort(Protocol):
    """What the posting story needs of SAP's sales orders."""

    async def place(self, order: SalesOrder, repeatable: Repeatable | None) -> Placed | Rejected: ...

    async def find(self, key: str) -> list[Placed]: ...

    async def set_billing_block(self, placed: Placed, reason: str) -> None: ...


class SapOrders:
    """The sales orders of one SAP system."""

    def __init__(self, odata: ODataV2) -> None:
        self._odata = odata

    async def place(self, order: SalesOrder, repeatable: Repeatable | None) -> Placed | Rejected:
        """Send one order, items and conditions in one deep insert.

        Raises OutcomeUnknown when it may have landed, or may yet; any other Transient says that nothing was sent.
        """
        headers = {} if repeatable is None else repeatable.headers
        try:
            answer = await self._odata.post(_SERVICE, _ORDERS, deep_insert(order), headers=headers)
        except RemoteRefused as refusal:
            if refusal.response.status < 400:  # an error that hides in a success: SAP may have kept the order
                raise OutcomeUnknown(f"SAP placed {order.key} and reports an error: {refusal}") from refusal
            return _rejected(refusal)
        placed = _read_answer(answer.content, order.key)
        return replace(placed, repeatability=answer.headers.get("RepeatabilityResult", ""))

    async def find(self, key: str) -> list[Placed]:
        """The sales orders that carry a posting key, with their items, by number."""
        query = {
            "$filter": where(("AccountingDocExternalReference", "eq", key)),
            "$select": _SELECT,
            "$expand": "to_Item",
            "$orderby": "SalesOrder",
        }
        return [_placed(row) for row in await self._odata.read_all(_SERVICE, _ORDERS, query)]

    async def placed_between(self, organization: str, first: date, last: date) -> dict[str, list[Placed]]:
        """The sales orders of a sales organization to be billed on some days (both included), without their items, by
        posting key: a month's orders in a few reads instead of one for each.
        """
        query = {
            "$filter": where(
                ("SalesOrganization", "eq", organization),
                ("BillingDocumentDate", "ge", first),
                ("BillingDocumentDate", "le", last),
            ),
            "$select": ",".join(name for name in _SELECT.split(",") if "/" not in name),
            "$orderby": "SalesOrder",
        }
        found: dict[str, list[Placed]] = {}
        async for page in self._odata.read_pages(_SERVICE, _ORDERS, query):
            for order in map(_placed, page):
                if is_posting_key(order.key):
                    found.setdefault(order.key, []).append(order)
        return found

    async def set_billing_block(self, placed: Placed, reason: str) -> None:
        """Keep an order from being billed, or let it be billed ("" as reason), if it is still at its version."""
        path = entity_path(_ORDERS, placed.number)
        await self._odata.update(_SERVICE, path, {"HeaderBillingBlockReason": reason}, etag=placed.etag)


def deep_insert(order: SalesOrder) -> dict[str, Any]:
    """The body of one sales order. The posting key goes where billing takes the ledger's reference from."""
    rules = order.rules
    return {
        "SalesOrderType": rules.type,
        "SalesOrganization": rules.sales_organization,
        "DistributionChannel": rules.distribution_channel,
        "OrganizationDivision": rules.division,
        "SoldToParty": order.customer,
        "PurchaseOrderByCustomer": order.order[:ORDER_NUMBER_MAX],
        "AccountingDocExternalReference": order.key,
        "TransactionCurrency": order.currency,
        "PricingDate": order.day,
        "BillingDocumentDate": order.day,
        "to_Item": [_item(item, order) for item in order.items],
    }


def _item(item: SalesOrderItem, order: SalesOrder) -> dict[str, Any]:
    price = {
        "ConditionType": order.rules.price_condition,
        "ConditionRateValue": item.price.rate,
        "ConditionCurrency": order.currency,
        "ConditionQuantity": str(item.price.per),
    }
    fixed = [
        {"ConditionType": kind, "ConditionRateValue": amount.amount, "ConditionCurrency": order.currency}
        for kind, amount in item.conditions
    ]
    return {
        "SalesOrderItem": item.number,
        "Material": item.material,
        "RequestedQuantity": item.quantity,
        "ProductTaxClassification1": item.tax_classification,
        "to_PricingElement": [price, *fixed],
    }


def _read_answer(content: Mapping[str, Any], key: str) -> Placed:
    try:
        return _placed(content)
    except (KeyError, Malformed) as error:
        raise OutcomeUnknown(f"the answer to {key} names no sales order ({error})") from error


def _placed(row: Mapping[str, Any]) -> Placed:
    """An A_SalesOrder row; items that were rejected in SAP come to nothing and are left out."""
    items = row.get("to_Item")
    listed = items.get("results") if isinstance(items, dict) else items
    computed = None
    if isinstance(listed, list) and listed:
        computed = Computed(
            currency=str(row["TransactionCurrency"]),
            net=decimal(row, "TotalNetAmount"),
            items={
                str(item["SalesOrderItem"]).lstrip("0"): ComputedItem(
                    decimal(item, "NetAmount"), decimal(item, "TaxAmount")
                )
                for item in listed
                if not item.get("SalesDocumentRjcnReason")
            },
        )
    return Placed(
        number=str(row["SalesOrder"]),
        key=str(row.get("AccountingDocExternalReference") or ""),
        order=str(row.get("PurchaseOrderByCustomer") or ""),
        etag=str((row.get("__metadata") or {}).get("etag") or ""),
        billing_block=str(row.get("HeaderBillingBlockReason") or ""),
        is_rejected=row.get("OverallSDDocumentRejectionSts") == _WHOLLY,
        is_billed=row.get("OverallOrdReltdBillgStatus") == _WHOLLY,
        credit_status=str(row.get("TotalCreditCheckStatus") or ""),
        computed=computed,
    )


def _rejected(refusal: RemoteRefused) -> Rejected:
    if refusal.response.headers.get("RepeatabilityResult") == "unsupported":
        said = f"SAP: {refusal}"
        remedy = "set repeatable_requests to false in ledger.yaml, or set the Gateway's idempotent services up"
        return Rejected((Reason("repeatability_unsupported", said, f"{remedy}, then replay"),))
    messages = [(one.code, one.message) for one in refusal.errors] or [("", str(refusal))]
    return Rejected(tuple(reason_of(number, message, _REMEDIES) for number, message in messages))
