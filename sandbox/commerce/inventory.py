"""Inventory Visibility: absolute figures and deltas in, reservations, and one answer to what is available."""

import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from aiohttp import web

from sandbox.commerce.auth import Gate, inventory_of, own_url
from sandbox.commerce.world import RESERVED, JsonObject, OnHand, Place, World, reserved_of
from sandbox.kit import exact_json

RECORDS_MAX: Final = 512
_PRODUCTS_MAX: Final = 5000
_PLACES_MAX: Final = 100
_ATP_DAYS_MAX: Final = 180
# Colours and sizes are no dimensions of this environment: what has them is refused, never added up without them.
_DIMENSIONS: Final = {name.lower(): name for name in ("siteId", "locationId")}
_DIGITS_MAX: Final = 18  # before the point, and after it
_CHANGE: Final = frozenset({"id", "organizationId", "productId", "dimensionDataSource", "dimensions", "quantities"})
_SET: Final = _CHANGE | {"modifiedDateTimeUTC"}
_SCHEDULE: Final = (_CHANGE - {"quantities"}) | {"quantitiesByDate"}
_RESERVE: Final = _CHANGE | {"quantityDataSource", "modifier", "quantity", "ifCheckAvailForReserv"}
_UNRESERVE: Final = frozenset({"id", "organizationId", "reservationId", "dimensions", "OffsetQty"})
_QUERY: Final = frozenset(
    {"dimensionDataSource", "filters", "groupByValues", "returnNegative", "QueryATP", "ATPFromDate", "ATPToDate"}
)


class Invalid(ValueError):
    """One record or query is not of its form; the text names the field."""


@dataclass(frozen=True, slots=True)
class _Record:
    id: str
    place: Place
    content: JsonObject


