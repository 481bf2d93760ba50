"""An order's life in the customer history: content, movements, returns and postings, each written to Dataverse once.

Every event is folded into what is known of the order; the rows written follow from that alone, so events may come in
any order and any number of times. The post-purchase signal fires once, when confirmation and invoice are both known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from shared.clients.dataverse import (
    Dataverse,
    NoSuchRow,
    RowRequest,
    Step,
    bind,
    creating_once,
    deleting,
    etag_in,
    key_text,
    reading_version,
    upserting_at,
    upserting_many,
)
from shared.domain.changes import Change
from shared.domain.history import (
    CONTENT_EVENTS,
    MOVES,
    Known,
    Movement,
    Posting,
    Version,
    documents_text,
    is_newer,
    line_facts,
    moved_by_line,
    order_facts,
    purchase_completed_at,
    stage_of,
    with_content,
)
from shared.domain.money import decimal_of
from shared.domain.orders import Order, read_order
from shared.domain.rulings import Accept, Reason, Unchanged
from shared.errors import Conflict, Fault, Malformed
from shared.mapping.order import ORDER, ORDER_LINE
from shared.stores.history import head_operation, movement_operation, posting_operation, read_known
from shared.stores.records import Dossier, FieldRuling, Outcome
from shared.stores.table import Op
from shared.wiring import Hub

_EVENTS = CONTENT_EVENTS | MOVES.keys() | {"order.posted"}
# Figures are Commerce's and SAP's; Dataverse must not compute its own from price lists.
_AS_GIVEN = {"ispricelocked": True, "skippricecalculation": 1}
_LINE_AS_GIVEN = {"isproductoverridden": True, "ispriceoverridden": True, "skippricecalculation": 1}


async def crm_history_update(change: Change, dossier: Dossier, hub: Hub) -> Outcome:
    """Bring one order event into the CRM history."""
    if change.kind not in _EVENTS:
        return _unchanged("not_history", f"{change.kind} is not part of a customer's history")
    before = read_known(dossier)
    try:
        order = await _content_needed(change, before, hub)
        movement = None if _is_content(change, order) else _movement(change)
    except Malformed as error:
        return _unchanged("unreadable_order", f"the order cannot be read ({error}); the ledger flow keeps its case")
    if order is None and change.kind in CONTENT_EVENTS:
        return _unchanged("content_unknown", "no content came and Commerce knows no such order")
    known = _folded(before, change, order, movement)
    content = order if known.version != before.version else None

    row = OrderRow(change, known, content)
    signal = await _signal(row, known, hub)
    etag = await row.write(hub.dataverse, removed=_removed(before, known), signal=signal)
    known = replace(known, row_etag=etag, signalled=known.signalled or signal is not None)

    operations = _operations(dossier, before, known, movement)
    return Outcome(
        Accept(),
        summary=f"{stage_of(known)}{', signal sent' if signal is not None else ''}",
        fields=_fields(row, hub),
        operations=operations,
        links={"order": row.key},
    )


class OrderRow:
    """One order as its rows in Dataverse: the header by order key, the lines by line key."""

    def __init__(self, change: Change, known: Known, content: Order | None) -> None:
        self.key = key_text(change.legal_entity, change.key)
        self.at = {"concord_orderkey": self.key}
        self.bind = bind("salesorders", self.at)
        self.change = change
        self.known = known
        self.content = content
        self.written: dict[str, Any] = {}

    async def write(self, dataverse: Dataverse, *, removed: list[str], signal: RowRequest | None) -> str:
        """Write what this event changed, in one request; all of it may be repeated. Gives the header's new version.

        Header and lines stand or fall as one, so nobody reads an order without its lines. A line that is gone already
        and a signal that stands already are no faults, and must not take the order back: they are steps of their own.

        The header says which version it was decided on. An attempt whose answer was given up may land much later, on
        top of what later events wrote; then its condition fails, and nothing after it in the batch is done either.
        """
        etag = self.known.row_etag
        after = [*([self._removal(line)] for line in removed), *([[signal]] if signal is not None else [])]
        try:
            return await self._write_at(etag, after, dataverse)
        except Conflict:
            pass  # somebody edited the row, or an attempt of ours landed whose answer was lost
        except NoSuchRow:
            # Somebody deleted the row; or the order is here before its customer: make room for that one, the
            # account's own flow fills it.
            number = self.content.customer if self.content is not None else ""
            if not number and not etag:
                raise
            if number:
                await dataverse.create_once("accounts", {"accountnumber": number}, {"name": number})
        [standing] = await dataverse.write([reading_version("salesorders", self.at)])
        return await self._write_at(etag_in(standing), after, dataverse)

    async def _write_at(self, etag: str, after: list[list[RowRequest]], dataverse: Dataverse) -> str:
        version = reading_version("salesorders", self.at)
        return etag_in((await dataverse.write(await self._order(etag, dataverse), *after, [version]))[-1])

    async def _order(self, etag: str, dataverse: Dataverse) -> Step:
        currency = None
        if self.content is not None:
            currency = bind_currency(await dataverse.currency_id(self.content.currency))
        header = upserting_at("salesorders", self.at, self._header(currency), etag=etag)
        lines = upserting_many("salesorderdetails", "salesorderdetail", "concord_linekey", self._lines(currency))
        return [header, *lines]

    def _removal(self, line: str) -> RowRequest:
        return deleting("salesorderdetails", {"concord_linekey": key_text(*self._line(line))})

    def _header(self, currency: str | None) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "number": self.change.key,
            "legal_entity": self.change.legal_entity,
            "stage": stage_of(self.known),
            "documents": documents_text(self.known.postings),
        }
        decision = self.change.data.get("decisionId")
        if isinstance(decision, str) and decision:
            facts["decision"] = decision
        extra: dict[str, Any] = {"concord_correlationid": self.change.correlation_id}
        if self.content is not None:
            facts |= order_facts(self.content)
            if facts["original"]:
                facts["original"] = key_text(self.change.legal_entity, str(facts["original"]))
            extra |= _AS_GIVEN | {"transactioncurrencyid@odata.bind": currency}
            if self.content.customer:
                extra["customerid_account@odata.bind"] = bind("accounts", {"accountnumber": self.content.customer})
        else:
            facts["title"] = f"Order {self.change.key}" if self.known.version is None else None
        self.written = {name: value for name, value in facts.items() if value is not None}
        header = ORDER.write("dataverse", {name: v for name, v in self.written.items() if name != "currency"})
        return header | extra

    def _lines(self, currency: str | None) -> list[dict[str, Any]]:
        moved = moved_by_line(self.known)
        if self.content is not None:
            return [
                self._line_row(line.line_id, {**line_facts(line, sequence), **moved.get(line.line_id, {})})
                | _LINE_AS_GIVEN
                | {"transactioncurrencyid@odata.bind": currency}
                for sequence, line in enumerate(self.content.lines, 1)
            ]
        if self.change.kind not in MOVES:
            return []
        return [self._line_row(line, dict(amounts)) for line, amounts in moved.items() if any(amounts.values())]

    def _line_row(self, line_id: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        values = dict(facts)
        if original := values.get("original"):
            values["original"] = key_text(self.change.legal_entity, original)
        row = ORDER_LINE.write("dataverse", {**values, "key": key_text(*self._line(line_id))})
        return row | {"salesorderid@odata.bind": self.bind}

    def _line(self, line_id: str) -> tuple[str, str, str]:
        return (self.change.legal_entity, self.change.key, line_id)


def bind_currency(currency_id: str) -> str:
    return f"/transactioncurrencies({currency_id})"


async def _content_needed(change: Change, known: Known, hub: Hub) -> Order | None:
    """The order's content where the event brings it or it is still missing. Raises Malformed."""
    if change.kind == "order.posted" and not is_newer(_version(change), known):
        return None  # it carries what was posted, and what the order is, is known: not worth reading again
    raw = change.data.get("order")
    if raw is None and (change.kind in CONTENT_EVENTS or known.version is None):
        raw = await hub.commerce.read_order(change.legal_entity, change.key)
    if raw is None:
        return None
    order = read_order(raw, change.legal_entity)
    if order.number != change.key:
        raise Malformed([Fault("order.SalesId", f"is {order.number!r}, the event is about {change.key!r}")])
    return order


