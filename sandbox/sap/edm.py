"""The typed model of an OData V2 service: one declaration yields `$metadata`, validation and the JSON shape.

Entity types are declared as text, one `Name kind flags…` after another, separated by commas. A kind is a number (text
of at most that length), `16.3@Currency` (a decimal with precision and scale, in the unit of another property),
`string`, `bool`, `date`, `datetime`, `offset`, `time`, `guid` or `int`. Flags: `key`, `ro` (set by SAP alone), `-c`
(not when creating), `-u` (not when changing), `etag`.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

type Value = str | Decimal | bool | int | date | datetime | timedelta | UUID | None
type Values = dict[str, Value]
type Hints = Mapping[str, frozenset[Value]]


class Edm(StrEnum):
    """The primitive types in use. Edm.DateTime carries dates (no time zone), Edm.DateTimeOffset aware instants."""

    STRING = "Edm.String"
    DECIMAL = "Edm.Decimal"
    BOOLEAN = "Edm.Boolean"
    DATETIME = "Edm.DateTime"
    OFFSET = "Edm.DateTimeOffset"
    TIME = "Edm.Time"
    GUID = "Edm.Guid"
    INT32 = "Edm.Int32"


@dataclass(frozen=True, slots=True)
class Property:
    """One property of an entity type."""

    name: str
    edm: Edm
    max_length: int | None = None
    precision: int | None = None
    scale: int | None = None
    unit: str | None = None
    key: bool = False
    creatable: bool = True
    updatable: bool = True
    etag: bool = False


@dataclass(frozen=True, slots=True)
class Navigation:
    """A navigation property: `on` maps own properties to those of the target that must be equal."""

    name: str
    target: str
    many: bool
    on: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class EntityType:
    """A named set of properties; the first ones are usually the key."""

    name: str
    properties: Mapping[str, Property]
    navigations: Mapping[str, Navigation] = field(default_factory=dict)

    @property
    def keys(self) -> list[Property]:
        """The key properties, in order."""
        return [p for p in self.properties.values() if p.key]

    @property
    def etag(self) -> Property | None:
        """The property that carries the version of a row, where there is one."""
        return next((p for p in self.properties.values() if p.etag), None)


@dataclass(frozen=True, slots=True)
class Deep:
    """The decoded body of a create: own values, and per navigation that was sent its children (empty if sent empty)."""

    values: Values
    children: Mapping[str, "list[Deep]"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Created:
    """The outcome of a create: the row, what to expand in the answer, and warnings for the sap-message header."""

    row: Any
    expand: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EntitySet:
    """Rows of one type. `rows` may use the equalities it is given to return fewer candidates; the rest is filtered.

    A row is a mapping of property values, unless `read` gives a function per property. Without `create`, `update` or
    `delete` the set refuses that.
    """

    name: str
    type: EntityType
    rows: Callable[[Hints], Iterable[Any]]
    read: Mapping[str, Callable[[Any], Value]] | None = None
    create: Callable[[Deep], Created] | None = None
    update: Callable[[Any, Values], None] | None = None
    delete: Callable[[Any], None] | None = None
    page_rows: int = 1000
    addressable: bool = True

    def value(self, row: Any, name: str) -> Value:
        """One property of one row; what SAP leaves initial is its type's initial value."""
        if self.read is None:
            value = row.get(name)
        else:
            getter = self.read.get(name)
            value = None if getter is None else getter(row)
        return initial(self.type.properties[name]) if value is None else value


@dataclass(frozen=True, slots=True)
class FunctionImport:
    """A callable operation: `parameters` are required properties, `call` answers rows of the complex type `returns`."""

    name: str
    parameters: tuple[Property, ...]
    returns: EntityType
    many: bool
    call: Callable[[Values], list[Values]]
    method: str = "GET"


