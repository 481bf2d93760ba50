"""What is remembered of one order for the CRM history: its content's version, movements and postings, a row each.

Movements and postings are keyed by their own event, so one that comes twice is one, and none of them has to be merged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from shared import exact_json
from shared.domain.history import MOVES, Known, Movement, Posting, Version
from shared.stores.packing import pack, unpack
from shared.stores.records import Dossier
from shared.stores.table import Op, Row

_HEAD = "0|crm"
_MOVED = "0|crm|moved|"
_POSTED = "0|crm|posted|"


def read_known(dossier: Dossier) -> Known:
    """Everything known of the order so far."""
    head = dossier.row(_HEAD)
    movements = tuple(_movement(row) for row in dossier.rows(_MOVED))
    postings = tuple(_posting(row) for row in dossier.rows(_POSTED))
    if head is None:
        return Known(movements=movements, postings=postings)
    values = head.values
    version = None
    if values["version_at"]:
        version = Version(values["version_rank"], datetime.fromisoformat(values["version_at"]), values["version_id"])
    return Known(
        version=version,
        is_return=values["is_return"],
        customer=values["customer"],
        currency=values["currency"],
        total=Decimal(values["total"]),
        quantities=_quantities(exact_json.loads(unpack(head))),
        confirmed_at=datetime.fromisoformat(values["confirmed_at"]) if values["confirmed_at"] else None,
        movements=movements,
        postings=postings,
        signalled=values["signalled"],
        row_etag=values.get("row_etag", ""),  # rows written before this was remembered have none
    )


def head_operation(dossier: Dossier, known: Known) -> Op:
    """The write of what changed about the order as a whole; fails when somebody wrote since the dossier was read."""
    version = known.version
    quantities = {line: f"{quantity:f}" for line, quantity in known.quantities.items()}
    row = Row(
        dossier.business_key,
        _HEAD,
        {
            "version_rank": version.rank if version else 0,
            "version_at": version.occurred_at.isoformat() if version else "",
            "version_id": version.event_id if version else "",
            "is_return": known.is_return,
            "customer": known.customer,
            "currency": known.currency,
            "total": f"{known.total:f}",
            "confirmed_at": known.confirmed_at.isoformat() if known.confirmed_at else "",
            "signalled": known.signalled,
            "row_etag": known.row_etag,
            **pack(exact_json.dumps(quantities)),
        },
    )
    standing = dossier.row(_HEAD)
    return Op("insert", row) if standing is None else Op("replace", row, standing.etag)


def movement_operation(dossier: Dossier, movement: Movement) -> Op:
    """The write of one movement; the same event again writes the same row."""
    lines = None if movement.lines is None else {line: f"{amount:f}" for line, amount in movement.lines.items()}
    values = {
        "kind": movement.kind,
        "event_id": movement.event_id,
        "occurred_at": movement.occurred_at.isoformat(),
        **pack(exact_json.dumps(lines)),
    }
    return Op("upsert", Row(dossier.business_key, f"{_MOVED}{_short(movement.event_id)}", values))


def posting_operation(dossier: Dossier, posting: Posting) -> Op:
    """The write of one posting; the same posting key again writes the same row."""
    values = {
        "key_": posting.key,
        "kind": posting.kind,
        "document": posting.document,
        "fiscal_year": posting.fiscal_year,
        "company_code": posting.company_code,
        "gross": f"{posting.gross:f}",
        "currency": posting.currency,
        "occurred_at": posting.occurred_at.isoformat(),
    }
    return Op("upsert", Row(dossier.business_key, f"{_POSTED}{_short(posting.key)}", values))


def _movement(row: Row) -> Movement:
    lines = exact_json.loads(unpack(row))
    kind = next(kind for kind in MOVES.values() if kind == row.values["kind"])
    return Movement(
        kind,
        row.values["event_id"],
        datetime.fromisoformat(row.values["occurred_at"]),
        None if lines is None else _quantities(lines),
    )


def _posting(row: Row) -> Posting:
    values = row.values
    return Posting(
        key=values["key_"],
        kind=values["kind"],
        document=values["document"],
        fiscal_year=values["fiscal_year"],
        company_code=values["company_code"],
        gross=Decimal(values["gross"]),
        currency=values["currency"],
        occurred_at=datetime.fromisoformat(values["occurred_at"]),
    )


def _quantities(raw: Mapping[str, str]) -> dict[str, Decimal]:
    return {line: Decimal(quantity) for line, quantity in raw.items()}


def _short(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:24]
