"""An order of Commerce that is not in the customer history in its month, and why."""

from __future__ import annotations

from dataclasses import replace

from shared.clients.dataverse import key_text
from shared.reports.explaining.explained import Explained, because
from shared.reports.explaining.known import HISTORY, Known
from shared.reports.explaining.waiting import held_by_case, never_received, waiting_in


async def missing_in_crm(row: Explained, known: Known) -> Explained:
    """Why an order is not in the customer history: it waits, nothing was to be written, or its row is gone."""
    row = _not_written(row, known)
    return row if row.explained or row.code != row.finding.kind else await _elsewhere(row, known)


def _not_written(row: Explained, known: Known) -> Explained:
    """What the flows recorded of its row."""
    if waiting := waiting_in(row, HISTORY, known):
        return waiting
    own = [one for one in known.evidence if one.flow == HISTORY]
    if any(one.ruling == "accept" for one in own):
        return row
    if own and own[-1].reasons:
        return because(row, own[-1].reasons[0]["code"], own[-1].reasons[0]["message"])
    return held_by_case(row, known) or row


async def _elsewhere(row: Explained, known: Known) -> Explained:
    """Its row by key: on another day, or not there at all."""
    key = {"concord_orderkey": key_text(known.entity.code, row.finding.number)}
    found = await known.hub.dataverse.read("salesorders", key, select=("concord_businessdate", "totalamount"))
    if found is not None:
        said = f"the customer history was altered: it has the business date {found.get('concord_businessdate')}"
        said = f"{said}, Commerce {row.finding.business_date}"
        return replace(row, row_class="period", code="altered_in_crm", reason=said)
    written = next((one for one in known.evidence if one.flow == HISTORY and one.ruling == "accept"), None)
    if written is not None:
        said = f"written to the customer history on {written.decided_at:%Y-%m-%d %H:%M} UTC, and the row is gone"
        return replace(row, code="row_gone", reason=said)
    return await never_received(row, known)
