"""Resource paths: entity sets, keys and what follows them, read from the url."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sandbox.dataverse.errors import KEY_NOT_DEFINED, KEY_NOT_FOUND, NO_SEGMENT, Refused, bad_query, no_such_row
from sandbox.dataverse.model import Kind, Table
from sandbox.dataverse.rows import Row, Rows
from sandbox.dataverse.tables import BY_ENTITY_SET
from sandbox.dataverse.values import Reference, Value, read_guid, read_value
from sandbox.kit import exact_json

# Documented: a key whose value holds one of these cannot be used in the url of a GET or a PATCH.
_UNADDRESSABLE: Final = frozenset('/#<>*%&:\\?+"')
_PAIR: Final = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*('(?:[^']|'')*'|[^,']+)\s*(?:,|$)")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a path leads: a table, perhaps one row of it (by id or by key), and the segments after that."""

    table: Table
    row_id: str | None = None
    key: Mapping[str, Value] | None = None
    rest: tuple[str, ...] = ()

    @property
    def is_row(self) -> bool:
        """Whether one row is addressed."""
        return self.row_id is not None or self.key is not None

    def find(self, rows: Rows) -> Row | None:
        """The row, if it is there."""
        if self.row_id is not None:
            return rows.get(self.table, self.row_id)
        assert self.key is not None
        return rows.by_key(self.table, self.key)

    def require(self, rows: Rows) -> Row:
        """The row. Raises Refused (404)."""
        row = self.find(rows)
        if row is not None:
            return row
        if self.row_id is not None:
            raise no_such_row(self.table.name, self.row_id)
        raise Refused(
            404, KEY_NOT_FOUND, f"A record with the specified key values does not exist in {self.table.name} entity"
        )


def read_address(path: str, rows: Rows, aliases: Mapping[str, str] | None = None) -> Address:
    """Read a decoded path below the service root; `aliases` are the @parameters of the query. Raises Refused."""
    segments = _segments(path)
    name, parenthesis, inside = segments[0].partition("(")
    table = BY_ENTITY_SET.get(name)
    if table is None or not rows.has(table):
        raise Refused(404, NO_SEGMENT, f"Resource not found for the segment '{name}'.")
    rest = tuple(segments[1:])
    if not parenthesis:
        return Address(table, rest=rest)
    if not inside.endswith(")"):
        raise bad_query(f"Bad Request - Error in query syntax: '{segments[0]}'.")
    return _read_key(table, inside[:-1].strip(), rows, aliases or {}, rest)


def _read_key(table: Table, inside: str, rows: Rows, aliases: Mapping[str, str], rest: tuple[str, ...]) -> Address:
    guid = read_guid(inside)
    if guid is not None:
        return Address(table, row_id=guid, rest=rest)
    pairs, position = {}, 0
    while position < len(inside):
        found = _PAIR.match(inside, position)
        if found is None or found.group(1) in pairs:
            raise bad_query(f"Bad Request - Error in query syntax: '{table.entity_set}({inside})'.")
        pairs[found.group(1)] = aliases.get(found.group(2).strip(), found.group(2).strip())
        position = found.end()
    if not pairs:
        raise bad_query(f"Bad Request - Error in query syntax: '{table.entity_set}({inside})'.")
    if set(pairs) == {table.id_column}:
        own = read_guid(pairs[table.id_column])
        if own is None:
            raise bad_query(f"Bad Request - Error in query syntax: '{pairs[table.id_column]}' is not a GUID.")
        return Address(table, row_id=own, rest=rest)
    columns = {_column_of(table, name): text for name, text in pairs.items()}
    if not any(set(key) == set(columns) for key in rows.alternate_keys(table)):
        raise Refused(
            400, KEY_NOT_DEFINED, f"The specified key attributes are not a defined key for the {table.name} entity"
        )
    key = {name: _key_value(table, name, text) for name, text in columns.items()}
    return Address(table, key=key, rest=rest)


def _column_of(table: Table, name: str) -> str:
    column = table.properties.get(name)
    if column is None:
        raise Refused(
            400, KEY_NOT_DEFINED, f"The specified key attributes are not a defined key for the {table.name} entity"
        )
    return column.name


def _key_value(table: Table, name: str, text: str) -> Value:
    column = table.columns[name]
    if text.startswith("'"):
        value = text[1:-1].replace("''", "'")
        unaddressable = sorted(set(value) & _UNADDRESSABLE)
        if unaddressable:
            raise bad_query(
                f"Bad Request - Error in query syntax: a key value that contains {' '.join(unaddressable)} "
                "cannot be addressed in a url."
            )
        return read_value(table, column, value)
    if column.kind is Kind.LOOKUP:
        guid = read_guid(text)
        if guid is None:
            raise bad_query(f"Bad Request - Error in query syntax: '{text}' is not a GUID.")
        return Reference(column.targets[0].table, guid)
    try:
        return read_value(table, column, exact_json.loads(text))
    except exact_json.NotJson as fault:
        raise bad_query(f"Bad Request - Error in query syntax: '{text}'.") from fault


def _segments(path: str) -> list[str]:
    """Split at slashes outside of quotes."""
    segments, quoted, start = [], False, 0
    for position, character in enumerate(path):
        if character == "'":
            quoted = not quoted
        elif character == "/" and not quoted:
            segments.append(path[start:position])
            start = position + 1
    segments.append(path[start:])
    found = [segment for segment in segments if segment]
    if not found:
        raise Refused(404, NO_SEGMENT, "Resource not found for the segment ''.")
    return found
