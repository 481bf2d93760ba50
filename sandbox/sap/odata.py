"""OData V2 over HTTP: resource paths, reads, deep inserts, changes, function imports, and the JSON they answer."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

from sandbox.kit import exact_json
from sandbox.kit.state import State
from sandbox.sap import query as options
from sandbox.sap.addresses import Target, entity_url, etag_of, matching, narrow, resolve, single
from sandbox.sap.edm import Created, Deep, EntitySet, Hints, Navigation, Service, Value, Values
from sandbox.sap.errors import Detail, SapError, bad_property
from sandbox.sap.metadata import edmx
from sandbox.sap.query import Expand, Query
from sandbox.sap.values import check, check_unit, comparable, from_json, from_literal, plain_json, to_json

ROOT: Final = "/sap/opu/odata/sap"
_VERSION: Final = {"DataServiceVersion": "2.0"}


@dataclass(frozen=True, slots=True)
class Call:
    """One OData request, alone or as a part of a batch. `path` is relative to the service and still escaped."""

    method: str
    path: str
    options: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    base_url: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: status, headers, body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def answer(service: Service, state: State, call: Call) -> Answer:
    """Carry out one request. Raises SapError."""
    path = call.path.strip("/")
    if path == "":
        return _document(service, call)
    if path == "$metadata":
        return Answer(200, {"Content-Type": "application/xml", **_VERSION}, edmx(service))
    _check_representation(call)
    if path.partition("(")[0] in service.functions:
        return _call_function(service, path.partition("(")[0], call)
    target = resolve(service, path)
    method = call.headers.get("X-HTTP-Method", call.method).upper() if call.method == "POST" else call.method
    match method:
        case "GET" | "HEAD":
            return _read(service, target, call)
        case "POST":
            with state.atomic():
                return _create(service, target, call)
        case "PATCH" | "MERGE" | "PUT":
            with state.atomic():
                return _update(target, call)
        case "DELETE":
            with state.atomic():
                return _delete(target, call)
    raise SapError(405, "/IWFND/CM_COS/006", f"Method {method} is not allowed")


def _check_representation(call: Call) -> None:
    """The original answers in Atom to whoever does not ask for JSON; here that is refused, or nobody would notice."""
    if call.method in {"PATCH", "MERGE", "PUT", "DELETE"} or call.path.endswith("/$count"):
        return
    accepted = call.headers.get("Accept", "")
    if "$format" not in call.options and "application/json" not in accepted:
        message = f"Representation {accepted or 'Atom'} is not played here; send Accept: application/json"
        raise SapError(415, "/IWBEP/CM_MGW_RT/176", message)


def _document(service: Service, call: Call) -> Answer:
    if call.method not in {"GET", "HEAD"}:
        raise SapError(405, "/IWFND/CM_COS/006", f"Method {call.method} is not allowed on the service document")
    return _json(200, {"EntitySets": list(service.sets)})


def _read(service: Service, target: Target, call: Call) -> Answer:
    entity_set = target.entity_set
    if not entity_set.addressable:
        raise SapError(405, "/IWBEP/CM_MGW_RT/022", f"Entity set {entity_set.name} cannot be read")
    asked = options.parse(service, entity_set, call.options)
    if target.row is not None:
        tag = etag_of(entity_set, target.row)
        headers = {"ETag": tag} if tag else {}
        if tag and call.headers.get("If-None-Match") == tag:
            return Answer(304, headers)
        return _json(200, _entity(service, entity_set, target.row, call.base_url, asked.select, asked.expand), headers)
    if target.counting:
        count = len(_select_rows(entity_set, target.navigated, asked))
        return Answer(200, {"Content-Type": "text/plain", **_VERSION}, str(count).encode())
    return _page(service, target, asked, call)


def _select_rows(entity_set: EntitySet, navigated: Hints | None, asked: Query) -> list[Any]:
    hints: dict[str, frozenset[Value]] = dict(options.hints(asked.condition))
    hints.update(navigated or {})
    rows = matching(entity_set, navigated) if navigated else list(entity_set.rows(hints))
    if asked.condition is not None:
        test = options.predicate(entity_set, asked.condition)
        rows = [row for row in rows if test(row)]
    return _sorted(entity_set, rows, asked.order) if len(rows) > 1 else rows


def _sorted(entity_set: EntitySet, rows: list[Any], order: Sequence[tuple[str, bool]]) -> list[Any]:
    """In the order asked for, and by key where that leaves it open."""
    value_of = entity_set.value
    named = {name for name, _ in order}
    criteria = [*order, *((key.name, False) for key in entity_set.type.keys if key.name not in named)]
    directions = {descending for _, descending in criteria}
    if len(directions) == 1:
        names = [name for name, _ in criteria]
        return sorted(rows, key=lambda row: [_sortable(value_of(row, n)) for n in names], reverse=directions.pop())
    for name, descending in reversed(criteria):
        rows = sorted(rows, key=lambda row: _sortable(value_of(row, name)), reverse=descending)
    return rows


def _sortable(value: Value) -> tuple[bool, Any]:
    """Nothing sorts before something, as in ABAP."""
    return (value is not None, "" if value is None else comparable(value))


def _page(service: Service, target: Target, asked: Query, call: Call) -> Answer:
    entity_set = target.entity_set
    key, _, position = call.options.get("$skiptoken", "").rpartition("~")
    start = options.whole_number(position or "0")
    if start is None or ("$skiptoken" in call.options and not (key and position)):
        raise SapError(400, "/IWCOR/CX_OD_BAD_REQUEST", "Invalid $skiptoken")
    rows = service.pages.resume(key) if key else None
    if rows is None:
        rows = _select_rows(entity_set, target.navigated, asked)
    total = len(rows)
    wanted = rows[asked.skip :] if asked.top is None else rows[asked.skip : asked.skip + asked.top]
    page = wanted[start : start + entity_set.page_rows]
    content: dict[str, object] = {
        "results": [_entity(service, entity_set, row, call.base_url, asked.select, asked.expand) for row in page]
    }
    if asked.inline_count:
        content["__count"] = str(total)
    if start + len(page) < len(wanted):
        key = key or secrets.token_hex(8)
        service.pages.keep(key, rows)
        onward = {**call.options, "$skiptoken": f"{key}~{start + len(page)}"}
        content["__next"] = f"{call.base_url}/{call.path.strip('/')}?{urlencode(onward, quote_via=quote)}"
    return _json(200, content)


def _entity(
    service: Service, entity_set: EntitySet, row: Any, base_url: str, select: frozenset[str] | None, expand: Expand
) -> dict[str, object]:
    url = entity_url(base_url, entity_set, row)
    about: dict[str, object] = {"id": url, "uri": url, "type": f"{service.schema}.{entity_set.type.name}"}
    tag = etag_of(entity_set, row)
    if tag:
        about["etag"] = tag
    content: dict[str, object] = {"__metadata": about}
    for name, declared in entity_set.type.properties.items():
        if select is None or name in select:
            content[name] = to_json(entity_set, row, declared)
    for name, navigation in entity_set.type.navigations.items():
        if name in expand:
            there = service.sets[navigation.target]
            found = matching(there, narrow(entity_set, row, navigation))
            shown = [_entity(service, there, child, base_url, _below(select, name), expand[name]) for child in found]
            content[name] = {"results": shown} if navigation.many else (shown[0] if shown else None)
        elif select is None or name in select:
            content[name] = {"__deferred": {"uri": f"{url}/{name}"}}
    return content


def _below(select: frozenset[str] | None, navigation: str) -> frozenset[str] | None:
    """What `$select` says about an expanded navigation: `to_Item/Material` selects inside, `to_Item` all of it."""
    if select is None or navigation in select:
        return None
    inside = frozenset(name.partition("/")[2] for name in select if name.startswith(f"{navigation}/"))
    return inside or None


def _create(service: Service, target: Target, call: Call) -> Answer:
    entity_set = target.entity_set
    if target.row is not None or entity_set.create is None:
        raise SapError(405, "/IWBEP/CM_MGW_RT/022", f"Entity set {entity_set.name} does not allow creating")
    deep = decode_deep(service, entity_set, _object(call))
    if target.navigated:
        deep = Deep({**deep.values, **single(target.navigated)}, deep.children)
    created: Created = entity_set.create(deep)
    content = _entity(service, entity_set, created.row, call.base_url, None, _sent(deep))
    content |= created.expand
    headers = {"Location": entity_url(call.base_url, entity_set, created.row)}
    tag = etag_of(entity_set, created.row)
    if tag:
        headers["ETag"] = tag
    if created.warnings:
        first, *others = [_message(text) for text in created.warnings[:_MESSAGES_MAX]]
        headers["sap-message"] = exact_json.dumps({**first, "details": others}).decode()
    return _json(201, content, headers)


def _sent(deep: Deep) -> Expand:
    """A deep insert answers with what it was sent: the navigations that came with children, to any depth."""
    sent: dict[str, Any] = {}
    for name, children in deep.children.items():
        if children:
            sent[name] = {}
            for child in children:
                sent[name] |= _sent(child)
    return sent


_MESSAGES_MAX = 20  # SAP Gateway cuts what is not fatal


def _message(text: str) -> dict[str, object]:
    return {"code": "V1/801", "message": text, "severity": "warning", "target": ""}


def _update(target: Target, call: Call) -> Answer:
    entity_set = target.entity_set
    if target.row is None or entity_set.update is None:
        raise SapError(405, "/IWBEP/CM_MGW_RT/022", f"Entity set {entity_set.name} does not allow updating")
    _check_version(target, call)
    changes: Values = {}
    for name, given in _object(call).items():
        if name == "__metadata":
            continue
        declared = entity_set.type.properties.get(name)
        if declared is None:
            raise bad_property(name, f"Property {name} is invalid for type {entity_set.type.name}")
        value = from_json(declared, given)
        if declared.key:
            if comparable(value) != comparable(entity_set.value(target.row, name)):
                raise bad_property(name, f"Key property {name} cannot be changed")
            continue
        if not declared.updatable:
            raise bad_property(name, f"Property {name} is read-only")
        if declared.unit is not None and declared.unit in entity_set.type.properties:
            check_unit(declared, value, entity_set.value(target.row, declared.unit))
        changes[name] = value
    entity_set.update(target.row, changes)
    return Answer(204, _VERSION)


def _delete(target: Target, call: Call) -> Answer:
    entity_set = target.entity_set
    if target.row is None or entity_set.delete is None:
        raise SapError(405, "/IWBEP/CM_MGW_RT/022", f"Entity set {entity_set.name} does not allow deleting")
    _check_version(target, call)
    entity_set.delete(target.row)
    return Answer(204, _VERSION)


def _check_version(target: Target, call: Call) -> None:
    """428 without If-Match, 412 when the row has moved on."""
    tag = etag_of(target.entity_set, target.row)
    if tag is None:
        return
    given = call.headers.get("If-Match")
    if given is None:
        raise SapError(
            428, "/IWFND/CM_MGW/575", "The Data Services Request is required to be conditional; use If-Match"
        )
    if given != "*" and tag not in {part.strip() for part in given.split(", ")}:
        raise SapError(412, "/IWFND/CM_MGW/574", "Precondition failed: the resource was changed by another user")


def decode_deep(service: Service, entity_set: EntitySet, body: Mapping[str, object]) -> Deep:
    """Check and decode a create body against the model, children included. Raises SapError 400."""
    values: Values = {}
    children: dict[str, list[Deep]] = {}
    for name, given in body.items():
        if name == "__metadata":
            continue
        navigation = entity_set.type.navigations.get(name)
        if navigation is not None:
            children[name] = _decode_children(service, navigation, given)
            continue
        declared = entity_set.type.properties.get(name)
        if declared is None:
            raise bad_property(name, f"Property {name} is invalid for type {entity_set.type.name}")
        if not declared.creatable:
            raise bad_property(name, f"Property {name} is read-only and cannot be set when creating")
        values[name] = from_json(declared, given)
    return Deep(values, children)


def _decode_children(service: Service, navigation: Navigation, given: object) -> list[Deep]:
    there = service.sets[navigation.target]
    if isinstance(given, dict) and isinstance(given.get("results"), list):
        given = given["results"]
    if navigation.many and isinstance(given, list):
        bodies = given
    elif not navigation.many and isinstance(given, dict):
        bodies = [given]
    else:
        raise bad_property(navigation.name, f"{navigation.name} needs {'a list' if navigation.many else 'an object'}")
    decoded = []
    for body in bodies:
        if not isinstance(body, dict):
            raise bad_property(navigation.name, f"{navigation.name} needs objects")
        decoded.append(decode_deep(service, there, body))
    return decoded


def _call_function(service: Service, name: str, call: Call) -> Answer:
    function = service.functions[name]
    if call.method not in {function.method, "HEAD"}:
        raise SapError(405, "/IWFND/CM_COS/006", f"Function import {name} needs {function.method}")
    arguments: Values = {}
    for declared in function.parameters:
        text = call.options.get(declared.name)
        if text is None:
            raise SapError(
                400,
                "/IWBEP/CM_MGW_RT/031",
                f"Parameter {declared.name} of function import {name} is missing",
                [Detail("/IWBEP/CM_MGW_RT/031", "Parameter missing", property_ref=declared.name)],
            )
        value = from_literal(declared, text)
        check(declared, value)
        arguments[declared.name] = value
    returned = [
        {
            "__metadata": {"type": f"{service.schema}.{function.returns.name}"},
            **{p.name: plain_json(row.get(p.name), p) for p in function.returns.properties.values()},
        }
        for row in function.call(arguments)
    ]
    return _json(200, {"results": returned} if function.many else {name: returned[0]})


def _object(call: Call) -> dict[str, object]:
    if not call.headers.get("Content-Type", "").startswith("application/json"):
        raise SapError(415, "/IWFND/CM_COS/004", "Content type not supported; send application/json")
    try:
        body = exact_json.loads_object(call.body)
    except exact_json.NotJson as fault:
        raise SapError(400, "CX_SXML_PARSE_ERROR", f"Error while parsing a JSON stream: {fault}") from fault
    inner = body.get("d")
    return inner if len(body) == 1 and isinstance(inner, dict) else body


def _json(status: int, content: object, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(
        status, {"Content-Type": "application/json", **_VERSION, **(headers or {})}, exact_json.dumps({"d": content})
    )
