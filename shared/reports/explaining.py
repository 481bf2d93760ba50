"""Why a finding is there: from what the flows recorded of its order, and from a second look at the systems by key.

The join compares what stands in the month; here each order that differs is looked up by its key. What is known to
wait, to be a person's case or no ledger matter is explained; a document of its own right stands; what nothing accounts
for stays unexplained, with the words of what was found: who was altered, what is gone, what nobody posted.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from shared.authority.ledger import LegalEntity
from shared.clients.dataverse import key_text
from shared.clients.sap_ledger import LedgerItem
from shared.clients.sap_orders import Placed
from shared.domain.fiscal import business_day
from shared.domain.ledger import Entry, is_posting_key, posting_key
from shared.domain.money import DECIMALS, Money
from shared.mapping.engine import moment
from shared.reports.altering import Alteration, alteration_in_sap
from shared.reports.staging import commerce_order, ledger_document
from shared.reports.three_way import Finding, Joined
from shared.stores.cases import OPEN, Case
from shared.stores.claims import Claim, claims_in
from shared.stores.early import early_in
from shared.stores.parking import parked_in
from shared.stores.records import Dossier, Evidence
from shared.stores.recovered import is_unknown, recovered_at
from shared.wiring import Hub

IN_FLIGHT = "in_flight"
WAITS_FOR_BILLING = "waits_for_billing"
"""Code of what is in flight because SAP has not billed its sales order yet."""
_CREDIT_BLOCKED = "B"
JUST_PLACED = timedelta(minutes=15)
"""An order this young that nothing is known of may still be on its way here; one that is older was never received."""
_LOOKUPS_AT_ONCE = 16
_SHIPPED = ("Delivered", "Invoiced")
"""States of an order in headquarters by which nothing is left to ship."""
_CONTENT = ("order.confirmed", "order.returned")
_LEDGER, _HISTORY = "order_to_ledger", "crm_history_update"


@dataclass(frozen=True, slots=True)
class Explained:
    """A finding with what is known of it. `explained` is False where nothing accounts for it.

    `stands` means that a second look found the finding to be no difference at all (a partial return's own document).
    `case_id` names the case whose replay ends it, `resend` that Commerce's order has only to be brought here. `moved`
    is what was moved inside a document, where its total does not show it; `posted` what a document beside the order's
    own is held against, of which Commerce's amounts know nothing.
    """

    finding: Finding
    row_class: str
    explained: bool
    code: str
    reason: str
    stands: bool = False
    case_id: str = ""
    resend: bool = False
    moved: Decimal | None = None
    posted: Entry | None = None

    @property
    def is_in_flight(self) -> bool:
        return self.row_class == IN_FLIGHT

    @property
    def expected(self) -> tuple[Decimal, Decimal, str]:
        """What the other side has to have: total, tax, currency."""
        if self.posted is not None:
            return self.posted.total.amount, self.posted.tax.amount, self.posted.currency
        return self.finding.expected, self.finding.expected_tax, self.finding.currency

    @property
    def differences(self) -> dict[str, Decimal]:
        """By how much the two sides differ, by currency, as absolute amounts: of the total, else of the tax, else of
        what was moved inside the document.
        """
        finding, (total, tax, currency) = self.finding, self.expected
        found_currency = finding.found_currency or currency
        if found_currency != currency:
            return {currency: abs(total), found_currency: abs(finding.found)}
        return {currency: abs(total - finding.found) or abs(tax - finding.found_tax) or self.moved or Decimal(0)}


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of one order."""

    joined: Joined
    findings: Sequence[Finding]
    entity: LegalEntity
    number: str
    dossier: Dossier
    evidence: Sequence[Evidence]
    case: Case | None
    placed: Mapping[str, Sequence[Placed]]
    hub: Hub

    @property
    def own_claim(self) -> Claim | None:
        """The settled claim of the order's own document."""
        keys = {posting_key(self.entity.code, self.number, kind, "") for kind in ("invoice", "return")}
        return next((one for one in claims_in(self.dossier) if one.key in keys and one.is_settled), None)

    @property
    def written_to_crm(self) -> tuple[Decimal, Decimal, str] | None:
        """Total, tax and business date as they were last written to the customer history; None where none was."""
        latest: dict[str, str] = {}
        for one in self.evidence:
            if one.flow == _HISTORY and one.ruling == "accept":
                latest |= {field["name"]: field["new"] for field in one.fields}
        if not {"total", "tax", "business_date"} <= latest.keys():
            return None
        return Decimal(latest["total"]), Decimal(latest["tax"]), latest["business_date"]

    def is_billed_twice(self, claim: Claim) -> bool:
        """Whether more than one document of the period carries a sales order's key."""
        return sum(one.system == "sap" and one.reference == claim.key for one in self.findings) > 1

    def claim_of(self, key: str) -> Claim | None:
        """The settled claim of a posting key."""
        return next((one for one in claims_in(self.dossier) if one.key == key and one.is_settled), None)


async def explain(joined: Joined, entity: LegalEntity, hub: Hub) -> list[Explained]:
    """Look up what is known of each order with a finding, a few at once; in the order of the findings."""
    by_number: dict[str, list[Finding]] = defaultdict(list)
    for finding in await _numbered(joined.findings, hub):
        by_number[finding.number].append(finding)
    if not by_number:
        return []
    placed = await _placed_in(joined, entity, hub)
    cases = {(case.legal_entity, case.key): case for case in reversed(await hub.cases.list(state=OPEN))}
    found: dict[str, list[Explained]] = {}

    async def work(orders: Iterator[tuple[str, list[Finding]]]) -> None:
        for number, findings in orders:
            key = f"order|{entity.code}|{number}"
            dossier, evidence = await asyncio.gather(hub.records.read(key), hub.records.read_evidence(key))
            case = cases.get((entity.code, number))
            known = _Known(joined, findings, entity, number, dossier, evidence, case, placed, hub)
            found[number] = await _order(findings, known)

    orders = iter(list(by_number.items()))
    async with asyncio.TaskGroup() as group:
        for _ in range(min(_LOOKUPS_AT_ONCE, len(by_number))):
            group.create_task(work(orders))
    return [row for number in by_number for row in found[number]]


async def _placed_in(joined: Joined, entity: LegalEntity, hub: Hub) -> Mapping[str, Sequence[Placed]]:
    """The sales orders of the period, by posting key, where the legal entity posts by them and orders are missing."""
    rules = entity.sales_order
    if rules is None or entity.posting != "sales_order":
        return {}
    if not any(one.kind == "missing_in_sap" for one in joined.findings):
        return {}
    return await hub.sap_orders.placed_between(rules.sales_organization, joined.first, joined.last)


async def _numbered(findings: Sequence[Finding], hub: Hub) -> list[Finding]:
    """The findings with the order number of billing documents, which carry the posting key alone: their sales order
    knows it."""
    unnamed = {one.reference for one in findings if not one.number and is_posting_key(one.reference)}
    numbers: dict[str, str] = {}

    async def work(keys: Iterator[str]) -> None:
        for key in keys:
            orders = await hub.sap_orders.find(key)
            if orders:
                numbers[key] = orders[0].order

    keys = iter(sorted(unnamed))
    async with asyncio.TaskGroup() as group:
        for _ in range(min(_LOOKUPS_AT_ONCE, len(unnamed))):
            group.create_task(work(keys))
    return [one if one.number else replace(one, number=numbers.get(one.reference, "")) for one in findings]


async def _order(findings: Sequence[Finding], known: _Known) -> list[Explained]:
    rows = [await _explain(finding, known) for finding in findings if not finding.is_beside]
    gone = [await _gone_beside(finding, known) for finding in findings if finding.is_beside]
    return [*await _paired(rows, known), *(row for row in gone if row is not None)]


async def _explain(finding: Finding, known: _Known) -> Explained:
    row = Explained(finding, finding.kind, False, finding.kind, finding.message)
    match finding.system, finding.kind:
        case "sap", "missing_in_sap":
            row = await _not_billed(row, known) or await _not_posted(row, known)
            return row if row.explained or row.code != finding.kind else await _elsewhere_in_sap(row, known)
        case "crm", "missing_in_crm":
            row = _not_written(row, known)
            return row if row.explained or row.code != finding.kind else await _elsewhere_in_crm(row, known)
        case "sap", "missing_in_commerce":
            row = await _own_document(row, known)
            return row if row.stands or row.code != finding.kind else await _elsewhere_in_commerce(row, known)
        case _, "missing_in_commerce":
            return await _elsewhere_in_commerce(row, known)
        case "sap", "period":
            return await _late_posting(row, known)
        case "sap", "amount" | "tax" | "currency" | "lines":
            return await _altered_in_sap(row, known)
        case "crm", "amount" | "tax" | "currency" | "date":
            return _altered_in_crm(row, known)
        case "sap", _:
            return _repeated(row, known)
        case _:
            return row


def _repeated(row: Explained, known: _Known) -> Explained:
    """A posting key that stands on several documents: the one that was posted is named, the others are not ours."""
    claim = known.claim_of(row.finding.reference)
    if claim is None:
        return row
    if claim.way == "sales_order":
        said = f"sales order {_name(claim)} is billed more than once, by {row.finding.document}: cancel all but one"
        return replace(row, reason=f"{said} billing document in SAP")
    others = [one for one in row.finding.document.split(", ") if one != _name(claim)]
    said = f"{', '.join(others)} repeats posting key {claim.key} of {_name(claim)}: reverse it in SAP"
    return replace(row, reason=said)


async def _not_posted(row: Explained, known: _Known) -> Explained:
    """Why an order is not on the ledger: it waits, a person has to decide, or nothing was to be posted."""
    if waiting := _waiting(row, _LEDGER, known):
        return waiting
    claims = claims_in(known.dossier)
    if any(claim.state == "sending" for claim in claims):
        return _flying(row, "its posting is under way")
    claim = known.claim_of(row.finding.reference) or known.own_claim
    if claim is not None:
        return await _gone(row, claim, known)
    shipped = [claim for claim in claims if claim.kind == "shipment" and claim.is_settled]
    if shipped:
        return await _in_parts(row, shipped, known)
    decided = [one for one in known.evidence if one.flow == _LEDGER and one.ruling == "unchanged" and one.reasons]
    # What was ruled on the order itself says more than what overtook it.
    decided.sort(key=lambda one: one.kind in _CONTENT)
    if decided:
        reason = decided[-1].reasons[0]
        if reason["code"] == "no_ledger_matter" and (row.finding.expected or row.finding.expected_tax):
            now = _told(row.finding.expected, row.finding.currency)
            said = f"Commerce was altered: {reason['message']}, and now it comes to {now}"
            return replace(row, code="altered_in_commerce", reason=said)
        return _because(row, reason["code"], reason["message"])
    return _by_case(row, known) or row


async def _in_parts(row: Explained, shipped: Sequence[Claim], known: _Known) -> Explained:
    """An order that posts at shipment: what has left is on the ledger, the rest is no revenue yet and may never be."""
    finding = row.finding
    parts = sum((claim.entry.total.amount for claim in shipped), Decimal(0))
    said = f"posted in {len(shipped)} shipments of {_told(parts, finding.currency)} together"
    if parts == finding.expected:
        return _because(row, "posted_in_parts", said)
    if not 0 < parts < finding.expected:
        return replace(
            row, code="posted_in_parts", reason=f"{said}, the order is {_told(finding.expected, finding.currency)}"
        )
    rest = f"{said}; of {_told(finding.expected - parts, finding.currency)} nothing was shipped"
    if any(one.kind == "order.cancelled" for one in early_in(known.dossier)):
        return _because(row, "partly_shipped", f"{rest}, and it was called off or waits")
    header = await known.hub.commerce.find_header(known.entity.code, finding.number)
    if header is not None and str(header.get("SalesOrderStatus")) in _SHIPPED:
        return replace(row, code="shipment_missing", reason=f"{rest}; Commerce says that all of it was")
    return _because(row, "partly_shipped", f"{rest} yet")


async def _gone(row: Explained, claim: Claim, known: _Known) -> Explained:
    """An order's document that does not stand in its month under its key any more, and what became of it."""
    items = await known.hub.sap_ledger.items_of(known.entity.company_code, claim.key)
    items = [item for item in items if item.document.name == _name(claim)]
    posted = f"posted as {_name(claim)} ({claim.entry.total})"
    if claim.way == "sales_order":
        return replace(row, code="billed_differently", reason=f"{posted}, and is not billed in this period as it was")
    if not items:
        said = f"{posted}, and that document is not on the ledger any more"
        return replace(row, code="document_gone", reason=said)
    if any(item.document.is_reversed for item in items):
        return replace(row, code="reversed", reason=f"{posted}, and that document is reversed")
    altered = alteration_in_sap(claim, items, known.entity)
    if altered is not None:
        said = f"SAP was altered: {posted} and stands with {altered.words}"
        return replace(row, row_class="period", code="altered_in_sap", reason=said)
    business_date = claim.entry.business_date
    if row.finding.business_date != business_date:
        said = f"Commerce was altered after posting: {posted} for {business_date}, it has {row.finding.business_date}"
        return replace(row, row_class="period", code="altered_in_commerce", reason=said)
    if claim.key != row.finding.reference:
        return row  # an exchange, which `_paired` finds
    return _flying(row, f"{_name(claim)} was posted while this was read: reconcile again")


async def _gone_beside(finding: Finding, known: _Known) -> Explained | None:
    """A document beside the order's own that is not where it was posted; None where none was, or in another month."""
    claim = next((one for one in claims_in(known.dossier) if one.key == finding.reference), None)
    if claim is None or claim.way == "sales_order":  # the order's own row says what is not billed
        return None
    if not known.joined.first <= claim.entry.business_date <= known.joined.last:
        return None
    entry = claim.entry
    named = replace(
        finding,
        currency=entry.currency,
        document=_name(claim) if claim.is_settled else "",
        business_date=entry.business_date,
        message=f"{claim.kind} of {entry.total}: {finding.message}",
    )
    row = Explained(named, named.kind, False, named.kind, named.message, posted=entry)
    if claim.state == "sending":
        return _flying(row, f"the posting of its {claim.kind} is under way")
    return await _gone(row, claim, known) if claim.is_settled else None


def _not_written(row: Explained, known: _Known) -> Explained:
    """Why an order is not in the customer history."""
    if waiting := _waiting(row, _HISTORY, known):
        return waiting
    own = [one for one in known.evidence if one.flow == _HISTORY]
    if any(one.ruling == "accept" for one in own):
        return row
    if own and own[-1].reasons:
        return _because(row, own[-1].reasons[0]["code"], own[-1].reasons[0]["message"])
    return _by_case(row, known) or row


def _waiting(row: Explained, flow: str, known: _Known) -> Explained | None:
    parked = parked_in(known.dossier, flow)
    if parked is None:
        return None
    if parked.state == "case":
        return replace(_because(row, "case", f"held for a person: {parked.reason}"), case_id=parked.case_id)
    return _flying(row, f"waits: {parked.reason}")


async def _not_billed(row: Explained, known: _Known) -> Explained | None:
    """An order that went as sales orders and is not billed, or not wholly: each waits, is late, or is gone.

    None where none is missing from the ledger. What is worst is told.
    """
    if _waiting(row, _LEDGER, known):
        return None
    finding, found = row.finding, []
    for claim in claims_in(known.dossier):
        is_sale = claim.key == finding.reference or claim.kind == "shipment"
        if is_sale and claim.is_settled and claim.way == "sales_order":
            found.append(await _billing_of(claim, row, known))
    missing = [one for one in found if one is not None]
    return min(missing, key=lambda one: one.is_in_flight, default=None)


async def _billing_of(claim: Claim, row: Explained, known: _Known) -> Explained | None:
    """What has become of one sales order; None where its billing document stands on the ledger."""
    hub, entity = known.hub, known.entity
    orders, items = known.placed.get(claim.key, ()), list[LedgerItem]()
    is_open = len(orders) == 1 and not orders[0].is_billed and not orders[0].is_rejected
    if not is_open or claim.key in known.joined.reversed_keys or claim.kind == "shipment":
        items = await hub.sap_ledger.items_of(entity.company_code, claim.key)
    standing = [item for item in items if not item.document.is_reversed]
    if standing:
        return None if claim.kind == "shipment" else _billed_elsewhere(standing, row, known)
    name = _name(claim)
    orders = orders or await hub.sap_orders.find(claim.key)
    if not orders:
        gone = f"placed as sales order {name} ({claim.entry.total}), and that sales order is not in SAP any more"
        return replace(row, code="sales_order_gone", reason=gone)
    order = next((one for one in orders if not one.is_rejected), orders[0])
    if order.is_rejected:
        said = f"sales order {name} was rejected in SAP: it will never be billed"
        return replace(row, code="sales_order_rejected", reason=said)
    cancelled = f", its billing document {items[0].document} was cancelled" if items else ""
    blocks = [
        *(["SAP's credit check"] if order.credit_status == _CREDIT_BLOCKED else []),
        *([f"billing block {order.billing_block}"] if order.billing_block else []),
    ]
    held = f"; blocked by {' and '.join(blocks)}" if blocks else ""
    if order.is_billed:
        said = (
            f"sales order {name} is billed, and no document of it is on the ledger: release its billing to accounting"
        )
        return replace(row, code="billed_not_posted", reason=f"{said}, or find out who took the document away")
    if cancelled:
        return replace(row, code="billing_cancelled", reason=f"sales order {name} is not billed{cancelled}{held}")
    days = entity.sales_order.billed_within_days if entity.sales_order else 0
    due = claim.posting_date + timedelta(days=days)
    if business_day(hub.clock(), entity) > due:
        said = f"sales order {name} of {claim.posting_date} was to be billed by {due} and is not{held}"
        return replace(row, code="billing_overdue", reason=said)
    said = f"sales order {name} ({claim.entry.total}) waits for billing, due by {due}{held}"
    return replace(_flying(row, said), code=WAITS_FOR_BILLING)


def _billed_elsewhere(items: Sequence[LedgerItem], row: Explained, known: _Known) -> Explained | None:
    """Billed under another date than the order's: SAP's billing run sets it, in an open period of its own."""
    document = ledger_document([item for item in items if item.document == items[0].document], known.entity)
    if document.gross != row.finding.expected or items[0].document_date == row.finding.business_date:
        return None
    said = f"billed as {document.document} with the date {items[0].document_date}"
    return replace(_because(row, "billed_in_other_period", said), row_class="period")


def _by_case(row: Explained, known: _Known) -> Explained | None:
    case = known.case
    if case is None:
        return None
    said = case.reasons[0]["message"] if case.reasons else case.code
    return replace(_because(row, "case", f"held for a person: {said}"), case_id=case.id)


async def _own_document(row: Explained, known: _Known) -> Explained:
    """A document beside the order's own: a return, cancellation or shipment stands when our claim says so."""
    claim, finding = known.claim_of(row.finding.reference), row.finding
    if claim is None:
        return row
    if claim.way == "journal_entry" and _name(claim) != finding.document:
        said = f"{finding.document} repeats posting key {claim.key} of {_name(claim)}: reverse it in SAP"
        return replace(row, row_class="duplicate", code="duplicate", reason=said)
    if claim.way == "sales_order" and known.is_billed_twice(claim):
        said = f"sales order {_name(claim)} is billed more than once, also by {finding.document}"
        return replace(row, row_class="duplicate", code="duplicate", reason=said)
    if not claim.event and claim.kind != "cancellation":
        return await _without_order(row, claim, known)
    row = replace(row, posted=claim.entry)
    differs = claim.entry.total.amount != finding.found or claim.entry.currency != finding.found_currency
    if differs or not finding.is_as_posted:
        altered = await _against_the_claim(row, claim, known)
        if altered is not None:
            return altered
    return replace(row, explained=True, stands=True, code=claim.kind, reason=f"{claim.kind} of the order")


async def _without_order(row: Explained, claim: Claim, known: _Known) -> Explained:
    """An order's own document, and its order is not among those of the period."""
    posted = f"posted as {_name(claim)} ({claim.entry.total})"
    header = await known.hub.commerce.find_header(known.entity.code, row.finding.number or claim.entry.number)
    if header is None:
        return replace(row, code="order_gone", reason=f"{posted}, and Commerce has no such order any more")
    day, entry = commerce_order(header, known.entity).business_date, claim.entry
    if claim.way == "sales_order" and (day, row.finding.found) == (entry.business_date, entry.total.amount):
        said = f"Commerce has the order on {day}, it is billed in this period"
        return replace(_because(row, "billed_in_other_period", said), row_class="period")
    return _another_day(row, day, known)


def _another_day(row: Explained, business_date: date, known: _Known) -> Explained:
    """Commerce has the order, on a day out of the period; unchanged where that is not the difference."""
    if known.joined.first <= business_date <= known.joined.last:
        return row
    kept = known.own_claim
    if kept is None:
        side = "on the ledger" if row.finding.system == "sap" else "in the customer history"
        said = f"Commerce has the order on {business_date}, it stands {side} in this period"
        return replace(row, row_class="period", code="other_period", reason=said)
    said = f"Commerce was altered after posting: it has the business date {business_date}, {kept.entry.business_date}"
    return replace(row, row_class="period", code="altered_in_commerce", reason=f"{said} was posted")


async def _late_posting(row: Explained, known: _Known) -> Explained:
    claim = known.claim_of(row.finding.reference)
    if claim is None:
        return row
    if claim.posting_date == row.finding.posting_date:
        return _because(row, "posting_date", f"posted with the date {claim.posting_date} that policy gave it")
    return await _against_the_claim(row, claim, known) or row


async def _altered_in_sap(row: Explained, known: _Known) -> Explained:
    """Which side was altered: the claim keeps what was posted, to the cent and the line."""
    claim = known.claim_of(row.finding.reference)
    if claim is None:
        return replace(row, reason=f"{_differing(row.finding)}; nothing says what was posted")
    in_sap = await _against_the_claim(row, claim, known)
    if in_sap is not None:
        return in_sap
    if row.finding.kind == "lines":
        return replace(row, explained=True, stands=True, code="header_text", reason="its lines are those posted")
    return _altered_in_commerce(row, claim, known)


async def _against_the_claim(row: Explained, claim: Claim, known: _Known) -> Explained | None:
    """The document as it stands against what was posted; None where it is the same. What SAP bills has lines of SAP's
    own making, so a billing document is held against the total and the tax that were ordered.
    """
    finding, entry = row.finding, claim.entry
    if claim.way == "sales_order":
        if (finding.found, finding.found_tax, finding.found_currency) == (
            entry.total.amount,
            entry.tax.amount,
            entry.currency,
        ):
            return None
        said = f"{finding.document} bills {_amount(finding)} for sales order {_name(claim)} of {entry.total}"
        return replace(row, code="altered_in_sap", reason=f"SAP was altered: {said}")
    items = await known.hub.sap_ledger.items_of(known.entity.company_code, claim.key)
    items = [item for item in items if item.document.name == row.finding.document]
    altered = alteration_in_sap(claim, items, known.entity)
    if altered is None:
        return None
    said = f"SAP was altered: {altered.words}"
    if row.finding.system == "sap" and row.finding.kind != "missing_in_commerce" and _is_altered(row.finding, claim):
        said += f"; Commerce was altered too: {_differing(row.finding)}"
    return _with(row, altered, code="altered_in_sap", reason=said)


def _with(row: Explained, altered: Alteration, *, code: str, reason: str) -> Explained:
    row_class = "amount" if row.row_class == "missing_in_commerce" else row.row_class
    return replace(row, row_class=row_class, code=code, reason=reason, moved=altered.moved)


def _altered_in_crm(row: Explained, known: _Known) -> Explained:
    finding = row.finding
    if waiting := _waiting(row, _HISTORY, known):
        return waiting
    claim = known.claim_of(finding.reference) or known.own_claim
    if claim is not None and _is_altered(finding, claim):
        return _altered_in_commerce(row, claim, known)
    written = None if claim is not None else known.written_to_crm
    if claim is None and written is None:
        return replace(row, reason=f"{_differing(finding)}; nothing says what was written")
    if written is not None and written != (finding.expected, finding.expected_tax, str(finding.business_date)):
        said = f"Commerce was altered after it was written to the customer history: {_differing(finding)}"
        return replace(row, code="altered_in_commerce", reason=said)
    said = f"the customer history was altered: {_differing(finding)}"
    return replace(row, code="altered_in_crm", reason=said)


def _altered_in_commerce(row: Explained, claim: Claim, known: _Known) -> Explained:
    if known.case is not None and known.case.code == "changed_after_posting":
        return _by_case(row, known) or row
    was = f"{claim.entry.total} with {claim.entry.tax} of tax was posted for {claim.entry.business_date}"
    said = f"Commerce was altered after posting: {was}; {_differing(row.finding)}"
    return replace(row, code="altered_in_commerce", reason=said)


def _is_altered(finding: Finding, claim: Claim) -> bool:
    """Whether Commerce no longer has what was posted."""
    entry = claim.entry
    return (finding.expected, finding.expected_tax, finding.currency, finding.business_date) != (
        entry.total.amount,
        entry.tax.amount,
        entry.currency,
        entry.business_date,
    )


def _differing(finding: Finding) -> str:
    """What the two sides have, in words; only what is not the same."""
    here, there = "Commerce", {"sap": "SAP", "crm": "the customer history"}[finding.system]
    amounts = (finding.expected, finding.currency), (finding.found, finding.found_currency or finding.currency)
    taxes = (finding.expected_tax, finding.currency), (finding.found_tax, finding.found_currency or finding.currency)
    parts = [
        f"{here} has {_told(*mine)}{word}, {there} {_told(*theirs)}"
        for (mine, theirs), word in ((amounts, ""), (taxes, " of tax"))
        if mine != theirs
    ]
    if finding.system == "crm" and finding.found_date != finding.business_date:
        parts.append(f"{here} has the business date {finding.business_date}, {there} {finding.found_date or 'none'}")
    return "; ".join(parts) or finding.message


async def _elsewhere_in_sap(row: Explained, known: _Known) -> Explained:
    """By key over all periods and also among what was reversed; an order that is very young is still coming."""
    finding, entity, hub = row.finding, known.entity, known.hub
    items = await hub.sap_ledger.items_of(entity.company_code, finding.reference)
    if items:
        document = ledger_document(items, entity)
        if document.is_reversed:
            return replace(row, code="reversed", reason=f"{document.document} was posted and is reversed")
        if document.gross == finding.expected and items[0].document_date == finding.business_date:
            return _flying(row, f"{document.document} was posted while this was read: reconcile again")
        said = f"{document.document} stands with the business date {items[0].document_date}, gross {document.gross}"
        return replace(row, row_class="period", code="other_period", reason=said)
    return await _never_received(row, known)


async def _never_received(row: Explained, known: _Known) -> Explained:
    if known.evidence or not is_unknown(known.dossier):
        return row
    now, brought = known.hub.clock(), recovered_at(known.dossier)
    if brought is not None and now - brought < JUST_PLACED:
        return _flying(row, f"its event was lost; brought here at {brought:%H:%M:%S} UTC")
    header = await known.hub.commerce.find_header(known.entity.code, row.finding.number)
    placed = moment.read(header["OrderCreationDateTime"]) if header and header.get("OrderCreationDateTime") else None
    if placed is not None and now - placed < JUST_PLACED:
        return _flying(row, f"placed at {placed:%H:%M:%S} UTC, nothing of it has come here yet")
    said = "Concord never received this order: bring it here (one click), or have Commerce send it"
    return replace(row, code="never_received", reason=said, resend=True)


async def _elsewhere_in_crm(row: Explained, known: _Known) -> Explained:
    """Its row by key: on another day, or not there at all."""
    key = {"concord_orderkey": key_text(known.entity.code, row.finding.number)}
    found = await known.hub.dataverse.read("salesorders", key, select=("concord_businessdate", "totalamount"))
    if found is not None:
        said = f"the customer history was altered: it has the business date {found.get('concord_businessdate')}"
        said = f"{said}, Commerce {row.finding.business_date}"
        return replace(row, row_class="period", code="altered_in_crm", reason=said)
    written = next((one for one in known.evidence if one.flow == _HISTORY and one.ruling == "accept"), None)
    if written is not None:
        said = f"written to the customer history on {written.decided_at:%Y-%m-%d %H:%M} UTC, and the row is gone"
        return replace(row, code="row_gone", reason=said)
    return await _never_received(row, known)


async def _elsewhere_in_commerce(row: Explained, known: _Known) -> Explained:
    """Whether Commerce has the order on another business day; else nobody there knows it."""
    finding, entity = row.finding, known.entity
    header = await known.hub.commerce.find_header(entity.code, finding.number) if finding.number else None
    if header is not None:
        order = commerce_order(header, entity)
        if finding.system == "sap" and order.key != finding.reference:
            said = f"{finding.document} bears the order's number and a posting key that nothing here gave"
            return replace(row, code="forged_in_sap", reason=said)
        return _another_day(row, order.business_date, known)
    if finding.system == "crm" and (known.own_claim is not None or known.written_to_crm is not None):
        was = f"posted as {_name(known.own_claim)}" if known.own_claim else "it was written to the customer history"
        return replace(row, code="order_gone", reason=f"{was}, and Commerce has no such order any more")
    side = "on the ledger" if finding.system == "sap" else "in the customer history"
    said = f"{_amount(finding)} stands {side} as {finding.document or finding.number}; Commerce has no such order"
    if finding.system == "sap":
        said += ", and nothing here posted it"
    return replace(row, code=f"forged_in_{finding.system}", reason=said)


async def _paired(rows: list[Explained], known: _Known) -> list[Explained]:
    """An order that looks like a return from its header and was posted as a sale (an exchange), or the other way.

    The join knows one posting key of an order; where the ledger has it under the other, both findings are one: of the
    order and the document that was posted for it.
    """
    keys = {posting_key(known.entity.code, known.number, kind, "") for kind in ("invoice", "return")}
    missing = next((one for one in rows if one.finding.kind == "missing_in_sap" and not one.explained), None)
    other = next(
        (
            one
            for one in rows
            if one.finding.system == "sap"
            and one.finding.kind == "missing_in_commerce"
            and one.finding.reference in keys
            and (claim := known.claim_of(one.finding.reference)) is not None
            and one.finding.document == _name(claim)
        ),
        None,
    )
    if missing is None or other is None:
        return rows
    expected = missing.finding
    finding = replace(
        other.finding,
        kind="amount",
        expected=expected.expected,
        expected_tax=expected.expected_tax,
        currency=expected.currency,
        business_date=expected.business_date,
    )
    same = (finding.expected, finding.expected_tax, finding.currency) == (
        finding.found,
        finding.found_tax,
        finding.found_currency,
    )
    row = Explained(finding, "amount", False, "amount", finding.message)
    if same and finding.is_as_posted:
        row = replace(row, explained=True, stands=True, code="posted_as_sale", reason=f"posted as {finding.document}")
    else:
        row = await _altered_in_sap(row, known)
    return [row, *(one for one in rows if one not in (missing, other))]


def _because(row: Explained, code: str, reason: str) -> Explained:
    return replace(row, explained=True, code=code, reason=reason)


def _flying(row: Explained, reason: str) -> Explained:
    return replace(row, explained=True, row_class=IN_FLIGHT, code=IN_FLIGHT, reason=reason)


def _name(claim: Claim) -> str:
    return claim.name


def _amount(finding: Finding) -> str:
    return _told(finding.found, finding.found_currency or finding.currency)


def _told(amount: Decimal, currency: str) -> str:
    return f"{amount_text(amount, currency)} {currency}"


def amount_text(amount: Decimal, currency: str) -> str:
    """In the currency's own decimals; a forged row may carry others or no such currency: then as it stands there."""
    if currency not in DECIMALS or amount != round(amount, DECIMALS[currency]):
        return f"{amount.normalize():f}" if amount else "0"
    return Money(amount.normalize() if amount else Decimal(0), currency).text
