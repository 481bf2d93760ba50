"""The life of a hold, one pure step at a time.

    placed ──confirmed──▶ firm ──posted──▶ posted ──seen in SAP's figure──▶ consumed
      │                    │ ▲               ▲
      │ expired, given up, │ └─ part posted ─┘
      ▼ replaced           ▼ cancelled, replaced, a case
    released ◀─────────────┘            a document posted after all brings a released hold back as posted

A step gives the hold as it is next, None where it was taken before (events come twice and out of order), or the
reason why it may not be taken: then nothing changes and a person is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from shared.domain.credit import CANCELLED, LIVE, NOTHING_OWED, Hold, Posting
from shared.domain.money import Money
from shared.domain.rulings import Reason

Step = Hold | Reason | None

EXPIRED = "expired"
REPLACED = "replaced"
GIVEN_UP = "given up by the caller"


def firm(hold: Hold, order: str, now: datetime) -> Step:
    """The order is confirmed: from now on the hold is bound to it and no clock can take it."""
    if hold.order and hold.order != order:
        return _used_twice(hold, order)
    match hold.state:
        case "placed" if not hold.is_expired(now):
            return replace(hold, state="firm", order=order)
        case "placed":
            return _expired(hold)
        case "firm" | "posted" | "consumed":
            return None
        case "released":
            if hold.closed_because in (CANCELLED, REPLACED, NOTHING_OWED):
                return None
            if hold.closed_because == EXPIRED:
                return _expired(hold)
            return Reason("hold_released", f"the hold was released ({hold.closed_because})", "check the order again")


def confirm(hold: Hold, order: str, owed: Money | None, now: datetime) -> Step:
    """The order is confirmed, or confirmed again after a change that made it smaller: what it owes is what is held."""
    step = firm(hold, order, now)
    if isinstance(step, Reason) or owed is None or owed.currency != hold.amount.currency:
        return step
    smaller = shrink(step or hold, owed, order, now)
    return step if smaller is None else smaller


def take_over(hold: Hold, replaced: Sequence[Hold], order: str, owed: Money | None, now: datetime) -> Step:
    """A changed order is confirmed on its new decision: what was posted on the ones before comes along."""
    for other in replaced:
        if other.order and other.order != order:
            return _used_twice(other, order)
    step = confirm(hold, order, owed, now)
    if isinstance(step, Reason):
        return step
    stands = step or hold
    if stands.state not in LIVE:
        return step
    known = {posting.key for posting in stands.postings}
    brought = tuple(posting for other in replaced for posting in other.postings if posting.key not in known)
    return _settled(replace(stands, postings=stands.postings + brought), None) if brought else step


def post(hold: Hold, posting: Posting, order: str, owed: Money | None) -> Step:
    """A document of the order stands in SAP. `owed` is the whole order's amount on account, where it is known.

    What was released meanwhile comes back, because the document is there whatever the book thought.
    """
    if any(known.key == posting.key for known in hold.postings):
        return None
    if hold.order and hold.order != order:
        return _used_twice(hold, order)
    postings = (*hold.postings, posting)
    if hold.state in LIVE:
        return _settled(replace(hold, state="firm", order=order, postings=postings), owed)
    amount = sum((known.amount for known in postings), Money.zero(hold.amount.currency))
    return replace(
        hold,
        state="posted",
        order=order,
        postings=postings,
        amount=amount,
        value=hold.value_of(amount),
        closed_at=None,
        closed_because="",
    )


def consume(hold: Hold, seen_at: datetime) -> Hold:
    """Everything posted is seen in SAP's figure read from `seen_at` on."""
    return replace(hold, state="consumed", closed_at=seen_at, closed_because="seen in SAP's exposure")


def expire(hold: Hold, now: datetime) -> Step:
    """Time is up: only for a hold that no order confirmed."""
    return replace(hold, state="released", closed_at=now, closed_because=EXPIRED) if hold.is_expired(now) else None


def give_up(hold: Hold, now: datetime) -> Step:
    """The checkout was abandoned. A confirmed order gives nothing up; it is cancelled."""
    match hold.state:
        case "placed":
            return replace(hold, state="released", closed_at=now, closed_because=GIVEN_UP)
        case "released":
            return None
        case "firm" | "posted":
            return Reason("hold_is_firm", f"the hold is bound to order {hold.order}", "cancel the order instead")
        case "consumed":
            return Reason("hold_is_consumed", "the order stands in SAP", "return the goods instead")


def cancel(hold: Hold, order: str, now: datetime) -> Step:
    """The order is cancelled: what is not posted is free; what is posted counts until SAP shows what became of it."""
    if hold.order and hold.order != order:
        return _used_twice(hold, order)
    return _end_rest(replace(hold, order=order), CANCELLED, now) if hold.state in LIVE else None


def replaced_by(hold: Hold, now: datetime) -> Step:
    """A newer decision of the same checkout took over."""
    if hold.state == "released":
        return None
    return replace(hold, state="released", closed_at=now, closed_because=REPLACED)


def shrink(hold: Hold, owed: Money, order: str, now: datetime) -> Step:
    """The order became smaller: only what it still owes is held."""
    if hold.order and hold.order != order:
        return _used_twice(hold, order)
    if hold.state not in LIVE or owed >= hold.amount:
        return None
    if owed <= hold.posted_amount:
        return _end_rest(replace(hold, order=order), NOTHING_OWED, now)
    return replace(hold, order=order, amount=owed, value=hold.value_of(owed))


def _end_rest(hold: Hold, because: str, now: datetime) -> Step:
    posted = hold.posted_amount
    if not hold.postings:
        return replace(hold, state="released", closed_at=now, closed_because=because)
    if posted >= hold.amount:
        return None
    return replace(hold, state="posted", amount=posted, value=hold.value_of(posted))


def _settled(hold: Hold, owed: Money | None) -> Hold:
    """Posted when its documents make up what was held, or all that the order owes; then the rest is free."""
    posted = hold.posted_amount
    if not hold.postings:
        return hold
    if posted >= hold.amount:
        return replace(hold, state="posted")
    if owed is not None and posted >= owed:
        return replace(hold, state="posted", amount=posted, value=hold.value_of(posted))
    return hold


def _used_twice(hold: Hold, order: str) -> Reason:
    return Reason(
        "decision_used_twice",
        f"decision {hold.id} is bound to order {hold.order}, order {order} came with it too",
        "check the second order on its own, or cancel it",
    )


def _expired(hold: Hold) -> Reason:
    return Reason(
        "hold_expired",
        f"the hold expired at {hold.expires_at.isoformat(timespec='seconds')} before the order was confirmed",
        "check the order again, or cancel it",
    )
