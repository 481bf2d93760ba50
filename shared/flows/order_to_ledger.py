"""Orders on the ledger: each confirmed order, return and cancellation becomes one SAP document, whatever fails.

The protocol of one posting is `shared.posting`; this story decides what has to be posted for an event and in which
state of the order. Everything in it may run again from its beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from shared import exact_json
from shared.authority.ledger import LegalEntity, PostingKind
from shared.domain.changes import Change
from shared.domain.fiscal import business_day
from shared.domain.ledger import Entry, EntryLine, content_of, digest_of, entry_of, posting_key
from shared.domain.money import Money, decimal_of
from shared.domain.orders import Order, read_order
from shared.domain.returns import (
    charges_back,
    credited,
    left_of,
    merged,
    refunded,
)
from shared.domain.rulings import Accept, Hold, Reason, Unchanged
from shared.domain.shipments import CalledOff, against_calling_off, is_to_come, part_of
from shared.errors import Fault, Malformed, Transient
from shared.originals import link, originals_in, remember_transaction, take
from shared.posting import Posted, Wanted, announce, post_once
from shared.stores.claims import Claim, claim_in, claims_in
from shared.stores.early import early_in, keep_early
from shared.stores.packing import pack, unpack
from shared.stores.records import Dossier, FieldRuling, Outcome
from shared.stores.returned import returned_in
from shared.stores.table import Op, Row
from shared.wiring import Hub

_ORDER_KEY = "0|order"
_NOT_SOLD_YET = {"more_than_sold", "unknown_original_line"}


async def order_to_ledger(change: Change, dossier: Dossier, hub: Hub) -> Outcome:
    """Post what an order event means to the ledger, once in effect."""
    entity = hub.policy.ledger.entity(change.legal_entity)
    match change.kind:
        case "order.confirmed":
            return await _confirmed(change, dossier, hub, entity)
        case "order.shipped" if entity.post_when == "shipment":
            return await _shipped(change, dossier, hub, entity)
        case "order.shipped":
            return _unchanged("posted_at_confirmation", f"{entity.code} posts orders when they are confirmed")
        case "order.returned":
            return await _returned(change, dossier, hub, entity)
        case "order.cancelled" if entity.post_when == "shipment":
            return await _called_off(change, dossier, hub, entity)
        case "order.cancelled":
            return await _given_back(change, dossier, hub, entity, "cancellation", originals_in(dossier))
        case "order.changed":
            return await _changed(change, dossier, hub, entity)
        case _:
            return _unchanged("not_for_the_ledger", f"{change.kind} posts nothing")


async def _confirmed(change: Change, dossier: Dossier, hub: Hub, entity: LegalEntity) -> Outcome:
    early = early_in(dossier)
    cancelled = [event for event in early if event.kind == "order.cancelled" and event.data.get("lines") is None]
    if cancelled:
        return _unchanged("cancelled_before_posting", f"cancelled by event {cancelled[0].id} before it was posted")
    changed = [event for event in early if event.kind == "order.changed" and event.occurred_at >= change.occurred_at]
    source = changed[-1] if changed else change
    order = await _order_of(source, hub)
    if order.is_return:
        return await _return_of_its_own(change, order, dossier, hub, entity)
    entry = entry_of(order, entity, "invoice")
    if isinstance(entry, list):
        return Outcome(Hold(tuple(entry)))
    if not entry.moves_money:
        return _unchanged("no_ledger_matter", "nothing in this order has a price: it moves stock, never the ledger")
    if entity.post_when == "shipment":
        return _remembered(source, order)
    asked = digest_of(content_of(entry))
    key = posting_key(entity.code, change.key, "invoice", "")
    known = claim_in(dossier, key)
    linked = await link(order, entry, change, dossier, hub, entity, key, known)
    if isinstance(linked, Outcome):
        return linked
    wanted = Wanted(
        key=key,
        kind="invoice",
        event="",
        order=change.key,
        entry=linked.entry,
        asked=asked,
        posting_date=entry.business_date,
        decision=str(source.data.get("decisionId") or ""),
    )
    posted = await post_once(wanted, dossier, hub, entity, alongside=linked.alongside)
    if isinstance(posted, Outcome):
        return posted
    if posted.fresh:
        await remember_transaction(order, hub)
    await announce(posted, change, hub, source.data.get("order"))
    return await _with_early(_accepted(posted), [posted.claim], early, dossier, hub, entity)


async def _with_early(
    outcome: Outcome,
    originals: Sequence[Claim],
    early: Sequence[Change],
    dossier: Dossier,
    hub: Hub,
    entity: LegalEntity,
    called_off: Sequence[Change] | None = None,
) -> Outcome:
    """Carry out what overtook the order, now that there is something to give back (or less of it to come)."""
    for event in early:
        if event.kind == "order.changed":
            continue
        kind: PostingKind = "cancellation" if event.kind == "order.cancelled" else "return"
        further = await _given_back(event, dossier, hub, entity, kind, originals, called_off)
        outcome = Outcome(
            ruling=further.ruling if isinstance(further.ruling, Hold) else outcome.ruling,
            summary="; ".join(part for part in (outcome.summary, further.summary) if part),
            fields=(*outcome.fields, *further.fields),
            operations=(*outcome.operations, *further.operations),
            links=outcome.links | {f"{name} ({kind})": value for name, value in further.links.items()},
        )
        if isinstance(further.ruling, Hold):
            break
        if further.links:  # it took quantities off the original: the next one has to know of them
            dossier = await hub.records.read(dossier.business_key)
    return outcome


async def _shipped(change: Change, dossier: Dossier, hub: Hub, entity: LegalEntity) -> Outcome:
    """A legal entity that posts at shipment: one invoice for each shipment, all of them together the order."""
    source = _with_content(change, dossier)
    whole = entry_of(await _order_of(source, hub), entity, "invoice")
    if isinstance(whole, list):
        return Outcome(Hold(tuple(whole)))
    key = posting_key(entity.code, change.key, "shipment", change.id)
    shipped = [claim for claim in originals_in(dossier) if claim.key != key]
    early = early_in(dossier)
    known = claim_in(dossier, key)
    part = (
        part_of(whole, [claim.entry for claim in shipped], _quantities(change), _calls_off(early), change.occurred_at)
        if known is None or known.state == "refused"
        else known.entry
    )
    if isinstance(part, list):
        return Outcome(Hold(tuple(part)))
    if not part.moves_money:
        return _unchanged("no_ledger_matter", "nothing in this shipment has a price")
    day = business_day(change.occurred_at, entity)
    posted = await post_once(
        Wanted(
            key=key,
            kind="shipment",
            event=change.id,
            order=change.key,
            entry=replace(part, business_date=day),
            asked=_asked(change),
            posting_date=day,
            decision=str(source.data.get("decisionId") or ""),
        ),
        dossier,
        hub,
        entity,
    )
    if isinstance(posted, Outcome):
        return posted
    await announce(posted, change, hub, source.data.get("order"))
    returned = [event for event in early if event.kind == "order.returned"]
    return await _with_early(_accepted(posted), [*shipped, posted.claim], returned, dossier, hub, entity)


async def _called_off(change: Change, dossier: Dossier, hub: Hub, entity: LegalEntity) -> Outcome:
    """A cancellation at a legal entity that posts at shipment: what has not been shipped never will be."""
    originals = originals_in(dossier)
    if any(claim.kind == "invoice" for claim in originals):  # posted when it was confirmed, by the policy of that day
        return await _given_back(change, dossier, hub, entity, "cancellation", originals)
    if any(claim.state == "sending" for claim in claims_in(dossier)):
        raise Transient("a shipment's own posting is not settled yet")
    wanted, kept = _quantities(change), keep_early(change)
    early = [one for one in early_in(dossier) if one.id != change.id]
    if not originals and dossier.row(_ORDER_KEY) is None:
        reason = Reason("before_its_order", "kept until the order comes: it then ships less, or nothing")
        return Outcome(Unchanged((reason,)), summary="cancelled before its order came", operations=(kept,))
    whole = entry_of(await _order_of(_with_content(change, dossier), hub), entity, "invoice")
    if isinstance(whole, list):
        return Outcome(Hold(tuple(whole)))
    shipped = [claim.entry for claim in originals]
    if reasons := against_calling_off(whole, shipped, _calls_off(early), wanted):
        return Outcome(Hold(tuple(reasons)))
    outcome = Outcome(
        Unchanged((Reason("called_off", "what it takes was not shipped: it was never on the ledger, nor will it be"),)),
        summary="called off before it was shipped",
        operations=(kept,),
    )
    returned = [one for one in early if one.kind == "order.returned"]
    return await _with_early(outcome, originals, returned, dossier, hub, entity, called_off=[*early, change])


def _with_content(change: Change, dossier: Dossier) -> Change:
    """The event with the order's content as it was when it was confirmed, where it brings none of its own."""
    remembered = dossier.row(_ORDER_KEY)
    if change.data.get("order") is not None or remembered is None:
        return change
    return replace(change, data={**change.data, **exact_json.loads(unpack(remembered))})


