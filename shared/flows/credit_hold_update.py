"""Holds follow their orders: firmed by confirmation, moved by a change, posted by the ledger, freed by cancellation.

This flow never waits for SAP, so that an outage cannot expire the credit of an order that was confirmed in time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from shared.domain.changes import Change
from shared.domain.credit import Hold, Posting
from shared.domain.credit_transitions import Step, cancel, expire, post, shrink
from shared.domain.money import Money, decimal_of
from shared.domain.orders import on_account_of, read_order
from shared.domain.rulings import Accept, Reason, Unchanged
from shared.domain.rulings import Hold as Held
from shared.errors import Fault, Malformed
from shared.messaging import WAKE_UP
from shared.stores.claims import claims_in
from shared.stores.credit_book.book import Moved, Transition
from shared.stores.records import Outcome
from shared.wiring import Hub


async def credit_hold_update(change: Change, hub: Hub) -> Outcome:
    """Move the hold that an order event is about."""
    if change.entity == "credit_hold":
        return await _expired(change, hub)
    decision_id = await _decision_of(change, hub)
    if not decision_id:
        return _unchanged("no_decision", "the order has no credit decision: nothing is held for it")
    match change.kind:
        case "order.confirmed" | "order.changed":
            return await _confirmed(change, decision_id, hub)
        case "order.posted":
            return await _posted(change, decision_id, hub)
        case "order.cancelled":
            return await _cancelled(change, decision_id, hub)
        case _:
            return _unchanged("no_hold_matter", f"{change.kind} moves no hold")


async def _confirmed(change: Change, decision_id: str, hub: Hub) -> Outcome:
    moved = await hub.credit_book.confirm(decision_id, change.key, _owed(change), cause=change)
    return await _outcome(moved, decision_id, "firmed", hub)


async def _cancelled(change: Change, decision_id: str, hub: Hub) -> Outcome:
    """The whole order, or lines of it: what they would have come to on account is free again."""
    lines = change.data.get("lines")
    if lines is None:
        return await _move(change, decision_id, lambda hold, now: cancel(hold, change.key, now), "cancelled", hub)
    raw = change.data.get("order") or await hub.commerce.read_order(change.legal_entity, change.key)
    if not isinstance(raw, dict):
        return _unchanged("content_unknown", "the order's content is not known: its hold stays as it is")
    order = read_order(raw, change.legal_entity)
    freed = on_account_of(order, _quantities(lines))

    def transition(hold: Hold, now: datetime) -> Step:
        return shrink(hold, hold.amount - freed, change.key, now) if freed.currency == hold.amount.currency else None

    return await _move(change, decision_id, transition, "reduced", hub)


async def _posted(change: Change, decision_id: str, hub: Hub) -> Outcome:
    posting, owed = _read_posting(change)
    if posting is None:
        return _unchanged("not_on_account", "nothing of the posting is on account")

    def transition(hold: Hold, _: object) -> Step:
        return post(hold, posting, change.key, owed)

    return await _move(change, decision_id, transition, "posted", hub)


async def _expired(change: Change, hub: Hub) -> Outcome:
    if change.kind != WAKE_UP:
        return _unchanged("no_hold_matter", f"{change.kind} moves no hold")
    return await _move(change, change.key, expire, "expired", hub)


async def _move(change: Change, decision_id: str, transition: Transition, what: str, hub: Hub) -> Outcome:
    moved = await hub.credit_book.move(decision_id, transition, cause=change, what=what)
    return await _outcome(moved, decision_id, what, hub)


async def _outcome(moved: Moved, decision_id: str, what: str, hub: Hub) -> Outcome:
    links = {"decision": decision_id}
    if moved.refused is not None:
        return Outcome(Held((moved.refused,)), links=links)
    if moved.hold is None:
        known = await hub.credit_book.read_decision(decision_id)
        if known is None:
            reason = Reason("unknown_decision", f"decision {decision_id} is not in the book", "check the order again")
            return Outcome(Held((reason,)), links=links)
        return _unchanged("nothing_held", f"decision {decision_id} holds nothing")
    if not moved.changed:
        return _unchanged("already_so", f"the hold is {moved.hold.state} already")
    return Outcome(Accept(), summary=f"hold of {moved.hold.amount} {what}", links=links)


async def _decision_of(change: Change, hub: Hub) -> str:
    """The decision an event names; for a cancellation that names none, the one the order was posted under."""
    named = change.data.get("decisionId")
    if isinstance(named, str) and named:
        return named
    if change.kind != "order.cancelled":
        return ""
    dossier = await hub.records.read(change.business_key)
    return next((claim.decision for claim in claims_in(dossier) if claim.decision), "")


def _read_posting(change: Change) -> tuple[Posting | None, Money | None]:
    raw = change.data.get("posting")
    if not isinstance(raw, Mapping):
        raise Malformed([Fault("data.posting", "is missing")])
    try:
        currency = str(raw["currency"])
        amount = Money(decimal_of(raw["onAccount"]), currency)
        owed = _owed(change)
        posting = Posting(
            key=str(raw["key"]),
            company_code=str(raw["companyCode"]),
            document=str(raw["document"]),
            fiscal_year=str(raw["fiscalYear"]),
            amount=amount,
            posted_at=change.occurred_at,
        )
    except (KeyError, ValueError) as error:
        raise Malformed([Fault("data.posting", f"cannot be read: {error}")]) from error
    return (posting if amount.amount > 0 else None), owed


def _quantities(lines: Any) -> dict[str, Decimal]:
    try:
        return {str(line["lineId"]): decimal_of(line["quantity"]) for line in lines}
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed([Fault("data.lines", f"cannot be read: {error}")]) from error


def _owed(change: Change) -> Money | None:
    """What the whole order owes on account, where the event carries an order that can be read.

    One that cannot be read is the ledger flow's case; its hold must stand meanwhile.
    """
    order = change.data.get("order")
    if not isinstance(order, dict):
        return None
    try:
        return read_order(order, change.legal_entity).on_account
    except Malformed:
        return None


def _unchanged(code: str, message: str) -> Outcome:
    return Outcome(Unchanged((Reason(code, message),)), summary=message)
