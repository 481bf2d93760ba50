"""Column values: JSON checked against the column on the way in, written exactly on the way out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final
from uuid import UUID

from sandbox.dataverse.errors import BAD_VALUE, Refused, bad_payload
from sandbox.dataverse.model import Column, Kind, Table


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a lookup points."""

    table: str
    id: str


type Value = str | int | Decimal | bool | datetime | date | Reference | None


def read_value(table: Table, column: Column, given: object, *, decimals_as_text: bool = False) -> Value:
    """A JSON value as the column holds it, None included. Raises Refused (400).

    `decimals_as_text` is the OData IEEE754Compatible format, in which decimals and 64-bit numbers travel as strings.
    """
    if given is None:
        return None
    return _READERS[column.kind](_Given(table, column, given, decimals_as_text))


def write_value(column: Column, value: Value) -> object:
    """A value as it stands in JSON. Money and decimals keep the column's decimals, as numbers."""
    match value:
        case Reference():
            return value.id
        case datetime():
            return value.strftime("%Y-%m-%dT%H:%M:%SZ")
        case date():
            return value.isoformat()
        case Decimal():
            return padded(value, column.decimals)
        case _:
            return value


def formatted(column: Column, value: Value) -> str | None:
    """The text a person sees, for the annotation; None where Dataverse gives none."""
    match value:
        case None:
            return None
        case bool():
            return dict(column.options).get(int(value))
        case int() if column.kind.is_option:
            return dict(column.options).get(value)
        case int() | Decimal():
            return f"{value:,}"
        case datetime():
            return value.strftime("%m/%d/%Y %I:%M %p")
        case date():
            return value.strftime("%m/%d/%Y")
        case _:
            return None


def padded(value: Decimal, decimals: int) -> Decimal:
    """The number with the decimals that Dataverse writes: those of the column."""
    return value.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN)


def read_guid(text: str) -> str | None:
    """A GUID in its plain lower-case form, or None."""
    try:
        return str(UUID(text)) if len(text) == 36 else None
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class _Given:
    table: Table
    column: Column
    value: object
    decimals_as_text: bool

    def wrong_type(self) -> Refused:
        """The fault of a value of another JSON type."""
        kind = type(self.value).__name__
        literal = repr(self.value) if isinstance(self.value, str) else self.value
        return bad_payload(
            self.table.entity_set,
            f"Microsoft.OData.ODataException: Cannot convert the literal {literal} ({kind}) of property "
            f"'{self.column.property_name}' to the expected type '{self.column.kind.edm}'.",
        )

    def invalid(self, reason: str) -> Refused:
        """The fault of a value that the column's definition rules out."""
        return Refused(400, BAD_VALUE, f"A validation error occurred. {reason}")


def _read_text(given: _Given) -> Value:
    if not isinstance(given.value, str):
        raise given.wrong_type()
    if len(given.value) > given.column.max_length:
        raise given.invalid(
            f"The length of the '{given.column.name}' attribute of the '{given.table.name}' entity exceeded the "
            f"maximum allowed length of '{given.column.max_length}'."
        )
    return given.value or None


def _read_whole(given: _Given) -> Value:
    if isinstance(given.value, bool) or not isinstance(given.value, int):
        raise given.wrong_type()
    return _within_range(given, given.value)


def _read_big(given: _Given) -> Value:
    if given.decimals_as_text and isinstance(given.value, str) and given.value.lstrip("-").isdigit():
        return int(given.value)
    if isinstance(given.value, bool) or not isinstance(given.value, int):
        raise given.wrong_type()
    return given.value


def _read_decimal(given: _Given) -> Value:
    value = given.value
    if given.decimals_as_text and isinstance(value, str):
        try:
            value = Decimal(value)
        except ArithmeticError as fault:
            raise given.wrong_type() from fault
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise given.wrong_type()
    number = Decimal(value)
    if not number.is_finite():
        raise given.wrong_type()
    return padded(_within_range(given, number), given.column.decimals)


def _within_range[N: (int, Decimal)](given: _Given, number: N) -> N:
    if not given.column.minimum <= number <= given.column.maximum:
        raise given.invalid(
            f"The value {number} of '{given.column.name}' on record of type '{given.table.name}' is outside the valid "
            f"range. Accepted values: {given.column.minimum} to {given.column.maximum}."
        )
    return number


def _read_flag(given: _Given) -> Value:
    if not isinstance(given.value, bool):
        raise given.wrong_type()
    return given.value


def _read_option(given: _Given) -> Value:
    if isinstance(given.value, bool) or not isinstance(given.value, int):
        raise given.wrong_type()
    accepted = dict(given.column.options)
    if given.value not in accepted:
        raise given.invalid(
            f"The value {given.value} of '{given.column.name}' on record of type '{given.table.name}' is outside the "
            f"valid range. Accepted values: {','.join(map(str, accepted))}."
        )
    return given.value


def _read_instant(given: _Given) -> Value:
    if not isinstance(given.value, str):
        raise given.wrong_type()
    try:
        instant = datetime.fromisoformat(given.value)
    except ValueError as fault:
        raise given.wrong_type() from fault
    if instant.tzinfo is None:
        raise given.wrong_type()
    return instant.astimezone(UTC).replace(microsecond=0)


def _read_day(given: _Given) -> Value:
    if not isinstance(given.value, str) or len(given.value) != 10:
        raise given.wrong_type()
    try:
        return date.fromisoformat(given.value)
    except ValueError as fault:
        raise given.wrong_type() from fault


def _read_guid(given: _Given) -> Value:
    guid = read_guid(given.value) if isinstance(given.value, str) else None
    if guid is None:
        raise given.wrong_type()
    return guid


def _refuse_lookup(given: _Given) -> Value:
    raise bad_payload(
        given.table.entity_set,
        "Microsoft.Crm.CrmException: CRM do not support direct update of Entity Reference properties, "
        f"Use Navigation properties instead ('{given.column.property_name}').",
    )


_READERS: Final[Mapping[Kind, Callable[[_Given], Value]]] = {
    Kind.STRING: _read_text,
    Kind.MEMO: _read_text,
    Kind.INTEGER: _read_whole,
    Kind.BIGINT: _read_big,
    Kind.DECIMAL: _read_decimal,
    Kind.MONEY: _read_decimal,
    Kind.BOOLEAN: _read_flag,
    Kind.PICKLIST: _read_option,
    Kind.STATE: _read_option,
    Kind.STATUS: _read_option,
    Kind.DATETIME: _read_instant,
    Kind.DATE: _read_day,
    Kind.LOOKUP: _refuse_lookup,
    Kind.GUID: _read_guid,
}