def _calls_off(early: Sequence[Change]) -> list[CalledOff]:
    return [CalledOff(_quantities(one), one.occurred_at) for one in early if one.kind == "order.cancelled"]


async def _changed(change: Change, dossier: Dossier, hub: Hub, entity: LegalEntity) -> Outcome:
    """Commerce owns an order until it is posted, the ERP after."""
    if entity.post_when == "shipment":
        return _remembered(change, await _order_of(change, hub))
    claim = claim_in(dossier, posting_key(entity.code, change.key, "invoice", ""))
    if claim is None:
        return Outcome(
            Unchanged((Reason("before_its_order", "kept until the order is confirmed"),)),
            summary="changed before it was confirmed",
            operations=(keep_early(change),),
        )
    entry = entry_of(await _order_of(change, hub), entity, "invoice")
    if isinstance(entry, list):
        return Outcome(Hold(tuple(entry)))
    if digest_of(content_of(entry)) == claim.asked:
        return _unchanged("no_ledger_change", "what changed means nothing to the ledger")
    difference = entry.total - claim.entry.total
    return Outcome.held(
        "changed_after_posting",
        f"the order was changed by {difference} after it was posted as {claim.document or claim.key}",
        "return or cancel the lines in Commerce and enter a new order for what was added; then discard",
    )


