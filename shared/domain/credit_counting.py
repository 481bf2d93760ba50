"""How much of an account's limit is held, seen against one exposure figure. Pure.

Each order counts once, and never not at all: a hold counts until the figure is *seen* to contain what it became.
An overlap errs on the safe side for a moment; a gap would overspend.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from shared.domain.credit import LIVE, Figure, Hold, Posting
from shared.domain.money import Money

REMEMBERED = "remembered"
"""Source of a figure that was read earlier and does not tell its items any more."""


class HeldByFamily:
    """What the checkouts of one account hold beside one figure, in one currency, kept up as holds are added.

    Holds of one checkout and of the changes that replace it are one family and count once together. Each family is
    counted once for a whole group of checkouts: counting all of them again for each would be the square of it.
    """

    def __init__(
        self,
        holds: Iterable[Hold],
        figure: Figure,
        *,
        convert: Callable[[Money], Money],
        currency: str,
        now: datetime,
        memory: timedelta,
    ) -> None:
        """`convert` gives an amount in `currency`."""
        self._figure, self._convert = figure, convert
        self._now, self._memory = now, memory
        self._nothing = Money.zero(currency)
        self._families: defaultdict[str, list[Hold]] = defaultdict(list)
        for hold in holds:
            self._families[hold.family].append(self._weighed(hold))
        self._counted = {name: self._count(members) for name, members in self._families.items()}
        self._all = sum(self._counted.values(), self._nothing)

    def of(self, family: str) -> Money:
        return self._counted.get(family, self._nothing)

    def of_others(self, family: str) -> Money:
        return self._all - self.of(family)

    def with_one_more(self, family: str, value: Money) -> Money:
        """What a family would hold with one more of its changes, as `add` would count it."""
        members = self._families.get(family)
        return self._count(members, value) if members else value

    def add(self, hold: Hold) -> None:
        before = self.of(hold.family)
        members = self._families[hold.family]
        members.append(self._weighed(hold))
        self._counted[hold.family] = self._count(members)
        self._all = self._all - before + self._counted[hold.family]

    def _weighed(self, hold: Hold) -> Hold:
        value = self._convert(hold.value)
        return hold if value is hold.value else replace(hold, value=value)

    def _count(self, members: Sequence[Hold], one_more: Money | None = None) -> Money:
        return counted(members, self._figure, self._now, self._memory, one_more)


def counted(
    members: Sequence[Hold], figure: Figure, now: datetime, memory: timedelta, one_more: Money | None = None
) -> Money:
    """What one family counts beside the figure; `one_more` is the value of a hold that is about to join it.

    The largest live hold is what the checkout may come to: a change that is not yet confirmed does not add to what it
    replaces, and does not free it either. What is posted moves from that amount to the postings, and each posting
    counts until the figure contains it, also when it was seen before: a figure may be older than the last one.
    A hold whose time is up counts until it is released: a worker whose clock is behind may be firming it right now.
    """
    currency = members[0].value.currency
    zero = Money.zero(currency)
    live = [hold for hold in members if hold.state in LIVE]
    parts = _parts_of(members, now, memory)
    whole = max((*(hold.value for hold in live), one_more or zero))
    moved = sum((value for _, value, _ in parts if value > zero), zero)
    known = {posting.key for posting, _, _ in parts}
    rest = whole - moved - (_already_in(live, known, figure) if live else zero)
    unseen = sum((value for posting, value, hold in parts if not _is_in(figure, posting, hold)), zero)
    return (rest if rest > zero else zero) + unseen


def is_wholly_in(hold: Hold, figure: Figure) -> bool:
    """Whether everything the hold became is seen in the figure, so that it need not count any more."""
    return hold.state == "posted" and bool(hold.postings) and all(figure.contains(posting) for posting in hold.postings)


def is_paid(hold: Hold, figure: Figure) -> bool:
    """Whether SAP knows everything that a consumed hold became as paid or reversed: nothing can unsee that."""
    return hold.state == "consumed" and all(posting.key in figure.cleared for posting in hold.postings)


def unseen_postings(holds: Iterable[Hold], figure: Figure, now: datetime, memory: timedelta) -> tuple[str, ...]:
    """Posting keys that the figure should contain and does not: paid, reversed, or not there yet."""
    families: defaultdict[str, list[Hold]] = defaultdict(list)
    for hold in holds:
        families[hold.family].append(hold)
    parts = (part for members in families.values() for part in _parts_of(members, now, memory))
    return tuple(dict.fromkeys(posting.key for posting, _, _ in parts if not figure.contains(posting)))


def _parts_of(members: Sequence[Hold], now: datetime, memory: timedelta) -> list[tuple[Posting, Money, Hold]]:
    """The family's postings with their value, each once; those of a consumed hold while it is remembered, or while
    another hold of the family lives, which they are a part of."""
    parts: dict[str, tuple[Posting, Money, Hold]] = {}
    lives = any(hold.state in LIVE for hold in members)
    for hold in members:
        remembered = hold.closed_at is not None and (lives or hold.closed_at + memory > now)
        if hold.state in LIVE or (hold.state == "consumed" and remembered):
            for posting, value in zip(hold.postings, _values_of(hold), strict=True):
                parts.setdefault(posting.key, (posting, value, hold))
    return list(parts.values())


def _values_of(hold: Hold) -> list[Money]:
    """Each posting's part of the hold's value; the last takes what rounding left when the hold is posted whole."""
    values = [hold.value_of(posting.amount) for posting in hold.postings]
    if values and hold.posted_amount == hold.amount:
        others = sum(values[:-1], Money.zero(hold.value.currency))
        values[-1] = hold.value - others
    return values


def _is_in(figure: Figure, posting: Posting, hold: Hold) -> bool:
    if figure.source == REMEMBERED:
        # It was seen in that figure or an older one if it was consumed then; anything later is added back.
        return hold.state == "consumed" and hold.closed_at is not None and hold.closed_at <= figure.as_of
    return figure.contains(posting)


def _already_in(live: Sequence[Hold], known: set[str], figure: Figure) -> Money:
    """Invoices of the family's order that the figure contains before the book has heard of their posting."""
    zero = Money.zero(live[0].value.currency)
    orders = {(hold.decision.legal_entity, hold.order) for hold in live if hold.order}
    return sum(
        (
            item.amount
            for order in orders
            for item in figure.invoices.get(order, ())
            if item.reference not in known and item.amount > zero
        ),
        zero,
    )
