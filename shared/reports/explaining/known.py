"""One order with findings, and all that is looked at to explain them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from shared.authority.ledger import LegalEntity
from shared.clients.sap_orders import Placed
from shared.domain.ledger import posting_key
from shared.reports.three_way import Finding, Joined
from shared.stores.cases import Case
from shared.stores.claims import Claim, claim_in
from shared.stores.records import Dossier, Evidence
from shared.wiring import Hub

LEDGER, HISTORY = "order_to_ledger", "crm_history_update"
"""The flows that write to SAP and to CRM, as evidence and parked messages name them."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one order, and where more can be read.

    `findings` are all of the order's, `case` is its open one, `placed` the period's sales orders by posting key.
    """

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
    def own_keys(self) -> Sequence[str]:
        """The posting keys under which the order's own document may stand, as a sale or as a return."""
        return sorted(posting_key(self.entity.code, self.number, kind, "") for kind in ("invoice", "return"))

    @property
    def own_claim(self) -> Claim | None:
        """The settled claim of the order's own document."""
        return next((claim for key in self.own_keys if (claim := self.claim_of(key)) is not None), None)

    @property
    def written_to_crm(self) -> tuple[Decimal, Decimal, str] | None:
        """Total, tax and business date as they were last written to the customer history; None where none was."""
        latest: dict[str, str] = {}
        for one in self.evidence:
            if one.flow == HISTORY and one.ruling == "accept":
                latest |= {field["name"]: field["new"] for field in one.fields}
        if not {"total", "tax", "business_date"} <= latest.keys():
            return None
        return Decimal(latest["total"]), Decimal(latest["tax"]), latest["business_date"]

    def is_billed_twice(self, claim: Claim) -> bool:
        """Whether more than one document of the period carries a sales order's key."""
        return sum(one.system == "sap" and one.reference == claim.key for one in self.findings) > 1

    def is_under_way(self, claim: Claim) -> bool:
        """Whether what became of an attempt is still to be found out: nobody ended its message by hand since."""
        ended = (one for one in self.evidence if one.flow == LEDGER and one.ended_by_hand)
        return claim.state == "sending" and not any(one.decided_at >= claim.attempted_at for one in ended)

    def claim_of(self, key: str) -> Claim | None:
        """The settled claim of a posting key."""
        claim = claim_in(self.dossier, key)
        return claim if claim is not None and claim.is_settled else None