async def _returned(change: Change, dossier: Dossier, hub: Hub, entity: LegalEntity) -> Outcome:
    if change.data.get("lines") is None and change.data.get("order") is not None:
        order = await _order_of(change, hub)
        if order.is_return:
            return await _return_of_its_own(change, order, dossier, hub, entity)
    return await _given_back(change, dossier, hub, entity, "return", originals_in(dossier))


async def _return_of_its_own(change: Change, order: Order, dossier: Dossier, hub: Hub, entity: LegalEntity) -> Outcome:
    """A return with content of its own: under its own number, or a further event of the original's."""
    entry = entry_of(order, entity, "return")
    if isinstance(entry, list):
        return Outcome(Hold(tuple(entry)))
    if not entry.moves_money:
        return _unchanged("no_ledger_matter", "nothing in this return has a price: it moves stock, never the ledger")
    names_itself = {order.number, order.transaction_id} & {line.original_transaction for line in order.lines}
    event = change.id if names_itself or originals_in(dossier) else ""
    key = posting_key(entity.code, change.key, "return", event)
    known = claim_in(dossier, key)
    if entity.unlinked_return == "hold" and not all(line.original_transaction for line in order.lines):
        return Outcome.held("unlinked_return", "a line names no original", "name the original in Commerce, then replay")
    linked = await link(order, entry, change, dossier, hub, entity, key, known)
    if isinstance(linked, Outcome):
        return linked
    posted = await post_once(
        Wanted(
            key=key,
            kind="return",
            event=event,
            order=change.key,
            entry=linked.entry,
            asked=digest_of(content_of(entry)),
            posting_date=entry.business_date,
        ),
        dossier,
        hub,
        entity,
        alongside=linked.alongside,
    )
    if isinstance(posted, Outcome):
        return posted
    await announce(posted, change, hub, change.data.get("order"))
    return _accepted(posted)


async def _given_back(
    change: Change,
    dossier: Dossier,
    hub: Hub,
    entity: LegalEntity,
    kind: PostingKind,
    originals: Sequence[Claim],
    called_off: Sequence[Change] | None = None,
) -> Outcome:
    """A return or cancellation of the order by its lines, or of all that is left of it.

    `called_off` are the cancellations that keep goods from being shipped, where more of them are known than were kept.
    """
    if not originals:
        if any(claim.state == "sending" for claim in claims_in(dossier)):
            raise Transient("the original's own posting is not settled yet")
        return Outcome(
            Unchanged((Reason("before_its_order", "kept until the order comes: it then posts less, or nothing"),)),
            summary=f"{kind} came before its order was posted",
            operations=(keep_early(change),),
        )
    event = "" if kind == "cancellation" and change.data.get("lines") is None else change.id
    key = posting_key(entity.code, change.key, kind, event)
    known = claim_in(dossier, key)
    alongside: tuple[Op, ...] = ()
    if known is not None and known.state != "refused":
        entry = known.entry
    else:
        original = merged([claim.entry for claim in originals])
        returned = returned_in(dossier)
        before = returned.before(key)
        wanted = _quantities(change)
        result = credited(original, left_of(original, before) if wanted is None else wanted, before)
        if isinstance(result, list):
            if entity.post_when == "shipment" and wanted is not None and {one.code for one in result} <= _NOT_SOLD_YET:
                early = early_in(dossier) if called_off is None else called_off
                whole = entry_of(await _order_of(_with_content(change, dossier), hub), entity, "invoice")
                if isinstance(whole, Entry) and is_to_come(whole, original, _calls_off(early), before, wanted):
                    reason = Reason("before_its_shipment", "kept until what it gives back is shipped")
                    return Outcome(Unchanged((reason,)), summary=reason.message, operations=(keep_early(change),))
            return Outcome(Hold(tuple(result)))
        lines, takes = result
        earlier = [
            claim.entry for claim in claims_in(dossier) if claim.kind in {"return", "cancellation"} and claim.key != key
        ]
        entry = _credit_entry(change, original, earlier, lines, kind, entity)
        if not returned.holds(key, takes):
            alongside = await take(returned.take(key, takes), dossier.business_key, dossier.business_key, hub)
        if not entry.moves_money:
            return Outcome(
                Unchanged((Reason("no_ledger_matter", "nothing of value is left to give back"),)), operations=alongside
            )
    posted = await post_once(
        Wanted(
            key=key,
            kind=kind,
            event=event,
            order=change.key,
            entry=entry,
            asked=_asked(change),
            posting_date=entry.business_date,
        ),
        dossier,
        hub,
        entity,
        alongside=alongside,
    )
    if isinstance(posted, Outcome):
        return posted
    await announce(posted, change, hub, change.data.get("order"))
    return _accepted(posted)


