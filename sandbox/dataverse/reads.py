"""Reading rows: single, by query, page by page, and what changed since a delta link."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final
from urllib.parse import quote

from sandbox.dataverse.calls import ApiAnswer, ApiCall
from sandbox.dataverse.errors import DELTA_EXPIRED, NO_SEGMENT, Refused, bad_query, no_such_property
from sandbox.dataverse.model import Column, Kind, Table
from sandbox.dataverse.query import (
    Expand,
    Family,
    Options,
    Property,
    compile_filter,
    read_options,
    read_query,
    sort_rows,
)
from sandbox.dataverse.rows import Row, Rows
from sandbox.dataverse.tables import TABLES
from sandbox.dataverse.values import Reference, formatted, write_value

PAGE_ROWS_MAX: Final = 5000
_COUNT_MAX: Final = 5000
_DELTA_LIFETIME: Final = timedelta(days=7)
_WRITE_ONLY: Final = frozenset({("serviceendpoint", "authvalue")})
_FAMILIES: Final[Mapping[Kind, Family]] = {
    Kind.STRING: Family.TEXT, Kind.MEMO: Family.TEXT, Kind.INTEGER: Family.NUMBER, Kind.BIGINT: Family.NUMBER,
    Kind.DECIMAL: Family.NUMBER, Kind.MONEY: Family.NUMBER, Kind.BOOLEAN: Family.FLAG, Kind.PICKLIST: Family.NUMBER,
    Kind.STATE: Family.NUMBER, Kind.STATUS: Family.NUMBER, Kind.DATETIME: Family.MOMENT, Kind.DATE: Family.MOMENT,
    Kind.LOOKUP: Family.GUID, Kind.GUID: Family.GUID,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class View:
    """Which properties of a table an answer shows. `select` None = all of them."""

    table: Table
    select: tuple[str, ...] | None = None
    expand: tuple[Expand, ...] = ()
    annotated: bool = False

    @property
    def context(self) -> str:
        """The fragment of @odata.context that tells what is shown."""
        shown = [*(self.select or ()), *(f"{e.navigation}({','.join(e.select or ())})" for e in self.expand)]
        return f"{self.table.entity_set}({','.join(shown)})" if shown else self.table.entity_set


def view_of(call: ApiCall, table: Table, options: Options) -> View:
    """The view that a request asks for. Raises Refused (400) for unknown properties."""
    for name in options.select or ():
        if name not in table.properties:
            raise no_such_property(name, table.name)
    for item in options.expand:
        target = _navigated(table, item.navigation)
        for name in item.select or ():
            if name not in target.properties:
                raise no_such_property(name, target.name)
    annotated = "odata.include-annotations" in call.preferences()
    return View(table, options.select, options.expand, annotated)


def read_row(call: ApiCall, rows: Rows, table: Table, row: Row) -> ApiAnswer:
    """Answer with one row; 304 when If-None-Match names its version."""
    if call.headers.get("If-None-Match") == row.etag:
        return ApiAnswer(304, headers={"ETag": row.etag})
    view = view_of(call, table, read_options(read_query(call.query)))
    body = {"@odata.context": f"{call.root}/$metadata#{view.context}/$entity", **render(view, rows, row, call.root)}
    return ApiAnswer.of_json(body, headers={"ETag": row.etag})


def read_rows(call: ApiCall, rows: Rows, table: Table, among: Iterable[Row] | None = None) -> ApiAnswer:
    """Answer with the rows that the query wants; `among` None = of the whole table."""
    options = read_options(read_query(call.query))
    view = view_of(call, table, options)
    if options.deltatoken is not None:
        return _read_delta(call, rows, view, options)
    tracking = "odata.track-changes" in call.preferences()
    if tracking:
        _refuse_with_tracking(options)
    page_limit = _page_limit(call)
    cookie = _Cookie.read(options.skiptoken) if options.skiptoken else _Cookie(0, "", rows.version())
    chosen = _matching(rows, table, options, among)
    found = list(chosen) if options.top is None else list(chosen)[: options.top]
    start = cookie.start(found)
    page = found[start : start + page_limit]
    context = f"{call.root}/$metadata#{view.context}{'/$delta' if tracking else ''}"
    body: dict[str, object] = {"@odata.context": context}
    if options.count:
        body["@odata.count"] = min(len(chosen), _COUNT_MAX)
    more = start + len(page) < len(found)
    if tracking and not more:
        body["@odata.deltaLink"] = _delta_link(call, rows, table, options, cookie.version)
    body["value"] = [render(view, rows, row, call.root) for row in page]
    if more:
        body["@odata.nextLink"] = _next_link(call, table, _Cookie(start + len(page), page[-1].id, cookie.version))
    applied = {"Preference-Applied": "odata.track-changes"} if tracking else None
    return ApiAnswer.of_json(body, headers=applied)


def count_rows(call: ApiCall, rows: Rows, table: Table) -> ApiAnswer:
    """The plain number of rows, at most 5000."""
    found = _matching(rows, table, read_options(read_query(call.query)), None)
    return ApiAnswer(200, str(min(len(found), _COUNT_MAX)).encode(), content_type="text/plain")


def read_property(call: ApiCall, rows: Rows, table: Table, row: Row, rest: Sequence[str]) -> ApiAnswer:
    """What stands behind a row in the path: a property, its raw $value, a looked-up row or a collection of rows."""
    name = rest[0]
    if name in table.properties and len(rest) <= 2:
        column = table.properties[name]
        value = _written(table, column, row)
        if len(rest) == 2:
            return ApiAnswer(200, str(value).encode(), content_type="text/plain")
        if value is None:
            return ApiAnswer(204)
        return ApiAnswer.of_json(
            {"@odata.context": f"{call.root}/$metadata#{table.entity_set}({row.id})/{name}", "value": value}
        )
    if name in table.navigations and len(rest) == 1:
        held = row.get(table.navigations[name][0].name)
        if not isinstance(held, Reference) or held.table != table.navigations[name][1].table:
            return ApiAnswer(204)
        target = TABLES[held.table]
        pointed = rows.get(target, held.id)
        return ApiAnswer(204) if pointed is None else read_row(call, rows, target, pointed)
    if name in table.collections and len(rest) == 1:
        child, lookup = table.collections[name]
        return read_rows(call, rows, TABLES[child], rows.having(TABLES[child], lookup, row.id))
    raise Refused(404, NO_SEGMENT, f"Resource not found for the segment '{name}'.")


def render(view: View, rows: Rows, row: Row, root: str) -> dict[str, object]:
    """A row as JSON: the etag, the selected properties, the primary key, and what was expanded."""
    table = view.table
    shown: dict[str, object] = {"@odata.etag": row.etag}
    names = table.properties.keys() if view.select is None else (*view.select, table.id_column)
    for name in dict.fromkeys(names):
        column = table.properties[name]
        shown[name] = _written(table, column, row)
        if view.annotated:
            shown.update(_annotations(column, name, row, rows))
    for item in view.expand:
        shown.update(_expanded(view, item, rows, row, root))
    return shown


def resolver(table: Table, rows: Rows) -> "_Resolver":
    """Property paths of a table for $filter and $orderby; lookups may be followed one step."""
    return _Resolver(table, rows)


@dataclass(frozen=True, slots=True)
class _Resolver:
    table: Table
    rows: Rows

    def __call__(self, path: str) -> Property[Row]:
        first, slash, rest = path.partition("/")
        if not slash:
            return _property(self.table, first)
        found = self.table.navigations.get(first)
        if found is None:
            raise no_such_property(first, self.table.name)
        column, target = found
        pointed_table = TABLES[target.table]
        inner = _property(pointed_table, rest)

        def value(row: Row) -> str | int | object:
            held = row.get(column.name)
            if not isinstance(held, Reference) or held.table != target.table:
                return None
            pointed = self.rows.get(pointed_table, held.id)
            return None if pointed is None else inner.getter(pointed)

        return Property(path, value, inner.family)  # type: ignore[arg-type]


def _property(table: Table, name: str) -> Property[Row]:
    column = table.properties.get(name)
    if column is None:
        raise no_such_property(name, table.name)
    if name == "versionnumber":
        return Property(name, lambda row: Decimal(row.version), Family.NUMBER)
    column_name = column.name

    def value(row: Row) -> object:
        held = row.get(column_name)
        return held.id if isinstance(held, Reference) else held

    return Property(name, value, _FAMILIES[column.kind])  # type: ignore[arg-type]


def _matching(rows: Rows, table: Table, options: Options, among: Iterable[Row] | None) -> list[Row]:
    resolve = resolver(table, rows)
    candidates: Iterable[Row] = rows.every(table) if among is None else among
    if options.filter is not None:
        compiled = compile_filter(options.filter, resolve)
        if among is None:
            for path, value in compiled.equalities:
                column = table.properties.get(path)
                narrowed = None if column is None else rows.having(table, column.name, value)
                if narrowed is not None:
                    candidates = narrowed
                    break
        candidates = [row for row in candidates if compiled.test(row)]
    ordering = [(resolve(path).getter, descending) for path, descending in options.orderby]
    return sort_rows(list(candidates), ordering) if ordering else list(candidates)


def _written(table: Table, column: Column, row: Row) -> object:
    if (table.name, column.name) in _WRITE_ONLY:
        return None
    if column.name == "versionnumber":
        return row.version
    return write_value(column, row.get(column.name))


def _annotations(column: Column, name: str, row: Row, rows: Rows) -> dict[str, object]:
    held = row.get(column.name)
    found: dict[str, object] = {}
    if isinstance(held, Reference):
        target = TABLES[held.table]
        pointed = rows.get(target, held.id)
        if pointed is not None:
            found[f"{name}@OData.Community.Display.V1.FormattedValue"] = pointed.get(target.name_column)
        navigation = next(t.navigation for t in column.targets if t.table == held.table)
        found[f"{name}@Microsoft.Dynamics.CRM.associatednavigationproperty"] = navigation
        found[f"{name}@Microsoft.Dynamics.CRM.lookuplogicalname"] = held.table
        return found
    text = formatted(column, held)
    return {} if text is None else {f"{name}@OData.Community.Display.V1.FormattedValue": text}


def _navigated(table: Table, navigation: str) -> Table:
    if navigation in table.navigations:
        return TABLES[table.navigations[navigation][1].table]
    if navigation in table.collections:
        return TABLES[table.collections[navigation][0]]
    raise no_such_property(navigation, table.name)


def _expanded(view: View, item: Expand, rows: Rows, row: Row, root: str) -> dict[str, object]:
    table = view.table
    if item.navigation in table.collections:
        child, lookup = table.collections[item.navigation]
        inner = View(TABLES[child], item.select, (), view.annotated)
        children = rows.having(TABLES[child], lookup, row.id) or ()
        link = f"{root}/{table.entity_set}({row.id})/{item.navigation}"
        return {
            item.navigation: [render(inner, rows, each, root) for each in children],
            f"{item.navigation}@odata.nextLink": link,
        }
    column, target = table.navigations[item.navigation]
    held = row.get(column.name)
    if not isinstance(held, Reference) or held.table != target.table:
        return {item.navigation: None}
    pointed = rows.get(TABLES[target.table], held.id)
    if pointed is None:
        return {item.navigation: None}
    return {item.navigation: render(View(TABLES[target.table], item.select, (), view.annotated), rows, pointed, root)}


@dataclass(frozen=True, slots=True)
class _Cookie:
    """Where a page ended: how many rows were given, the last one's id, and the version the reading began at."""

    given: int
    last_id: str
    version: int

    @classmethod
    def read(cls, token: str) -> "_Cookie":
        try:
            given, last_id, version = base64.urlsafe_b64decode(token).decode().split("|")
            return cls(int(given), last_id, int(version))
        except ValueError as fault:
            raise bad_query("The paging cookie in $skiptoken is malformed.") from fault

    def written(self) -> str:
        return base64.urlsafe_b64encode(f"{self.given}|{self.last_id}|{self.version}".encode()).decode()

    def start(self, found: Sequence[Row]) -> int:
        """Where the next page begins: after the last row given, wherever that stands by now."""
        if not self.last_id:
            return 0
        if self.given <= len(found) and found[self.given - 1].id == self.last_id:
            return self.given
        return next((at + 1 for at, row in enumerate(found) if row.id == self.last_id), min(self.given, len(found)))


