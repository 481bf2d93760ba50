"""Stock figures and when one may be pushed: SAP's figures carry no time of change, so the time of reading is theirs.

All times compared here come from this application's own clock: an event is *received*, a figure is *read*. A figure
read after an event was received contains that event, because SAP sends it once the movement is booked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from shared.domain.rulings import Accept, Reason, Ruling, Unchanged

CLOCKS_APART_MAX = timedelta(seconds=1)
"""Workers' clocks may differ by less than this; within it an event counts as not yet contained."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A figure as it was read and pushed: `quantity` in `unit`, `read_at` aware UTC, `sequence` counts the pushes."""

    quantity: Decimal
    unit: str
    read_at: datetime
    sequence: int


def contains(known: Snapshot | None, received_at: datetime) -> bool:
    """Whether the figure pushed last was read after this event came in, so that SAP need not be asked again."""
    return known is not None and received_at + CLOCKS_APART_MAX <= known.read_at


def decide_push(known: Snapshot | None, quantity: Decimal, unit: str, read_at: datetime) -> Ruling:
    """Push, or leave what is there: an older reading never replaces a newer one, an equal figure is no news."""
    if known is None:
        return Accept()
    if read_at <= known.read_at:
        return Unchanged((Reason("stale", f"a figure read at {known.read_at.isoformat()} is there already"),))
    if (quantity, unit) == (known.quantity, known.unit):
        return Unchanged((Reason("same_figure", f"still {quantity:f} {unit}".rstrip()),))
    return Accept()