def _credit_entry(
    change: Change,
    original: Entry,
    earlier: Sequence[Entry],
    lines: tuple[EntryLine, ...],
    kind: PostingKind,
    entity: LegalEntity,
) -> Entry:
    """The credit of lines, with what of the charges goes back with them, and how it is refunded."""
    everything = kind == "cancellation" and change.data.get("lines") is None
    charges = charges_back(original, earlier, lines, everything=everything)
    entry = replace(
        original,
        kind=kind,
        business_date=business_day(change.occurred_at, entity),
        lines=lines,
        charges=charges,
        tenders=(),
    )
    refunds = [tender for credit in earlier for tender in credit.tenders]
    return replace(entry, tenders=refunded(original, refunds, -entry.total))


async def _order_of(change: Change, hub: Hub) -> Order:
    raw = change.data.get("order")
    if raw is None:
        raw = await hub.commerce.read_order(change.legal_entity, change.key)
    if raw is None:
        raise Malformed([Fault("order", f"{change.key} came without its content and Commerce does not know it")])
    order = read_order(raw, change.legal_entity)
    if order.number != change.key:
        raise Malformed([Fault("order.SalesId", f"is {order.number!r}, the event is about {change.key!r}")])
    return order


def _remembered(change: Change, order: Order) -> Outcome:
    """Nothing is posted yet: keep the order's content for its shipments, which may come without it."""
    data: dict[str, Any] = {"order": change.data.get("order"), "decisionId": change.data.get("decisionId")}
    row = Row(change.business_key, _ORDER_KEY, {"number": order.number, **pack(exact_json.dumps(data))})
    return Outcome(
        Unchanged((Reason("posted_at_shipment", "posts when it is shipped"),)),
        summary="kept until it is shipped",
        operations=(Op("upsert", row),) if data["order"] is not None else (),
    )


def _quantities(change: Change) -> list[tuple[str, Decimal]] | None:
    """The lines an event names, quantities positive; None when it names none and means all that is left."""
    lines = change.data.get("lines")
    if lines is None:
        return None
    faults: list[Fault] = []
    wanted: list[tuple[str, Decimal]] = []
    for index, line in enumerate(lines):
        try:
            wanted.append((str(line["lineId"]), abs(decimal_of(line["quantity"]))))
        except (KeyError, TypeError, ValueError) as error:
            faults.append(Fault(f"lines[{index}]", f"names no line and quantity ({error})"))
    if faults:
        raise Malformed(faults)
    return wanted


def _asked(change: Change) -> str:
    lines = [[line_id, str(quantity.normalize())] for line_id, quantity in _quantities(change) or ()]
    return digest_of(exact_json.canonical([change.kind, lines]).decode())


def _accepted(posted: Posted) -> Outcome:
    claim = posted.claim
    links = {"document": posted.document, "postingKey": claim.key}
    if posted.repeatability:
        links["repeatability"] = posted.repeatability
    as_entry = f", as a journal entry because {posted.because}" if posted.because else ""
    if not posted.fresh:
        return Outcome(
            Unchanged((Reason("posted_before", f"{posted.document} stands already"),)),
            summary=f"already posted as {posted.document}",
            links=links,
        )
    entry = claim.entry
    owed = Money.zero(entry.currency) + entry.on_account
    return Outcome(
        Accept(),
        summary=f"{claim.kind} {entry.total} posted as {posted.document}{as_entry}",
        fields=(
            FieldRuling("document", "", posted.document, "commerce", "sap", "accept"),
            FieldRuling("gross", "", str(entry.total), "commerce", "sap", "accept"),
            FieldRuling("onAccount", "", str(owed), "commerce", "sap", "accept"),
        ),
        operations=posted.operations,
        links=links,
    )


def _unchanged(code: str, message: str) -> Outcome:
    return Outcome(Unchanged((Reason(code, message),)), summary=message)
