"""Writing rows: create, update, upsert by id or key, delete, single properties, and the bulk actions."""

from collections.abc import Mapping

from sandbox.dataverse import pipeline
from sandbox.dataverse.address import Address, read_address
from sandbox.dataverse.calls import ApiAnswer, ApiCall, split_url
from sandbox.dataverse.errors import (
    BAD_VALUE,
    DUPLICATE_ROW,
    NO_SEGMENT,
    Refused,
    bad_payload,
    bad_query,
    version_mismatch,
)
from sandbox.dataverse.model import Table
from sandbox.dataverse.payload import Payload, read_payload
from sandbox.dataverse.query import read_options, read_query
from sandbox.dataverse.reads import render, view_of
from sandbox.dataverse.rows import Row, Work
from sandbox.dataverse.tables import TABLES
from sandbox.dataverse.values import Reference, Value

BULK_ACTIONS = frozenset({"CreateMultiple", "UpdateMultiple", "UpsertMultiple"})


def create_row(call: ApiCall, work: Work, table: Table, references: Mapping[str, str]) -> ApiAnswer:
    """POST to an entity set, with rows of child tables nested in it if the body has them."""
    payload = read_payload(call, work.rows, table, call.json(), references=references, nested=True)
    if call.headers.get("MSCRM.SuppressDuplicateDetection", "true").lower() == "false":
        pipeline.refuse_duplicate(work, table, payload.values)
    row = _create_tree(work, table, payload)
    return _written(call, work, table, row, created=True)


def patch_row(call: ApiCall, work: Work, address: Address, references: Mapping[str, str]) -> ApiAnswer:
    """PATCH: update, or create when the row is not there and no If-Match forbids it."""
    table, row = address.table, address.find(work.rows)
    if_match, if_none_match = call.headers.get("If-Match"), call.headers.get("If-None-Match")
    if if_match is not None:
        row = address.require(work.rows)
        _check_version(row, if_match)
    if if_none_match is not None and if_none_match != "*":
        raise bad_query("If-None-Match other than * is not supported for updates.")
    if row is not None and if_none_match == "*":
        raise Refused(412, DUPLICATE_ROW, "A record with matching key values already exists.")
    payload = read_payload(call, work.rows, table, call.json(), references=references)
    if row is None:
        values = {**(address.key or {}), **payload.values}
        return _written(call, work, table, pipeline.create(work, table, values, address.row_id), created=True)
    return _written(call, work, table, pipeline.update(work, table, row, payload.values), created=False)


def delete_row(call: ApiCall, work: Work, address: Address) -> ApiAnswer:
    """DELETE a row, or (with a property behind it) the property's value."""
    row = address.require(work.rows)
    if "If-Match" in call.headers:
        _check_version(row, call.headers["If-Match"])
    if not address.rest:
        pipeline.delete(work, address.table, row)
        return ApiAnswer(204)
    name = address.rest[0]
    if len(address.rest) == 2 and address.rest[1] == "$ref" and name in address.table.navigations:
        column_name = address.table.navigations[name][0].name
    elif len(address.rest) == 1 and name in address.table.properties:
        column_name = address.table.properties[name].name
    else:
        raise Refused(404, NO_SEGMENT, f"Resource not found for the segment '{name}'.")
    pipeline.update(work, address.table, row, {column_name: None})
    return ApiAnswer(204)


def put_property(call: ApiCall, work: Work, address: Address) -> ApiAnswer:
    """PUT {"value": …} to one property of a row."""
    row = address.require(work.rows)
    if len(address.rest) != 1 or address.rest[0] not in address.table.properties:
        raise Refused(404, NO_SEGMENT, f"Resource not found for the segment '{'/'.join(address.rest)}'.")
    body = call.json()
    if "value" not in body:
        raise bad_payload(address.table.entity_set, "A property 'value' was expected.")
    payload = read_payload(call, work.rows, address.table, {address.rest[0]: body["value"]})
    pipeline.update(work, address.table, row, payload.values)
    return ApiAnswer(204)


def run_bulk_action(call: ApiCall, work: Work, table: Table, action: str) -> ApiAnswer:
    """CreateMultiple, UpdateMultiple or UpsertMultiple over {"Targets": […]}: all stand or all fall."""
    targets = call.json().get("Targets")
    if not isinstance(targets, list) or not targets or not all(isinstance(target, dict) for target in targets):
        raise bad_payload(table.entity_set, "Targets: a list of one or more entities was expected.")
    done = [_bulk_one(call, work, table, action, target) for target in targets]
    if action == "CreateMultiple":
        context = f"{call.root}/$metadata#Microsoft.Dynamics.CRM.CreateMultipleResponse"
        return ApiAnswer.of_json({"@odata.context": context, "Ids": [row.id for row in done]})
    return ApiAnswer(204)


