"""Bodies of writes: every property held against the table, lookups resolved, nested rows taken apart."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sandbox.dataverse.address import read_address
from sandbox.dataverse.calls import ApiCall, split_url
from sandbox.dataverse.errors import Refused, bad_payload, no_such_reference
from sandbox.dataverse.model import NAMESPACE, Table
from sandbox.dataverse.rows import Rows
from sandbox.dataverse.tables import TABLES
from sandbox.dataverse.values import Reference, Value, read_value

_BIND = "@odata.bind"
_OWN_ANNOTATIONS = frozenset({"@odata.type", "@odata.id", "@odata.etag", "@odata.context", "@odata.editLink"})


@dataclass(frozen=True, slots=True)
class Payload:
    """What a body says: column values, and rows of child tables to be created with this one (deep insert)."""

    values: dict[str, Value] = field(default_factory=dict)
    children: list[tuple[Table, str, "Payload"]] = field(default_factory=list)


def read_payload(
    call: ApiCall,
    rows: Rows,
    table: Table,
    body: Mapping[str, object],
    *,
    references: Mapping[str, str] | None = None,
    nested: bool = False,
) -> Payload:
    """Check a body against the table. `references` are the $n of a change set. Raises Refused (400, 404)."""
    payload = Payload()
    for name, given in body.items():
        if name.endswith(_BIND):
            column_name, reference = _bound(call, rows, table, name.removesuffix(_BIND), given, references or {})
            payload.values[column_name] = reference
        elif name == "@odata.type":
            _check_type(table, given)
        elif name in _OWN_ANNOTATIONS or ("@" in name and not name.startswith("@")):
            continue
        elif name in table.properties and rows.has(table, table.properties[name].name):
            column = table.properties[name]
            value = read_value(table, column, given, decimals_as_text=call.decimals_as_text)
            if column.writable:
                payload.values[column.name] = value
        elif name in table.navigations and given is None:
            payload.values[table.navigations[name][0].name] = None
        elif name in table.collections and isinstance(given, list) and nested:
            child, lookup = table.collections[name]
            for item in given:
                if not isinstance(item, dict):
                    raise bad_payload(table.entity_set, f"An object was expected in '{name}'.")
                deeper = read_payload(call, rows, TABLES[child], item, references=references, nested=True)
                payload.children.append((TABLES[child], lookup, deeper))
        else:
            raise _unknown(table, name)
    return payload


def _unknown(table: Table, name: str) -> Refused:
    return bad_payload(
        table.entity_set,
        f"InnerException : Microsoft.Crm.CrmException: Invalid property '{name}' was found in entity "
        f"'{NAMESPACE}.{table.name}'. ---> Microsoft.OData.ODataException: Does not support untyped value in "
        "non-open type.",
    )


def _check_type(table: Table, given: object) -> None:
    if given not in {f"{NAMESPACE}.{table.name}", f"#{NAMESPACE}.{table.name}"}:
        raise bad_payload(table.entity_set, f"The type '{given}' is not the type of the entity set.")


def _bound(
    call: ApiCall, rows: Rows, table: Table, navigation: str, given: object, references: Mapping[str, str]
) -> tuple[str, Reference | None]:
    found = table.navigations.get(navigation)
    if found is None:
        raise bad_payload(
            table.entity_set,
            f"InnerException : Microsoft.OData.ODataException: An undeclared property '{navigation}' which only has "
            "property annotations in the payload but no property value was found in the payload.",
        )
    column, target = found
    if given is None:
        return column.name, None
    if isinstance(given, str) and given.startswith("$") and given not in references:
        raise no_such_reference(given)
    place = split_url(references.get(given, given), call.origin) if isinstance(given, str) else None
    if place is None:
        raise bad_payload(table.entity_set, f"The value of '{navigation}{_BIND}' is not the url of an entity.")
    address = read_address(place[0], rows)
    if address.table.name != target.table or not address.is_row:
        raise bad_payload(table.entity_set, f"'{given}' is not a {target.table}, as '{navigation}' requires.")
    return column.name, Reference(target.table, address.require(rows).id)
