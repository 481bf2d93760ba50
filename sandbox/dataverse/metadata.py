"""What the organization says about itself: the service document, $metadata (CSDL), EntityDefinitions and their keys."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote
from xml.sax.saxutils import quoteattr

from sandbox.dataverse.calls import ApiAnswer, ApiCall
from sandbox.dataverse.customization import create_column, create_table, metadata_type
from sandbox.dataverse.errors import NO_SEGMENT, NOT_FOUND, Refused, bad_payload, bad_query
from sandbox.dataverse.model import NAMESPACE, Column, Kind, Table, stable_id
from sandbox.dataverse.query import Family, Property, compile_filter, read_options, read_query
from sandbox.dataverse.rows import Rows
from sandbox.dataverse.tables import TABLES
from sandbox.dataverse.values import read_guid

_PATH: Final = re.compile(
    r"EntityDefinitions(?:\((?:LogicalName='(?P<name>\w+)'|(?P<id>[0-9a-fA-F-]{36}))\))?"
    r"(?:/(?P<part>Attributes|Keys)"
    r"(?:\((?:(?:LogicalName|SchemaName)='(?P<member>\w+)'|(?P<member_id>[0-9a-fA-F-]{36}))\))?"
    r"(?:/Microsoft\.Dynamics\.CRM\.(?P<cast>\w+))?)?"
)
_KEYS: Final = "OData.Community.Keys.V1"
_KEY_EXISTS: Final = "0x80060893"


def service_document(call: ApiCall, rows: Rows) -> ApiAnswer:
    """The list of entity sets."""
    sets = [{"name": t.entity_set, "kind": "EntitySet", "url": t.entity_set} for t in TABLES.values() if rows.has(t)]
    return ApiAnswer.of_json({"@odata.context": f"{call.root}/$metadata", "value": sets})


def csdl(rows: Rows) -> ApiAnswer:
    """$metadata as CSDL 4.0 XML."""
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>',
        f'<Schema Namespace="{NAMESPACE}" Alias="mscrm" xmlns="http://docs.oasis-open.org/odata/ns/edm">',
        '<EntityType Name="crmbaseentity" Abstract="true" />',
    ]
    made = [table for table in TABLES.values() if rows.has(table)]
    for table in made:
        lines += _entity_type(table, rows)
    lines.append('<EntityContainer Name="System">')
    for table in made:
        lines.append(f'<EntitySet Name="{table.entity_set}" EntityType="{NAMESPACE}.{table.name}">')
        lines += [
            f'<NavigationPropertyBinding Path="{name}" Target="{TABLES[target.table].entity_set}" />'
            for name, (column, target) in table.navigations.items()
            if rows.has(table, column.name)
        ]
        lines += [
            f'<NavigationPropertyBinding Path="{name}" Target="{TABLES[child].entity_set}" />'
            for name, (child, _) in table.collections.items()
        ]
        lines.append("</EntitySet>")
    lines.append("</EntityContainer></Schema></edmx:DataServices></edmx:Edmx>")
    return ApiAnswer(200, "\n".join(lines).encode(), content_type="application/xml")


def definitions(call: ApiCall, rows: Rows) -> ApiAnswer:
    """EntityDefinitions: tables, their attributes and alternate keys; keys can be added and removed."""
    found = _PATH.fullmatch(unquote(call.path))
    if found is None:
        raise Refused(404, NO_SEGMENT, f"Resource not found for the segment '{call.path}'.")
    named, identified = found["name"], found["id"]
    if named is None and identified is None:
        if call.method == "POST":
            return create_table(call, rows)
        return _listing(call, "EntityDefinitions", [_definition(t) for t in TABLES.values() if rows.has(t)])
    table = _find_table(named, identified)
    if not rows.has(table):
        raise Refused(404, NOT_FOUND, f"Could not find an entity with name '{table.name}'.")
    part, member = found["part"], found["member"] or found["member_id"]
    if part is None:
        return _single(call, "EntityDefinitions", _definition(table))
    if part == "Keys":
        return _keys(call, rows, table, member)
    attributes = [
        _attribute(table, column)
        for column in table.columns.values()
        if found["cast"] in {None, metadata_type(column)} and rows.has(table, column.name)
    ]
    if member is None and call.method == "POST" and found["cast"] is None:
        return create_column(call, rows, table)
    if member is None:
        return _listing(call, "EntityDefinitions/Attributes", attributes)
    for attribute in attributes:
        if member.lower() in {str(attribute["LogicalName"]), attribute["MetadataId"]}:
            return _single(call, "EntityDefinitions/Attributes", attribute)
    raise Refused(404, NOT_FOUND, f"Could not find an attribute with name '{member}' on {table.name}.")


def _keys(call: ApiCall, rows: Rows, table: Table, member: str | None) -> ApiAnswer:
    keys = [_key(table, columns, schema) for columns, schema in rows.key_names(table).items()]
    if call.method == "POST" and member is None:
        return _add_key(call, rows, table)
    if call.method == "GET" and member is None:
        return _listing(call, "EntityDefinitions/Keys", keys)
    for key, columns in zip(keys, rows.key_names(table), strict=True):
        if member is not None and member.lower() in {str(key["LogicalName"]), key["MetadataId"]}:
            if call.method == "DELETE":
                rows.drop_key(table, columns)
                return ApiAnswer(204)
            return _single(call, "EntityDefinitions/Keys", key)
    raise Refused(404, NOT_FOUND, f"Could not find a key '{member}' on {table.name}.")


def _add_key(call: ApiCall, rows: Rows, table: Table) -> ApiAnswer:
    body = call.json()
    named, schema = body.get("KeyAttributes"), body.get("SchemaName")
    if not isinstance(named, list) or not isinstance(schema, str) or not named:
        raise bad_payload("EntityDefinitions", "SchemaName and KeyAttributes are required for an alternate key.")
    columns = tuple(str(name) for name in named)
    for name in columns:
        if not _has(rows, table, name) or table.columns[name].kind in {Kind.MEMO, Kind.BOOLEAN, Kind.MONEY}:
            raise bad_payload("EntityDefinitions", f"The attribute {name} cannot be part of a key of {table.name}.")
    if columns in rows.alternate_keys(table):
        raise Refused(400, _KEY_EXISTS, f"An alternate key over {','.join(columns)} already exists on {table.name}.")
    rows.define_key(table, columns, schema)
    location = f"{call.root}/EntityDefinitions({table.metadata_id})/Keys({_key(table, columns, schema)['MetadataId']})"
    return ApiAnswer(204, headers={"OData-EntityId": location, "Location": location})


def _has(rows: Rows, table: Table, name: str) -> bool:
    return name in table.columns and rows.has(table, name)


def _find_table(name: str | None, metadata_id: str | None) -> Table:
    for table in TABLES.values():
        if table.name == name or (metadata_id is not None and table.metadata_id == read_guid(metadata_id)):
            return table
    raise Refused(404, NOT_FOUND, f"Could not find an entity with name '{name}' or id '{metadata_id}'.")


def _definition(table: Table) -> dict[str, object]:
    return {
        "MetadataId": table.metadata_id,
        "LogicalName": table.name,
        "SchemaName": table.schema,
        "EntitySetName": table.entity_set,
        "LogicalCollectionName": table.entity_set,
        "CollectionSchemaName": table.entity_set,
        "PrimaryIdAttribute": table.id_column,
        "PrimaryNameAttribute": table.name_column,
        "ObjectTypeCode": table.object_type_code,
        "DisplayName": _label(table.schema),
        "IsCustomEntity": table.name.startswith("concord_"),
        "ChangeTrackingEnabled": True,
        "IsPrivate": False,
        "TableType": "Standard",
    }


def _attribute(table: Table, column: Column) -> dict[str, object]:
    described: dict[str, object] = {
        "@odata.type": f"#{NAMESPACE}.{metadata_type(column)}",
        "MetadataId": stable_id(f"column:{table.name}.{column.name}"),
        "EntityLogicalName": table.name,
        "LogicalName": column.name,
        "SchemaName": column.schema,
        "AttributeType": "DateTime" if column.kind is Kind.DATE else column.kind.value,
        "AttributeTypeName": {"Value": f"{column.kind.value}Type"},
        "DisplayName": _label(column.schema),
        "IsPrimaryId": column.name == table.id_column,
        "IsPrimaryName": column.name == table.name_column,
        "IsCustomAttribute": column.name.startswith("concord_"),
        "IsValidForCreate": column.writable,
        "IsValidForUpdate": column.writable and column.name != table.id_column,
        "IsValidForRead": True,
        "RequiredLevel": {"Value": "None"},
    }
    match column.kind:
        case Kind.STRING | Kind.MEMO:
            described["MaxLength"] = column.max_length
        case Kind.MONEY | Kind.DECIMAL:
            described |= {"Precision": column.decimals, "MinValue": column.minimum, "MaxValue": column.maximum}
        case Kind.INTEGER:
            described |= {"MinValue": column.minimum, "MaxValue": column.maximum}
        case Kind.LOOKUP:
            described["Targets"] = [target.table for target in column.targets]
        case Kind.DATE:
            described |= {"Format": "DateOnly", "DateTimeBehavior": {"Value": "DateOnly"}}
        case Kind.DATETIME:
            described |= {"Format": "DateAndTime", "DateTimeBehavior": {"Value": "UserLocal"}}
        case _ if column.kind.is_option:
            described["OptionSet"] = {
                "Name": f"{table.name}_{column.name}",
                "Options": [{"Value": value, "Label": _label(text)} for value, text in column.options],
            }
        case _:
            pass
    return described


def _key(table: Table, columns: tuple[str, ...], schema: str) -> dict[str, object]:
    return {
        "MetadataId": stable_id(f"key:{table.name}.{','.join(columns)}"),
        "LogicalName": schema.lower(),
        "SchemaName": schema,
        "EntityLogicalName": table.name,
        "KeyAttributes": list(columns),
        "EntityKeyIndexStatus": "Active",
    }


def _label(text: str) -> dict[str, object]:
    localized = {"Label": text, "LanguageCode": 1033}
    return {"LocalizedLabels": [localized], "UserLocalizedLabel": localized}


def _listing(call: ApiCall, context: str, items: list[dict[str, object]]) -> ApiAnswer:
    if call.method != "GET":
        raise Refused(405, NO_SEGMENT, f"The requested resource does not support http method '{call.method}'.")
    options = read_options(read_query(call.query))
    if options.filter is not None:
        test = compile_filter(options.filter, lambda path: _metadata_property(items, path)).test
        items = [item for item in items if test(item)]
    shown = [_selected(item, options.select) for item in items]
    return ApiAnswer.of_json({"@odata.context": f"{call.root}/$metadata#{context}", "value": shown})


def _single(call: ApiCall, context: str, item: dict[str, object]) -> ApiAnswer:
    if call.method != "GET":
        raise Refused(405, NO_SEGMENT, f"The requested resource does not support http method '{call.method}'.")
    options = read_options(read_query(call.query))
    context = f"{call.root}/$metadata#{context}/$entity"
    return ApiAnswer.of_json({"@odata.context": context, **_selected(item, options.select)})


def _selected(item: Mapping[str, object], select: tuple[str, ...] | None) -> dict[str, object]:
    """What was selected, the identity, the derived type, and option sets when the item has them."""
    if select is None:
        return dict(item)
    always = ("@odata.type", "MetadataId", "OptionSet")
    return {name: value for name, value in item.items() if name in select or name in always}


def _metadata_property(items: list[dict[str, object]], path: str) -> Property[dict[str, object]]:
    values = [item[path] for item in items if path in item]
    if not values:
        raise bad_query(f"Could not find a property named '{path}' on the metadata type.")
    family = (
        Family.FLAG if isinstance(values[0], bool) else Family.TEXT if isinstance(values[0], str) else Family.NUMBER
    )
    if path == "MetadataId":
        family = Family.GUID
    return Property(path, lambda item: item.get(path), family)  # type: ignore[arg-type,return-value]


def _entity_type(table: Table, rows: Rows) -> list[str]:
    lines = [
        f'<EntityType Name="{table.name}" BaseType="mscrm.crmbaseentity">',
        f'<Key><PropertyRef Name="{table.id_column}" /></Key>',
    ]
    for name, column in table.properties.items():
        if not rows.has(table, column.name):
            continue
        limits = ""
        if column.max_length:
            limits = f' MaxLength="{column.max_length}" Unicode="true"'
        elif column.kind in {Kind.MONEY, Kind.DECIMAL}:
            limits = f' Scale="{column.decimals}"'
        computed = "" if column.writable else '<Annotation Term="Org.OData.Core.V1.Computed" Bool="true" />'
        lines.append(f'<Property Name={quoteattr(name)} Type="{column.kind.edm}"{limits}>{computed}</Property>')
    for name, (column, target) in table.navigations.items():
        if not rows.has(table, column.name):
            continue
        pointed = TABLES[target.table]
        lines.append(
            f'<NavigationProperty Name="{name}" Type="mscrm.{target.table}"><ReferentialConstraint '
            f'Property="{column.property_name}" ReferencedProperty="{pointed.id_column}" /></NavigationProperty>'
        )
    for name, (child, _) in table.collections.items():
        lines.append(f'<NavigationProperty Name="{name}" Type="Collection(mscrm.{child})" />')
    for columns in rows.alternate_keys(table):
        refs = "".join(
            f'<Record Type="{_KEYS}.PropertyRef"><PropertyValue Property="Name" PropertyPath="{name}" /></Record>'
            for name in columns
        )
        lines.append(
            f'<Annotation Term="{_KEYS}.AlternateKeys"><Collection><Record Type="{_KEYS}.AlternateKey">'
            f'<PropertyValue Property="Key"><Collection>{refs}</Collection></PropertyValue>'
            "</Record></Collection></Annotation>"
        )
    return [*lines, "</EntityType>"]
