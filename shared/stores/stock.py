"""What is remembered of a stock figure: the one pushed last, with the time it was read in SAP."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from shared.authority.ledger import LedgerPolicy
from shared.domain.stock import Snapshot
from shared.stores.records import Dossier
from shared.stores.table import Op, Row

_SNAPSHOT = "0|stock"


def read_snapshot(dossier: Dossier) -> Snapshot | None:
    """The figure pushed last, or None."""
    row = dossier.row(_SNAPSHOT)
    if row is None:
        return None
    return Snapshot(
        quantity=Decimal(row.values["quantity"]),
        unit=row.values["unit"],
        read_at=datetime.fromisoformat(row.values["read_at"]),
        sequence=row.values["sequence"],
    )


def remember(business_key: str, dossier: Dossier, snapshot: Snapshot) -> Op:
    """The write of a new figure, which fails when somebody wrote one since the dossier was read."""
    row = Row(
        business_key,
        _SNAPSHOT,
        {
            "quantity": f"{snapshot.quantity:f}",
            "unit": snapshot.unit,
            "read_at": snapshot.read_at.isoformat(),
            "sequence": snapshot.sequence,
        },
    )
    known = dossier.row(_SNAPSHOT)
    return Op("insert", row) if known is None else Op("replace", row, known.etag)


def organization_of(plant: str, ledger: LedgerPolicy) -> str | None:
    """The legal entity that a plant belongs to, or None."""
    return next((code for code, entity in ledger.legal_entities.items() if plant in entity.plants), None)
