"""What a return gives back, taken off its originals before anything is posted, wherever their partitions are.

A line that goes back names the order it was sold with. What is taken of that order's lines is written in the order's
own partition, on the condition that nobody took of them meanwhile: of two returns of one last piece, in different
lanes, one finds it gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from shared.authority.ledger import LegalEntity
from shared.domain.changes import Change
from shared.domain.ledger import Entry
from shared.domain.orders import Order, OrderLine
from shared.domain.returns import Taken, credit_line, differs, merged, unknown_line
from shared.domain.rulings import Hold, Reason
from shared.errors import Transient
from shared.stores.claims import Claim, claims_in
from shared.stores.records import Dossier, Outcome
from shared.stores.returned import CHUNK, returned_in
from shared.stores.table import Op, Row, RowExists
from shared.wiring import Hub

_SALES = ("invoice", "shipment")
_ORDER_KEY = "0|order"


@dataclass(frozen=True, slots=True)
class Linked:
    """An entry whose returned lines are checked against their originals, and what its claim is written with."""

    entry: Entry
    alongside: tuple[Op, ...] = ()


async def link(
    order: Order,
    entry: Entry,
    change: Change,
    dossier: Dossier,
    hub: Hub,
    entity: LegalEntity,
    key: str,
    known: Claim | None,
) -> Linked | Outcome:
    """Take the returned lines off their originals, at the originals' prices and tax codes."""
    if known is not None and known.state != "refused":
        return Linked(known.entry)
    by_original: dict[str, list[OrderLine]] = defaultdict(list)
    for line in order.lines:
        if line.quantity < 0 and line.original_transaction:
            by_original[line.original_transaction].append(line)
    if not by_original:
        return Linked(entry)
    codes: dict[str, str] = {}
    takings: list[tuple[str, list[Op]]] = []
    reasons: list[Reason] = []
    for transaction, lines in sorted(by_original.items()):
        found = await _original(transaction, order, dossier, hub)
        if found is None:
            if outcome := _without_original(transaction, change, hub, entity):
                return outcome
            continue
        original, at = found
        returned = returned_in(at)
        takes = _taken_by(lines, original, returned.before(key), codes, reasons)
        if not returned.holds(key, takes):
            takings.append((at.business_key, returned.take(key, takes)))
    if reasons:
        return Outcome(Hold(tuple(reasons)))
    alongside: tuple[Op, ...] = ()
    for business_key, operations in takings:
        alongside += await take(operations, business_key, dossier.business_key, hub)
    lines_with_codes = tuple(replace(line, tax_code=codes.get(line.line_id, line.tax_code)) for line in entry.lines)
    return Linked(replace(entry, lines=lines_with_codes), alongside)


def _taken_by(
    lines: Sequence[OrderLine],
    original: Entry,
    before: dict[str, Taken],
    codes: dict[str, str],
    reasons: list[Reason],
) -> dict[str, Taken]:
    """What the lines take of one original; fills in the tax codes they are credited under and what speaks against."""
    sold = {line.line_id: line for line in original.lines}
    takes: dict[str, Taken] = {}
    for line in lines:
        source = sold.get(line.original_line)
        if source is None:
            reasons.append(unknown_line(line.original_line, original.number))
            continue
        if source.net.currency != line.net.currency:
            reasons.append(Reason("currency", f"line {line.line_id} gives back {line.net}, {source.net} was sold"))
            continue
        known = [part for part in (before.get(source.line_id), takes.get(source.line_id)) if part is not None]
        worth = credit_line(source, -line.quantity, sum(known[1:], known[0]) if known else None)
        reason = worth if isinstance(worth, Reason) else differs(line, worth)
        if reason is not None:
            reasons.append(reason)
            continue
        own = Taken(-line.quantity, -line.net, -line.tax)
        takes[source.line_id] = takes[source.line_id] + own if source.line_id in takes else own
        codes[line.line_id] = source.tax_code
    return takes


async def _original(transaction: str, order: Order, dossier: Dossier, hub: Hub) -> tuple[Entry, Dossier] | None:
    """What stands on the ledger of the original, with its partition; None when nothing does (yet)."""
    own = f"order|{order.legal_entity}|{order.number}"
    wanted = f"order|{order.legal_entity}|{transaction}"
    if transaction in {order.number, order.transaction_id} and own == dossier.business_key:
        at = dossier
    else:
        at = await hub.records.read(wanted)
        if not claims_in(at):
            index = (await hub.records.read(f"transaction|{order.legal_entity}|{transaction}")).row(_ORDER_KEY)
            if index is not None:
                at = await hub.records.read(f"order|{order.legal_entity}|{index.values['order']}")
    settled = originals_in(at)
    return (merged([claim.entry for claim in settled]), at) if settled else None


def _without_original(transaction: str, change: Change, hub: Hub, entity: LegalEntity) -> Outcome | None:
    """The original is not on the ledger: wait a while, then do as policy says (None: post it unlinked)."""
    waits = entity.unknown_original
    until = change.received_at + timedelta(seconds=waits.wait_seconds)
    left = (until - hub.clock()).total_seconds()
    if left > 0:
        raise Transient(f"original {transaction} is not on the ledger yet")
    if waits.then == "post_unlinked":
        return None
    return Outcome.held(
        "unknown_original",
        f"original {transaction} is not on the ledger",
        "post or replay the original first, then replay; or discard and credit by hand",
    )


async def take(operations: list[Op], business_key: str, own_key: str, hub: Hub) -> tuple[Op, ...]:
    """Take quantities off an original. In the own partition a small taking is left to be written with the claim."""
    if business_key == own_key and len(operations) <= CHUNK:
        return tuple(operations)
    for start in range(0, len(operations), CHUNK):
        await hub.records.write(business_key, operations[start : start + CHUNK])
    return ()


async def remember_transaction(order: Order, hub: Hub) -> None:
    """Returns name the original's transaction, everything else its number: keep the way from one to the other."""
    if order.transaction_id == order.number:
        return
    partition = f"transaction|{order.legal_entity}|{order.transaction_id}"
    try:
        await hub.records.write(partition, [Op("insert", Row(partition, _ORDER_KEY, {"order": order.number}))])
    except RowExists:
        return


def originals_in(dossier: Dossier) -> list[Claim]:
    """The settled sales of the order: its invoice, or its shipments."""
    return [claim for claim in claims_in(dossier) if claim.is_settled and claim.kind in _SALES]
