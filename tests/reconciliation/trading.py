"""Orders that trade through the real stories, clients and simulators: on the ledger and in the history when told."""

from __future__ import annotations

from typing import Any

from shared.domain.changes import Change
from shared.domain.credit_request import read_check
from shared.flows.checkout_credit_check import checkout_credit_check
from shared.flows.crm_history_update import crm_history_update
from shared.flows.order_to_ledger import order_to_ledger
from tests.ledger.rig import confirmed, event, sales_order
from tests.systems import Systems

PERIOD = "2026-11"


async def trade(world: Systems, order: dict[str, Any], *, history: bool = True, legal_entity: str = "GB01") -> Change:
    """An order known to Commerce, posted, and (unless told otherwise) in the customer history."""
    await world.control("commerce", "PUT", f"orders/{order['SalesId']}", {"order": order, "legalEntity": legal_entity})
    change = confirmed(order, legal_entity=legal_entity)
    assert await world.settle("order_to_ledger", order_to_ledger, change) in {"accept", "unchanged"}
    if history:
        await into_history(world, change)
    return change


async def into_history(world: Systems, change: Change) -> None:
    """The change and every posting of its order, in the customer history."""
    await world.settle("crm_history_update", crm_history_update, change)
    for sent in list(world.bus.sent):
        if sent.change.kind == "order.posted" and sent.change.business_key == change.business_key:
            await world.settle("crm_history_update", crm_history_update, sent.change)


async def give_back(world: Systems, number: str, lines: list[tuple[str, str]]) -> None:
    """A return by lines, under the original's number."""
    change = event("returned", number, lines=lines, event_id=f"returned-{number}")
    assert await world.settle("order_to_ledger", order_to_ledger, change) == "accept"
    await into_history(world, change)


async def cancel(world: Systems, number: str) -> None:
    """The whole order is called off after it was posted."""
    change = event("cancelled", number, event_id=f"cancelled-{number}")
    assert await world.settle("order_to_ledger", order_to_ledger, change) == "accept"
    await into_history(world, change)


async def on_account(world: Systems, number: str) -> None:
    """An order of 120.00 GBP on a customer's account, checked, approved and posted."""
    account = {"legalEntity": "GB01", "limit": "1000", "currency": "GBP", "exposure": "0", "riskClass": "A"}
    await world.control("sap", "PUT", "credit-accounts/C-9", account)
    raw = {
        "requestId": number, "legalEntity": "GB01", "account": "C-9", "channel": "web", "currency": "GBP",
        "lines": [{"product": "TEA", "quantity": "10", "unitPrice": "10.00"}], "charges": [], "tax": "20.00",
        "total": "120.00",
    }  # fmt: skip
    request, entity = read_check(raw, world.hub.policy.credit, "c0ffee")
    answer = await checkout_credit_check(request, entity, world.hub)
    assert answer.hold is not None
    order = sales_order(number, customer="C-9", tenders=[("4", "120.00")])
    body = {"order": order, "legalEntity": "GB01", "decisionId": answer.hold.id}
    await world.control("commerce", "PUT", f"orders/{number}", body)
    change = confirmed(order, decision=answer.hold.id)
    assert await world.settle("order_to_ledger", order_to_ledger, change) == "accept"
    await into_history(world, change)


async def document_of(world: Systems, number: str) -> dict[str, Any]:
    """The document of an order as SAP's own state shows it."""
    documents: list[dict[str, Any]] = (await world.control("sap", "GET", "state"))["documents"]
    return next(one for one in documents if one["order"] == number)


async def history_row(world: Systems, number: str) -> dict[str, Any]:
    """The order's row in the customer history, as Dataverse's own state shows it."""
    rows: list[dict[str, Any]] = (await world.control("dataverse", "GET", "state"))["tables"]["salesorders"]
    return next(one for one in rows if one["ordernumber"] == number)


__all__ = [
    "PERIOD", "cancel", "document_of", "give_back", "history_row", "into_history", "on_account", "sales_order", "trade",
]  # fmt: skip
