"""Reconciling one legal entity and period: stage three systems, join by key, explain what differs; and closing it.

What the flows recorded explains a difference; what has no record is unexplained and stays so until a person or a
replay ends it. A period closes when nothing is unexplained and what is in flight is a named carry-over; whatever
changes afterwards in any of the three systems reopens it, with a record of what changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Any

from shared import exact_json, telemetry
from shared.domain.fiscal import Month, business_day, read_month
from shared.errors import ConcordError, Conflict, Fault, Malformed
from shared.reports.comparing import compare
from shared.reports.explaining import Explained, explain
from shared.reports.reconciliation import Reconciliation, as_json, assemble, row_as_json, subject_of
from shared.stores.beside import list_beside
from shared.stores.closes import Closes, Looked, list_looked, note_looked, read_closes
from shared.stores.table import RowChanged, RowExists
from shared.wiring import Hub

_SWEPT_MONTHS = 2
_WATCHED_MONTHS = 13
"""A closed month is watched this long for changes that come late."""


class NotClosable(Conflict):
    """The period cannot be closed; `items` names everything that stands against it."""

    def __init__(self, message: str, items: Sequence[dict[str, Any]]) -> None:
        super().__init__(message)
        self.items = list(items)


@dataclass(frozen=True, slots=True)
class Closed:
    """A certificate, and whether this call issued it."""

    certificate: dict[str, Any]
    issued: bool


async def reconcile(legal_entity: str, period: str, hub: Hub) -> tuple[Reconciliation, Closes]:
    """The reconciliation of a month of business dates, and where its closing stands now.

    A closed period whose inputs have changed is reopened here. Raises `Malformed` for an entity or period that is none.
    """
    report = await _reconcile(legal_entity, read_month(period), hub)
    closes = await _watched(report, hub)
    await note_looked(
        Looked(
            report.legal_entity,
            report.period,
            closes.state,
            report.orders,
            report.matched,
            report.explained,
            report.unexplained,
            report.in_flight,
            report.generated_at,
        ),
        hub.records,
    )
    return report, closes


async def close_period(
    legal_entity: str, period: str, *, by: str, carried: Sequence[str], comment: str, hub: Hub
) -> Closed:
    """Issue the certificate of a period, once; the same inputs closed again give the certificate there is.

    `carried` names the orders that are in flight and carried over. Raises `NotClosable` naming what stands against it,
    `Malformed` for a carry-over that is not in flight, `Conflict` when somebody closed it at this moment.
    """
    report, closes = await reconcile(legal_entity, period, hub)
    if closes.state == "closed" and closes.latest is not None:
        return Closed(closes.latest, issued=False)
    flying = {subject_of(row): row for row in report.rows if row.is_in_flight}
    strangers = [(index, name) for index, name in enumerate(carried) if name not in flying]
    if strangers:
        raise Malformed(Fault(f"carryOvers[{index}]", f"{name!r} is not in flight") for index, name in strangers)
    blocking = report.blocking(carried)
    if blocking or report.unlisted:
        raise _refusal(report, blocking)
    now = hub.clock()
    kept = await hub.bodies.put(exact_json.dumps(as_json(report)))
    certificate = {
        "number": f"{report.legal_entity}-{report.period}-{len(closes.certificates) + 1:02d}",
        "legalEntity": report.legal_entity,
        "period": report.period,
        "closedAt": now.isoformat(),
        "closedBy": by,
        "comment": comment,
        "policy": hub.policy.digest,
        "counts": {
            "orders": report.orders,
            "matched": report.matched,
            "explained": report.explained,
            "unexplained": report.unexplained,
            "inFlight": report.in_flight,
        },
        **{name: value for name, value in as_json(report).items() if name in {"systems", "bridges", "difference"}},
        "carryOvers": [row_as_json(report.legal_entity, flying[name]) for name in carried],
        "resultSha256": report.digest,
        "report": kept,
        "follows": closes.latest["number"] if closes.latest else None,
    }
    try:
        await hub.records.write(closes.business_key, closes.closed(certificate, now))
    except (RowChanged, RowExists) as error:
        raise Conflict("somebody closed or reopened this period at this moment: read it again") from error
    telemetry.log_outcome(
        "close", period=report.period, legal_entity=report.legal_entity, certificate=certificate["number"]
    )
    return Closed(certificate, issued=True)


async def reconciliation_sweep(hub: Hub) -> dict[str, int]:
    """Reconcile this month and the last of every legal entity, and every closed month that is still watched."""
    counted = {"reconciled": 0, "unexplained": 0, "in_flight": 0, "failed": 0}
    for legal_entity, period in await _periods(hub):
        try:
            report, _ = await reconcile(legal_entity, period, hub)
        except ConcordError as error:
            telemetry.log_fault("reconciliation_sweep", error, legal_entity=legal_entity, period=period)
            counted["failed"] += 1
            continue
        counted["reconciled"] += 1
        counted["unexplained"] += report.unexplained
        counted["in_flight"] += report.in_flight
    return counted


async def _periods(hub: Hub) -> list[tuple[str, str]]:
    found: dict[tuple[str, str], None] = {}
    for code, entity in sorted(hub.policy.ledger.legal_entities.items()):
        today = business_day(hub.clock(), entity)
        for back in range(_SWEPT_MONTHS):
            found[code, str(_months_before(today, back))] = None
    oldest = str(_months_before(hub.clock().date(), _WATCHED_MONTHS))
    for looked in await list_looked(hub.records):
        if looked.state == "closed" and looked.period >= oldest:
            found[looked.legal_entity, looked.period] = None
    return list(found)


def _months_before(day: date, months: int) -> Month:
    number = day.year * 12 + day.month - 1 - months
    return Month(number // 12, number % 12 + 1)


async def _reconcile(legal_entity: str, month: Month, hub: Hub) -> Reconciliation:
    entity = hub.policy.ledger.entity(legal_entity)
    beside = await list_beside(entity.code, month, hub.records)
    staged, joined = await compare(entity, month.first, month.last, hub, beside=beside)
    rows = await explain(joined, entity, hub)
    return assemble(
        entity.code, str(month), entity.currency, staged, joined, rows, policy=hub.policy.digest, now=hub.clock()
    )


async def _watched(report: Reconciliation, hub: Hub) -> Closes:
    """A closed period whose inputs are no longer those of its certificate is reopened, and why is kept."""
    closes = await read_closes(report.legal_entity, report.period, hub.records)
    certificate = closes.latest
    if closes.state != "closed" or certificate is None:
        return closes
    told = as_json(report)["systems"]
    changes = [
        {"system": name, "was": was, "is": told[name]}
        for name, was in certificate["systems"].items()
        if was["sha256"] != told[name]["sha256"]
    ]
    if not changes:
        return closes
    differing = [row_as_json(report.legal_entity, row) for row in report.blocking()][:100]
    why = {
        "certificate": certificate["number"],
        "seenAt": report.generated_at.isoformat(),
        "changes": changes,
        "items": differing,
    }
    with suppress(RowChanged, RowExists):  # somebody else saw it at this moment, or closed the period again
        await hub.records.write(closes.business_key, closes.reopened(why, report.generated_at))
    return await read_closes(report.legal_entity, report.period, hub.records)


def _refusal(report: Reconciliation, blocking: Sequence[Explained]) -> NotClosable:
    unexplained = {subject_of(row) for row in blocking if not row.explained}
    flying = {subject_of(row) for row in blocking} - unexplained
    parts = [f"{len(unexplained)} unexplained"] if unexplained else []
    parts += [f"{len(flying)} in flight and not named as carry-over"] if flying else []
    parts += [f"{sum(one.count for one in report.unlisted)} more than can be listed"] if report.unlisted else []
    listed = f"{len(blocking)} differences are listed"
    said = f"{report.legal_entity} {report.period} cannot be closed: {', '.join(parts)}; {listed}"
    return NotClosable(said, [row_as_json(report.legal_entity, row) for row in blocking])