def _page_limit(call: ApiCall) -> int:
    asked = call.preferences().get("odata.maxpagesize")
    if asked is None:
        return PAGE_ROWS_MAX
    if not asked.isdigit() or int(asked) == 0:
        raise bad_query(f"Invalid value '{asked}' for the preference odata.maxpagesize.")
    return min(int(asked), PAGE_ROWS_MAX)


def _next_link(call: ApiCall, table: Table, cookie: _Cookie) -> str:
    kept = {name: value for name, value in read_query(call.query).items() if name != "$skiptoken"}
    pairs = [f"{name}={quote(value, safe='')}" for name, value in kept.items()]
    return f"{call.root}/{call.path or table.entity_set}?{'&'.join([*pairs, f'$skiptoken={cookie.written()}'])}"


def _refuse_with_tracking(options: Options) -> None:
    for name, used in (
        ("$filter", options.filter is not None), ("$orderby", bool(options.orderby)),
        ("$expand", bool(options.expand)), ("$top", options.top is not None),
    ):  # fmt: skip
        if used:
            raise bad_query(f"The {name} clause is not supported with change tracking.")


def _delta_link(call: ApiCall, rows: Rows, table: Table, options: Options, version: int) -> str:
    token = f"{version}!{rows.now():%m/%d/%Y %H:%M:%S}"
    select = f"$select={','.join(options.select)}&" if options.select else ""
    return f"{call.root}/{table.entity_set}?{select}$deltatoken={quote(token, safe='')}"


