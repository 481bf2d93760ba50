"""Events from the three systems, read at the edge into changes.

Each reader takes the parsed JSON of one webhook call and gives the change it stands for, with the topic it belongs
to; it raises `Malformed` naming every faulty field. Nothing is looked up here: whatever an event leaves out is
re-read by the flow that needs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from shared import exact_json
from shared.domain.changes import Change
from shared.domain.dataverse_context import read_context
from shared.domain.moments import moment_of
from shared.domain.orders import DoesNotAddUp, Number, faults_of, read_order
from shared.errors import Fault, Malformed

Topic = Literal["orders", "changes"]
_KEY_MAX = 100
_IMPORT_FAULT = "ImportFault"
_TOLD_MAX = 500  # characters
_TOLD_COUNT_MAX = 50
_STOCK_EVENTS = "sap.s4.beh.materialdocument.v1.MaterialDocument."
_SAP_ENTITIES = {
    "businesspartner": ("account", "BusinessPartner"),
    "salesorder": ("sap_sales_order", "SalesOrder"),
    "salescontract": ("sap_sales_contract", "SalesContract"),
    "journalentry": ("journal_entry", "AccountingDocument"),
    "billingdocument": ("billing_document", "BillingDocument"),
}

_READ_OF_SAP = frozenset({"stock", "account"})


@dataclass(frozen=True, slots=True)
class Envelope:
    """Where and when the event came in, and the trace it belongs to."""

    received_at: datetime
    correlation_id: str
    traceparent: str


class OrderRefused(Malformed):
    """The envelope is good but the order in it cannot be read: kept as a case, told to the sender."""

    def __init__(self, faults: Collection[Fault], change: Change) -> None:
        super().__init__(faults)
        self.change = change


def commerce_event(raw: Any, envelope: Envelope, legal_entities: Collection[str]) -> Change:
    """A Commerce order event. An order that does not add up is accepted: the ledger flow makes it a case."""
    faults = _unknown_entity(raw, legal_entities)
    try:
        event = _CommerceEvent.model_validate(raw)
    except ValidationError as error:
        raise Malformed([*faults_of(error), *faults, *_order_faults(raw)]) from error
    if faults:
        raise Malformed([*faults, *_order_faults(raw)])
    change = Change(
        id=event.id,
        source="commerce",
        entity="order",
        kind=event.type,
        legal_entity=event.legalEntity,
        key=event.orderNumber,
        occurred_at=event.occurredAt,
        received_at=envelope.received_at,
        correlation_id=envelope.correlation_id,
        traceparent=envelope.traceparent,
        data={
            "eventId": event.id,
            "order": event.order,
            "lines": [line.model_dump() for line in event.lines] if event.lines is not None else None,
            "decisionId": event.decisionId or None,
        },
    )
    if event.order is not None:
        told = _told_by_sender(event.order)
        try:
            order = read_order(event.order, event.legalEntity)
        except DoesNotAddUp:
            if told:
                raise OrderRefused(told, change) from None
            return change
        except Malformed as error:
            raise OrderRefused([*told, *error.faults], change) from error
        if told:
            raise OrderRefused(told, change)
        if order.number != event.orderNumber:
            fault = Fault("order.SalesId", f"is {order.number!r}, the event is about {event.orderNumber!r}")
            raise OrderRefused([fault], change)
    return change


def _told_by_sender(order: Mapping[str, Any]) -> list[Fault]:
    """What the sender itself says it could not understand: extension properties named ImportFault, one for each.

    A channel that imports from elsewhere knows best what is wrong with its input; its word stands first in the case.
    """
    properties = order.get("ExtensionProperties")
    found = []
    for index, one in enumerate(properties if isinstance(properties, list) else ()):
        if not isinstance(one, Mapping) or one.get("Key") != _IMPORT_FAULT:
            continue
        value = one.get("Value")
        told = value.get("StringValue") if isinstance(value, Mapping) else None
        said = told.strip()[:_TOLD_MAX] if isinstance(told, str) and told.strip() else "something, but not what"
        found.append(Fault(f"order.ExtensionProperties[{index}]", f"could not be imported: {said}"))
    return found[:_TOLD_COUNT_MAX]


def _unknown_entity(raw: Any, legal_entities: Collection[str]) -> list[Fault]:
    code = raw.get("legalEntity") if isinstance(raw, dict) else None
    if not isinstance(code, str) or not code or code.strip() in legal_entities:
        return []  # one that is missing or no text is named already
    return [Fault("legalEntity", f"is not one of {', '.join(sorted(legal_entities))}")]


def _order_faults(raw: Any) -> list[Fault]:
    """What else is wrong with the order of an event that is refused anyway, so that one answer names it all."""
    order = raw.get("order") if isinstance(raw, dict) else None
    if not isinstance(order, dict):
        return []
    try:
        read_order(order, "")
    except DoesNotAddUp:
        return []
    except Malformed as error:
        return list(error.faults)
    return []


def sap_event(raw: Any, envelope: Envelope) -> list[Change]:
    """The changes a CloudEvent stands for: one for each material and plant of a stock movement, else one."""
    try:
        event = _CloudEvent.model_validate(raw)
    except ValidationError as error:
        raise Malformed(faults_of(error)) from error
    if event.type.startswith(_STOCK_EVENTS):
        return [
            _sap_change(event, envelope, "stock", "stock.changed", f"{plant}|{material}", {})
            for plant, material in _moved(event)
        ]
    family = event.type.removeprefix("sap.s4.beh.").split(".", 1)[0]
    entity, key_name = _SAP_ENTITIES.get(family, (f"sap_{family}"[:64], ""))
    key = event.data.get(key_name) if key_name else event.subject or event.id
    if not _is_key(key):
        where = f"data.{key_name}" if key_name else "subject"
        raise Malformed([Fault(where, "is missing or no name of a record")])
    verb = event.type.rsplit(".", 2)[-2].lower() if event.type.count(".") > 2 else "changed"
    kind = {"created": "record.created", "deleted": "record.deleted"}.get(verb, "record.updated")
    return [_sap_change(event, envelope, entity, kind, key, {"type": event.type})]


def dataverse_event(raw: Any, envelope: Envelope) -> Change:
    """A Dataverse webhook call (RemoteExecutionContext), also without the parts dropped above 256 KB."""
    context = read_context(raw)
    kind = {
        "Create": "record.created",
        "Update": "record.updated",
        "Delete": "record.deleted",
        "Merge": "record.merged",
        "SetState": "record.updated",
        "SetStateDynamicEntity": "record.updated",
    }.get(context.message, f"record.{context.message.lower()}")
    return Change(
        id=context.event_id,
        source="dataverse",
        entity=context.entity,
        kind=kind,
        legal_entity="",
        key=context.record_id,
        occurred_at=context.occurred_at,
        received_at=envelope.received_at,
        correlation_id=envelope.correlation_id,
        traceparent=envelope.traceparent,
        data={
            "fields": context.fields,
            "before": context.before,
            "after": context.after,
            "tag": context.tag,
            "depth": context.depth,
            "user": context.user,
            "reread": context.must_be_reread,
        },
    )


def has_reader(change: Change) -> bool:
    """Whether some flow reads such a change.

    SAP tells of every document, those that Concord posted itself included, where its event channel was not told to
    leave them out; no flow re-reads one, and each would cost the bus a message and the tables its evidence.
    """
    return change.source != "sap" or change.entity in _READ_OF_SAP


def topic_of(change: Change) -> Topic:
    return "orders" if change.entity == "order" else "changes"


def _sap_change(
    event: _CloudEvent, envelope: Envelope, entity: str, kind: str, key: Any, data: Mapping[str, Any]
) -> Change:
    return Change(
        id=event.id,
        source="sap",
        entity=entity,
        kind=kind,
        legal_entity="",
        key=str(key),
        occurred_at=event.time,
        received_at=envelope.received_at,
        correlation_id=envelope.correlation_id,
        traceparent=envelope.traceparent,
        data={**data, "keys": event.data},
    )


def _moved(event: _CloudEvent) -> list[tuple[str, str]]:
    """Plant and material of a stock movement: on the event itself, or by item."""
    items = event.data.get("to_MaterialDocumentItem", event.data.get("Items", [event.data]))
    moved: dict[tuple[str, str], None] = {}
    faults: list[Fault] = []
    for index, item in enumerate(items if isinstance(items, list) else [items]):
        plant = item.get("Plant") if isinstance(item, dict) else None
        material = item.get("Material") if isinstance(item, dict) else None
        if _is_key(plant) and _is_key(material):
            moved[(str(plant), str(material))] = None
        else:
            faults.append(Fault(f"data[{index}]", "names no Plant and Material"))
    if not items:
        faults.append(Fault("data", "names no item that moved"))
    if faults:
        raise Malformed(faults)
    return list(moved)


def _is_key(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _KEY_MAX and value.isprintable()


def _no_control(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("holds control characters")
    return value


Key = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_no_control)]
Moment = Annotated[datetime, BeforeValidator(moment_of)]


def _positive(value: Decimal) -> Decimal:
    if value <= 0:
        raise ValueError("must be above zero")
    return value


class _EventLine(BaseModel):
    model_config = ConfigDict(extra="ignore")

    lineId: Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)] = Field(
        min_length=1, max_length=64
    )
    quantity: Annotated[Number, AfterValidator(_positive)]


class _CommerceEvent(BaseModel):
    model_config = ConfigDict(extra="ignore", str_strip_whitespace=True)

    type: Literal["order.confirmed", "order.changed", "order.shipped", "order.returned", "order.cancelled"]
    id: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_no_control)]
    orderNumber: Key
    legalEntity: Key
    occurredAt: Moment
    order: dict[str, Any] | None = None
    lines: list[_EventLine] | None = Field(default=None, max_length=10_000)
    decisionId: Annotated[str, Field(max_length=200)] | None = None


class _CloudEvent(BaseModel):
    model_config = ConfigDict(extra="ignore")

    specversion: Literal["1.0"]
    type: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_no_control)]
    source: str = Field(min_length=1, max_length=500)
    id: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_no_control)]
    time: Moment
    subject: str | None = Field(default=None, max_length=500)
    data: dict[str, Any]


def digest_of(raw: Any) -> str:
    """A stable id for an event that carries none of its own."""
    return hashlib.sha256(exact_json.canonical(raw)).hexdigest()[:32]
