"""Retail Server reads and headquarters' OData: orders as headers and lines, customers, prices."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final
from urllib.parse import quote

from aiohttp import web

from sandbox.commerce.auth import own_url, refused
from sandbox.commerce.world import JsonObject, StoredOrder, World
from sandbox.dataverse.errors import Refused, bad_query
from sandbox.dataverse.query import Comparable, Family, Property, compile_filter, read_query
from sandbox.kit import exact_json

PAGE_ROWS_MAX: Final = 10_000
_KEY: Final = re.compile(r"([A-Za-z]\w*)='((?:[^']|'')*)'")
_OPTIONS: Final = {"$filter", "$select", "$top", "$skip", "$count", "$orderby", "cross-company"}
_TEXT: Final = Family.TEXT
_NUMBER: Final = Family.NUMBER
_MOMENT: Final = Family.MOMENT

_HEADER: Final[Mapping[str, Family]] = {
    "dataAreaId": _TEXT, "SalesOrderNumber": _TEXT, "SalesOrderName": _TEXT, "SalesOrderStatus": _TEXT,
    "SalesOrderOriginCode": _TEXT, "OrderingCustomerAccountNumber": _TEXT, "InvoiceCustomerAccountNumber": _TEXT,
    "CurrencyCode": _TEXT, "CustomersOrderReference": _TEXT, "OrderCreationDateTime": _MOMENT,
    "RequestedReceiptDate": _MOMENT, "OrderTotalAmount": _NUMBER, "OrderTotalTaxAmount": _NUMBER,
    "OrderTotalChargesAmount": _NUMBER,
}  # fmt: skip
_LINE: Final[Mapping[str, Family]] = {
    "dataAreaId": _TEXT, "InventoryLotId": _TEXT, "SalesOrderNumber": _TEXT, "LineNumber": _NUMBER,
    "ItemNumber": _TEXT, "OrderedSalesQuantity": _NUMBER, "SalesUnitSymbol": _TEXT, "SalesPrice": _NUMBER,
    "LineAmount": _NUMBER, "CurrencyCode": _TEXT,
}  # fmt: skip
_CUSTOMER: Final[Mapping[str, Family]] = {
    "dataAreaId": _TEXT, "CustomerAccount": _TEXT, "OrganizationName": _TEXT, "SalesCurrencyCode": _TEXT,
    "CreditLimit": _NUMBER, "PrimaryContactEmail": _TEXT, "PrimaryContactPhone": _TEXT, "OnHoldStatus": _TEXT,
}  # fmt: skip
_PRICE: Final[Mapping[str, Family]] = {
    "dataAreaId": _TEXT, "TradeAgreementJournalNumber": _TEXT, "LineNumber": _NUMBER, "ItemNumber": _TEXT,
    "CustomerAccountNumber": _TEXT, "PriceCustomerGroupCode": _TEXT, "Price": _NUMBER, "PriceCurrencyCode": _TEXT,
    "SalesPriceQuantity": _NUMBER, "QuantityUnitSymbol": _TEXT, "FromQuantity": _NUMBER, "ToQuantity": _NUMBER,
    "PriceApplicableFromDate": _MOMENT, "PriceApplicableToDate": _MOMENT, "PriceSiteId": _TEXT,
    "PriceWarehouseId": _TEXT,
}  # fmt: skip


class Headquarters:
    """The OData endpoints under /data, and Retail Server's order read under /Commerce."""

    def __init__(self, world: World, secret: str) -> None:
        self._world = world
        self._secret = secret
        self._sets: dict[str, tuple[Mapping[str, Family], Callable[[], Iterable[JsonObject]]]] = {
            "SalesOrderHeadersV2": (_HEADER, lambda: map(_header, world.orders.values())),
            "SalesOrderLinesV3": (_LINE, lambda: (line for one in world.orders.values() for line in _lines(one))),
            "CustomersV3": (_CUSTOMER, world.customers.values),
            "OpenSalesPriceJournalLinesV2": (_PRICE, world.price_lines.values),
            "SalesPriceAgreements": (_PRICE, world.prices.values),
        }

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/Commerce/SalesOrders({key})", self._read_order)
        app.router.add_get("/data/{set}({key})", self._answering(self._read_one))
        app.router.add_get("/data/{set}", self._answering(self._read))
        app.router.add_patch("/data/{set}({key})", self._answering(self._change))
        app.router.add_post("/data/{set}", self._answering(self._create))

    async def _read_order(self, request: web.Request) -> web.Response:
        if (refusal := refused(request, self._secret, own_url(request))) is not None:
            return refusal
        key = dict(_KEY.findall(request.match_info["key"]))
        number = key.get("SalesId", "").replace("''", "'")
        stored = self._world.order(number)
        if stored is None:
            return _fault(404, "Microsoft_Dynamics_Commerce_Runtime_ObjectNotFound", f"no order {number}")
        return exact_json.response({**stored.order, "StatusValue": 1, "DataAreaId": stored.company})

    def _answering(
        self, serve: Callable[[web.Request], web.Response] | Callable[[web.Request, object], web.Response]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            if (refusal := refused(request, self._secret, own_url(request))) is not None:
                return refusal
            if request.match_info["set"] not in self._sets:
                return _fault(404, "", f"no resource for {request.match_info['set']}")
            try:
                if request.method in ("POST", "PATCH"):
                    body = exact_json.loads_object(await request.read())
                    return serve(request, body)  # type: ignore[call-arg]
                return serve(request)  # type: ignore[call-arg]
            except Refused as fault:
                return _fault(fault.status, "", fault.message)
            except exact_json.NotJson as fault:
                return _fault(400, "", str(fault))

        return answer

    def _read(self, request: web.Request) -> web.Response:
        name = request.match_info["set"]
        fields, rows_of = self._sets[name]
        options = read_query(request.query_string)
        if unknown := sorted(option for option in options if option not in _OPTIONS):
            raise bad_query(f"The query option {unknown[0]} is not supported")
        rows = list(rows_of())
        if "$filter" in options:
            chosen = compile_filter(options["$filter"], lambda path: _property(path, fields, name))
            rows = [row for row in rows if chosen.test(row)]
        if options.get("cross-company") != "true":
            rows = [row for row in rows if row["dataAreaId"] == "GB01"]
        top, skip = (_whole(options, option, default) for option, default in (("$top", 0), ("$skip", 0)))
        counted = len(rows)
        page = rows[skip : skip + min(top or PAGE_ROWS_MAX, PAGE_ROWS_MAX)]
        body: JsonObject = {"@odata.context": f"{own_url(request)}/data/$metadata#{name}"}
        if options.get("$count") == "true":
            body["@odata.count"] = counted
        body["value"] = [_selected(row, options, fields, name) for row in page]
        reached = skip + len(page)
        if reached < counted and (not top or top >= PAGE_ROWS_MAX):
            onward = {**options, "$skip": str(reached)}
            query = "&".join(f"{quote(option)}={quote(value)}" for option, value in onward.items())
            body["@odata.nextLink"] = f"{own_url(request)}/data/{name}?{query}"
        return exact_json.response(body)

    def _read_one(self, request: web.Request) -> web.Response:
        name = request.match_info["set"]
        fields, rows_of = self._sets[name]
        row = _row_of(rows_of(), _key_of(request, fields, name))
        if row is None:
            return _fault(404, "", f"No {name} with this key")
        return exact_json.response(_selected(row, read_query(request.query_string), fields, name))

    def _change(self, request: web.Request, body: object) -> web.Response:
        name = request.match_info["set"]
        if name != "CustomersV3":
            return _fault(405, "", f"{name} cannot be changed here")
        fields, rows_of = self._sets[name]
        row = _row_of(rows_of(), _key_of(request, fields, name))
        if row is None:
            return _fault(404, "", "No customer with this key")
        changed = {**row, **_checked(body, fields, name)}
        self._world.customers.put((row["dataAreaId"], row["CustomerAccount"]), changed)
        return web.Response(status=204)

    def _create(self, request: web.Request, body: object) -> web.Response:
        name = request.match_info["set"]
        if name != "OpenSalesPriceJournalLinesV2":
            return _fault(405, "", f"{name} cannot be created here")
        row = _checked(body, _PRICE, name)
        missing = [
            field for field in ("TradeAgreementJournalNumber", "LineNumber", "ItemNumber", "Price") if field not in row
        ]
        if missing:
            raise bad_query(f"The field {missing[0]} must be filled in")
        row = {"dataAreaId": "GB01", **row}
        key = (row["dataAreaId"], str(row["TradeAgreementJournalNumber"]), str(row["LineNumber"]))
        if key in self._world.price_lines:
            return _fault(400, "", "The record already exists")
        self._world.price_lines.put(key, row)
        return exact_json.response(row, status=201)


def _header(stored: StoredOrder) -> JsonObject:
    order = stored.order
    charges = sum((Decimal(str(one.get("CalculatedAmount", 0))) for one in order["ChargeLines"]), Decimal(0))
    customer = str(order.get("CustomerId") or "")
    return {
        "dataAreaId": stored.company,
        "SalesOrderNumber": stored.number,
        "SalesOrderName": f"{order.get('ChannelId', '')} {stored.number}".strip(),
        "SalesOrderStatus": stored.status,
        "SalesOrderOriginCode": "RETURN" if stored.is_return else "SALE",
        "OrderingCustomerAccountNumber": customer,
        "InvoiceCustomerAccountNumber": customer,
        "CurrencyCode": order["CurrencyCode"],
        "CustomersOrderReference": str(order.get("ChannelReferenceId") or ""),
        "OrderCreationDateTime": order["OrderPlacedDate"],
        "RequestedReceiptDate": f"{stored.business_date}T12:00:00Z",
        "OrderTotalAmount": order["TotalAmount"],
        "OrderTotalTaxAmount": order["TaxAmount"],
        "OrderTotalChargesAmount": charges,
    }


def _lines(stored: StoredOrder) -> Iterable[JsonObject]:
    for index, line in enumerate(stored.order["SalesLines"], start=1):
        yield {
            "dataAreaId": stored.company,
            "InventoryLotId": f"{stored.number}-{line.get('LineId', index)}",
            "SalesOrderNumber": stored.number,
            "LineNumber": index,
            "ItemNumber": line.get("ItemId", ""),
            "OrderedSalesQuantity": line["Quantity"],
            "SalesUnitSymbol": line.get("UnitOfMeasureSymbol", ""),
            "SalesPrice": line["Price"],
            "LineAmount": line["NetAmount"],
            "CurrencyCode": stored.order["CurrencyCode"],
        }


def _property(path: str, fields: Mapping[str, Family], name: str) -> Property[JsonObject]:
    family = fields.get(path)
    if family is None:
        raise bad_query(f"Could not find a property named '{path}' on type 'Microsoft.Dynamics.DataEntities.{name}'.")
    if family is Family.MOMENT:
        return Property(path, lambda row: _moment(row.get(path)), family)
    return Property(path, lambda row: row.get(path), family)


def _moment(value: object) -> Comparable:
    if not isinstance(value, str):
        return None
    read = datetime.fromisoformat(value)
    if read.hour == 12 and value.endswith("T12:00:00Z"):
        return read.date()  # a date of headquarters, which stands at noon
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _selected(row: JsonObject, options: Mapping[str, str], fields: Mapping[str, Family], name: str) -> JsonObject:
    if "$select" not in options:
        return row
    wanted = [field.strip() for field in options["$select"].split(",")]
    for field in wanted:
        if field not in fields:
            _property(field, fields, name)
    return {field: row.get(field) for field in wanted}


def _key_of(request: web.Request, fields: Mapping[str, Family], name: str) -> dict[str, str]:
    key = {field: value.replace("''", "'") for field, value in _KEY.findall(request.match_info["key"])}
    for field in key:
        _property(field, fields, name)
    if not key:
        raise bad_query("The key is not of the form field='value'")
    return key


def _row_of(rows: Iterable[JsonObject], key: Mapping[str, str]) -> JsonObject | None:
    return next((row for row in rows if all(str(row.get(name)) == value for name, value in key.items())), None)


def _checked(body: object, fields: Mapping[str, Family], name: str) -> JsonObject:
    assert isinstance(body, dict)
    for field, value in body.items():
        _property(field, fields, name)
        is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
        if value is not None and is_number != (fields[field] is Family.NUMBER):
            raise bad_query(f"Cannot convert the value of '{field}' to the expected type '{fields[field].value}'.")
        if fields[field] is Family.MOMENT and isinstance(value, str):
            try:
                date.fromisoformat(value[:10])
            except ValueError as fault:
                raise bad_query(f"'{field}' is not a date") from fault
    return dict(body)


def _whole(options: Mapping[str, str], name: str, default: int) -> int:
    text = options.get(name, str(default))
    if not text.isdigit():
        raise bad_query(f"{name} is not a whole number")
    return int(text)


def _fault(status: int, code: str, message: str) -> web.Response:
    return exact_json.response({"error": {"code": code, "message": message}}, status=status)
