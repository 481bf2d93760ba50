"""Headquarters' OData: orders as headers and lines, customers, and prices from an open journal to an agreement."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from decimal import Decimal
from typing import Final
from urllib.parse import quote

from aiohttp import web

from sandbox.commerce.auth import Gate, own_url
from sandbox.commerce.entities import (
    CUSTOMERS,
    HEADERS,
    LINES,
    PRICE_LINES,
    PRICES,
    DataEntity,
    comparable,
    etag_of,
    header_row,
    line_rows,
)
from sandbox.commerce.world import JsonObject, StoredOrder, World
from sandbox.dataverse.errors import Refused, bad_query
from sandbox.dataverse.query import (
    Comparable,
    Family,
    Property,
    collated,
    compile_filter,
    flag,
    read_query,
    sort_rows,
    whole,
)
from sandbox.kit import exact_json
from sandbox.kit.entities import legal_entities

PAGE_ROWS_MAX: Final = 10_000
DEFAULT_COMPANY: Final = "GB01"
POST_JOURNAL: Final = "/api/services/ConcordServices/TradeAgreementJournals/post"
_KEY_PAIR: Final = re.compile(r"\s*([A-Za-z]\w*)=('(?:[^']|'')*'|-?\d+(?:\.\d+)?)\s*(?:,|$)")
_OPTIONS: Final = frozenset({"$filter", "$select", "$top", "$skip", "$count", "$orderby", "cross-company"})

type _Rows = Callable[[Mapping[str, Comparable]], Iterable[JsonObject]]
type _Reader = Callable[[web.Request, DataEntity], web.Response]
type _Writer = Callable[[web.Request, DataEntity, JsonObject], web.Response]


class Headquarters:
    """The OData endpoints under /data, and the customer's own service that posts a price journal."""

    def __init__(self, world: World, gate: Gate) -> None:
        self._world = world
        self._gate = gate
        self._headers: dict[tuple[str, str], tuple[StoredOrder, JsonObject]] = {}
        self._sets: dict[str, tuple[DataEntity, _Rows]] = {
            "SalesOrderHeadersV2": (HEADERS, lambda wanted: map(self._header, self._orders(wanted))),
            "SalesOrderLinesV3": (LINES, lambda wanted: (r for one in self._orders(wanted) for r in line_rows(one))),
            "CustomersV3": (CUSTOMERS, self._customers),
            "OpenSalesPriceJournalLinesV2": (PRICE_LINES, lambda wanted: world.price_lines.values()),
            "SalesPriceAgreements": (PRICES, lambda wanted: world.prices.values()),
        }

    def routes(self, app: web.Application) -> None:
        """Reads of every set, changes of customers, new price lines, and the posting of a journal."""
        app.router.add_get("/data/{set}({key})", self._reading(self._read_one))
        app.router.add_get("/data/{set}", self._reading(self._read))
        app.router.add_patch("/data/{set}({key})", self._writing(self._change))
        app.router.add_post("/data/{set}", self._writing(self._create))
        app.router.add_post(POST_JOURNAL, self._post_journal)

    def _reading(self, serve: _Reader) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            return self._answer(request, lambda entity: serve(request, entity))

        return answer

    def _writing(self, serve: _Writer) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            content = await request.read()
            return self._answer(request, lambda entity: serve(request, entity, exact_json.loads_object(content)))

        return answer

    def _answer(self, request: web.Request, serve: Callable[[DataEntity], web.Response]) -> web.Response:
        refusal = self._gate.refused(request)
        if refusal is not None:
            return refusal
        if request.match_info["set"] not in self._sets:
            return _fault(404, f"No HTTP resource was found that matches {request.path}")
        try:
            return serve(self._sets[request.match_info["set"]][0])
        except Refused as fault:
            return _fault(fault.status, fault.message)
        except exact_json.NotJson as fault:
            return _fault(400, str(fault))

    def _orders(self, wanted: Mapping[str, Comparable]) -> Iterable[StoredOrder]:
        """The orders that can match: those of a number where one is asked for, else all."""
        number = wanted.get("SalesOrderNumber")
        if not isinstance(number, str):
            return self._world.orders.values()
        return self._world.orders.find("folded_number", number)

    def _customers(self, wanted: Mapping[str, Comparable]) -> Iterable[JsonObject]:
        account = wanted.get("CustomerAccount")
        customers = self._world.customers
        return customers.find("account", account) if isinstance(account, str) else customers.values()

    def _header(self, stored: StoredOrder) -> JsonObject:
        """The row of an order, made once: months of thousands are read page by page."""
        key = (stored.company, stored.number)
        known = self._headers.get(key)
        if known is None or known[0] is not stored:
            known = self._headers[key] = (stored, header_row(stored))
        return known[1]

    def _read(self, request: web.Request, entity: DataEntity) -> web.Response:
        options = _options(request)
        wanted: Mapping[str, Comparable] = {}
        test = None
        if "$filter" in options:
            compiled = compile_filter(options["$filter"], lambda path: _property(entity, path))
            wanted, test = dict(compiled.equalities), compiled.test
        rows = self._sets[entity.name][1](wanted)
        if options.get("cross-company") != "true":
            rows = (row for row in rows if row["dataAreaId"] == DEFAULT_COMPANY)
        found = list(rows) if test is None else [row for row in rows if test(row)]
        found = _ordered(entity, found, options.get("$orderby", ""))
        top = whole("$top", options["$top"]) if "$top" in options else None
        skip = whole("$skip", options.get("$skip", "0"))
        asked = found[skip:] if top is None else found[skip : skip + top]
        page = asked[:PAGE_ROWS_MAX]
        body: JsonObject = {"@odata.context": f"{own_url(request)}/data/$metadata#{entity.name}"}
        if flag("$count", options.get("$count", "false")):
            body["@odata.count"] = len(found)
        select = _selection(entity, options)
        body["value"] = [_shown(row, select) for row in page]
        if len(page) < len(asked):
            onward = {**options, "$skip": str(skip + len(page))}
            if top is not None:
                onward["$top"] = str(top - len(page))
            query = "&".join(f"{quote(option)}={quote(value)}" for option, value in onward.items())
            body["@odata.nextLink"] = f"{own_url(request)}/data/{entity.name}?{query}"
        return exact_json.response(body)

    def _read_one(self, request: web.Request, entity: DataEntity) -> web.Response:
        options = _options(request)
        row = self._find(entity, _key_of(request, entity, options))
        if row is None:
            return _fault(404, f"No {entity.name} with this key")
        return exact_json.response(
            {
                "@odata.context": f"{own_url(request)}/data/$metadata#{entity.name}/$entity",
                "@odata.etag": etag_of(row),
                **_shown(row, _selection(entity, options)),
            }
        )

    def _change(self, request: web.Request, entity: DataEntity, body: JsonObject) -> web.Response:
        if entity is not CUSTOMERS:
            return _fault(405, f"{entity.name} cannot be changed here")
        row = self._find(entity, _key_of(request, entity, _options(request)))
        if row is None:
            return _fault(404, f"No {entity.name} with this key")
        if request.headers.get("If-Match", "*") not in {"*", etag_of(row)}:
            return _fault(412, "The record was changed by another user")
        self._world.customers.put((row["dataAreaId"], row["CustomerAccount"]), {**row, **entity.checked(body)})
        return web.Response(status=204)

    def _create(self, request: web.Request, entity: DataEntity, body: JsonObject) -> web.Response:
        if entity is not PRICE_LINES:
            return _fault(405, f"{entity.name} cannot be created here")
        row = {"dataAreaId": DEFAULT_COMPANY, **entity.checked(body)}
        required = ("TradeAgreementJournalNumber", "LineNumber", "ItemNumber", "Price", "PriceCurrencyCode")
        for name in required:
            if row.get(name) in {None, ""}:
                raise bad_query(f"The field '{name}' must be filled in.")
        if row["dataAreaId"] not in legal_entities():
            raise bad_query(f"The company '{row['dataAreaId']}' does not exist.")
        if row.get("CustomerAccountNumber") and row.get("PriceCustomerGroupCode"):
            raise bad_query("A price is for a customer or for a group of customers, not for both.")
        key = (row["dataAreaId"], row["TradeAgreementJournalNumber"], str(row["LineNumber"]))
        if key in self._world.price_lines:
            raise bad_query("Cannot create a record in Trade agreement journal lines. The record already exists.")
        self._world.price_lines.put(key, row)
        return exact_json.response({"@odata.etag": etag_of(row), **row}, status=201)

    async def _post_journal(self, request: web.Request) -> web.Response:
        """Post the open lines of a journal: they become agreements, and the journal has no open lines any more."""
        content = await request.read()
        refusal = self._gate.refused(request)
        if refusal is not None:
            return refusal
        try:
            body = exact_json.loads_object(content)
        except exact_json.NotJson as fault:
            return _fault(400, str(fault))
        company, journal = body.get("dataAreaId"), body.get("TradeAgreementJournalNumber")
        if not isinstance(company, str) or not isinstance(journal, str):
            return _fault(400, "dataAreaId and TradeAgreementJournalNumber are required")
        lines = [(key, row) for key, row in self._world.price_lines.items() if key[:2] == (company, journal)]
        with self._world.state.atomic():
            for key, row in lines:
                self._world.price_lines.delete(key)
                self._world.add_agreement(_agreement(row))
        return exact_json.response({"TradeAgreementJournalNumber": journal, "PostedLines": len(lines)})

    def _find(self, entity: DataEntity, key: Mapping[str, str | Decimal]) -> JsonObject | None:
        wanted = {name: collated(value) for name, value in key.items()}
        rows = self._sets[entity.name][1](wanted)
        return next((row for row in rows if all(collated(row[name]) == value for name, value in wanted.items())), None)


