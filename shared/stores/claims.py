"""Claims: what was asked to be posted under one posting key, and what is known of its fate.

    (no row) ──insert──▶ sending ──document known──▶ settled
                          │  ▲
        nothing was sent  │  │ next attempt, when nothing landed
                          ▼  │
                      idle / refused

*sending* means that SAP may have the document or may still produce it: until `lease_until` nobody may conclude that
it has not. A worker that dies leaves exactly this state behind, so there is no other for an unknown outcome. *idle*
says that the attempt certainly never took effect, *refused* that SAP said no.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, Literal

from shared.authority.ledger import PostingWay
from shared.domain.ledger import Entry, read_content
from shared.stores.packing import pack, unpack
from shared.stores.records import Dossier
from shared.stores.table import Op, Row

ClaimState = Literal["sending", "idle", "refused", "settled"]
_PREFIX = "0|claim|"


@dataclass(frozen=True, slots=True)
class Claim:
    """One posting key of an order; times are aware UTC.

    `asked` is the digest of what the event asked for, so that other content under the same key shows; `content` is the
    entry it was frozen to at the first attempt, which later attempts repeat to the letter; `way` is how it goes to SAP
    and where it is looked for, whatever policy says by then. A sales order's `fiscal_year` is `SALES_ORDER`.
    """

    business_key: str
    key: str
    kind: str
    event: str
    asked: str
    content: str
    posting_date: date
    way: PostingWay
    state: ClaimState
    attempt: int
    first_attempted_at: datetime
    attempted_at: datetime
    lease_until: datetime
    company_code: str = ""
    fiscal_year: str = ""
    document: str = ""
    decision: str = ""
    settled_at: datetime | None = None
    etag: str = field(default="", compare=False)

    @property
    def entry(self) -> Entry:
        return read_content(self.content)

    @property
    def name(self) -> str:
        """What it became: company code, fiscal year and number of a document, or GB01/SO/4711 for a sales order."""
        return f"{self.company_code}/{self.fiscal_year}/{self.document}"

    @property
    def is_settled(self) -> bool:
        return self.state == "settled"

    def operation(self) -> Op:
        """Write it: as a new row, or over exactly the version it was read at."""
        row = Row(self.business_key, f"{_PREFIX}{self.key}", _values(self))
        return Op("replace", row, self.etag) if self.etag else Op("insert", row)

    def with_etag(self, etag: str) -> Claim:
        return replace(self, etag=etag)


def claim_in(dossier: Dossier, key: str) -> Claim | None:
    """The claim of one posting key, if there is one."""
    row = dossier.row(f"{_PREFIX}{key}")
    return None if row is None else _claim(row)


def claims_in(dossier: Dossier) -> list[Claim]:
    """Every claim of the order, by posting key."""
    return [_claim(row) for row in dossier.rows(_PREFIX)]


def _values(claim: Claim) -> Mapping[str, Any]:
    return {
        "kind": claim.kind,
        "event": claim.event,
        "asked": claim.asked,
        "posting_date": claim.posting_date.isoformat(),
        "way": claim.way,
        "state": claim.state,
        "attempt": claim.attempt,
        "first_attempted_at": claim.first_attempted_at.isoformat(),
        "attempted_at": claim.attempted_at.isoformat(),
        "lease_until": claim.lease_until.isoformat(),
        "company_code": claim.company_code,
        "fiscal_year": claim.fiscal_year,
        "document": claim.document,
        "decision": claim.decision,
        "settled_at": claim.settled_at.isoformat() if claim.settled_at else "",
        **pack(claim.content.encode()),
    }


def _claim(row: Row) -> Claim:
    values = row.values
    return Claim(
        business_key=row.partition,
        key=row.key.removeprefix(_PREFIX),
        kind=values["kind"],
        event=values["event"],
        asked=values["asked"],
        content=unpack(row).decode(),
        posting_date=date.fromisoformat(values["posting_date"]),
        way=values.get("way", "journal_entry"),  # claims from before there were sales orders name no way
        state=values["state"],
        attempt=values["attempt"],
        first_attempted_at=datetime.fromisoformat(values.get("first_attempted_at", values["attempted_at"])),
        attempted_at=datetime.fromisoformat(values["attempted_at"]),
        lease_until=datetime.fromisoformat(values["lease_until"]),
        company_code=values["company_code"],
        fiscal_year=values["fiscal_year"],
        document=values["document"],
        decision=values["decision"],
        settled_at=datetime.fromisoformat(values["settled_at"]) if values["settled_at"] else None,
        etag=row.etag,
    )
