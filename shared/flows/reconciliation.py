"""Reconciling one legal entity and period: read three systems, join, explain what does not match.

The join finds differences; the explanation comes from what the flows recorded: a case that is open, a key that waits,
an order that is no ledger matter. What has no record is unexplained and stays so until a person or a replay ends it.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from shared.authority.ledger import LegalEntity
from shared.clients.sap_ledger import LedgerItem
from shared.domain.fiscal import Month, read_month
from shared.domain.ledger import GIFT_CARD_SOLD, posting_key
from shared.domain.money import decimal_of
from shared.errors import Fault, Malformed
from shared.reports.reconciliation import IN_FLIGHT, Explained, Reconciliation, assemble
from shared.reports.three_way import (
    CommerceOrder,
    CrmOrder,
    Finding,
    Inputs,
    Joined,
    LedgerDocument,
    join,
    write_csv,
)
from shared.stores.cases import OPEN, Case
from shared.stores.claims import Claim, claims_in
from shared.stores.parking import parked_in
from shared.stores.records import Dossier, Evidence
from shared.wiring import Hub

_LOOKUPS_AT_ONCE = 16
_CASES_MAX = 10_000


async def reconcile(legal_entity: str, period: str, hub: Hub) -> Reconciliation:
    """The reconciliation of a month of business dates; raises `Malformed` for an entity or period that is none."""
    entity = hub.policy.ledger.entity(legal_entity)
    month = read_month(period)
    commerce, ledger, crm = await asyncio.gather(
        _commerce_orders(entity, month, hub), _ledger_documents(entity, month, hub), _crm_orders(entity, month, hub)
    )
    joined = await asyncio.to_thread(_join, commerce, ledger, crm, month)
    rows = await _explain_all(joined, entity, hub)
    return assemble(entity.code, str(month), entity.currency, joined, rows, hub.clock())


def _join(
    commerce: Sequence[CommerceOrder], ledger: Sequence[LedgerDocument], crm: Sequence[CrmOrder], month: Month
) -> Joined:
    with tempfile.TemporaryDirectory(prefix="concord-reconciliation-") as folder:
        inputs = Inputs(Path(folder) / "commerce.csv", Path(folder) / "ledger.csv", Path(folder) / "crm.csv")
        write_csv(inputs.commerce, CommerceOrder, commerce)
        write_csv(inputs.ledger, LedgerDocument, ledger)
        write_csv(inputs.crm, CrmOrder, crm)
        return join(inputs, month.first, month.last)


async def _commerce_orders(entity: LegalEntity, month: Month, hub: Hub) -> list[CommerceOrder]:
    rows = await hub.commerce.read_headers(entity.code, month.first, month.last)
    return [_commerce_order(row, entity) for row in rows]


def _commerce_order(row: Mapping[str, Any], entity: LegalEntity) -> CommerceOrder:
    number, total = str(row["SalesOrderNumber"]), _amount(row, "OrderTotalAmount")
    kind = "return" if str(row.get("SalesOrderOriginCode") or "") == "RETURN" or total < 0 else "invoice"
    return CommerceOrder(
        key=posting_key(entity.code, number, kind, ""),
        number=number,
        currency=str(row["CurrencyCode"]),
        total=total,
        tax=_amount(row, "OrderTotalTaxAmount"),
        business_date=date.fromisoformat(str(row["RequestedReceiptDate"])[:10]),
    )


async def _ledger_documents(entity: LegalEntity, month: Month, hub: Hub) -> list[LedgerDocument]:
    """Our documents of the month by business date: those of the configured types that carry a reference."""
    items = await hub.sap_ledger.list_items(entity.company_code, month.first, month.last)
    types = set(entity.document_types.values())
    by_document: dict[str, list[LedgerItem]] = defaultdict(list)
    for item in items:
        if item.document_type in types and item.document_date in month:
            by_document[str(item.document)].append(item)
    return [_ledger_document(name, lines, entity) for name, lines in by_document.items()]


def _ledger_document(name: str, items: Sequence[LedgerItem], entity: LegalEntity) -> LedgerDocument:
    head = items[0]
    settled = {"tender_clearing", "gift_card_liability", "receivable"}
    accounts = {entity.accounts[role] for role in settled if role in entity.accounts}
    accounts |= set(entity.tender_accounts.values())
    zero = Decimal(0)
    gross = sum(
        (
            item.amount.amount
            for item in items
            if (item.customer or item.account in accounts) and item.text != GIFT_CARD_SOLD
        ),
        zero,
    )
    tax = -sum((item.amount.amount for item in items if item.account == entity.accounts["tax"]), zero)
    currencies = sorted({item.amount.currency for item in items})
    return LedgerDocument(
        reference=head.reference,
        order_number=head.order,
        kind=head.kind,
        document=name,
        currency="/".join(currencies),
        gross=gross,
        tax=tax,
        posting_date=head.posting_date,
        is_reversed=any(item.document.is_reversed for item in items),
    )


async def _crm_orders(entity: LegalEntity, month: Month, hub: Hub) -> list[CrmOrder]:
    rows = await hub.dataverse.find(
        "salesorders",
        {
            "$select": "ordernumber,concord_orderkey,totalamount,totaltax,_transactioncurrencyid_value",
            "$filter": f"concord_legalentity eq '{entity.code}' and concord_businessdate ge {month.first} "
            f"and concord_businessdate le {month.last}",
        },
    )
    names = await _currency_names(rows, entity, hub)
    return [
        CrmOrder(
            number=str(row["concord_orderkey"]).partition("|")[2],
            currency=names.get(str(row["_transactioncurrencyid_value"]), "unknown"),
            total=_amount(row, "totalamount"),
            tax=_amount(row, "totaltax"),
        )
        for row in rows
    ]


async def _currency_names(rows: Iterable[Mapping[str, Any]], entity: LegalEntity, hub: Hub) -> dict[str, str]:
    """Code by Dataverse id, for the currencies that the rows use."""
    used = {str(row["_transactioncurrencyid_value"]) for row in rows}
    names: dict[str, str] = {}
    for code in (entity.currency, *(other.currency for other in hub.policy.ledger.legal_entities.values())):
        if used <= set(names):
            break
        names[await hub.dataverse.currency_id(code)] = code
    return names


async def _explain_all(joined: Joined, entity: LegalEntity, hub: Hub) -> list[Explained]:
    """Look up what the flows know of each order with a finding, a few at once."""
    if not joined.findings:
        return []
    open_cases = {
        (case.legal_entity, case.key): case for case in reversed(await hub.cases.list(state=OPEN, limit=_CASES_MAX))
    }
    by_number: dict[str, list[Finding]] = defaultdict(list)
    for finding in joined.findings:
        by_number[finding.number].append(finding)
    free = asyncio.Semaphore(_LOOKUPS_AT_ONCE)

    async def explain_order(number: str, findings: Sequence[Finding]) -> list[Explained]:
        business_key = f"order|{entity.code}|{number}"
        async with free:
            dossier = await hub.records.read(business_key)
            evidence = await hub.records.read_evidence(business_key)
        case = open_cases.get((entity.code, number))
        return [_explain(finding, dossier, evidence, case) for finding in findings]

    found = await asyncio.gather(*(explain_order(number, findings) for number, findings in by_number.items()))
    return [row for rows in found for row in rows]


def _explain(finding: Finding, dossier: Dossier, evidence: Sequence[Evidence], case: Case | None) -> Explained:
    unexplained = Explained(finding, finding.kind, False, finding.kind, finding.message, "")
    match finding.kind:
        case "missing_in_sap":
            return _why_absent(unexplained, "order_to_ledger", dossier, evidence, case)
        case "missing_in_crm":
            return _why_absent(unexplained, "crm_history_update", dossier, evidence, case)
        case "missing_in_commerce":
            return _own_document(unexplained, dossier)
        case "period":
            return _late_posting(unexplained, dossier)
        case _:
            return unexplained


def _why_absent(
    row: Explained, flow: str, dossier: Dossier, evidence: Sequence[Evidence], case: Case | None
) -> Explained:
    """Why an order is not there: it waits, a person has to decide, or it was decided that nothing is to be written."""
    parked = parked_in(dossier, flow)
    if parked is not None and parked.state == "case":
        return _because(row, "case", f"held for a person: {parked.reason}", f"/api/cases/{parked.case_id}")
    if parked is not None:
        return replace(_because(row, IN_FLIGHT, f"waits: {parked.reason}", ""), row_class=IN_FLIGHT)
    own = [one for one in evidence if one.flow == flow]
    if flow == "order_to_ledger":
        if any(claim.state == "sending" for claim in claims_in(dossier)):
            return replace(_because(row, IN_FLIGHT, "its posting is under way", ""), row_class=IN_FLIGHT)
        settled = [claim for claim in claims_in(dossier) if claim.key == row.finding.reference and claim.is_settled]
        if settled:
            gone = f"posted as {_name(settled[0])}, and that document is not on the ledger any more"
            return replace(row, code="document_gone", reason=gone)
        shipped = [claim for claim in claims_in(dossier) if claim.kind == "shipment" and claim.is_settled]
        if shipped:
            return _because(row, "posted_in_parts", f"posted in {len(shipped)} shipments", "")
        decided = [one for one in own if one.ruling == "unchanged" and one.reasons]
        if decided:
            reason = decided[-1].reasons[0]
            return _because(row, reason["code"], reason["message"], "")
    if case is not None:
        said = case.reasons[0]["message"] if case.reasons else case.code
        return _because(row, "case", f"held for a person: {said}", f"/api/cases/{case.id}")
    if not own and not dossier.by_key:
        return replace(row, code="never_received", reason="Concord never received this order: have Commerce send it")
    return row


def _own_document(row: Explained, dossier: Dossier) -> Explained:
    """A document beside the order's own: a return or cancellation under its number stands when our claim says so."""
    claim = next((one for one in claims_in(dossier) if one.key == row.finding.reference and one.is_settled), None)
    if claim is None:
        return row
    if claim.document and _name(claim) != row.finding.document:
        said = f"{row.finding.document} repeats posting key {claim.key} of {_name(claim)}"
        return replace(row, row_class="duplicate", code="duplicate", reason=said)
    if claim.entry.total.amount != row.finding.found or claim.entry.currency != row.finding.currency:
        said = f"posted as {claim.entry.total}, the ledger has {row.finding.found} {row.finding.currency}"
        expected = replace(row.finding, expected=claim.entry.total.amount)
        return replace(row, finding=expected, row_class="amount", code="amount", reason=said)
    return replace(row, explained=True, stands=True, code=claim.kind, reason=f"{claim.kind} of the order")


def _late_posting(row: Explained, dossier: Dossier) -> Explained:
    claim = next((one for one in claims_in(dossier) if one.key == row.finding.reference and one.is_settled), None)
    if claim is None:
        return row
    return _because(row, "posting_date", f"posted with the date {claim.posting_date} that policy gave it", "")


def _because(row: Explained, code: str, reason: str, link: str) -> Explained:
    return replace(row, explained=True, code=code, reason=reason, link=link)


def _name(claim: Claim) -> str:
    return f"{claim.company_code}/{claim.fiscal_year}/{claim.document}"


def _amount(row: Mapping[str, Any], name: str) -> Decimal:
    value = row.get(name)
    if value is None:
        return Decimal(0)
    try:
        return decimal_of(value)
    except ValueError as error:
        raise Malformed([Fault(name, str(error))]) from error
