"""Webhooks as Dataverse sends them: a RemoteExecutionContext for each message that an enabled step is registered on."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final
from urllib.parse import urlencode
from uuid import uuid4

from sandbox.dataverse.model import Column, Kind, Table, stable_id
from sandbox.dataverse.rows import Caller, Change, Row, Rows
from sandbox.dataverse.tables import TABLES
from sandbox.dataverse.values import Reference, Value
from sandbox.kit import exact_json
from sandbox.kit.events import Emitter

BODY_BYTES_MAX: Final = 256 * 1024
WEBHOOK_PATH: Final = "/api/webhooks/dataverse"
DEFAULT_STEPS: Final = (
    *((message, table) for table in ("account", "contact") for message in ("Create", "Update", "Delete")),
    ("Update", "concord_creditapproval"),
)
_CONTRACTS: Final = "http://schemas.microsoft.com/xrm/2011/Contracts"
# The organization's servers stand in a zone seven hours behind UTC: OperationCreatedOn says so, other dates do not.
_SERVER_OFFSET: Final = timedelta(hours=-7)
_POST_OPERATION: Final = 40
_MAIN_OPERATION: Final = 30
_WEBHOOK: Final = 8
_BY_KEY: Final = 4
_BY_HEADER: Final = 5


@dataclass(frozen=True, slots=True)
class Organization:
    """Who signs the messages."""

    id: str
    name: str
    business_unit_id: str
    host: str


@dataclass(frozen=True, slots=True)
class _Step:
    row: Row
    endpoint: Row
    columns: frozenset[str]


class Webhooks:
    """Turns the messages of finished work into calls of the endpoints that registered for them."""

    def __init__(self, rows: Rows, events: Emitter, organization: Organization, functions_url: str | None) -> None:
        self._rows = rows
        self._events = events
        self._organization = organization
        self._functions_url = (functions_url or "").rstrip("/")

    def publish(self, caller: Caller, changes: Iterable[Change]) -> None:
        """Send what the messages set off; writes that bypass asynchronous logic set nothing off."""
        if caller.silent:
            return
        for change in changes:
            for step in self._steps(change):
                self._send(caller, change, step)

    def _steps(self, change: Change) -> Iterator[_Step]:
        for row in self._rows.every(TABLES["sdkmessageprocessingstep"]):
            if row.get("statecode") != 0 or row.get("stage") != _POST_OPERATION:
                continue
            message, filtered = self._pointed(row, "sdkmessageid"), self._pointed(row, "sdkmessagefilterid")
            if message is None or message.get("name") != change.message:
                continue
            if filtered is not None and filtered.get("primaryobjecttypecode") != change.table.name:
                continue
            endpoint = self._pointed(row, "eventhandler")
            if endpoint is None or endpoint.get("contract") != _WEBHOOK:
                continue
            listed = row.get("filteringattributes")
            columns = frozenset(listed.replace(" ", "").split(",")) if isinstance(listed, str) else frozenset[str]()
            if columns and change.message == "Update" and not columns & change.sent.keys():
                continue
            yield _Step(row, endpoint, columns)

    def _pointed(self, row: Row, column: str) -> Row | None:
        held = row.get(column)
        return self._rows.get(TABLES[held.table], held.id) if isinstance(held, Reference) else None

    def _send(self, caller: Caller, change: Change, step: _Step) -> None:
        context = self._context(caller, change, step)
        body = _encoded(context)
        headers = {
            "x-ms-dynamics-organization": self._organization.host,
            "x-ms-dynamics-entity-name": change.table.name,
            "x-ms-dynamics-request-name": change.message,
            "x-ms-correlation-request-id": caller.correlation_id,
        }
        if len(body) > BODY_BYTES_MAX:
            for name in ("ParentContext", "InputParameters", "PreEntityImages", "PostEntityImages"):
                del context[name]
            body = _encoded(context)
            headers["x-ms-dynamics-msg-size-exceeded"] = "true"
        url, secrets = self._target(step.endpoint)
        self._events.emit(url, body, key=str(context["PrimaryEntityId"]), headers=headers | secrets)

    def _target(self, endpoint: Row) -> tuple[str, dict[str, str]]:
        """The url, without the functions url if it lies below that, and the headers of its authentication."""
        url, secret = str(endpoint.get("url")), endpoint.get("authvalue")
        if self._functions_url and url.startswith(f"{self._functions_url}/"):
            url = url.removeprefix(self._functions_url)
        authtype, joint = endpoint.get("authtype"), "&" if "?" in url else "?"
        if not isinstance(secret, str):
            return url, {}
        if authtype == _BY_HEADER:
            return url, _pairs(secret)
        query = {"code": secret} if authtype == _BY_KEY else _pairs(secret)
        return f"{url}{joint}{urlencode(query)}", {}

    def _context(self, caller: Caller, change: Change, step: _Step) -> dict[str, object]:
        row = change.after or change.before
        assert row is not None
        table = change.table
        asynchronous = step.row.get("mode") != 0
        operation_id = str(uuid4())
        own_tag = [{"key": "tag", "value": caller.tag}] if caller.tag is not None else []
        shared: list[object] = [{"key": "IsAutoTransact", "value": True}, {"key": "DefaultsAddedFlag", "value": True}]
        pre, post = self._images(change, step)
        if asynchronous:
            (post if change.after is not None else pre).append(_primary_name_image(table, row))
        outer: dict[str, object] = {
            "BusinessUnitId": self._organization.business_unit_id,
            "CorrelationId": caller.correlation_id,
            "Depth": 1,
            "InitiatingUserAzureActiveDirectoryObjectId": "00000000-0000-0000-0000-000000000000",
            "InitiatingUserId": caller.user_id,
            "InputParameters": [],
            "IsExecutingOffline": False,
            "IsInTransaction": False,
            "IsOfflinePlayback": False,
            "IsolationMode": 1,
            "MessageName": change.message,
            "Mode": 1 if asynchronous else 0,
            "OperationCreatedOn": _server_date(change.at),
            "OperationId": operation_id,
            "OrganizationId": self._organization.id,
            "OrganizationName": self._organization.name,
            "OutputParameters": [],
            "OwningExtension": _reference("sdkmessageprocessingstep", step.row.id, step.row.get("name")),
            "ParentContext": None,
            "PostEntityImages": [],
            "PreEntityImages": [],
            "PrimaryEntityId": row.id,
            "PrimaryEntityName": table.name,
            "RequestId": caller.request_id,
            "SecondaryEntityName": "none",
            "SharedVariables": shared,
            "Stage": _POST_OPERATION,
            "UserAzureActiveDirectoryObjectId": "00000000-0000-0000-0000-000000000000",
            "UserId": caller.user_id,
        }
        if change.message == "Delete":
            target = {"key": "Target", "value": _reference(table.name, row.id, None)}
            return outer | {
                "InputParameters": [target], "PreEntityImages": pre, "SharedVariables": [*shared, *own_tag],
            }  # fmt: skip
        sent = {table.id_column: row.id, **change.sent}
        parent = outer | {
            "InputParameters": [
                {"key": "Target", "value": _target_entity(table, row.id, sent)},
                {"key": "SuppressDuplicateDetection", "value": False},
            ],
            "SharedVariables": [*shared, *own_tag, _changed_entity_types(change)],
            "Stage": _MAIN_OPERATION,
        }
        return outer | {
            "InputParameters": [{"key": "Target", "value": _target_entity(table, row.id, _settled(change, row))}],
            "OutputParameters": [{"key": "id", "value": row.id}] if change.message == "Create" else [],
            "ParentContext": parent,
            "PostEntityImages": post,
            "PreEntityImages": pre,
            # After an update the tag is found in the parent only: the step runs in a context of its own.
            "SharedVariables": [*shared, *own_tag] if change.message == "Create" else shared,
        }

    def _images(self, change: Change, step: _Step) -> tuple[list[object], list[object]]:
        pre: list[object] = []
        post: list[object] = []
        images = self._rows.having(
            TABLES["sdkmessageprocessingstepimage"], "sdkmessageprocessingstepid", step.row.id
        )  # fmt: skip
        for image in images or ():
            listed = image.get("attributes")
            wanted = frozenset(listed.replace(" ", "").split(",")) if isinstance(listed, str) else None
            for kinds, held, images_of in (({0, 2}, change.before, pre), ({1, 2}, change.after, post)):
                if held is not None and image.get("imagetype") in kinds:
                    shown = {
                        name: value
                        for name, value in held.values.items()
                        if value is not None and (wanted is None or name in wanted or name == change.table.id_column)
                    }
                    entity = _entity(change.table, held.id, shown)
                    images_of.append({"key": image.get("entityalias") or image.get("name"), "value": entity})
        return pre, post


def _settled(change: Change, row: Row) -> dict[str, Value]:
    """What the platform has made of the attributes by the time the step runs."""
    table, sent = change.table, change.sent
    shown: dict[str, Value] = {table.id_column: row.id, **sent}
    automatic = {"modifiedon", "modifiedby"}
    if change.message == "Create":
        automatic |= {"createdon", "createdby", "statecode", "statuscode", "transactioncurrencyid"}
    if any(table.columns[name].kind is Kind.MONEY for name in sent):
        automatic |= {"exchangerate", "transactioncurrencyid"}
        automatic |= {f"{name}_base" for name in sent if table.columns[name].kind is Kind.MONEY}
    if table.name == "contact" and sent.keys() & {"firstname", "lastname"}:
        automatic.add("fullname")
    for name in sorted(automatic & table.columns.keys()):
        if row.get(name) is not None:
            shown[name] = row.get(name)
    return shown


def _target_entity(table: Table, row_id: str, values: Mapping[str, Value]) -> dict[str, object]:
    """The Target of a message: it has a `__type`, which entities inside images have not."""
    entity = _entity(table, row_id, values)
    attributes = entity["Attributes"]
    assert isinstance(attributes, list)
    if "modifiedby" in values:
        attributes.append({"key": "modifiedonbehalfby", "value": None})
    return {"__type": f"Entity:{_CONTRACTS}", **entity}


def _entity(table: Table, row_id: str, values: Mapping[str, Value]) -> dict[str, object]:
    return {
        "Attributes": [
            {"key": name, "value": _contract_value(table, table.columns[name], value)} for name, value in values.items()
        ],
        "EntityState": None,
        "FormattedValues": [],
        "Id": row_id,
        "KeyAttributes": [],
        "LogicalName": table.name,
        "RelatedEntities": [],
        "RowVersion": None,
    }


def _primary_name_image(table: Table, row: Row) -> dict[str, object]:
    values = {table.name_column: row.get(table.name_column), table.id_column: row.id}
    return {"key": "AsynchronousStepPrimaryName", "value": _entity(table, row.id, values)}


def _changed_entity_types(change: Change) -> dict[str, object]:
    pair = {
        "__type": "KeyValuePairOfstringstring:#System.Collections.Generic",
        "key": change.table.name,
        "value": "Update",
    }
    return {"key": "ChangedEntityTypes", "value": [pair]}


def _contract_value(table: Table, column: Column, value: Value) -> object:
    match value:
        case Reference():
            return _reference(value.table, value.id, None)
        case bool() | None:
            return value
        case int() if column.kind.is_option:
            return {"__type": f"OptionSetValue:{_CONTRACTS}", "Value": value}
        case Decimal() if column.kind is Kind.MONEY:
            return {"__type": f"Money:{_CONTRACTS}", "Value": value}
        case datetime():
            return f"/Date({_milliseconds(value)})/"
        case date():
            return f"/Date({_milliseconds(datetime(value.year, value.month, value.day, tzinfo=UTC))})/"
        case str() if column.kind is Kind.GUID and column.name != table.id_column:
            return {"__type": "Guid:#System", "__value": value}
        case _:
            return value


def _reference(table: str, row_id: str, name: Value) -> dict[str, object]:
    return {
        "__type": f"EntityReference:{_CONTRACTS}", "Id": row_id, "KeyAttributes": [], "LogicalName": table,
        "Name": name, "RowVersion": None,
    }  # fmt: skip


def _milliseconds(instant: datetime) -> int:
    return int(instant.timestamp()) * 1000


def _server_date(instant: datetime) -> str:
    """`/Date(ms±hhmm)/` as the server writes it: the true instant is ms plus the offset."""
    shifted = _milliseconds(instant) - int(_SERVER_OFFSET.total_seconds()) * 1000
    hours = int(_SERVER_OFFSET.total_seconds()) // 3600
    return f"/Date({shifted}{hours:+03d}00)/"


def _encoded(context: Mapping[str, object]) -> bytes:
    """JSON with its slashes escaped, as the sender's serializer writes them."""
    return exact_json.dumps(context).replace(b"/", b"\\/")


