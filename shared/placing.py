"""One sales order in SAP: what a look finds, and whether it stands.

    found or answered ──▶ names another order, is rejected, stands twice ──▶ case
                      ──▶ SAP's amounts are the customer's ──▶ our billing block comes off ──▶ it stands
                      └─▶ they are not ──▶ billing block on ──▶ case; its replay comes this way again

An order whose amounts SAP computes otherwise is never silently accepted, also by a unit of tax: billing would owe the
customer another amount than the checkout said.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

from shared.authority.ledger import LegalEntity
from shared.clients.http import RemoteRefused
from shared.clients.sap_orders import Placed
from shared.domain.rulings import Hold
from shared.domain.sales_orders import SalesOrder, differences, sales_order_of
from shared.errors import OutcomeUnknown, Transient
from shared.stores.claims import Claim
from shared.stores.records import Outcome
from shared.wiring import Hub


async def look_for_order(claim: Claim, hub: Hub, entity: LegalEntity) -> Placed | Outcome | None:
    """The sales order that an attempt left behind, compared; an Outcome that holds where a person has to look; None
    where there is none (yet)."""
    hits = await hub.sap_orders.find(claim.key)
    standing = [hit for hit in hits if not hit.is_rejected]
    if len(standing) > 1:
        return Outcome.held(
            "posted_twice",
            f"posting key {claim.key} stands in sales orders {', '.join(hit.number for hit in standing)}",
            "reject or delete all but one in SAP, then replay",
        )
    if not hits:
        return None
    number = claim.entry.number
    if not standing:
        return Outcome.held(
            "posted_and_rejected",
            f"sales order {hits[0].number} carries posting key {claim.key} and was rejected",
            "find out who rejected it and why; then discard, or post by hand",
        )
    placed = standing[0]
    if not placed.carries(number):
        return Outcome.held(
            "posted_for_another_order",
            f"sales order {placed.number} carries posting key {claim.key} and names order {placed.order or 'none'}",
            f"put {number} back as the customer's reference in SAP, or find out who else uses the key; then replay",
        )
    order = sales_order_of(claim.entry, claim.key, claim.posting_date, entity)
    if isinstance(order, list):
        return Outcome(Hold(tuple(order)))
    return await _compared(placed, order, hub)


async def compare_answer(placed: Placed, order: SalesOrder, claim: Claim, hub: Hub) -> Placed | Outcome:
    """Compare what SAP answered; what it did not tell, or repeats from an earlier attempt, is read from SAP again."""
    if placed.computed is not None and claim.attempted_at == claim.first_attempted_at:
        return await _compared(placed, order, hub)
    found = [one for one in await hub.sap_orders.find(claim.key) if one.number == placed.number]
    if not found:
        raise OutcomeUnknown(f"SAP answered with sales order {placed.number}, which cannot be read yet")
    return await _compared(replace(found[0], repeatability=placed.repeatability), order, hub)


async def _compared(placed: Placed, order: SalesOrder, hub: Hub) -> Placed | Outcome:
    wrong = ["SAP shows no items of it"] if placed.computed is None else differences(order, placed.computed)
    own_block = order.rules.billing_block
    if not wrong:
        if placed.billing_block == own_block:  # set when it differed; corrected since
            await _set_block(placed, "", hub)
        return placed
    if not placed.billing_block and not placed.is_billed:
        await _set_block(placed, own_block, hub)
    state = "is billed already" if placed.is_billed else f"is blocked for billing ({placed.billing_block or own_block})"
    return Outcome.held(
        "sap_computed_otherwise",
        f"sales order {placed.number} {state}: {'; '.join(wrong)}",
        "correct prices or taxes in SAP (or cancel the billing), then replay: it compares again and lifts the block",
    )


async def _set_block(placed: Placed, reason: str, hub: Hub) -> None:
    try:
        await hub.sap_orders.set_billing_block(placed, reason)
    except RemoteRefused as refusal:
        if refusal.status == HTTPStatus.PRECONDITION_FAILED:
            raise Transient(
                f"sales order {placed.number} was changed at this moment", retry_after_seconds=1
            ) from refusal
        raise