def _read_delta(call: ApiCall, rows: Rows, view: View, options: Options) -> ApiAnswer:
    _refuse_with_tracking(options)
    since, given_on = _read_delta_token(options.deltatoken or "")
    if not since or rows.now().date() - given_on > _DELTA_LIFETIME:
        raise Refused(410, DELTA_EXPIRED, "The delta token has expired: read the table again from the start.")
    cookie = _Cookie.read(options.skiptoken) if options.skiptoken else _Cookie(0, "", rows.version())
    changed = sorted((row for row in rows.every(view.table) if row.version > since), key=lambda row: row.version)
    graves = sorted((g for g in rows.graves(view.table) if g.version > since), key=lambda grave: grave.version)
    items: list[dict[str, object]] = [render(view, rows, row, call.root) for row in changed]
    deleted = f"{call.root}/$metadata#{view.table.entity_set}/$deletedEntity"
    items += [{"@odata.context": deleted, "id": grave.id, "reason": "deleted"} for grave in graves]
    page_limit = _page_limit(call)
    page = items[cookie.given : cookie.given + page_limit]
    body: dict[str, object] = {"@odata.context": f"{call.root}/$metadata#{view.context}/$delta"}
    if cookie.given + len(page) < len(items):
        body["value"] = page
        body["@odata.nextLink"] = _next_link(call, view.table, replace(cookie, given=cookie.given + len(page)))
        return ApiAnswer.of_json(body)
    body["@odata.deltaLink"] = _delta_link(call, rows, view.table, options, cookie.version)
    body["value"] = page
    return ApiAnswer.of_json(body)


def _read_delta_token(token: str) -> tuple[int, date]:
    version, _, given_at = token.partition("!")
    try:
        return int(version), datetime.strptime(given_at, "%m/%d/%Y %H:%M:%S").replace(tzinfo=UTC).date()
    except ValueError as fault:
        raise bad_query("The $deltatoken is malformed.") from fault