def _is_content(change: Change, order: Order | None) -> bool:
    """Whether the event tells what the order is, rather than what moved: a return of its own number is an order."""
    if change.kind in CONTENT_EVENTS or change.kind == "order.posted":
        return True
    return change.kind == "order.returned" and order is not None and order.is_return


def _movement(change: Change) -> Movement:
    lines = change.data.get("lines")
    if lines is None:
        return Movement(MOVES[change.kind], change.id, change.occurred_at, None)
    moved: dict[str, Decimal] = {}
    for index, line in enumerate(lines):
        try:
            moved[str(line["lineId"])] = moved.get(str(line["lineId"]), Decimal(0)) + decimal_of(line["quantity"])
        except (ValueError, TypeError, KeyError) as error:
            raise Malformed([Fault(f"lines[{index}]", f"is not a line with its quantity ({error})")]) from error
    return Movement(MOVES[change.kind], change.id, change.occurred_at, moved)


def _folded(before: Known, change: Change, order: Order | None, movement: Movement | None) -> Known:
    """What is known with this event in it."""
    known = before
    if order is not None:
        known = with_content(known, order, _version(change))
    if change.kind == "order.confirmed":
        known = replace(known, confirmed_at=min(known.confirmed_at or change.occurred_at, change.occurred_at))
    if movement is not None and all(one.event_id != movement.event_id for one in known.movements):
        known = replace(known, movements=(*known.movements, movement))
    if change.kind == "order.posted":
        posting = _posting(change)
        if all(one.key != posting.key for one in known.postings):
            known = replace(known, postings=(*known.postings, posting))
    return known