def _agreement(line: JsonObject) -> JsonObject:
    kept = {name: value for name, value in line.items() if name in PRICES.fields}
    return {
        "PriceApplicableFromDate": "1900-01-01T12:00:00Z", "PriceApplicableToDate": "1900-01-01T12:00:00Z",
        "FromQuantity": 0, "ToQuantity": 0, "SalesPriceQuantity": 1, "CustomerAccountNumber": "",
        "PriceCustomerGroupCode": "", **kept, "QuantityUnitySymbol": line.get("QuantityUnitSymbol", ""),
    }  # fmt: skip


def _options(request: web.Request) -> dict[str, str]:
    options = read_query(request.rel_url.raw_query_string)
    unknown = sorted(option for option in options if option not in _OPTIONS)
    if unknown:
        raise bad_query(f"The query parameter '{unknown[0]}' is not supported")
    flag("cross-company", options.get("cross-company", "false"))
    return options


def _property(entity: DataEntity, path: str) -> Property[JsonObject]:
    field = entity.field(path)
    return Property(path, lambda row: comparable(field, row.get(path)), field.family, field.enumeration, field.values)


def _ordered(entity: DataEntity, rows: list[JsonObject], text: str) -> list[JsonObject]:
    ordering = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, direction = item.partition(" ")
        if direction.strip() not in {"", "asc", "desc"}:
            raise bad_query(f"Syntax error in the expression '{text}' of query option '$orderby'.")
        ordering.append((_property(entity, name).getter, direction.strip() == "desc"))
    return sort_rows(rows, ordering) if ordering else rows


