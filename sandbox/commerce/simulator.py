"""The simulated Commerce: its systems, its control surface, and the events that its scale unit sends."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC
from typing import ClassVar, Final

from aiohttp import web

from sandbox.commerce.auth import Gate
from sandbox.commerce.checkout import CreditCheck, credit_request
from sandbox.commerce.entities import CUSTOMERS
from sandbox.commerce.headquarters import Headquarters
from sandbox.commerce.inventory import InventoryVisibility
from sandbox.commerce.retail_server import RetailServer
from sandbox.commerce.returns import return_order
from sandbox.commerce.world import JsonObject, Rejected, StoredOrder, World
from sandbox.dataverse.errors import Refused
from sandbox.kit import exact_json
from sandbox.kit.entities import legal_entities
from sandbox.kit.events import RetryPolicy
from sandbox.kit.simulator import Settings, Simulator
from sandbox.kit.state import Clock

_EVENTS_PATH: Final = "/api/webhooks/commerce"
_TYPES: Final = ("order.confirmed", "order.changed", "order.shipped", "order.returned", "order.cancelled")


class CommerceSimulator(Simulator):
    """Retail Server, headquarters and Inventory Visibility on one port."""

    name: ClassVar[str] = "commerce"
    default_port: ClassVar[int] = 7083
    # The extension's outbox: it keeps an event until it is taken, and gives up on what is refused.
    retry: ClassVar[RetryPolicy] = RetryPolicy(
        attempts=60, backoff_seconds=0.1, backoff_seconds_max=3.0, statuses=frozenset({408, 429, *range(500, 600)})
    )
    event_lanes: ClassVar[int] = 8

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        if clock is None:
            super().__init__(settings)
        else:
            super().__init__(settings, clock)
        self.world = World(self.state)
        self.credit = CreditCheck(settings.functions_url, settings.functions_key)

    def routes(self, app: web.Application) -> None:
        """The systems, and the control surface."""
        gate = Gate(self.settings.token_secret, self.state.clock)
        RetailServer(self.world, gate).routes(app)
        Headquarters(self.world, gate).routes(app)
        InventoryVisibility(self.world, gate).routes(app)
        for method, path, serve in (
            ("PUT", "/__sim/orders/{number}", self._put_order),
            ("DELETE", "/__sim/orders/{number}", self._delete_order),
            ("PUT", "/__sim/customers/{account}", self._put_customer),
            ("POST", "/__sim/checkouts", self._checkout),
            ("POST", "/__sim/shipments", self._ship),
            ("POST", "/__sim/returns", self._return),
            ("POST", "/__sim/cancellations", self._cancel),
        ):
            app.router.add_route(method, path, _control(serve))

    async def started(self) -> None:
        """Open the way to the credit check."""
        await self.credit.start()

    async def stopping(self) -> None:
        """Close it."""
        await self.credit.stop()

    def reset(self) -> None:
        """Nothing is there at the beginning."""

    def snapshot(self) -> dict[str, object]:
        """Orders, customers, prices, on-hand figures."""
        return self.world.snapshot()

    async def _put_order(self, request: web.Request, body: JsonObject) -> JsonObject:
        """An order known to Commerce; with `emit` its event goes out too."""
        order = body["order"] if isinstance(body.get("order"), dict) else _without_control(body)
        number = request.match_info["number"]
        if order.setdefault("SalesId", number) != number:
            raise Rejected(f"order.SalesId: is {order['SalesId']}, the path says {number}")
        company = _company(body, order, self.world)
        decision = body.get("decisionId")
        stored = self.world.store(company, order, status=str(body.get("status", "Created")), decision_id=decision)
        if body.get("emit"):
            kind = (
                body.get("type") or body.get("event") or ("order.returned" if stored.is_return else "order.confirmed")
            )
            if kind not in _TYPES:
                raise Rejected(f"type: is not one of {', '.join(_TYPES)}")
            self._emit(stored, kind, order=stored.order, decision_id=decision, event_id=body.get("eventId"))
        return {"orderNumber": stored.number, "legalEntity": stored.company, "emitted": bool(body.get("emit"))}

    async def _delete_order(self, request: web.Request, _: JsonObject) -> JsonObject:
        stored = self._known(request.match_info["number"], None)
        self.world.orders.delete((stored.company, stored.number))
        return {"deleted": stored.number}

    async def _put_customer(self, request: web.Request, body: JsonObject) -> JsonObject:
        account, company = request.match_info["account"], str(body.get("legalEntity") or "GB01")
        if company not in legal_entities():
            raise Rejected(f"legalEntity: {company!r} is not a company here")
        known = self.world.customers.get((company, account)) or {}
        row = {
            "dataAreaId": company, "CustomerAccount": account, "OrganizationName": account, "CreditLimit": 0,
            "SalesCurrencyCode": legal_entities()[company].currency, "PrimaryContactEmail": "",
            "PrimaryContactPhone": "", "OnHoldStatus": "No", **known,
        }  # fmt: skip
        for given, name in (("name", "OrganizationName"), ("currency", "SalesCurrencyCode"), ("limit", "CreditLimit")):
            if body.get(given) is not None:
                row[name] = body[given]
        CUSTOMERS.checked({name: value for name, value in row.items() if CUSTOMERS.field(name).writable})
        self.world.customers.put((company, account), row)
        return row

    async def _checkout(self, _: web.Request, body: JsonObject) -> JsonObject:
        """What the scale unit does at checkout: ask where something is on account, store and tell when confirmed."""
        order = body.get("order")
        if not isinstance(order, dict):
            raise Rejected("order: is missing")
        company = _company(body, order, self.world)
        question = credit_request(order, company, body)
        decision: JsonObject | None = None
        if question is not None:
            status, said = await self.credit.ask(question)
            decision = said if isinstance(said, dict) and "outcome" in said else None
            if decision is None or status != 200 or decision["outcome"] != "approved":
                problem = {"problem": said, "status": status} if decision is None else {}
                return {"confirmed": False, "decision": decision, "orderNumber": order["SalesId"], **problem}
        decision_id = decision["decisionId"] if decision else None
        stored = self.world.store(company, order, decision_id=decision_id)
        self._emit(stored, "order.confirmed", order=stored.order, decision_id=decision_id)
        return {"confirmed": True, "decision": decision, "orderNumber": stored.number}

    async def _ship(self, _: web.Request, body: JsonObject) -> JsonObject:
        """The goods leave; all of them where no lines are named."""
        stored = self._known(body.get("orderNumber"), body.get("legalEntity"))
        lines = _lines(body)
        if lines is None:
            self._keep_status(stored, "Shipped")
        self._emit(stored, "order.shipped", lines=lines, event_id=body.get("eventId"))
        return {"orderNumber": stored.number}

    async def _return(self, _: web.Request, body: JsonObject) -> JsonObject:
        """A return with an order of its own; or of `lines` of `orderNumber`.

        With `returnNumber` the till makes a return order from the lines, without it the event alone names them.
        """
        order = body.get("order")
        if isinstance(order, dict):
            stored = self.world.store(_company(body, order, self.world), order)
            self._emit(stored, "order.returned", order=stored.order, event_id=body.get("eventId"))
            return {"orderNumber": stored.number}
        stored = self._known(body.get("orderNumber"), body.get("legalEntity"))
        if body.get("returnNumber") is not None:
            made = return_order(stored, str(body["returnNumber"]), _lines(body) or [], self._now())
            kept = self.world.store(stored.company, made)
            self._emit(kept, "order.returned", order=kept.order, event_id=body.get("eventId"))
            return {"orderNumber": kept.number}
        self._emit(stored, "order.returned", lines=_lines(body), event_id=body.get("eventId"))
        return {"orderNumber": stored.number}

    async def _cancel(self, _: web.Request, body: JsonObject) -> JsonObject:
        """The order, or lines of it, will not be delivered."""
        stored = self._known(body.get("orderNumber"), body.get("legalEntity"))
        lines = _lines(body)
        if lines is None:
            self._keep_status(stored, "Canceled")
        self._emit(
            stored, "order.cancelled", lines=lines, decision_id=stored.decision_id,
            event_id=body.get("eventId"),
        )  # fmt: skip
        return {"orderNumber": stored.number}

    def _keep_status(self, stored: StoredOrder, status: str) -> None:
        self.world.orders.put((stored.company, stored.number), replace(stored, status=status))

    def _now(self) -> str:
        return self.state.now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _known(self, number: object, company: object) -> StoredOrder:
        stored = self.world.order(str(number), str(company) if company else None)
        if stored is None:
            raise Rejected(f"orderNumber: {number!r} is not known here")
        return stored

    def _emit(
        self,
        stored: StoredOrder,
        kind: str,
        *,
        order: JsonObject | None = None,
        lines: object = None,
        decision_id: object = None,
        event_id: object = None,
    ) -> None:
        event: JsonObject = {
            "type": kind,
            "id": str(event_id or uuid.uuid4()),
            "orderNumber": stored.number,
            "legalEntity": stored.company,
            "occurredAt": self._now(),
            "order": order,
            "decisionId": decision_id,
        }
        if lines is not None:
            event["lines"] = lines
        self.events.emit(_EVENTS_PATH, exact_json.dumps(event), key=f"{stored.company}|{stored.number}")


def _control(
    serve: Callable[[web.Request, JsonObject], Awaitable[JsonObject]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        content = await request.read()
        body = exact_json.loads_object(content) if content else {}
        try:
            return exact_json.response(await serve(request, body))
        except Refused as fault:
            raise Rejected(fault.message) from fault

    return answer


def _lines(body: JsonObject) -> list[JsonObject] | None:
    """The lines that a call names, None where it means all of them."""
    lines = body.get("lines")
    if lines is None:
        return None
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        raise Rejected("lines: a list of objects was expected")
    return lines


def _company(body: JsonObject, order: JsonObject, world: World) -> str:
    """The company named beside the order or in it; else the customer's, or the one that trades in its currency."""
    for named in (body.get("legalEntity"), order.get("legalEntity"), order.get("DataAreaId")):
        if isinstance(named, str) and named:
            return named
    account = str(order.get("CustomerId") or "")
    customer = next(iter(world.customers.find("account", account)), None) if account else None
    if customer is not None:
        return str(customer["dataAreaId"])
    currency = order.get("CurrencyCode")
    return next((code for code, entity in legal_entities().items() if entity.currency == currency), "")


def _without_control(body: JsonObject) -> JsonObject:
    control = ("emit", "type", "event", "decisionId", "eventId", "legalEntity", "status")
    return {name: value for name, value in body.items() if name not in control}
