"""Inventory Visibility: absolute figures and deltas in, reservations, and one answer to what is available."""

import uuid
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from aiohttp import web

from sandbox.commerce.auth import INVENTORY, INVENTORY_ENTRA, own_url, refused
from sandbox.commerce.world import RESERVED, JsonObject, OnHand, Place, World, reserved_of
from sandbox.kit import exact_json
from sandbox.kit.tokens import TokenRefused, sign, verify

RECORDS_MAX: Final = 512
_ATP_DAYS_MAX: Final = 180
_TOKEN_SECONDS: Final = 3600


class Invalid(ValueError):
    """One record or query is not of its form; the text names the field."""


class InventoryVisibility:
    """The service of one environment, and the security service that issues its tokens."""

    def __init__(self, world: World, secret: str) -> None:
        self._world = world
        self._secret = secret

    def routes(self, app: web.Application) -> None:
        root = "/api/environment/{environment}"
        app.router.add_post("/token", self._redirect_to_region)
        app.router.add_post("/region/token", self._issue_token)
        for path, serve in (
            ("onhand", self._one_change),
            ("onhand/bulk", self._changes),
            ("setonhand/{system}/bulk", self._set),
            ("onhand/reserve", self._reserve),
            ("onhand/unreserve", self._unreserve),
            ("onhand/indexquery", self._query),
        ):
            app.router.add_post(f"{root}/{path}", self._answering(serve))

    async def _redirect_to_region(self, request: web.Request) -> web.Response:
        """The global address only knows which region issues: the caller sends the same POST there."""
        return web.Response(status=307, headers={"Location": f"{own_url(request)}/region/token"})

    async def _issue_token(self, request: web.Request) -> web.Response:
        if request.headers.get("Api-Version") != "1.0":
            return _fault(400, "Api-Version must be 1.0")
        try:
            asked = exact_json.loads_object(await request.read())
        except exact_json.NotJson as fault:
            return _fault(400, str(fault))
        for name in ("grant_type", "client_assertion_type", "client_assertion", "scope", "context", "context_type"):
            if not isinstance(asked.get(name), str) or not asked[name]:
                return _fault(400, f"{name} is missing")
        if self._secret:
            try:
                verify(self._secret, str(asked["client_assertion"]), INVENTORY_ENTRA)
            except TokenRefused as fault:
                return _fault(401, str(fault))
        token = sign(self._secret or "none", INVENTORY, "concord", lifetime_seconds=_TOKEN_SECONDS)
        return exact_json.response({"access_token": token, "token_type": "bearer", "expires_in": _TOKEN_SECONDS})

    def _answering(
        self, serve: Callable[[web.Request, Any], web.Response]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            if (refusal := refused(request, self._secret, INVENTORY)) is not None:
                return refusal
            try:
                content = exact_json.loads(await request.read())
                with self._world.state.atomic():
                    return serve(request, content)
            except (exact_json.NotJson, Invalid) as fault:
                return _fault(400, str(fault))

        return answer

    def _one_change(self, _: web.Request, record: Any) -> web.Response:
        self._change(record)
        return exact_json.response({"id": record["id"], "processingStatus": "success"})

    def _changes(self, _: web.Request, records: Any) -> web.Response:
        for record in _bulk(records):
            self._change(record)
        return exact_json.response([{"id": record["id"], "processingStatus": "success"} for record in records])

    def _set(self, request: web.Request, records: Any) -> web.Response:
        system, results = request.match_info["system"], []
        for record in _bulk(records):
            record_id, place, quantities = _record(record)
            modified_at = _moment(record.get("modifiedDateTimeUTC"))
            known = self._world.on_hand.get(place) or OnHand(place)
            fresh = record_id not in self._world.inventory_ids
            if fresh and modified_at >= known.set_at:
                others = {source: own for source, own in known.quantities.items() if source != system}
                figure = OnHand(place, {**others, **quantities}, modified_at, self._world.state.now())
                self._world.on_hand.put(place, figure)
            if fresh:
                self._world.inventory_ids.put(record_id, "set")
            results.append({"id": record_id, "processingStatus": "success"})
        return exact_json.response(results)

    def _reserve(self, _: web.Request, record: Any) -> web.Response:
        record_id, place, _quantities = _record(record, quantities=False)
        quantity = _number(record.get("quantity"), "quantity")
        done = self._world.inventory_ids.get(record_id)
        if done is None:
            known = self._world.on_hand.get(place) or OnHand(place)
            free = sum(known.quantities.get("sap", {}).values(), Decimal(0)) - reserved_of(known)
            if record.get("ifCheckAvailForReserv", True) and quantity > free:
                body = {
                    "reservationId": "",
                    "id": record_id,
                    "processingStatus": "failed",
                    "message": f"{free} are free",
                }
                return exact_json.response(body, status=400)
            done = str(uuid.uuid4())
            self._world.on_hand.put(place, known.added("iv", {RESERVED[0]: quantity}, self._world.state.now()))
            self._world.inventory_ids.put(record_id, done)
            self._world.reservations.put(done, {"reservationId": done, "place": list(place), "quantity": quantity})
        return exact_json.response({"reservationId": done, "id": record_id, "processingStatus": "success"})

    def _unreserve(self, _: web.Request, record: Any) -> web.Response:
        record_id, place, _quantities = _record(record, quantities=False)
        reservation = self._world.reservations.get(str(record.get("reservationId")))
        if reservation is None:
            raise Invalid("reservationId: is unknown")
        offset = _number(record.get("OffsetQty"), "OffsetQty")
        if offset <= 0 or offset > reservation["quantity"]:
            raise Invalid("OffsetQty: is not above zero and at most what is reserved")
        if record_id not in self._world.inventory_ids:
            known = self._world.on_hand.get(place) or OnHand(place)
            self._world.on_hand.put(place, known.added("iv", {RESERVED[0]: -offset}, self._world.state.now()))
            left = {**reservation, "quantity": reservation["quantity"] - offset}
            self._world.reservations.put(reservation["reservationId"], left)
            self._world.inventory_ids.put(record_id, "unreserved")
        return exact_json.response({"id": record_id, "processingStatus": "success"})

    def _query(self, _: web.Request, query: Any) -> web.Response:
        if not isinstance(query, dict) or not isinstance(query.get("filters"), dict):
            raise Invalid("filters: is missing")
        filters = query["filters"]
        for name in ("organizationId", "siteId", "locationId"):
            if not isinstance(filters.get(name), list) or not filters[name]:
                raise Invalid(f"filters.{name}: is missing")
        products = filters.get("productId") or []
        if len(products) > 5000 or len(filters["siteId"]) * len(filters["locationId"]) > 100:
            raise Invalid("filters: more than 5,000 products or 100 sites times locations")
        days = _atp_days(query)
        rows = [
            _answer(row, days)
            for row in self._candidates(products)
            if row.place[0] in filters["organizationId"]
            and row.place[2] in filters["siteId"]
            and row.place[3] in filters["locationId"]
        ]
        return exact_json.response(rows)

    def _candidates(self, products: list[str]) -> Iterable[OnHand]:
        if not products:
            return self._world.on_hand.values()
        return (row for product in products for row in self._world.on_hand.find("product", product))

    def _change(self, record: Any) -> None:
        record_id, place, quantities = _record(record)
        if record_id in self._world.inventory_ids:
            return
        known = self._world.on_hand.get(place) or OnHand(place)
        for source, changes in quantities.items():
            known = known.added(source, changes, self._world.state.now())
        self._world.on_hand.put(place, known)
        self._world.inventory_ids.put(record_id, "changed")


def _bulk(records: Any) -> list[JsonObject]:
    if not isinstance(records, list) or not records:
        raise Invalid("body: is not a list of records")
    if len(records) > RECORDS_MAX:
        raise Invalid(f"body: {len(records)} records, at most {RECORDS_MAX} in one call")
    return records


def _record(record: Any, *, quantities: bool = True) -> tuple[str, Place, dict[str, dict[str, Decimal]]]:
    if not isinstance(record, dict):
        raise Invalid("record: is not an object")
    for name in ("id", "organizationId", "productId"):
        if not isinstance(record.get(name), str) or not record[name]:
            raise Invalid(f"{name}: is missing")
    dimensions = record.get("dimensions")
    if not isinstance(dimensions, dict):
        raise Invalid("dimensions: is missing")
    for name in ("siteId", "locationId"):
        if not isinstance(dimensions.get(name), str) or not dimensions[name]:
            raise Invalid(f"dimensions.{name}: is missing")
    place = (record["organizationId"], record["productId"], dimensions["siteId"], dimensions["locationId"])
    read: dict[str, dict[str, Decimal]] = {}
    if quantities:
        given = record.get("quantities")
        if not isinstance(given, dict) or not given:
            raise Invalid("quantities: is missing")
        for source, measures in given.items():
            if not isinstance(measures, dict) or not measures:
                raise Invalid(f"quantities.{source}: has no measures")
            read[source] = {name: _number(value, f"quantities.{source}.{name}") for name, value in measures.items()}
    return record["id"], place, read


def _number(value: Any, name: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise Invalid(f"{name}: is not a number")
    return Decimal(value)


def _moment(value: Any) -> datetime:
    try:
        read = datetime.fromisoformat(str(value))
    except ValueError as fault:
        raise Invalid("modifiedDateTimeUTC: is not a time") from fault
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)


def _atp_days(query: JsonObject) -> list[date]:
    if not query.get("QueryATP"):
        return []
    try:
        first, last = (date.fromisoformat(str(query[name])[:10]) for name in ("ATPFromDate", "ATPToDate"))
    except (KeyError, ValueError) as fault:
        raise Invalid("ATPFromDate, ATPToDate: are missing or no dates") from fault
    span = (last - first).days
    if not 0 <= span <= _ATP_DAYS_MAX:
        raise Invalid(f"ATPToDate: not within {_ATP_DAYS_MAX} days after ATPFromDate")
    return [first + timedelta(days=day) for day in range(span + 1)]


def _answer(row: OnHand, days: list[date]) -> JsonObject:
    stock = sum(
        (value for source, own in row.quantities.items() if source != "iv" for value in own.values()), Decimal(0)
    )
    promise = stock - reserved_of(row)
    answered: JsonObject = {
        "productId": row.place[1],
        "dimensions": {"siteId": row.place[2], "locationId": row.place[3]},
        "quantities": {**row.quantities, "iv": {"onhand": stock, **row.quantities.get("iv", {})}},
    }
    if days:
        answered["atpQuantities"] = {day.isoformat(): {"iv": {"availabletopromise": promise}} for day in days}
    return answered


def _fault(status: int, message: str) -> web.Response:
    return exact_json.response({"error": {"code": str(status), "message": message}}, status=status)