def _pairs(secret: str) -> dict[str, str]:
    """The settings XML of header and query authentication: <settings><setting name="n" value="v" /></settings>."""
    from defusedxml.ElementTree import fromstring

    return {s.get("name", ""): s.get("value", "") for s in fromstring(secret).iter("setting")}


def seed_registrations(rows: Rows, functions_url: str | None, functions_key: str) -> Iterator[tuple[Table, Row]]:
    """Rows of a fresh organization: the messages, their filters, one endpoint, and the steps that lead to it."""
    endpoint_id = stable_id("endpoint:concord")
    url = f"{(functions_url or 'http://localhost').rstrip('/')}{WEBHOOK_PATH}"
    yield TABLES["serviceendpoint"], _seeded(rows, endpoint_id, {
        "serviceendpointid": endpoint_id, "name": "concord", "url": url, "contract": _WEBHOOK, "authtype": _BY_KEY,
        "authvalue": functions_key, "messageformat": 2, "connectionmode": 1, "userclaim": 1,
    })  # fmt: skip
    for message in ("Create", "Update", "Delete"):
        message_id = stable_id(f"message:{message}")
        yield TABLES["sdkmessage"], _seeded(rows, message_id, {"sdkmessageid": message_id, "name": message})
        for table in TABLES:
            filter_id = stable_id(f"filter:{message}:{table}")
            yield TABLES["sdkmessagefilter"], _seeded(rows, filter_id, {
                "sdkmessagefilterid": filter_id, "primaryobjecttypecode": table,
                "sdkmessageid": Reference("sdkmessage", message_id),
            })  # fmt: skip
    for message, table in DEFAULT_STEPS:
        step_id = stable_id(f"step:{message}:{table}")
        yield TABLES["sdkmessageprocessingstep"], _seeded(rows, step_id, {
            "sdkmessageprocessingstepid": step_id, "name": f"concord: {message} of {table}", "mode": 1,
            "stage": _POST_OPERATION, "rank": 1, "supporteddeployment": 0, "asyncautodelete": True,
            "sdkmessageid": Reference("sdkmessage", stable_id(f"message:{message}")),
            "sdkmessagefilterid": Reference("sdkmessagefilter", stable_id(f"filter:{message}:{table}")),
            "eventhandler": Reference("serviceendpoint", endpoint_id),
        })  # fmt: skip


def _seeded(rows: Rows, row_id: str, values: Mapping[str, Value]) -> Row:
    now = rows.now()
    return Row(
        row_id, rows.next_version(), {**values, "statecode": 0, "statuscode": 1, "createdon": now, "modifiedon": now}
    )