def _version(change: Change) -> Version:
    """How new the content is that an event brings."""
    return Version(0 if change.kind == "order.posted" else 1, change.occurred_at, change.id)


def _posting(change: Change) -> Posting:
    raw = change.data.get("posting")
    if not isinstance(raw, dict):
        raise Malformed([Fault("posting", "is missing")])
    faults = [Fault(f"posting.{name}", "is missing") for name in ("key", "kind", "document") if not raw.get(name)]
    if faults:
        raise Malformed(faults)
    try:
        gross = decimal_of(raw.get("gross"))
    except ValueError as error:
        raise Malformed([Fault("posting.gross", str(error))]) from error
    return Posting(
        key=str(raw["key"]),
        kind=str(raw["kind"]),
        document=str(raw["document"]),
        fiscal_year=str(raw.get("fiscalYear", "")),
        company_code=str(raw.get("companyCode", "")),
        gross=gross,
        currency=str(raw.get("currency", "")),
        occurred_at=change.occurred_at,
    )


async def _signal(row: OrderRow, known: Known, hub: Hub) -> RowRequest | None:
    """The post-purchase signal, once it is due: its key is the purchase's, and a row that exists is left alone."""
    completed_at = purchase_completed_at(known)
    if completed_at is None or known.signalled:
        return None
    return creating_once(
        "concord_signals",
        {"concord_signalkey": f"purchase|{row.key}"},
        {
            "concord_name": f"Purchase {row.change.key} completed",
            "concord_kind": "purchase_completed",
            "concord_orderkey": row.key,
            "concord_accountnumber": known.customer or None,
            "concord_legalentity": row.change.legal_entity,
            "concord_occurredon": completed_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "concord_amount": known.total,
            "concord_currency": known.currency,
            "concord_correlationid": row.change.correlation_id,
            "transactioncurrencyid@odata.bind": bind_currency(await hub.dataverse.currency_id(known.currency)),
            "concord_Order@odata.bind": row.bind,
        },
    )


def _removed(before: Known, known: Known) -> list[str]:
    """Lines that a newer content no longer has."""
    if before.version == known.version:
        return []
    return sorted(set(before.quantities) - set(known.quantities))


def _operations(dossier: Dossier, before: Known, known: Known, movement: Movement | None) -> tuple[Op, ...]:
    # The head is rewritten each time, changed or not: its version shows whether the dossier was still the latest.
    operations: list[Op] = [head_operation(dossier, known)]
    if movement is not None and movement in known.movements:
        operations.append(movement_operation(dossier, movement))
    operations += [posting_operation(dossier, one) for one in known.postings if one not in before.postings]
    return tuple(operations)


def _fields(row: OrderRow, hub: Hub) -> tuple[FieldRuling, ...]:
    stage = "posted" if row.known.postings else ""
    return tuple(
        FieldRuling(name, "", _text(value), row.change.source, rule.owner, "accept")
        for name, value in row.written.items()
        for rule in [hub.policy.authority.rule("order", name, legal_entity=row.change.legal_entity, stage=stage)]
    )


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _unchanged(code: str, message: str) -> Outcome:
    return Outcome(Unchanged((Reason(code, message),)), summary=message)
