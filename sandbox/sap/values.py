"""Values of the Edm types: as JSON, as literals of a URL, and back, strictly."""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

from sandbox.kit.entities import currency_decimals
from sandbox.sap.edm import Edm, EntitySet, Property, Value
from sandbox.sap.errors import SapError, bad_property

_JSON_DATE: Final = re.compile(r"/Date\((-?\d+)([+-]\d{4})?\)/")
_ISO_DATE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?")
_DECIMAL: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_DURATION: Final = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.\d+)?S)?")
_LITERAL: Final = re.compile(r"(datetime|datetimeoffset|guid|time)?'((?:[^']|'')*)'")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_json(entity_set: EntitySet, row: Any, declared: Property) -> object:
    """One property of a row as it stands in a JSON answer."""
    value = entity_set.value(row, declared.name)
    if isinstance(value, Decimal):
        known = declared.unit is not None and declared.unit in entity_set.type.properties
        unit = entity_set.value(row, declared.unit) if known and declared.unit else None
        return decimal_text(value, declared, unit if isinstance(unit, str) else None)
    return plain_json(value, declared)


def plain_json(value: Value, declared: Property) -> object:
    """One value as JSON, whatever its unit."""
    match value:
        case bool() | int() | str() | None:
            return value
        case Decimal():
            return decimal_text(value, declared, None)
        case UUID():
            return str(value)
        case timedelta():
            return _duration(value)
        case datetime():
            offset = "+0000" if declared.edm is Edm.OFFSET else ""
            return f"/Date({_milliseconds(value)}{offset})/"
        case date():
            return f"/Date({_milliseconds(datetime(value.year, value.month, value.day, tzinfo=UTC))})/"


def decimal_text(value: Decimal, declared: Property, unit: str | None) -> str:
    """Amounts carry the decimals of their currency, rates those of their scale, quantities only what they need."""
    decimals = currency_decimals().get(unit or "")
    if decimals is not None:
        shown = max(decimals, -int(value.normalize().as_tuple().exponent))
        return f"{value:.{shown}f}"
    if declared.unit is None and declared.scale in {9, 5}:
        return f"{value:.{declared.scale}f}"
    return f"{value.normalize():f}" if value else "0"


def from_json(declared: Property, given: object) -> Value:
    """Decode a property of a request body. Raises SapError 400 with the property's name."""
    if given is None:
        if declared.key:
            raise bad_property(declared.name, f"Property {declared.name} must not be null")
        return None
    value = _from_json(declared, given)
    check(declared, value)
    return value


def check(declared: Property, value: Value) -> None:
    """Length and precision. Raises SapError 400."""
    if isinstance(value, str) and declared.max_length is not None and len(value) > declared.max_length:
        raise bad_property(
            declared.name,
            f"Property {declared.name} has {len(value)} characters; at most {declared.max_length} are allowed",
        )
    if isinstance(value, Decimal) and declared.precision is not None and declared.scale is not None:
        _, digits, exponent = value.as_tuple()
        decimals = max(0, -int(exponent))
        if decimals > declared.scale or len(digits) - decimals > declared.precision - declared.scale:
            raise bad_property(
                declared.name,
                f"Property {declared.name} has value {value}, which does not fit precision {declared.precision} "
                f"and scale {declared.scale}",
            )


def check_unit(declared: Property, value: Value, unit: Value) -> None:
    """An amount has no more decimals than its currency. Raises SapError 400."""
    decimals = currency_decimals().get(unit) if isinstance(unit, str) else None
    if isinstance(value, Decimal) and decimals is not None and value != round(value, decimals):
        message = f"Property {declared.name} has value {value}; currency {unit} has {decimals} decimals"
        raise bad_property(declared.name, message)


