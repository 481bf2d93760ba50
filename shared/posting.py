"""Posting once in effect: claim, look, send, and say what is known. Whoever calls settles last.

    claim known and settled ─────────────────────────────▶ it stands; nothing is sent
    claim known and sending ──▶ look in SAP ──one hit────▶ it stands
                                    │ none ──lease runs──▶ wait for the lease (OutcomeUnknown)
                                    ▼ none, lease over
    credit covers it? ──▶ document balances? ──▶ claim "sending" ──▶ send ──▶ document number ──▶ it stands
                                                                      ├──▶ refused by SAP ──▶ case, claim "refused"
                                                                      ├──▶ never reached SAP ──▶ claim "idle"
                                                                      └──▶ no answer ──▶ claim stays "sending"

The claim is written as *sending* before anything is sent, with the time until which SAP may still produce a document.
A crash, a lost lock and a timeout therefore leave the same trace, and all are resolved the same way.

An entry goes as a journal entry or as a sales order; which of them is frozen in the claim, and SAP is asked about that
one. When a sales order stands is `shared.placing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from shared import telemetry
from shared.authority.ledger import LegalEntity, PostingWay
from shared.clients.http import deadline_after
from shared.clients.sap_ledger import PostedDocument
from shared.clients.sap_orders import Placed, Repeatable
from shared.clients.sap_refusals import Rejected
from shared.domain.changes import Change
from shared.domain.credit import covers
from shared.domain.ledger import SALES_ORDER, Document, Entry, content_of, document_of
from shared.domain.money import Money
from shared.domain.rulings import Hold, Reason, Unchanged
from shared.domain.sales_orders import SalesOrder, sales_order_of, way_of
from shared.errors import OutcomeUnknown, RemoteDown, Transient
from shared.placing import compare_answer, look_for_order
from shared.stores.beside import Beside, note_beside
from shared.stores.claims import Claim, claim_in
from shared.stores.records import Dossier, Outcome
from shared.stores.table import Op, RowChanged
from shared.wiring import Hub


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be posted. `asked` is the digest of what the event asked for, `decision` the credit decision's id."""

    key: str
    kind: str
    event: str
    order: str
    entry: Entry
    asked: str
    posting_date: date
    decision: str = ""

    @property
    def is_beside(self) -> bool:
        """Whether it stands beside the order's own document, which every order in Commerce has to have."""
        return bool(self.event) or self.kind == "cancellation"


@dataclass(frozen=True, slots=True)
class Posted:
    """A document stands. `fresh` is False where it was settled before this run; then nothing is left to write.

    `because` says why it is a journal entry in a legal entity that posts by sales order, `repeatability` what SAP
    answered to a request that asked to be repeatable.
    """

    claim: Claim
    fresh: bool
    because: str = ""
    repeatability: str = ""

    @property
    def operations(self) -> tuple[Op, ...]:
        """What settles the claim, to be written with the lineage."""
        return (self.claim.operation(),) if self.fresh else ()

    @property
    def document(self) -> str:
        return self.claim.name


@dataclass(frozen=True, slots=True)
class _Owed:
    """What a credit decision has to cover."""

    number: str
    legal_entity: str
    customer: str
    currency: str
    on_account: Money
    posting_key: str


async def post_once(
    wanted: Wanted, dossier: Dossier, hub: Hub, entity: LegalEntity, *, alongside: Sequence[Op] = ()
) -> Posted | Outcome:
    """Bring one entry onto the ledger, or say why a person has to look (an Outcome that holds).

    `alongside` is written in one transaction with a new claim. Raises RemoteDown (nothing was sent), OutcomeUnknown
    (it may have landed; retry after the lease) and RowChanged/RowExists (another worker was first).
    """
    claim = claim_in(dossier, wanted.key)
    if claim is not None and claim.state != "refused" and claim.asked != wanted.asked:
        return Outcome.held(
            "other_content",
            f"posting key {wanted.key} of {wanted.kind} was claimed with other content",
            "find out which of the two is right; post the difference as a return or a new order, then discard",
        )
    if claim is not None and claim.is_settled:
        return Posted(claim, fresh=False)
    if claim is not None and claim.state == "sending":
        found = await _look(claim, hub, entity)
        if found is not None:
            return found
    if reasons := await _uncovered(wanted, hub, entity):
        if [reason.code for reason in reasons] == ["order_cancelled"]:
            return Outcome(Unchanged(reasons), summary=reasons[0].message)
        return Outcome(Hold(reasons), operations=tuple(alongside) if claim is None else ())
    known = None if claim is None or claim.state == "refused" else claim
    frozen = wanted if known is None else _as_frozen(wanted, known)
    way = way_of(frozen.entry, entity)
    document = _document(frozen, way.name if known is None else known.way, entity)
    if isinstance(document, list):
        return Outcome(Hold(tuple(document)))
    claim = await _claim(frozen, document, claim, dossier, hub, entity, alongside)
    sent = await _send(document, claim, hub, entity)
    return replace(sent, because=way.because) if isinstance(sent, Posted) and claim.way == "journal_entry" else sent