def run_bulk_delete(call: ApiCall, work: Work) -> ApiAnswer:
    """The BulkDelete action over queries by primary key; the job is done before it is answered."""
    queries = call.json().get("QuerySet")
    if not isinstance(queries, list):
        raise Refused(400, BAD_VALUE, "Required field 'QuerySet' is missing")
    for query in queries:
        table = TABLES.get(str(query.get("EntityName"))) if isinstance(query, dict) else None
        if table is None:
            raise Refused(400, BAD_VALUE, "QuerySet: an EntityName that exists was expected.")
        conditions = query.get("Criteria", {}).get("Conditions", [])
        for condition in conditions:
            if condition.get("AttributeName") != table.id_column or condition.get("Operator") != "In":
                raise Refused(400, BAD_VALUE, "QuerySet: only the primary key with the operator In is supported here.")
            for value in condition.get("Values", []):
                row = work.rows.get(table, str(value.get("Value") if isinstance(value, dict) else value).lower())
                if row is not None:
                    pipeline.delete(work, table, row)
    context = f"{call.root}/$metadata#Microsoft.Dynamics.CRM.BulkDeleteResponse"
    return ApiAnswer.of_json({"@odata.context": context, "JobId": work.caller.request_id})


def _bulk_one(call: ApiCall, work: Work, table: Table, action: str, target: Mapping[str, object]) -> Row:
    if "@odata.type" not in target:
        raise bad_payload(table.entity_set, "An @odata.type is required on every entity of Targets.")
    payload = read_payload(call, work.rows, table, target)
    if action == "CreateMultiple":
        return pipeline.create(work, table, payload.values)
    address = _target_address(call, work, table, target, payload)
    if action == "UpdateMultiple":
        return pipeline.update(work, table, address.require(work.rows), payload.values)
    row = address.find(work.rows)
    if row is None:
        return pipeline.create(work, table, {**(address.key or {}), **payload.values}, address.row_id)
    return pipeline.update(work, table, row, payload.values)


def _target_address(call: ApiCall, work: Work, table: Table, target: Mapping[str, object], payload: Payload) -> Address:
    given = target.get("@odata.id")
    if given is not None:
        place = split_url(given, call.origin) if isinstance(given, str) else None
        address = None if place is None else read_address(place[0], work.rows)
        if address is None or address.table is not table or not address.is_row:
            raise bad_payload(table.entity_set, f"'{given}' is not a row of {table.entity_set}.")
        return address
    own = payload.values.get(table.id_column)
    if isinstance(own, str):
        return Address(table, row_id=own)
    for columns in work.rows.alternate_keys(table):
        if all(payload.values.get(column) is not None for column in columns):
            return Address(table, key={column: payload.values[column] for column in columns})
    raise bad_payload(
        table.entity_set, "Every entity of Targets needs its primary key, an @odata.id or a key's values."
    )


def _create_tree(work: Work, table: Table, payload: Payload) -> Row:
    row = pipeline.create(work, table, payload.values)
    for child, lookup, deeper in payload.children:
        inherited: dict[str, Value] = {lookup: Reference(table.name, row.id)}
        currency = row.get("transactioncurrencyid")
        if currency is not None and "transactioncurrencyid" in child.columns:
            inherited["transactioncurrencyid"] = currency
        _create_tree(work, child, Payload({**inherited, **deeper.values}, deeper.children))
    return work.required(table, row.id) if payload.children else row


def _check_version(row: Row, if_match: str) -> None:
    if if_match not in {"*", row.etag}:
        raise version_mismatch()


def _written(call: ApiCall, work: Work, table: Table, row: Row, *, created: bool) -> ApiAnswer:
    location = f"{call.root}/{table.entity_set}({row.id})"
    headers = {"OData-EntityId": location}
    if created:
        headers["Location"] = location
    options = read_options(read_query(call.query))
    view = view_of(call, table, options)
    if call.preferences().get("return") != "representation":
        return ApiAnswer(204, headers=headers)
    body = {
        "@odata.context": f"{call.root}/$metadata#{view.context}/$entity",
        **render(view, work.rows, row, call.root),
    }
    headers |= {"ETag": row.etag, "Preference-Applied": "return=representation"}
    return ApiAnswer.of_json(body, 201 if created else 200, headers)
