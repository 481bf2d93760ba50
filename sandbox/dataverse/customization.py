"""Customizing: tables and columns that somebody adds, each held to the form that Dataverse wants a definition in.

The organization can only become what this simulator knows: a column that is made otherwise than the table model has it
would work here and not fit the rows, so it is refused.
"""

from collections.abc import Mapping
from typing import Final

from sandbox.dataverse.calls import ApiAnswer, ApiCall
from sandbox.dataverse.errors import Refused, bad_payload
from sandbox.dataverse.model import NAMESPACE, Column, Kind, Table, stable_id
from sandbox.dataverse.rows import Rows
from sandbox.dataverse.tables import TABLES

_TABLE_EXISTS: Final = "0x80047013"
_COLUMN_EXISTS: Final = "0x80047013"
_SET: Final = "EntityDefinitions"


def create_table(call: ApiCall, rows: Rows) -> ApiAnswer:
    """POST EntityDefinitions: a table with its primary name column."""
    body = call.json()
    if body.get("@odata.type") != f"{NAMESPACE}.EntityMetadata":
        raise bad_payload(_SET, f"@odata.type must be {NAMESPACE}.EntityMetadata.")
    table = TABLES.get(_logical(body))
    if table is None:
        raise bad_payload(_SET, f"This simulator has no model of a table {body.get('SchemaName')!r}.")
    if rows.has(table):
        raise Refused(400, _TABLE_EXISTS, f"An entity with the specified name {table.name} already exists.")
    for name in ("DisplayName", "DisplayCollectionName"):
        _label(body, name)
    for name in ("HasActivities", "HasNotes"):
        if not isinstance(body.get(name), bool):
            raise bad_payload(_SET, f"{name} must be given for a new table.")
    if body.get("OwnershipType") not in {"UserOwned", "OrganizationOwned"}:
        raise bad_payload(_SET, "OwnershipType must be UserOwned or OrganizationOwned.")
    match body.get("Attributes"):
        case [Mapping() as primary] if primary.get("IsPrimaryName") is True:
            column = _checked(table, primary)
        case _:
            raise bad_payload(_SET, "Attributes must hold the primary name column and nothing else.")
    if column.name != table.name_column:
        raise bad_payload(_SET, f"The primary name of {table.name} is {table.name_column}, not {column.name}.")
    rows.make(table)
    rows.make(table, column.name)
    return _made(call, f"{_SET}({table.metadata_id})")


def create_column(call: ApiCall, rows: Rows, table: Table) -> ApiAnswer:
    """POST EntityDefinitions(…)/Attributes: one column."""
    body = call.json()
    column = _checked(table, body)
    if rows.has(table, column.name):
        raise Refused(400, _COLUMN_EXISTS, f"An attribute with the specified name {column.name} already exists.")
    rows.make(table, column.name)
    return _made(call, f"{_SET}({table.metadata_id})/Attributes({stable_id(f'column:{table.name}.{column.name}')})")


def metadata_type(column: Column) -> str:
    """The name of the metadata type that describes a column."""
    match column.kind:
        case Kind.DATE:
            return "DateTimeAttributeMetadata"
        case Kind.GUID:
            return "UniqueIdentifierAttributeMetadata"
        case _:
            return f"{column.kind.value}AttributeMetadata"


def _checked(table: Table, body: Mapping[str, object]) -> Column:
    column = table.columns.get(_logical(body))
    if column is None:
        raise bad_payload(_SET, f"This simulator has no model of a column {body.get('SchemaName')!r} of {table.name}.")
    if body.get("@odata.type") != f"{NAMESPACE}.{metadata_type(column)}":
        raise bad_payload(_SET, f"{column.name} is a {metadata_type(column)}, not a {body.get('@odata.type')}.")
    _label(body, "DisplayName")
    if not isinstance(required := body.get("RequiredLevel"), Mapping) or required.get("Value") not in {
        "None", "Recommended", "ApplicationRequired",
    }:  # fmt: skip
        raise bad_payload(_SET, f"RequiredLevel of {column.name} must have a Value.")
    wanted: dict[str, object] = {}
    match column.kind:
        case Kind.STRING | Kind.MEMO:
            wanted["MaxLength"] = column.max_length
        case Kind.DECIMAL:
            wanted["Precision"] = column.decimals
        case Kind.MONEY:
            wanted |= {"PrecisionSource": 0, "Precision": column.decimals}
        case Kind.DATE:
            wanted |= {"Format": "DateOnly", "DateTimeBehavior": {"Value": "DateOnly"}}
        case Kind.DATETIME:
            wanted |= {"Format": "DateAndTime", "DateTimeBehavior": {"Value": "UserLocal"}}
        case _:
            raise bad_payload(_SET, f"A column of type {column.kind.value} is not made this way.")
    for name, value in wanted.items():
        if body.get(name) != value:
            raise bad_payload(_SET, f"{name} of {column.name} is {body.get(name)!r}; the model has {value!r}.")
    return column


def _logical(body: Mapping[str, object]) -> str:
    schema = body.get("SchemaName")
    if not isinstance(schema, str) or "_" not in schema:
        raise bad_payload(_SET, "SchemaName must be given, with the publisher's prefix.")
    return schema.lower()


def _label(body: Mapping[str, object], name: str) -> None:
    match body.get(name):
        case {
            "@odata.type": "Microsoft.Dynamics.CRM.Label",
            "LocalizedLabels": [{"Label": str(), "LanguageCode": int()}],
        }:
            return
        case _:
            raise bad_payload(_SET, f"{name} must be a Label with a LocalizedLabel.")


def _made(call: ApiCall, path: str) -> ApiAnswer:
    location = f"{call.root}/{path}"
    return ApiAnswer(204, headers={"OData-EntityId": location, "Location": location})
