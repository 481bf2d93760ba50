"""Retail Server: sales orders by their sales id, in the form a scale unit gives them."""

import re
from typing import Final

from aiohttp import web

from sandbox.commerce.auth import Gate
from sandbox.commerce.world import World
from sandbox.kit import exact_json

_KEY: Final = re.compile(r"([A-Za-z]\w*)='((?:[^']|'')*)'")
_CREATED: Final = 1
_SHIPPED: Final = 5
_CANCELED: Final = 4
_STATUS: Final = {"Shipped": _SHIPPED, "Canceled": _CANCELED}


class RetailServer:
    """The SalesOrders controller, as far as reading goes."""

    def __init__(self, world: World, gate: Gate) -> None:
        self._world = world
        self._gate = gate

    def routes(self, app: web.Application) -> None:
        """The action that Retail Server offers, the same as a function, and the order by its sales id as a key."""
        app.router.add_post("/Commerce/SalesOrders/GetSalesOrderDetailsBySalesId", self._by_action)
        app.router.add_get("/Commerce/SalesOrders/GetSalesOrderDetailsBySalesId({key})", self._by_key)
        app.router.add_get("/Commerce/SalesOrders({key})", self._by_key)

    async def _by_action(self, request: web.Request) -> web.Response:
        try:
            body = exact_json.loads_object(await request.read())
        except exact_json.NotJson as fault:
            return _fault(400, "Microsoft_Dynamics_Commerce_Runtime_InvalidFormat", str(fault))
        number = body.get("salesId")
        if not isinstance(number, str) or set(body) != {"salesId"}:
            return _fault(400, "Microsoft_Dynamics_Commerce_Runtime_InvalidFormat", "salesId alone was expected")
        return self._answer(request, number)

    async def _by_key(self, request: web.Request) -> web.Response:
        key = {name.lower(): text.replace("''", "'") for name, text in _KEY.findall(request.match_info["key"])}
        if set(key) != {"salesid"}:
            return _fault(400, "Microsoft_Dynamics_Commerce_Runtime_InvalidFormat", "SalesId='…' was expected")
        return self._answer(request, key["salesid"])

    def _answer(self, request: web.Request, number: str) -> web.Response:
        refusal = self._gate.refused(request)
        if refusal is not None:
            return refusal
        stored = self._world.order(number)
        if stored is None:
            return _fault(404, "Microsoft_Dynamics_Commerce_Runtime_ObjectNotFound", f"no order {number}")
        status = _STATUS.get(stored.status, _CREATED)
        return exact_json.response({**stored.order, "StatusValue": status, "DataAreaId": stored.company})


def _fault(status: int, code: str, message: str) -> web.Response:
    return exact_json.response({"error": {"code": code, "message": message}}, status=status)
