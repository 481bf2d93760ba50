"""An order that is still coming: parked by a flow, held as a case, lost on its way, or never received."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from shared.mapping.engine import moment
from shared.reports.explaining.explained import Explained, because, in_flight
from shared.reports.explaining.known import Known
from shared.stores.parking import parked_in
from shared.stores.recovered import is_unknown, recovered_at

_JUST_PLACED = timedelta(minutes=15)
"""An order this young that nothing is known of may still be on its way here; one that is older was never received."""


def waiting_in(row: Explained, flow: str, known: Known) -> Explained | None:
    """Parked by a flow, until it is tried again or a person decides; None where it is not."""
    parked = parked_in(known.dossier, flow)
    if parked is None:
        return None
    if parked.state == "case":
        return replace(because(row, "case", f"held for a person: {parked.reason}"), case_id=parked.case_id)
    return in_flight(row, f"waits: {parked.reason}")


def held_by_case(row: Explained, known: Known) -> Explained | None:
    """What the open case of the order says; None where there is none."""
    case = known.case
    if case is None:
        return None
    said = case.reasons[0]["message"] if case.reasons else case.code
    return replace(because(row, "case", f"held for a person: {said}"), case_id=case.id)


async def never_received(row: Explained, known: Known) -> Explained:
    """An order of which nothing has come here: on its way where it is young, else never received; unchanged where
    something has.
    """
    if known.evidence or not is_unknown(known.dossier):
        return row
    now, brought = known.hub.clock(), recovered_at(known.dossier)
    if brought is not None and now - brought < _JUST_PLACED:
        return in_flight(row, f"its event was lost; brought here at {brought:%H:%M:%S} UTC")
    header = await known.hub.commerce.find_header(known.entity.code, row.finding.number)
    placed = moment.read(header["OrderCreationDateTime"]) if header and header.get("OrderCreationDateTime") else None
    if placed is not None and now - placed < _JUST_PLACED:
        return in_flight(row, f"placed at {placed:%H:%M:%S} UTC, nothing of it has come here yet")
    said = "Concord never received this order: bring it here (one click), or have Commerce send it"
    return replace(row, code="never_received", reason=said, resend=True)