async def announce(posted: Posted, change: Change, hub: Hub, order: dict[str, Any] | None) -> None:
    """Publish order.posted, the same message however often; a claim that was settled before has been announced."""
    if not posted.fresh:
        return
    claim, entry = posted.claim, posted.claim.entry
    await hub.bus.publish(
        "orders",
        Change(
            id=claim.key,
            source="concord",
            entity="order",
            kind="order.posted",
            legal_entity=change.legal_entity,
            key=change.key,
            occurred_at=claim.settled_at or hub.clock(),
            received_at=claim.settled_at or hub.clock(),
            correlation_id=change.correlation_id,
            traceparent=change.traceparent,
            data={
                "posting": {
                    "key": claim.key,
                    "way": claim.way,
                    "kind": entry.kind,
                    "document": claim.document,
                    "fiscalYear": claim.fiscal_year,
                    "companyCode": claim.company_code,
                    "postingDate": claim.posting_date.isoformat(),
                    "currency": entry.currency,
                    "gross": entry.total.text,
                    "onAccount": entry.on_account.text,
                },
                "decisionId": claim.decision or None,
                "eventId": claim.key,
                "order": order,
                "lines": None,
            },
        ),
    )


async def _look(claim: Claim, hub: Hub, entity: LegalEntity) -> Posted | Outcome | None:
    """What became of an attempt that may have landed. None: nothing did, and by now nothing can any more."""
    found = await (look_for_order if claim.way == "sales_order" else _look_for_entry)(claim, hub, entity)
    if isinstance(found, Outcome):
        return found
    if found is not None:
        return _posted(found, claim, hub, entity)
    left = (claim.lease_until - hub.clock()).total_seconds()
    if left > 0:
        raise OutcomeUnknown(f"SAP may still post {claim.key}; the lease runs", retry_after_seconds=left)
    return None


async def _look_for_entry(claim: Claim, hub: Hub, entity: LegalEntity) -> PostedDocument | Outcome | None:
    hits = await hub.sap_ledger.find(entity.company_code, claim.key)
    standing = [hit for hit in hits if not hit.is_reversed]
    if len(standing) > 1:
        return Outcome.held(
            "posted_twice",
            f"posting key {claim.key} stands in {', '.join(str(hit) for hit in standing)}",
            "reverse all but one in SAP, then replay",
        )
    if hits and not standing:
        return Outcome.held(
            "posted_and_reversed",
            f"{hits[0]} carries posting key {claim.key} and was reversed",
            "find out who reversed it and why; then discard, or post by hand",
        )
    return standing[0] if standing else None


async def _uncovered(wanted: Wanted, hub: Hub, entity: LegalEntity) -> tuple[Reason, ...]:
    """Why no credit decision covers what the customer will owe; nothing where none is needed."""
    owed = wanted.entry.on_account
    if owed <= Money.zero(owed.currency):
        return ()
    if not wanted.decision:
        return (
            Reason(
                "no_credit_decision",
                f"{owed} is on account and the order names no credit decision",
                "check the order's credit (POST /api/credit-checks) and send its confirmation with the decision's id",
            ),
        )
    claimed = _Owed(wanted.order, entity.code, wanted.entry.customer, owed.currency, owed, wanted.key)
    # Shipments share one hold, so each looks at what those before it left of it.
    lately = hub.credit_book.bound_lately(wanted.decision, wanted.order) if wanted.kind == "invoice" else None
    if lately is not None and not covers(lately, claimed):
        return ()
    known = await hub.credit_book.read_decision(wanted.decision)
    if known is None:
        return (Reason("unknown_decision", f"credit decision {wanted.decision} is not in the book", "check again"),)
    reasons = covers(known, claimed)
    if not reasons and known.hold is not None and not known.hold.order:
        return await _bind(wanted, hub, entity)
    return reasons


async def _bind(wanted: Wanted, hub: Hub, entity: LegalEntity) -> tuple[Reason, ...]:
    """Bind the decision to this order before anything is sent, where the confirmation has not reached the book yet.

    Left to the book's own flow, two orders that name one decision could both be found covered and both be posted.
    """
    now = hub.clock()
    cause = Change(
        id=f"bound-{wanted.order}",
        source="concord",
        entity="order",
        kind="hold.bound",
        legal_entity=entity.code,
        key=wanted.order,
        occurred_at=now,
        received_at=now,
        correlation_id=telemetry.correlation_of(telemetry.traceparent.get())[0],
    )
    moved = await hub.credit_book.confirm(wanted.decision, wanted.order, None, cause=cause)
    return () if moved.refused is None else (moved.refused,)


