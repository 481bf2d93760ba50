"""That an order was brought here although no event of it ever came: when, and that it need not be brought again."""

from __future__ import annotations

from datetime import datetime

from shared.stores.records import Dossier
from shared.stores.table import Op, Row

_KEY = "0|recovered"


def recovered_at(dossier: Dossier) -> datetime | None:
    """When the order was last brought here, None where it never had to be."""
    row = dossier.row(_KEY)
    return None if row is None else datetime.fromisoformat(row.values["at"])


def is_unknown(dossier: Dossier) -> bool:
    """Whether nothing is remembered of the order but, perhaps, that it was brought here."""
    return not set(dossier.by_key) - {_KEY}


def note_recovered(business_key: str, now: datetime) -> Op:
    """The write that remembers it; the latest stands."""
    return Op("upsert", Row(business_key, _KEY, {"at": now.isoformat()}))
