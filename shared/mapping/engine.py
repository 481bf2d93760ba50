"""The mapping engine: one typed table per business object, compiled once into pairs of names and converters.

A mapped object is a dict of governed field names to plain values (text, bool, Decimal, date, aware datetime, None).
Amounts are Decimals; their currency is a field of its own, because that is how every system here keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

from shared.domain.money import decimal_of
from shared.errors import Fault, Malformed
from shared.mapping.sap_values import day as sap_day
from shared.mapping.sap_values import moment as sap_moment
from shared.mapping.sap_values import stamp

System = Literal["sap", "dataverse", "commerce"]
SYSTEMS: tuple[System, ...] = ("sap", "dataverse", "commerce")
Value = str | bool | Decimal | date | datetime | None
Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Converter:
    """How a kind of value enters (`read`) and leaves (`write`) each system; SAP's V2 differs from the others."""

    read: Convert
    write: Convert
    read_sap: Convert
    write_sap: Convert


@dataclass(frozen=True, slots=True)
class Field:
    """One governed field and its name in each system ("" where the system has none).

    A name may carry its entity set in front, as `Set/Property`, where an object is kept in several.
    """

    name: str
    sap: str = ""
    dataverse: str = ""
    commerce: str = ""
    convert: Converter | None = None

    def external(self, system: System) -> str:
        """The property's name, without its entity set."""
        named = {"sap": self.sap, "dataverse": self.dataverse, "commerce": self.commerce}[system]
        return named.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class ObjectMap:
    """A compiled table: per system the governed name, the external name and the two converters."""

    object: str
    fields: tuple[Field, ...]
    sets: Mapping[System, str]
    _pairs: Mapping[System, tuple[tuple[str, str, Convert, Convert], ...]]

    def write(self, system: System, values: Mapping[str, Value]) -> dict[str, Any]:
        """The system's properties for those governed values that are given and that it has a name for."""
        return {
            external: to_external(values[name])
            for name, external, _, to_external in self._pairs[system]
            if name in values
        }

    def read(self, system: System, raw: Mapping[str, Any]) -> dict[str, Value]:
        """The governed values among a system's properties; raises Malformed naming each that cannot be read."""
        values: dict[str, Value] = {}
        faults: list[Fault] = []
        for name, external, from_external, _ in self._pairs[system]:
            if external not in raw:
                continue
            try:
                values[name] = from_external(raw[external])
            except (ValueError, TypeError, Malformed) as error:
                faults.append(Fault(f"{system}.{external}", str(error)))
        if faults:
            raise Malformed(faults)
        return values

    def external_names(self, system: System) -> tuple[str, ...]:
        """What is read of a system's main entity, for `$select`."""
        return tuple(external for _, external, _, _ in self._pairs[system])

    def name_of(self, system: System, external: str) -> str | None:
        """The governed name of a system's property, or None where it is not governed."""
        return next((name for name, own, _, _ in self._pairs[system] if own == external), None)


def compiled(object_name: str, fields: tuple[Field, ...], **sets: str) -> ObjectMap:
    """Compile a table; `sets` names each system's entity set. Raises ValueError for a name that stands twice."""
    for names in (
        [field.name for field in fields],
        *([f.external(s) for f in fields if f.external(s)] for s in SYSTEMS),
    ):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{object_name} maps {', '.join(twice)} twice")
    pairs: dict[System, tuple[tuple[str, str, Convert, Convert], ...]] = {}
    for system in SYSTEMS:
        pairs[system] = tuple(
            (field.name, field.external(system), *_directions(field.convert or text, system))
            for field in fields
            if field.external(system)
        )
    return ObjectMap(object_name, fields, {system: sets[system] for system in SYSTEMS if system in sets}, pairs)


def _directions(converter: Converter, system: System) -> tuple[Convert, Convert]:
    return (converter.read_sap, converter.write_sap) if system == "sap" else (converter.read, converter.write)


def _read_text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"is {type(value).__name__}, not text")
    return value


def _read_flag(value: Any) -> bool:
    if value is None:
        return False
    if not isinstance(value, bool):
        raise TypeError(f"is {type(value).__name__}, not true or false")
    return value


def _read_number(value: Any) -> Decimal | None:
    return None if value is None else decimal_of(value)


def _read_moment(value: Any) -> datetime | None:
    if value is None:
        return None
    read = datetime.fromisoformat(value)
    if read.tzinfo is None:
        raise ValueError("has no time zone")
    return read.astimezone(UTC)


def _read_day(value: Any) -> date | None:
    return None if value is None else date.fromisoformat(value[:10])


def _as_is(value: Any) -> Any:
    return value


def _write_text(value: Any) -> str | None:
    return value or None


def _write_moment(value: Any) -> str | None:
    return None if value is None else value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _write_day(value: Any) -> str | None:
    return None if value is None else value.isoformat()


def _write_sap_number(value: Any) -> str | None:
    return None if value is None else f"{value:f}"


def _write_sap_time(value: Any) -> str | None:
    return None if value is None else stamp(value)


text = Converter(_read_text, _write_text, _read_text, _as_is)
flag = Converter(_read_flag, _as_is, _read_flag, _as_is)
number = Converter(_read_number, _as_is, _read_number, _write_sap_number)
"""Amounts and quantities: exact JSON numbers outside SAP, decimal text inside."""
moment = Converter(_read_moment, _write_moment, sap_moment, _write_sap_time)
day = Converter(_read_day, _write_day, sap_day, _write_sap_time)
