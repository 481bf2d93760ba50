"""The table model: what Dataverse calls metadata. Everything strict in this simulator is read from here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Final
from uuid import NAMESPACE_URL, uuid5

MONEY_DECIMALS: Final = 4
NAMESPACE: Final = "Microsoft.Dynamics.CRM"


class Kind(Enum):
    """Column types: the value is the name of the attribute type in Dataverse metadata."""

    STRING = "String"
    MEMO = "Memo"
    INTEGER = "Integer"
    BIGINT = "BigInt"
    DECIMAL = "Decimal"
    MONEY = "Money"
    BOOLEAN = "Boolean"
    PICKLIST = "Picklist"
    STATE = "State"
    STATUS = "Status"
    DATETIME = "DateTime"
    DATE = "DateOnly"
    LOOKUP = "Lookup"
    GUID = "Uniqueidentifier"

    @property
    def edm(self) -> str:
        """The OData primitive type that travels over the wire."""
        return _EDM[self]

    @property
    def is_option(self) -> bool:
        """Whether values come from a list of numbered options."""
        return self in {Kind.PICKLIST, Kind.STATE, Kind.STATUS}


_EDM: Final[Mapping[Kind, str]] = {
    Kind.STRING: "Edm.String",
    Kind.MEMO: "Edm.String",
    Kind.INTEGER: "Edm.Int32",
    Kind.BIGINT: "Edm.Int64",
    Kind.DECIMAL: "Edm.Decimal",
    Kind.MONEY: "Edm.Decimal",
    Kind.BOOLEAN: "Edm.Boolean",
    Kind.PICKLIST: "Edm.Int32",
    Kind.STATE: "Edm.Int32",
    Kind.STATUS: "Edm.Int32",
    Kind.DATETIME: "Edm.DateTimeOffset",
    Kind.DATE: "Edm.Date",
    Kind.LOOKUP: "Edm.Guid",
    Kind.GUID: "Edm.Guid",
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a lookup may point: `navigation` is the case-sensitive property that `@odata.bind` names."""

    navigation: str
    table: str


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `schema` is its schema name; `writable` False = the platform fills it in and ignores callers."""

    name: str
    kind: Kind
    schema: str
    max_length: int = 0
    decimals: int = 0
    minimum: int = -(2**31)
    maximum: int = 2**31 - 1
    options: tuple[tuple[int, str], ...] = ()
    targets: tuple[Target, ...] = ()
    states: tuple[tuple[int, int], ...] = ()
    writable: bool = True

    @property
    def property_name(self) -> str:
        """The name of the column as an OData property: lookups show as `_name_value`."""
        return f"_{self.name}_value" if self.kind is Kind.LOOKUP else self.name


@dataclass(frozen=True)
class Table:
    """One table. `collections` maps a collection-valued navigation property to (child table, lookup column)."""

    name: str
    entity_set: str
    schema: str
    id_column: str
    name_column: str
    columns: Mapping[str, Column]
    keys: tuple[tuple[str, ...], ...] = ()
    collections: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    object_type_code: int = 10_000
    seeded: bool = False

    @cached_property
    def properties(self) -> Mapping[str, Column]:
        """Columns by OData property name."""
        return {column.property_name: column for column in self.columns.values()}

    @cached_property
    def navigations(self) -> Mapping[str, tuple[Column, Target]]:
        """Single-valued navigation properties."""
        return {t.navigation: (c, t) for c in self.columns.values() for t in c.targets}

    @cached_property
    def metadata_id(self) -> str:
        """A stable GUID of the table's definition."""
        return stable_id(f"table:{self.name}")

    def of_kind(self, *kinds: Kind) -> Iterable[Column]:
        """The columns of these kinds."""
        return (column for column in self.columns.values() if column.kind in kinds)


def stable_id(name: str) -> str:
    """A GUID that is the same in every run."""
    return str(uuid5(NAMESPACE_URL, f"concord-sandbox:{name}"))
