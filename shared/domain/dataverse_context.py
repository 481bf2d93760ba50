"""Dataverse's RemoteExecutionContext, as webhooks send it, read into plain values.

The serialisation has traps, and each is met here: collections are lists of key/value pairs; entities inside images
carry no `__type` while `Target` does; Money and option sets are wrapped, multi-select is a list of them; Guid and
DateTime may be wrapped too; `/Date(ms±hhmm)/` of the operation is off by its own offset; above 256 KB the input
parameters and images are missing altogether and the record has to be read again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from shared.domain.moments import within_years
from shared.errors import Fault, Malformed

_DATE = re.compile(r"^/Date\((-?\d{1,15})([+-]\d{4})?\)/$")
_GUID = re.compile(r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
_LOGICAL_NAME = re.compile(r"^[a-z][a-z0-9_]{0,99}$")
_MESSAGE = re.compile(r"^[A-Za-z][A-Za-z0-9_.]{0,127}$")
_PARENTS_MAX = 16
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class ExecutionContext:
    """One call: `fields` are the attributes the operation set, `before`/`after` the registered images.

    `must_be_reread` is True where Dataverse left the content out. `tag` is the caller's own mark (`?tag=`), searched
    through the parent contexts as well.
    """

    event_id: str
    message: str
    entity: str
    record_id: str
    occurred_at: datetime
    user: str
    depth: int
    tag: str
    fields: dict[str, Any]
    before: dict[str, Any]
    after: dict[str, Any]
    must_be_reread: bool


def read_context(raw: Any) -> ExecutionContext:
    """Read a webhook body; raises `Malformed` naming every faulty field."""
    if not isinstance(raw, dict):
        raise Malformed([Fault("body", "is not a JSON object")])
    faults: list[Fault] = []

    def text(name: str, pattern: re.Pattern[str] | None = None) -> str:
        value = _unwrapped(raw.get(name))
        if not isinstance(value, str) or not value or (pattern is not None and not pattern.match(value)):
            faults.append(Fault(name, "is missing or not of its form"))
            return ""
        return value

    message = text("MessageName", _MESSAGE)
    entity = text("PrimaryEntityName", _LOGICAL_NAME)
    record_id = text("PrimaryEntityId", _GUID).lower()
    occurred_at = _operation_time(raw.get("OperationCreatedOn"), faults)
    inputs = _pairs(raw.get("InputParameters"), "InputParameters", faults)
    before = _images(raw.get("PreEntityImages"), "PreEntityImages", faults)
    after = _images(raw.get("PostEntityImages"), "PostEntityImages", faults)
    depth = raw.get("Depth", 1)
    if type(depth) is not int:
        faults.append(Fault("Depth", "is not a whole number"))
        depth = 1
    target = inputs.get("Target")
    fields = _attributes(target, "InputParameters.Target", faults) if message != "Delete" else {}
    if faults:
        raise Malformed(faults)
    user = _unwrapped(raw.get("InitiatingUserId")) or _unwrapped(raw.get("UserId"))
    named = (_unwrapped(raw.get(name)) for name in ("OperationId", "RequestId"))
    event_id = next((name for name in named if isinstance(name, str) and _GUID.match(name)), record_id)
    return ExecutionContext(
        event_id=event_id,
        message=message,
        entity=entity,
        record_id=record_id,
        occurred_at=occurred_at,
        user=user if isinstance(user, str) else "",
        depth=depth,
        tag=_tag(raw),
        fields=fields,
        before=before,
        after=after,
        must_be_reread=raw.get("InputParameters") is None,
    )


def _operation_time(value: Any, faults: list[Fault]) -> datetime:
    """The moment in UTC: Dataverse writes the local time as if it were UTC and adds the offset beside it."""
    match = _DATE.match(value) if isinstance(value, str) else None
    if match is None:
        faults.append(Fault("OperationCreatedOn", "is not /Date(ms±hhmm)/"))
        return _EPOCH
    moment = _moment(match)
    if moment is None or not within_years(moment):
        faults.append(Fault("OperationCreatedOn", "is out of range"))
        return _EPOCH
    return moment


def _moment(match: re.Match[str]) -> datetime | None:
    """The moment in UTC; None where no calendar reaches it."""
    offset = timedelta()
    if shift := match.group(2):
        offset = timedelta(hours=int(shift[1:3]), minutes=int(shift[3:])) * (-1 if shift[0] == "-" else 1)
    try:
        return _EPOCH + (timedelta(milliseconds=int(match.group(1))) + offset)
    except OverflowError:
        return None


def _pairs(value: Any, where: str, faults: list[Fault]) -> dict[str, Any]:
    """A list of key/value pairs as a mapping; absent (dropped above 256 KB) is empty."""
    if value is None:
        return {}
    if not isinstance(value, list):
        faults.append(Fault(where, "is not a list of key/value pairs"))
        return {}
    read: dict[str, Any] = {}
    for index, pair in enumerate(value):
        if not isinstance(pair, dict) or not isinstance(pair.get("key"), str):
            faults.append(Fault(f"{where}[{index}]", "is not a key/value pair"))
            continue
        read[pair["key"]] = pair.get("value")
    return read


def _images(value: Any, where: str, faults: list[Fault]) -> dict[str, Any]:
    """The attributes of all registered images together."""
    merged: dict[str, Any] = {}
    for name, image in _pairs(value, where, faults).items():
        merged |= _attributes(image, f"{where}.{name}", faults)
    return merged


def _attributes(entity: Any, where: str, faults: list[Fault]) -> dict[str, Any]:
    if not isinstance(entity, dict) or "Attributes" not in entity:
        return {}
    pairs = _pairs(entity["Attributes"], f"{where}.Attributes", faults)
    return {name: _plain(value) for name, value in pairs.items()}


def _plain(value: Any) -> Any:
    """One attribute value without its wrapping: amounts stay exact, moments become ISO 8601."""
    value = _unwrapped(value)
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, str):
        match = _DATE.match(value)
        moment = _moment(match) if match else None
        return moment.isoformat() if moment else value
    if isinstance(value, dict):
        kind = str(value.get("__type", "")).partition(":")[0]
        if kind in ("Money", "OptionSetValue", "BooleanManagedProperty"):
            return _plain(value.get("Value"))
        if kind == "EntityReference" or {"Id", "LogicalName"} <= value.keys():
            return {"id": value.get("Id"), "entity": value.get("LogicalName"), "name": value.get("Name")}
        return {name: _plain(inner) for name, inner in value.items() if name != "__type"}
    if value is None or isinstance(value, (bool, int, Decimal)):
        return value
    return str(value)


def _unwrapped(value: Any) -> Any:
    """`{"__type": "Guid:#System", "__value": …}` is its value."""
    return value["__value"] if isinstance(value, dict) and "__value" in value else value


def _tag(raw: dict[str, Any]) -> str:
    context: Any = raw
    for _ in range(_PARENTS_MAX):
        if not isinstance(context, dict):
            return ""
        for name, value in _pairs(context.get("SharedVariables"), "SharedVariables", []).items():
            plain = _unwrapped(value)
            if name == "tag" and isinstance(plain, str):
                return plain
        context = context.get("ParentContext")
    return ""