class InventoryVisibility:
    """The service of every environment, and the security service that issues its tokens."""

    def __init__(self, world: World, gate: Gate) -> None:
        self._world = world
        self._gate = gate

    def routes(self, app: web.Application) -> None:
        """The token exchange and the on-hand calls."""
        root = "/api/environment/{environment}"
        app.router.add_post("/token", self._redirect_to_region)
        app.router.add_post("/region/token", self._issue_token)
        for path, serve in (
            ("onhand", self._one_change),
            ("onhand/bulk", self._changes),
            ("setonhand/{system}/bulk", self._set),
            ("onhand/reserve", self._reserve),
            ("onhand/unreserve", self._unreserve),
            ("onhand/changeschedule", self._one_schedule),
            ("onhand/changeschedule/bulk", self._schedules),
            ("onhand/indexquery", self._query),
        ):
            app.router.add_post(f"{root}/{path}", self._answering(serve))

    async def _redirect_to_region(self, request: web.Request) -> web.Response:
        """The global address only knows which region issues: the caller sends the same POST there."""
        await request.read()
        return web.Response(status=307, headers={"Location": f"{own_url(request)}/region/token"})

    async def _issue_token(self, request: web.Request) -> web.Response:
        if request.headers.get("Api-Version") != "1.0":
            return _fault(400, "Api-Version must be 1.0")
        try:
            asked = exact_json.loads_object(await request.read())
        except exact_json.NotJson as fault:
            return _fault(400, str(fault))
        for name, expected in (
            ("grant_type", "client_credentials"), ("client_assertion_type", "aad_app"), ("client_assertion", None),
            ("scope", "https://inventoryservice.operations365.dynamics.com/.default"), ("context", None),
            ("context_type", "finops-env"),
        ):  # fmt: skip
            value = asked.get(name)
            if not isinstance(value, str) or not value or (expected is not None and value != expected):
                return _fault(400, f"{name}: {expected or 'a text'} was expected")
        refusal = self._gate.assertion_refused(str(asked["client_assertion"]))
        if refusal is not None:
            return refusal
        return exact_json.response(self._gate.issue_inventory_token(str(asked["context"])))

    def _answering(
        self, serve: Callable[[web.Request, Any], web.Response]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            content = await request.read()
            refusal = self._gate.refused(request, inventory_of(request.match_info["environment"]))
            if refusal is not None:
                return refusal
            if request.headers.get("Api-Version") != "1.0":
                return _fault(400, "Api-Version must be 1.0")
            try:
                with self._world.state.atomic():
                    return serve(request, exact_json.loads(content))
            except (exact_json.NotJson, Invalid) as fault:
                return _fault(400, str(fault))

        return answer

    def _one_change(self, _: web.Request, record: Any) -> web.Response:
        return exact_json.response(self._change(record))

    def _changes(self, _: web.Request, records: Any) -> web.Response:
        return exact_json.response([self._change(record) for record in _bulk(records)])

    def _change(self, content: Any) -> JsonObject:
        record = _record(content, _CHANGE)
        quantities = _quantities(record.content)
        if self._is_new(record.id, "changed"):
            figure = self._known(record.place)
            for source, changes in quantities.items():
                figure = figure.added(source, changes, self._world.state.now())
            self._world.on_hand.put(record.place, figure)
        return _done(record.id)

    def _set(self, request: web.Request, records: Any) -> web.Response:
        """Absolute figures of one system; one older than what is held is taken and changes nothing."""
        system, results = request.match_info["system"], []
        for content in _bulk(records):
            record = _record(content, _SET)
            quantities = _quantities(record.content)
            if set(quantities) != {system}:
                raise Invalid(f"quantities: figures of {system} alone are set here, not of {', '.join(quantities)}")
            now = self._world.state.now()
            modified_at = _moment(record.content["modifiedDateTimeUTC"]) if "modifiedDateTimeUTC" in content else now
            known = self._known(record.place)
            if self._is_new(record.id, "set") and modified_at >= known.set_at:
                figure = OnHand(record.place, {**known.quantities, **quantities}, modified_at, now)
                self._world.on_hand.put(record.place, figure)
            results.append(_done(record.id))
        return exact_json.response(results)

    def _reserve(self, _: web.Request, content: Any) -> web.Response:
        record = _record(content, _RESERVE)
        quantity = _number(record.content.get("quantity"), "quantity")
        if quantity <= 0:
            raise Invalid("quantity: a quantity above zero was expected")
        done = self._world.inventory_ids.get(record.id)
        if done is None:
            known = self._known(record.place)
            free = _stock(known) - reserved_of(known)
            if record.content.get("ifCheckAvailForReserv", True) is not False and quantity > free:
                failed = {"reservationId": "", "id": record.id, "processingStatus": "failed",
                          "message": f"{free} are available", "statusCode": 400}  # fmt: skip
                return exact_json.response(failed, status=400)
            done = str(uuid.uuid4())
            reserved = {_modifier(record.content): quantity}
            self._world.on_hand.put(record.place, known.added("iv", reserved, self._world.state.now()))
            self._world.inventory_ids.put(record.id, done)
            kept = {"reservationId": done, "place": list(record.place), "quantity": quantity,
                    "modifier": _modifier(record.content)}  # fmt: skip
            self._world.reservations.put(done, kept)
        elif done not in self._world.reservations:
            raise Invalid(f"id: {record.id} was the id of another kind of call")
        return exact_json.response({"reservationId": done, **_done(record.id)})

    def _unreserve(self, _: web.Request, content: Any) -> web.Response:
        """Give some of a reservation back; more than is reserved is given back as far as it goes."""
        record = _record(content, _UNRESERVE, product=False)
        reservation = self._world.reservations.get(str(record.content.get("reservationId")))
        if reservation is None:
            raise Invalid("reservationId: is unknown")
        offset = _number(record.content.get("OffsetQty"), "OffsetQty")
        if offset <= 0:
            raise Invalid("OffsetQty: a quantity above zero was expected")
        organization, product, site, location = reservation["place"]
        if (organization, site, location) != (record.place[0], record.place[2], record.place[3]):
            raise Invalid("dimensions: are not those of the reservation")
        beyond = Decimal(0)
        if self._is_new(record.id, "unreserved"):
            given_back = min(offset, reservation["quantity"])
            beyond = offset - given_back
            place = (organization, product, site, location)
            change = {reservation["modifier"]: -given_back}
            self._world.on_hand.put(place, self._known(place).added("iv", change, self._world.state.now()))
            left = {**reservation, "quantity": reservation["quantity"] - given_back}
            self._world.reservations.put(reservation["reservationId"], left)
        status = "partialSuccess" if beyond else "success"
        return exact_json.response(
            {
                "reservationId": reservation["reservationId"], "totalInvalidOffsetQtyByReservId": beyond,
                **_done(record.id), "processingStatus": status,
            }
        )  # fmt: skip

    def _one_schedule(self, _: web.Request, record: Any) -> web.Response:
        return exact_json.response(self._schedule(record))

    def _schedules(self, _: web.Request, records: Any) -> web.Response:
        return exact_json.response([self._schedule(record) for record in _bulk(records)])

    def _schedule(self, content: Any) -> JsonObject:
        """Changes to come, by day: available to promise takes them into account from their day on."""
        record = _record(content, _SCHEDULE)
        by_date = record.content.get("quantitiesByDate")
        if not isinstance(by_date, dict) or not by_date:
            raise Invalid("quantitiesByDate: is missing")
        planned = {
            _day(day, "quantitiesByDate"): sum(
                (sum(m.values(), Decimal(0)) for m in _quantities({"quantities": quantities}).values()), Decimal(0)
            )
            for day, quantities in by_date.items()
        }
        if self._is_new(record.id, "scheduled"):
            known = dict(self._world.schedules.get(record.place) or {})
            for day, change in planned.items():
                known[day] = known.get(day, Decimal(0)) + change
            self._world.schedules.put(record.place, known)
        return _done(record.id)

    def _query(self, _: web.Request, query: Any) -> web.Response:
        if not isinstance(query, dict) or not isinstance(query.get("filters"), dict):
            raise Invalid("filters: is missing")
        _only(query, _QUERY)
        if query.get("groupByValues", []) != []:
            raise Invalid("groupByValues: only [] is played here, one row per site and location")
        filters = _filters(query["filters"])
        days = _atp_days(query)
        with_negative = query.get("returnNegative", True) is not False
        rows = [
            self._answer(row, days)
            for row in self._candidates(filters["productId"])
            if row.place[0] in filters["organizationId"]
            and row.place[2] in filters["siteId"]
            and row.place[3] in filters["locationId"]
            and (with_negative or _stock(row) >= 0)
        ]
        return exact_json.response(rows)

    def _candidates(self, products: list[str]) -> Iterable[OnHand]:
        if not products:
            return self._world.on_hand.values()
        return (row for product in dict.fromkeys(products) for row in self._world.on_hand.find("product", product))

    def _answer(self, row: OnHand, days: list[date]) -> JsonObject:
        stock = _stock(row)
        own = {source: measures for source, measures in row.quantities.items() if source != "iv"}
        answered: JsonObject = {
            "productId": row.place[1],
            "dimensions": {"siteId": row.place[2], "locationId": row.place[3]},
            "quantities": {**own, "iv": {"onhand": stock, **row.quantities.get("iv", {})}},
        }
        if days:
            schedule = self._world.schedules.get(row.place) or {}
            answered["atpQuantities"] = {
                day.isoformat(): {"iv": {"availabletopromise": stock - reserved_of(row) + _planned(schedule, day)}}
                for day in days
            }
        return answered

    def _known(self, place: Place) -> OnHand:
        return self._world.on_hand.get(place) or OnHand(place)

    def _is_new(self, record_id: str, kind: str) -> bool:
        """Whether this id is seen for the first time; the second time its record is taken and does nothing."""
        if record_id in self._world.inventory_ids:
            return False
        self._world.inventory_ids.put(record_id, kind)
        return True


def _done(record_id: str) -> JsonObject:
    return {"id": record_id, "processingStatus": "success", "message": "", "statusCode": 200}


def _stock(row: OnHand) -> Decimal:
    return sum((v for source, own in row.quantities.items() if source != "iv" for v in own.values()), Decimal(0))


def _planned(schedule: Mapping[date, Decimal], day: date) -> Decimal:
    return sum((change for on, change in schedule.items() if on <= day), Decimal(0))


def _modifier(content: JsonObject) -> str:
    name = content.get("modifier", RESERVED[0])
    if not isinstance(name, str) or name.lower() not in RESERVED:
        raise Invalid(f"modifier: one of {', '.join(RESERVED)} was expected")
    return name.lower()


def _bulk(records: Any) -> list[JsonObject]:
    if not isinstance(records, list) or not records:
        raise Invalid("body: is not a list of records")
    if len(records) > RECORDS_MAX:
        raise Invalid(f"body: {len(records)} records, at most {RECORDS_MAX} in one call")
    return records


def _only(content: Mapping[str, object], known: frozenset[str]) -> None:
    unknown = sorted(set(content) - known)
    if unknown:
        raise Invalid(f"{unknown[0]}: is not a field here")


def _record(content: Any, known: frozenset[str], *, product: bool = True) -> _Record:
    if not isinstance(content, dict):
        raise Invalid("record: is not an object")
    _only(content, known)
    for name in ("id", "organizationId", *(("productId",) if product else ())):
        if not isinstance(content.get(name), str) or not content[name]:
            raise Invalid(f"{name}: is missing")
    dimensions = content.get("dimensions")
    if not isinstance(dimensions, dict):
        raise Invalid("dimensions: is missing")
    named: dict[str, str] = {}
    for name, value in dimensions.items():
        if name.lower() not in _DIMENSIONS:
            raise Invalid(f"dimensions.{name}: is not a dimension here")
        if not isinstance(value, str) or not value:
            raise Invalid(f"dimensions.{name}: is not a text")
        named[_DIMENSIONS[name.lower()]] = value
    for name in ("siteId", "locationId"):
        if name not in named:
            raise Invalid(f"dimensions.{name}: is missing")
    place = (content["organizationId"], content.get("productId", ""), named["siteId"], named["locationId"])
    return _Record(content["id"], place, content)


def _quantities(content: JsonObject) -> dict[str, dict[str, Decimal]]:
    given = content.get("quantities")
    if not isinstance(given, dict) or not given:
        raise Invalid("quantities: is missing")
    read: dict[str, dict[str, Decimal]] = {}
    for source, measures in given.items():
        if not isinstance(measures, dict) or not measures:
            raise Invalid(f"quantities.{source}: has no measures")
        read[source] = {name: _number(value, f"quantities.{source}.{name}") for name, value in measures.items()}
    return read


def _filters(given: JsonObject) -> dict[str, list[str]]:
    filters: dict[str, list[str]] = {}
    for name, values in given.items():
        own = _DIMENSIONS.get(name.lower(), name)
        if own not in {"organizationId", "productId", *_DIMENSIONS.values()}:
            raise Invalid(f"filters.{name}: is not a dimension here")
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise Invalid(f"filters.{name}: is not a list of texts")
        filters[own] = values
    for name in ("organizationId", "siteId", "locationId"):
        if not filters.get(name):
            raise Invalid(f"filters.{name}: is missing")
    if "productId" not in filters:
        raise Invalid("filters.productId: is missing")
    if len(filters["organizationId"]) != 1:
        raise Invalid("filters.organizationId: exactly one was expected")
    if len(filters["productId"]) > _PRODUCTS_MAX:
        raise Invalid(f"filters.productId: more than {_PRODUCTS_MAX}")
    if len(filters["siteId"]) * len(filters["locationId"]) > _PLACES_MAX:
        raise Invalid(f"filters: more than {_PLACES_MAX} sites times locations")
    return filters


def _number(value: Any, name: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise Invalid(f"{name}: is not a number")
    number = Decimal(value)
    if number and not -_DIGITS_MAX <= int(number.as_tuple().exponent) <= number.adjusted() < _DIGITS_MAX:
        raise Invalid(f"{name}: is not a number of at most {_DIGITS_MAX} digits before and after the point")
    return number


def _moment(value: Any) -> datetime:
    try:
        read = datetime.fromisoformat(str(value))
    except ValueError as fault:
        raise Invalid("modifiedDateTimeUTC: is not a time") from fault
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)


def _day(value: Any, name: str) -> date:
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError as fault:
        raise Invalid(f"{name}: {value} is not a date") from fault


def _atp_days(query: JsonObject) -> list[date]:
    if query.get("QueryATP") is not True:
        return []
    first, last = (_day(query.get(name), name) for name in ("ATPFromDate", "ATPToDate"))
    if not 0 <= (last - first).days <= _ATP_DAYS_MAX:
        raise Invalid(f"ATPToDate: not within {_ATP_DAYS_MAX} days after ATPFromDate")
    return [first + timedelta(days=day) for day in range((last - first).days + 1)]


def _fault(status: int, message: str) -> web.Response:
    return exact_json.response({"error": {"code": str(status), "message": message}}, status=status)