def literal(value: Value, declared: Property) -> str:
    """A value as it stands in a key or a filter."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return "'" + quote(value.replace("'", "''"), safe="") + "'"
        case UUID():
            return f"guid'{value}'"
        case Decimal():
            return f"{value}M"
        case datetime():
            name = "datetimeoffset" if declared.edm is Edm.OFFSET else "datetime"
            plain = value.astimezone(UTC).replace(tzinfo=None)
            text = (
                f"{plain:%Y-%m-%dT%H:%M:%S.%f}0Z" if declared.edm is Edm.OFFSET else plain.isoformat(timespec="seconds")
            )
            return f"{name}'{quote(text, safe='')}'"
        case date():
            return f"datetime'{quote(f'{value.isoformat()}T00:00:00', safe='')}'"
        case timedelta():
            return f"time'{_duration(value)}'"
        case None:
            return "null"
        case int():
            return str(value)


def from_literal(declared: Property, text: str) -> Value:
    """Decode a literal compared with, or given for, a property. Raises SapError 400 where the types differ."""
    if text == "null":
        return None
    quoted = _LITERAL.fullmatch(text)
    prefix, content = (quoted[1], quoted[2].replace("''", "'")) if quoted else (None, text)
    try:
        match declared.edm, bool(quoted), prefix:
            case Edm.STRING, True, None:
                return content
            case Edm.BOOLEAN, False, _ if text in {"true", "false"}:
                return text == "true"
            case Edm.DECIMAL, False, _ if _DECIMAL.fullmatch(text.rstrip("MmDdFfL")):
                return Decimal(text.rstrip("MmDdFfL"))
            case Edm.INT32, False, _:
                return int(text.rstrip("L"))
            case Edm.GUID, True, "guid":
                return UUID(content)
            case Edm.DATETIME, True, "datetime":
                return _iso(content, declared)
            case Edm.OFFSET, True, "datetimeoffset":
                return _iso(content, declared)
            case Edm.TIME, True, "time":
                return _parse_duration(content)
    except (ValueError, OverflowError, InvalidOperation) as fault:
        raise SapError(400, "/IWBEP/CM_MGW_RT/022", f"Invalid literal {text} for {declared.name}: {fault}") from fault
    message = f"Invalid parametertype used at function 'eq': {declared.name} is {declared.edm}, given was {text}"
    raise SapError(400, "/IWCOR/CX_DS_EXPR_SYNTAX_ERROR", message)


def comparable(value: Value) -> Value:
    """Dates and midnights compare as one kind."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value


def _from_json(declared: Property, given: object) -> Value:
    wrong = bad_property(declared.name, f"Property {declared.name} of type {declared.edm} has invalid value {given!r}")
    try:
        value = _decoded(declared, given)
    except (ValueError, OverflowError) as fault:  # the right form, and yet no such day, instant or number
        raise wrong from fault
    if value is None:
        raise wrong
    return value


def _decoded(declared: Property, given: object) -> Value:
    match declared.edm:
        case Edm.STRING if isinstance(given, str):
            return given
        case Edm.BOOLEAN if isinstance(given, bool):
            return given
        case Edm.INT32 if isinstance(given, int) and not isinstance(given, bool):
            return given
        case Edm.DECIMAL if isinstance(given, str) and _DECIMAL.fullmatch(given):
            return Decimal(given)
        case Edm.DATETIME | Edm.OFFSET if isinstance(given, str):
            stamped = _JSON_DATE.fullmatch(given)
            if stamped:
                instant = _EPOCH + timedelta(milliseconds=int(stamped[1]))
                return instant.date() if _is_date(declared, instant) else instant
            if _ISO_DATE.fullmatch(given):
                return _iso(given, declared)
        case Edm.TIME if isinstance(given, str) and _DURATION.fullmatch(given):
            return _parse_duration(given)
        case Edm.GUID if isinstance(given, str):
            return UUID(given)
    return None


def _is_date(declared: Property, instant: datetime) -> bool:
    return declared.edm is Edm.DATETIME and (instant.hour, instant.minute, instant.second) == (0, 0, 0)


def _iso(text: str, declared: Property) -> date | datetime:
    if not _ISO_DATE.fullmatch(text):
        raise ValueError("not a date")
    instant = datetime.fromisoformat(text)
    aware = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    return aware.date() if _is_date(declared, aware) else aware


def _milliseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(milliseconds=1)


def _duration(value: timedelta) -> str:
    seconds = int(value.total_seconds())
    return f"PT{seconds // 3600:02d}H{seconds % 3600 // 60:02d}M{seconds % 60:02d}S"


def _parse_duration(text: str) -> timedelta:
    parts = _DURATION.fullmatch(text)
    if not parts:
        raise ValueError("not a duration")
    hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)
