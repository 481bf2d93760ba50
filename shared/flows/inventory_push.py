"""A stock movement in SAP becomes an absolute figure in Commerce: re-read, compared, pushed, remembered.

SAP's event says only that something moved, so the figure is read here; its version is the time of that reading. A
burst of movements of one material costs one reading: events that a later reading already contains are left alone.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from decimal import Decimal

from shared.clients.inventory import OnHand
from shared.clients.sap_stock import StockFigure
from shared.domain.changes import Change
from shared.domain.rulings import Accept, Hold, Reason, Refuse, Unchanged
from shared.domain.stock import Snapshot, contains, decide_push
from shared.errors import Fault, Malformed
from shared.stores.records import Dossier, FieldRuling, Outcome
from shared.stores.stock import organization_of, read_snapshot, remember
from shared.wiring import Hub


async def inventory_push(change: Change, dossier: Dossier, hub: Hub) -> Outcome:
    """Push the stock of one plant and material as SAP has it now, unless a newer or equal figure is there."""
    plant, material = read_key(change.key)
    organization = organization_of(plant, hub.policy.ledger)
    if organization is None:
        reason = Reason("plant_not_governed", f"plant {plant} belongs to no legal entity of the ledger policy")
        return Outcome(Unchanged((reason,)), summary=reason.message)
    known = read_snapshot(dossier)
    if known is not None and contains(known, change.received_at):
        reason = Reason("contained", f"the figure read at {known.read_at.isoformat()} contains this event already")
        return Outcome(Unchanged((reason,)), summary=f"{known.quantity:f} {known.unit} stands".strip())

    read_at = hub.clock()  # before the request: the figure is at least as new as this
    figure = await hub.sap_stock.read_unrestricted(plant, material)
    unit = figure.unit or (known.unit if known else "")
    ruling = decide_push(known, figure.quantity, unit, read_at)

    match ruling:
        case Accept():
            await hub.inventory.set_on_hand([_on_hand(figure, organization, read_at)])
            snapshot = Snapshot(figure.quantity, unit, read_at, known.sequence + 1 if known else 1)
            return Outcome(
                ruling,
                summary=f"{material} in {plant}: {figure.quantity:f} {unit}".rstrip(),
                fields=_fields(known, figure.quantity, hub),
                operations=(remember(change.business_key, dossier, snapshot),),
            )
        case Unchanged():
            if known is None or read_at <= known.read_at:
                return Outcome(ruling, summary="a newer figure is there")
            confirmed = Snapshot(known.quantity, known.unit, read_at, known.sequence)
            return Outcome(
                ruling,
                summary=f"still {known.quantity:f} {known.unit}".rstrip(),
                operations=(remember(change.business_key, dossier, confirmed),),
            )
        case Hold() | Refuse():
            return Outcome(ruling)


def read_key(key: str) -> tuple[str, str]:
    """Plant and material of a stock change's key; raises Malformed."""
    plant, bar, material = key.partition("|")
    if not bar or not plant or not material:
        raise Malformed([Fault("key", f"{key!r} is not plant|material")])
    return plant, material


def _on_hand(figure: StockFigure, organization: str, read_at: datetime) -> OnHand:
    named = f"{figure.plant}|{figure.material}|{read_at.isoformat()}|{figure.quantity:f}"
    return OnHand(
        id=hashlib.sha256(named.encode()).hexdigest()[:32],
        organization=organization,
        product=figure.material,
        site=figure.plant,
        location=figure.plant,
        quantity=figure.quantity,
        read_at=read_at,
    )


def _fields(known: Snapshot | None, quantity: Decimal, hub: Hub) -> tuple[FieldRuling, ...]:
    rule = hub.policy.authority.rule("stock", "quantity")
    old = f"{known.quantity:f}" if known else ""
    return (FieldRuling("quantity", old, f"{quantity:f}", "sap", rule.owner, "accept"),)