class Pages:
    """Result lists that are being paged through: `__next` goes on in the list the first page came from."""

    def __init__(self, kept: int = 16) -> None:
        self._kept = kept
        self._lists: OrderedDict[str, list[Any]] = OrderedDict()

    def keep(self, key: str, rows: list[Any]) -> None:
        """Remember a list for the pages to come."""
        self._lists[key] = rows
        self._lists.move_to_end(key)
        while len(self._lists) > self._kept:
            self._lists.popitem(last=False)

    def resume(self, key: str) -> list[Any] | None:
        """The list kept under this key, or None when it is gone: then the read starts anew."""
        return self._lists.get(key)


@dataclass(frozen=True, slots=True)
class Service:
    """One OData service. `namespace` is the schema's, mostly equal to the service name."""

    name: str
    sets: Mapping[str, EntitySet]
    functions: Mapping[str, FunctionImport] = field(default_factory=dict)
    namespace: str = ""
    pages: Pages = field(default_factory=Pages)

    @property
    def schema(self) -> str:
        """The namespace of its types."""
        return self.namespace or self.name


def service(
    name: str, sets: Iterable[EntitySet], functions: Iterable[FunctionImport] = (), namespace: str = ""
) -> Service:
    """Assemble a service; every navigation must point at one of its sets."""
    by_name = {entity_set.name: entity_set for entity_set in sets}
    for entity_set in by_name.values():
        for navigation in entity_set.type.navigations.values():
            assert navigation.target in by_name, f"{name}: {navigation.name} points at {navigation.target}"
    return Service(name, by_name, {function.name: function for function in functions}, namespace)


def entity_type(name: str, declaration: str, *navigations: Navigation) -> EntityType:
    """An entity type from its declaration (see the module)."""
    parsed = properties(declaration)
    return EntityType(name, {p.name: p for p in parsed}, {n.name: n for n in navigations})


def to_many(name: str, target: str, *on: str) -> Navigation:
    """A navigation to many rows of `target`; `on` names equal properties, or `own=theirs`."""
    return Navigation(name, target, many=True, on=_pairs(on))


def to_one(name: str, target: str, *on: str) -> Navigation:
    """A navigation to at most one row of `target`."""
    return Navigation(name, target, many=False, on=_pairs(on))


def properties(declaration: str) -> tuple[Property, ...]:
    """The properties of a declaration."""
    return tuple(_property(entry.split()) for entry in re.split(r"[,\n]", declaration) if entry.strip())


def initial(declared: Property) -> Value:
    """What an ABAP field holds when nothing was set."""
    match declared.edm:
        case Edm.STRING:
            return ""
        case Edm.DECIMAL:
            return Decimal(0)
        case Edm.BOOLEAN:
            return False
        case Edm.INT32:
            return 0
        case _:
            return None


_KINDS = {
    "string": Edm.STRING, "bool": Edm.BOOLEAN, "date": Edm.DATETIME, "datetime": Edm.DATETIME, "offset": Edm.OFFSET,
    "time": Edm.TIME, "guid": Edm.GUID, "int": Edm.INT32,
}  # fmt: skip


def _property(words: list[str]) -> Property:
    name, kind, *flags = words
    assert set(flags) <= {"key", "ro", "-c", "-u", "etag"}, f"{name}: {flags}"
    key, read_only = "key" in flags, "ro" in flags
    creatable, updatable = not (read_only or "-c" in flags), not (read_only or key or "-u" in flags)
    edm, max_length, precision, scale, unit = _KINDS.get(kind, Edm.STRING), None, None, None, None
    if kind.isdigit():
        max_length = int(kind)
    elif kind not in _KINDS:
        number, _, unit_name = kind.partition("@")
        digits, _, decimals = number.partition(".")
        edm, precision, scale, unit = Edm.DECIMAL, int(digits), int(decimals), unit_name or None
    return Property(name, edm, max_length, precision, scale, unit, key, creatable, updatable, "etag" in flags)


def _pairs(on: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((own, theirs or own) for own, _, theirs in (pair.partition("=") for pair in on))
