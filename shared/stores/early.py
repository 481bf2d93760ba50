"""What came before its order: kept in the order's partition until the order comes, then taken up at once.

A full cancellation is a tombstone: its order, when it comes, posts nothing. A partial one, or a return, is carried
out right after its order. A change that overtook the confirmation replaces the confirmation's content.
"""

from __future__ import annotations

import hashlib

from shared.domain.changes import Change, decode, encode
from shared.stores.packing import pack, unpack
from shared.stores.records import Dossier
from shared.stores.table import Op, Row

_PREFIX = "0|early|"


def keep_early(change: Change) -> Op:
    """Remember it; the same event again is the same row."""
    return Op("upsert", Row(change.business_key, _key(change), {"kind": change.kind, **pack(encode(change))}))


def early_in(dossier: Dossier) -> list[Change]:
    """What waits for the order, in the order in which it happened."""
    kept = [decode(unpack(row)) for row in dossier.rows(_PREFIX)]
    return sorted(kept, key=lambda change: (change.occurred_at, change.id))


def _key(change: Change) -> str:
    return f"{_PREFIX}{hashlib.sha256(f'{change.kind}\n{change.id}'.encode()).hexdigest()[:24]}"
