"""Each order with a finding, looked up by its key: what is known of it, and what that says of each finding."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from shared.authority.ledger import LegalEntity
from shared.clients.sap_orders import Placed
from shared.domain.ledger import is_posting_key
from shared.reports.explaining.differing import differs_in_crm, differs_in_sap, late_posting
from shared.reports.explaining.duplicates import repeated
from shared.reports.explaining.exchanges import paired
from shared.reports.explaining.explained import Explained
from shared.reports.explaining.gone import gone_beside
from shared.reports.explaining.known import Known
from shared.reports.explaining.missing_in_commerce import missing_in_commerce
from shared.reports.explaining.missing_in_crm import missing_in_crm
from shared.reports.explaining.missing_in_sap import missing_in_sap
from shared.reports.three_way import Finding, Joined
from shared.stores.cases import OPEN
from shared.wiring import Hub

_LOOKUPS_AT_ONCE = 16


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
            known = Known(joined, findings, entity, number, dossier, evidence, case, placed, hub)
            found[number] = await _order(findings, known)

    orders = iter(list(by_number.items()))
    async with asyncio.TaskGroup() as group:
        for _ in range(min(_LOOKUPS_AT_ONCE, len(by_number))):
            group.create_task(work(orders))
    return [row for number in by_number for row in found[number]]


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


async def _placed_in(joined: Joined, entity: LegalEntity, hub: Hub) -> Mapping[str, Sequence[Placed]]:
    """The sales orders of the period, by posting key, where the legal entity posts by them and orders are missing."""
    rules = entity.sales_order
    if rules is None or entity.posting != "sales_order":
        return {}
    if not any(one.kind == "missing_in_sap" for one in joined.findings):
        return {}
    return await hub.sap_orders.placed_between(rules.sales_organization, joined.first, joined.last)


async def _order(findings: Sequence[Finding], known: Known) -> list[Explained]:
    rows = [await _explain(finding, known) for finding in findings if not finding.is_beside]
    gone = [await gone_beside(finding, known) for finding in findings if finding.is_beside]
    return [*await paired(rows, known), *(row for row in gone if row is not None)]


async def _explain(finding: Finding, known: Known) -> Explained:
    row = Explained(finding, finding.kind, False, finding.kind, finding.message)
    match finding.system, finding.kind:
        case "sap", "missing_in_sap":
            return await missing_in_sap(row, known)
        case "crm", "missing_in_crm":
            return await missing_in_crm(row, known)
        case _, "missing_in_commerce":
            return await missing_in_commerce(row, known)
        case "sap", "period":
            return await late_posting(row, known)
        case "sap", "amount" | "tax" | "currency" | "lines":
            return await differs_in_sap(row, known)
        case "crm", "amount" | "tax" | "currency" | "date":
            return differs_in_crm(row, known)
        case "sap", _:
            return repeated(row, known)
        case _:
            return row
