"""What a replay of a case would do now, without doing it: the real story, on real reads, with every write kept back.

The story runs with records, bus and ledger that only remember what they were asked; below them no write of any kind
leaves the process (`shared.clients.http.rehearsal`), so a preview cannot have an effect even by a way nobody thought
of. What it shows is therefore what a replay at this moment would post, to the line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, cast

from shared.authority.ledger import SapRules
from shared.clients.http import WouldSend, rehearsal
from shared.clients.sap_ledger import PostedDocument, SapLedger
from shared.clients.sap_orders import Placed, Repeatable, SapOrders
from shared.delivery import Story
from shared.domain.changes import Change, decode
from shared.domain.ledger import Document
from shared.domain.rulings import Accept, Hold, Reason, Refuse, Unchanged
from shared.domain.sales_orders import Computed, ComputedItem, SalesOrder
from shared.errors import Conflict, Malformed, Permanent, RemoteDown, Transient
from shared.messaging import BusPort
from shared.stores.cases import OPEN, Case
from shared.stores.parking import parked_in
from shared.stores.records import Dossier, Evidence, Records
from shared.stores.table import Op
from shared.wiring import Hub

Would = Literal["post", "write", "nothing", "hold", "wait"]
_INTAKE_RUNS_AS = {"change_intake": "order_to_ledger"}
"""A message kept at intake is published to every flow; what it would post is the ledger flow's word."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a replay would do: post `documents` or `sales_orders`, make `writes` in other systems, say nothing is to be
    done, be held again (for `reasons`), or wait. `followers` wait behind the message and would run after it.
    """

    would: Would
    flow: str
    reasons: tuple[Reason, ...] = ()
    documents: tuple[Document, ...] = ()
    sales_orders: tuple[SalesOrder, ...] = ()
    writes: tuple[WouldSend, ...] = ()
    published: tuple[Change, ...] = ()
    followers: int = 0


async def preview_case(case: Case, stories: Mapping[str, Story], hub: Hub) -> Preview:
    """Rehearse the message of an open case.

    Raises `Conflict` where the case is ended or the key has moved on, `Permanent` where its flow has no preview or the
    case keeps no message.
    """
    if case.state != OPEN:
        raise Conflict(f"the case is {case.state} already, by {case.ended_by}")
    flow = _INTAKE_RUNS_AS.get(case.flow, case.flow)
    story = stories.get(flow)
    if story is None:
        raise Permanent(f"{case.flow} has no preview", code="no_preview", remedy="read the message; a replay runs it")
    dossier = await hub.records.read(case.business_key)
    change, followers = _message(case, dossier)
    if change.business_key != case.business_key:
        dossier = await hub.records.read(change.business_key)
    return await _rehearse(flow, story, change, dossier, followers, hub)


def _message(case: Case, dossier: Dossier) -> tuple[Change, int]:
    if not case.parked:
        if case.body is None:
            raise Permanent("this case keeps no message", code="nothing_to_replay", remedy="resolve or discard it")
        try:
            return decode(case.body), 0
        except Malformed as error:
            raise Permanent(f"its message cannot be read: {error}", code="unreadable", remedy="discard it") from error
    parked = parked_in(dossier, case.flow)
    if parked is None or parked.case_id != case.id or not parked.waiting:
        raise Conflict("the key has moved on: read the case again")
    return parked.waiting[0].change, len(parked.waiting) - 1


async def _rehearse(flow: str, story: Story, change: Change, dossier: Dossier, followers: int, hub: Hub) -> Preview:
    bus, ledger, orders = _Bus(), _Ledger(hub.sap_ledger), _Orders(hub.sap_orders)
    quiet = replace(
        hub,
        records=_Records(hub.records),
        bus=cast(BusPort, bus),
        sap_ledger=cast(SapLedger, ledger),
        sap_orders=cast(SapOrders, orders),
    )
    writes: list[WouldSend] = []
    token = rehearsal.set(writes)

    def found(would: Would, reasons: Sequence[Reason] = ()) -> Preview:
        return Preview(
            would,
            flow,
            tuple(reasons),
            tuple(ledger.documents),
            tuple(orders.placed),
            tuple(writes),
            tuple(bus.published),
            followers,
        )

    try:
        outcome = await story(change, dossier, quiet)
    except Malformed as error:
        return found(
            "hold", [Reason("malformed", f"{f.where} {f.what}", "correct it in Commerce") for f in error.faults]
        )
    except Permanent as error:
        return found("hold", [Reason(error.code, str(error), error.remedy)])
    except RemoteDown as error:
        return found("wait", [Reason("system_down", str(error), f"{error.system} has to answer first")])
    except Transient as error:
        return found("wait", [Reason("not_yet", str(error))])
    finally:
        rehearsal.reset(token)
    match outcome.ruling:
        case Accept():
            return found("post" if ledger.documents or orders.placed else "write", outcome.ruling.reasons)
        case Unchanged():
            return found("nothing", outcome.ruling.reasons)
        case Hold() | Refuse():
            return found("hold", outcome.ruling.reasons)


class _Records(Records):
    """Reads what is there; keeps writes to itself."""

    def __init__(self, real: Records) -> None:
        self._real = real

    async def read(self, business_key: str) -> Dossier:
        return await self._real.read(business_key)

    async def read_evidence(self, business_key: str) -> list[Evidence]:
        return await self._real.read_evidence(business_key)

    async def write(self, business_key: str, operations: Sequence[Op]) -> list[str]:
        return ["rehearsed"] * len(operations)


@dataclass(slots=True)
class _Bus:
    """Remembers what would be published."""

    published: list[Change] = field(default_factory=list)

    async def publish(self, topic: str, change: Change) -> None:
        self.published.append(change)

    async def wake(
        self, topic: str, change: Change, *, flow: str, due: datetime | None = None, force: bool = False
    ) -> None:
        self.published.append(change)


class _Ledger:
    """Reads SAP; a document that would be posted is kept. Everything else is the real ledger's, writes held below."""

    def __init__(self, real: SapLedger) -> None:
        self._real = real
        self.documents: list[Document] = []

    async def post(self, document: Document, rules: SapRules, now: datetime) -> PostedDocument:
        self.documents.append(document)
        return PostedDocument(document.company_code, f"{document.posting_date:%Y}", f"PREVIEW{len(self.documents)}")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _Orders:
    """Reads SAP's sales orders; one that would be placed is kept, and stands then as if SAP computed the same."""

    def __init__(self, real: SapOrders) -> None:
        self._real = real
        self.placed: list[SalesOrder] = []

    async def place(self, order: SalesOrder, repeatable: Repeatable | None) -> Placed:
        self.placed.append(order)
        return _as_placed(order, len(self.placed))

    async def find(self, key: str) -> list[Placed]:
        rehearsed = [_as_placed(order, n) for n, order in enumerate(self.placed, start=1) if order.key == key]
        return rehearsed or await self._real.find(key)

    async def set_billing_block(self, placed: Placed, reason: str) -> None:
        """Rehearsed: nothing is blocked."""


def _as_placed(order: SalesOrder, number: int) -> Placed:
    items = {item.number: ComputedItem(item.net.amount, item.tax.amount) for item in order.items}
    return Placed(
        number=f"PREVIEW{number}",
        key=order.key,
        order=order.order,
        etag="",
        billing_block="",
        is_rejected=False,
        is_billed=False,
        credit_status="",
        computed=Computed(order.currency, order.net.amount, items),
    )
