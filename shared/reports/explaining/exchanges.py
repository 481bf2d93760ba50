"""Exchanges: what looks like a return from its header and was posted as a sale, or the other way."""

from __future__ import annotations

from dataclasses import replace

from shared.reports.explaining.differing import differs_in_sap
from shared.reports.explaining.explained import Explained
from shared.reports.explaining.known import Known


async def paired(rows: list[Explained], known: Known) -> list[Explained]:
    """The findings of an order, in which an exchange is one.

    The join knows one posting key of an order; where the ledger has it under the other, both findings are one: of the
    order and the document that was posted for it.
    """
    missing = next((one for one in rows if one.finding.kind == "missing_in_sap" and not one.explained), None)
    other = next(
        (
            one
            for one in rows
            if one.finding.system == "sap"
            and one.finding.kind == "missing_in_commerce"
            and one.finding.reference in known.own_keys
            and (claim := known.claim_of(one.finding.reference)) is not None
            and one.finding.document == claim.name
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
        row = await differs_in_sap(row, known)
    return [row, *(one for one in rows if one not in (missing, other))]