def _selection(entity: DataEntity, options: Mapping[str, str]) -> list[str] | None:
    if "$select" not in options:
        return None
    names = [name.strip() for name in options["$select"].split(",")]
    for name in names:
        entity.field(name)
    return names


def _shown(row: JsonObject, select: list[str] | None) -> JsonObject:
    return row if select is None else {name: row.get(name) for name in select}


def _key_of(request: web.Request, entity: DataEntity, options: Mapping[str, str]) -> dict[str, str | Decimal]:
    """The whole key; the company may be left out by a caller that stays in its own."""
    text, position, key = request.match_info["key"], 0, dict[str, str | Decimal]()
    while position < len(text):
        found = _KEY_PAIR.match(text, position)
        if found is None:
            raise bad_query(f"The key '{text}' of {entity.name} is malformed.")
        name, value = found.group(1), found.group(2)
        if name in key:
            raise bad_query(f"The key '{text}' of {entity.name} gives '{name}' more than once.")
        is_number = entity.field(name).family is Family.NUMBER
        if is_number == value.startswith("'"):
            raise bad_query(f"The key value {value} of '{name}' is not of its type.")
        key[name] = Decimal(value) if is_number else value[1:-1].replace("''", "'")
        position = found.end()
    in_own_company = options.get("cross-company") != "true"
    if in_own_company and key.setdefault("dataAreaId", DEFAULT_COMPANY) != DEFAULT_COMPANY:
        raise Refused(404, "", f"No {entity.name} with this key in the company {DEFAULT_COMPANY}")
    if set(key) != set(entity.key):
        raise bad_query(f"The key of {entity.name} is {', '.join(entity.key)}.")
    return key


def _fault(status: int, message: str) -> web.Response:
    error = {"code": "", "message": "An error has occurred.", "innererror": {"message": message}}
    return exact_json.response({"error": error}, status=status)
