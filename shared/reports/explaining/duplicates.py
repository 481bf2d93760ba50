"""Several documents in SAP for one posting: which is ours, and what has to become of the others."""

from __future__ import annotations

from dataclasses import replace

from shared.reports.explaining.explained import Explained
from shared.reports.explaining.known import Known
from shared.stores.claims import Claim


def repeated(row: Explained, known: Known) -> Explained:
    """A posting key that stands on several documents: the one that was posted is named, the others are not ours."""
    claim = known.claim_of(row.finding.reference)
    if claim is None:
        return row
    if claim.way == "sales_order":
        said = f"sales order {claim.name} is billed more than once, by {row.finding.document}: cancel all but one"
        return replace(row, reason=f"{said} billing document in SAP")
    others = [one for one in row.finding.document.split(", ") if one != claim.name]
    said = f"{', '.join(others)} repeats posting key {claim.key} of {claim.name}: reverse it in SAP"
    return replace(row, reason=said)


def repeats_another(row: Explained, claim: Claim, known: Known) -> Explained | None:
    """A document under a key of which another one was posted; None where it is the one, or the only one."""
    finding = row.finding
    if claim.way == "journal_entry" and claim.name != finding.document:
        said = f"{finding.document} repeats posting key {claim.key} of {claim.name}: reverse it in SAP"
        return replace(row, row_class="duplicate", code="duplicate", reason=said)
    if claim.way == "sales_order" and known.is_billed_twice(claim):
        said = f"sales order {claim.name} is billed more than once, also by {finding.document}"
        return replace(row, row_class="duplicate", code="duplicate", reason=said)
    return None
