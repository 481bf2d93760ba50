"""What was posted beside the orders' own documents: returns by line, cancellations, shipments, by month.

Commerce's list of orders says which document each order must have; of these it says nothing, so one that vanished
from SAP would be missed by nobody. One row for each, written before anything is sent, in a partition of the legal
entity and the month of the business date; what became of it says its claim.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from shared.domain.fiscal import Month
from shared.stores.records import Records
from shared.stores.table import Op, Row

_PREFIX = "0|"


@dataclass(frozen=True, slots=True)
class Beside:
    """A posting key that stands, or was to stand, beside the own document of an order."""

    key: str
    order: str


async def note_beside(legal_entity: str, business_date: date, posting: Beside, records: Records) -> None:
    """Remember it; the same posting again is the same row."""
    partition = _partition(legal_entity, business_date)
    row = Row(partition, f"{_PREFIX}{posting.key}", {"order": posting.order})
    await records.write(partition, [Op("upsert", row)])


async def list_beside(legal_entity: str, month: Month, records: Records) -> list[Beside]:
    """What was noted for a month."""
    dossier = await records.read(_partition(legal_entity, month.first))
    return [Beside(row.key.removeprefix(_PREFIX), row.values["order"]) for row in dossier.rows(_PREFIX)]


def _partition(legal_entity: str, day: date) -> str:
    return f"beside|{legal_entity}|{day:%Y-%m}"
