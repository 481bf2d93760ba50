"""A document as it stands on the ledger against what was posted: what was altered in it, to the unit and the line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from shared.authority.ledger import LegalEntity
from shared.clients.sap_ledger import LedgerItem
from shared.domain.ledger import Document, document_of
from shared.domain.sealing import content_of_document, seal_in
from shared.reports.amounts import told
from shared.reports.staging import content_of_items, ledger_document
from shared.stores.claims import Claim

_PLACES_MAX = 6
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Alteration:
    """What was altered, in words, and how much of it moved from one place to another (absolute)."""

    words: str
    moved: Decimal


def alteration_in_sap(claim: Claim, items: Sequence[LedgerItem], entity: LegalEntity) -> Alteration | None:
    """What of a posted document is no longer as it was posted; None where all of it is."""
    if not items:
        return None
    document = document_of(claim.entry, claim.key, claim.posting_date, entity)
    if not isinstance(document, Document):
        return None  # it was posted under a policy that is no more: there is nothing to hold it against
    was, now = content_of_document(document), content_of_items(items, entity)
    if seal_in(items[0].header_text) == now.seal and ledger_document(items, entity).gross == claim.entry.total.amount:
        return None  # its own seal fits: accounts that policy has moved since then are no alteration
    heads = [
        (name, old, new)
        for name, old, new in (
            ("currency", was.currency, now.currency),
            ("business date", was.document_date, now.document_date),
            ("posting date", was.posting_date, now.posting_date),
            ("order", was.order[:20].strip(), now.order.strip()),
        )
        if old != new
    ]
    changed = [
        (place, was.amounts.get(place, _ZERO), now.amounts.get(place, _ZERO))
        for place in sorted({*was.amounts, *now.amounts})
        if was.amounts.get(place, _ZERO) != now.amounts.get(place, _ZERO)
    ]
    if not heads and not changed:
        return None
    words = [f"{name} {new} instead of {old}" for name, old, new in heads]
    words += [
        f"{place}: {told(new, now.currency)} instead of {told(old, was.currency)}"
        for place, old, new in changed[:_PLACES_MAX]
    ]
    if len(changed) > _PLACES_MAX:
        words.append(f"and {len(changed) - _PLACES_MAX} more places")
    steps = [new - old for _, old, new in changed]
    up = sum((step for step in steps if step > 0), _ZERO)
    down = -sum((step for step in steps if step < 0), _ZERO)
    return Alteration("; ".join(words), max(up, down))
