"""Approvals in CRM: a request shows there as a row, and what an account manager decides there counts as decided here.

The book is the truth. A row is written from it, and a decision made in CRM is taken into it under the same rules as
through the API: the band's role, not the one who asked, still open, weighed again. What may not be taken is written
back as the book has it, and a case says why.
"""

from __future__ import annotations

from datetime import UTC
from typing import Any

from shared.approving import ENTITY, Approver, as_of_now, decide_approval
from shared.clients.dataverse import TAG, NoSuchRow, bind
from shared.domain.changes import Change
from shared.domain.credit import DecisionRecord
from shared.domain.rulings import Accept, Reason, Refuse, Unchanged
from shared.errors import Conflict, Malformed, Permanent
from shared.stores.records import Dossier, Outcome
from shared.wiring import Hub

_SET = "concord_creditapprovals"
_COLUMNS = ("concord_decisionid", "concord_state", "concord_comment")
_STATES = {"open": "waiting", "approved": "approved", "refused": "refused", "timed_out": "timed out"}
_WORDS = {"approved": True, "refused": False}
_MEMO_MAX = 4000


async def credit_approval_sync(change: Change, dossier: Dossier, hub: Hub) -> Outcome:
    """Bring one approval request to CRM, or what was decided there into the book."""
    if change.entity != ENTITY:
        return _unchanged("no_approval", f"{change.entity} is no approval request")
    if change.source == "concord":
        return await _shown(change.key, hub)
    if change.data.get("tag") == TAG:
        return _unchanged("echo", "our own write came back")
    if change.kind != "record.updated":
        return _unchanged("no_word", f"{change.kind} decides nothing")
    return await _heard(change, hub)


async def _shown(decision_id: str, hub: Hub) -> Outcome:
    record = await _record(decision_id, hub)
    if record is None or record.approval is None:
        return _unchanged("no_approval", f"decision {decision_id} asks for no approval")
    await _write(record, hub)
    state = _STATES[record.approval.state]
    return Outcome(Accept(), summary=f"{state} in CRM", links={"decision": decision_id})


async def _heard(change: Change, hub: Hub) -> Outcome:
    row = await hub.dataverse.read_by_id(_SET, change.key, select=_COLUMNS)
    if row is None:
        return _unchanged("gone", "the request is not there any more")
    decision_id = str(row.get("concord_decisionid") or "")
    links = {"decision": decision_id}
    word = _WORDS.get(str(row.get("concord_state") or "").strip().casefold())
    record = await _record(decision_id, hub)
    if record is None or record.approval is None:
        return Outcome(Refuse((Reason("unknown_decision", "the row names no decision that asks for approval"),)))
    if word is None or _STATES[record.approval.state] == str(row["concord_state"]).strip().casefold():
        return _unchanged("no_word", "nobody decided anything by this")
    approver = await _approver(str(change.data.get("user") or ""), hub)
    comment = str(row.get("concord_comment") or "")[:2000]
    try:
        answer = await decide_approval(decision_id, approved=word, comment=comment, approver=approver, hub=hub)
    except (Permanent, Conflict) as error:
        await _write(record, hub)
        code = error.code if isinstance(error, Permanent) else "not_open"
        reason = Reason(code, f"{approver.names[0]} decided in CRM: {error}", "the row shows again what stands")
        return Outcome(Refuse((reason,)), summary="written back", links=links)
    if answer is None:
        return _unchanged("gone", "the decision is not there any more")
    outcome = answer.record.decision.outcome
    return Outcome(Accept(), summary=f"decided in CRM by {approver.names[0]}: {outcome}", links=links)


async def _approver(user_id: str, hub: Hub) -> Approver:
    """The CRM user, with the roles that credit policy gives to the person behind it."""
    columns = ("fullname", "internalemailaddress", "azureactivedirectoryobjectid")
    user = await hub.dataverse.read_by_id("systemusers", user_id, select=columns) if user_id else None
    if user is None:
        return Approver(("a user that CRM does not know",), frozenset(), "crm")
    names = tuple(str(user[name]) for name in ("internalemailaddress", "fullname") if user.get(name))
    person = str(user.get("azureactivedirectoryobjectid") or "").casefold()
    roles = frozenset(hub.policy.credit.crm_approvers.get(person, ()))
    return Approver((*names, person), roles, "crm")


async def _record(decision_id: str, hub: Hub) -> DecisionRecord | None:
    try:
        kept = await hub.credit_book.read_record(decision_id)
    except Malformed:
        return None
    return None if kept.record is None else as_of_now(kept.record, hub.clock())


async def _write(record: DecisionRecord, hub: Hub) -> None:
    key, row = {"concord_decisionid": record.decision.id}, await _row(record, hub)
    account = {"concord_Account@odata.bind": bind("accounts", {"accountnumber": record.decision.account})}
    try:
        await hub.dataverse.upsert(_SET, key, row | account)
    except NoSuchRow:  # the customer is not in CRM yet: the request must show all the same
        await hub.dataverse.upsert(_SET, key, row)


async def _row(record: DecisionRecord, hub: Hub) -> dict[str, Any]:
    decision, approval = record.decision, record.approval
    if approval is None:
        raise AssertionError("only what asks for approval has a row")
    decided_at = approval.decided_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if approval.decided_at else None
    currency = approval.amount.currency
    return {
        "concord_name": f"{decision.account}: {approval.amount}"[:200],
        "concord_state": _STATES[approval.state],
        "concord_amount": approval.amount.amount,
        "concord_currency": currency,
        "concord_requestedby": decision.requested_by or None,
        "concord_requestid": decision.request_id[:200],
        "concord_legalentity": decision.legal_entity,
        "concord_accountnumber": decision.account,
        "concord_reasons": "\n".join(reason.message for reason in record.reasons)[:_MEMO_MAX],
        "concord_decidedby": approval.decided_by or None,
        "concord_decidedon": decided_at,
        "concord_comment": approval.comment[:_MEMO_MAX] or None,
        "concord_correlationid": decision.correlation_id,
        "transactioncurrencyid@odata.bind": f"/transactioncurrencies({await hub.dataverse.currency_id(currency)})",
    }


def _unchanged(code: str, message: str) -> Outcome:
    return Outcome(Unchanged((Reason(code, message),)), summary=message)
