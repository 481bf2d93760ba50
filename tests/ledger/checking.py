"""The checkout's credit check of an order that is to be posted on account."""

from __future__ import annotations

from typing import Any

from shared.domain.credit_request import read_check
from shared.wiring import Hub


async def approved(
    order: dict[str, Any], hub: Hub, *, request_id: str, deadline: float, legal_entity: str = "GB01"
) -> str:
    """The credit decision that approves an order; its id. `deadline` is loop time."""
    request, entity = read_check(
        {
            "requestId": request_id,
            "legalEntity": legal_entity,
            "account": order["CustomerId"],
            "channel": "web",
            "currency": order["CurrencyCode"],
            "lines": [],
            "charges": [{"code": "GOODS", "amount": order["TotalAmount"]}],
            "total": order["TotalAmount"],
        },
        hub.policy.credit,
        "c0ffee" + "0" * 26,
    )
    record, hold = await hub.credit_desk.decide(request, entity, deadline)
    assert hold is not None, record
    return record.decision.id