def _document(wanted: Wanted, way: PostingWay, entity: LegalEntity) -> Document | SalesOrder | list[Reason]:
    build = sales_order_of if way == "sales_order" else document_of
    return build(wanted.entry, wanted.key, wanted.posting_date, entity)


async def _claim(
    wanted: Wanted,
    document: Document | SalesOrder,
    known: Claim | None,
    dossier: Dossier,
    hub: Hub,
    entity: LegalEntity,
    alongside: Sequence[Op],
) -> Claim:
    """Write down that SAP is about to be asked, and how; whoever reads this later knows where to look and how long to
    wait. What SAP refused counts as never attempted: its correction is another request."""
    earlier = None if known is None or known.state == "refused" else known
    if wanted.is_beside and earlier is None:
        posting = Beside(wanted.key, wanted.order)
        await note_beside(entity.code, wanted.entry.business_date, posting, hub.records)
    rules = hub.policy.ledger.sap
    now = hub.clock()
    lease = rules.send_window_seconds + rules.maximum_runtime_seconds + rules.lease_margin_seconds
    claim = Claim(
        business_key=dossier.business_key,
        key=wanted.key,
        kind=wanted.kind,
        event=wanted.event,
        asked=wanted.asked,
        content=content_of(wanted.entry),
        posting_date=wanted.posting_date,
        way="sales_order" if isinstance(document, SalesOrder) else "journal_entry",
        state="sending",
        attempt=1 if known is None else known.attempt + 1,
        first_attempted_at=now if earlier is None else earlier.first_attempted_at,
        attempted_at=now,
        lease_until=now + timedelta(seconds=lease),
        decision=wanted.decision,
        etag="" if known is None else known.etag,
    )
    etags = await hub.records.write(dossier.business_key, [claim.operation(), *alongside])
    return claim.with_etag(etags[0])


async def _send(document: Document | SalesOrder, claim: Claim, hub: Hub, entity: LegalEntity) -> Posted | Outcome:
    rules = hub.policy.ledger.sap
    left = rules.send_window_seconds - (hub.clock() - claim.attempted_at).total_seconds()
    if left <= 0:
        # This worker slept between claim and send: its lease may be over and another may be sending already.
        await _stand_back(claim, hub)
        raise Transient(f"the window to send {claim.key} closed before it was sent", retry_after_seconds=1.0)
    answer: PostedDocument | Placed | Rejected
    try:
        with deadline_after(left):
            if isinstance(document, SalesOrder):
                repeatable = Repeatable(claim.key, claim.first_attempted_at) if rules.repeatable_requests else None
                answer = await hub.sap_orders.place(document, repeatable)
            else:
                answer = await hub.sap_ledger.post(document, rules, hub.clock())
    except OutcomeUnknown as error:
        wait = max(0.0, (claim.lease_until - hub.clock()).total_seconds())
        raise OutcomeUnknown(str(error), retry_after_seconds=wait) from error
    except Transient:
        await _stand_back(claim, hub)  # only an OutcomeUnknown may have landed
        raise
    if isinstance(answer, Rejected):
        return Outcome(Hold(answer.reasons), operations=(replace(claim, state="refused").operation(),))
    if isinstance(answer, Placed):
        assert isinstance(document, SalesOrder)
        compared = await compare_answer(answer, document, claim, hub)
        return compared if isinstance(compared, Outcome) else _posted(compared, claim, hub, entity)
    return _posted(answer, claim, hub, entity)


async def _stand_back(claim: Claim, hub: Hub) -> None:
    """Note that this attempt sent nothing, so that the next need not wait out the lease."""
    try:
        await hub.records.write(claim.business_key, [replace(claim, state="idle").operation()])
    except (RowChanged, RemoteDown, OutcomeUnknown):
        return  # the claim still says "sending", which costs a wait and is never wrong


def _posted(found: PostedDocument | Placed, claim: Claim, hub: Hub, entity: LegalEntity) -> Posted:
    """What stands in SAP, as a claim to be settled with it."""
    company, year, number, repeatability = (
        (entity.company_code, SALES_ORDER, found.number, found.repeatability)
        if isinstance(found, Placed)
        else (found.company_code, found.fiscal_year, found.document, "")
    )
    settled = replace(
        claim, state="settled", company_code=company, fiscal_year=year, document=number, settled_at=hub.clock()
    )
    return Posted(settled, fresh=True, repeatability=repeatability)


def _as_frozen(wanted: Wanted, claim: Claim) -> Wanted:
    """An attempt after the first repeats what the first froze: entry and posting date."""
    return replace(wanted, entry=claim.entry, posting_date=claim.posting_date)
