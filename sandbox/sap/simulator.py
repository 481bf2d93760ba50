"""The simulated SAP S/4HANA system as a process: HTTP in front, the world behind, events out."""

import argparse
import os
import time
from typing import ClassVar

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from sandbox.kit.events import RetryPolicy
from sandbox.kit.simulator import Settings, Simulator
from sandbox.kit.state import Clock
from sandbox.sap import batch, control, notify, odata, query, soap, state_view, tampering
from sandbox.sap.configuration import CLIENT
from sandbox.sap.edm import Service
from sandbox.sap.errors import SapError
from sandbox.sap.odata import Answer, Call
from sandbox.sap.repeatability import Repeatability
from sandbox.sap.services.billing import billing_service
from sandbox.sap.services.credit import credit_service, exposure_service
from sandbox.sap.services.gl_items import gl_items_service
from sandbox.sap.services.partner import partner_service
from sandbox.sap.services.pricing import pricing_service
from sandbox.sap.services.receivables import receivables_service
from sandbox.sap.services.sales_order import sales_order_service
from sandbox.sap.services.simulation import simulation_service
from sandbox.sap.services.stock import availability_service, stock_service
from sandbox.sap.sessions import Sessions
from sandbox.sap.soap import SoapFault
from sandbox.sap.world import World

PASSWORD_VARIABLE = "SAP_SANDBOX_PASSWORD"  # noqa: S105  the name of the variable, not a password
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "MERGE", "DELETE")


class SapSimulator(Simulator):
    """SAP S/4HANA with one client, three company codes and the services that a retailer's integration uses."""

    name: ClassVar[str] = "sap"
    default_port: ClassVar[int] = 7081
    retry: ClassVar[RetryPolicy] = RetryPolicy(attempts=12, backoff_seconds=0.2, backoff_seconds_max=5.0)

    def __init__(self, settings: Settings, clock: Clock = time.time, *, password: str | None = None) -> None:
        super().__init__(settings, clock)
        secret = password if password is not None else os.environ.get(PASSWORD_VARIABLE, "")
        if not secret:
            raise SystemExit(f"{PASSWORD_VARIABLE} must hold the password of user CONCORD")
        self.sessions = Sessions(clock, "CONCORD", secret, CLIENT)
        self.world = World(self.state, lambda kind, keys: notify.emit(self.events, self.state, kind, keys))
        self.repeatability = Repeatability(self.state)
        self.neighbours: aiohttp.ClientSession | None = None
        self.services: dict[str, Service] = {
            service.name: service
            for service in (
                credit_service(self.world),
                exposure_service(self.world),
                receivables_service(self.world),
                gl_items_service(self.world),
                sales_order_service(self.world),
                simulation_service(self.world),
                billing_service(self.world),
                pricing_service(self.world),
                stock_service(self.world),
                availability_service(self.world),
                partner_service(self.world),
            )
        }
        self.reset()

    @classmethod
    def options(cls, parser: argparse.ArgumentParser) -> None:
        """Where new customers are announced, and the lag of the receivables figures."""
        parser.add_argument("--commerce-url", help="new customers are created there too")
        parser.add_argument("--dataverse-url", help="new accounts are created there too")
        parser.add_argument("--exposure-lag", default="0", help="seconds until a posting shows in the receivables")

    def routes(self, app: web.Application) -> None:
        """OData, SOAP, and the control surface."""
        for method in _METHODS:
            app.router.add_route(method, odata.ROOT + "/{service}", self._odata)
            app.router.add_route(method, odata.ROOT + "/{service}/{path:.*}", self._odata)
        app.router.add_post(soap.PATH, self._soap)
        control.add_routes(app, self)
        tampering.add_routes(app, self)

    def reset(self) -> None:
        """An empty system with its customising."""
        self.world.begin()
        self.world.lag_seconds = float(self.settings.options.get("exposure_lag") or 0)
        self.repeatability.supported = False

    def snapshot(self) -> dict[str, object]:
        """Documents, sales orders, credit accounts, open items, stock, conditions, periods and more."""
        return state_view.snapshot(self.world)

    async def started(self) -> None:
        """Open the session to the neighbouring simulators."""
        self.neighbours = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))

    async def stopping(self) -> None:
        """Close it."""
        if self.neighbours is not None:
            await self.neighbours.close()

    def refusal(self, request: web.Request, status: int) -> web.Response:
        """An injected error status, in the words of the service concerned."""
        message = f"Service temporarily not available ({status})"
        if request.path == soap.PATH:
            body = SoapFault(message, "Server").body()
            return web.Response(status=status, body=body, content_type="text/xml")
        return SapError(status, "/IWFND/CM_MGW/099", message).response()

    async def _odata(self, request: web.Request) -> web.Response:
        self.sessions.authenticate(request)
        body = await request.read()
        try:
            self.sessions.protect(request)
            reply = self._carry(request, body)
        except SapError as refusal:
            answer = refusal.response()
            if refusal.status == 403:
                answer.headers["X-CSRF-Token"] = "Required"
            self.sessions.issue(request, answer)
            return answer
        answer = web.Response(status=reply.status, headers=CIMultiDict(reply.headers), body=reply.body)
        self.sessions.issue(request, answer)
        return answer

    def _carry(self, request: web.Request, body: bytes) -> Answer:
        name = request.match_info["service"].partition(";")[0]
        service = self.services.get(name)
        if service is None:
            raise SapError(403, "/IWFND/MED/170", f"No service found for namespace '', name '{name}', version '0001'")
        base_path = f"{odata.ROOT}/{request.match_info['service']}"
        call = Call(
            method=request.method,
            path=request.rel_url.raw_path.removeprefix(base_path),
            options=query.once(request.query.items()),
            headers=request.headers,
            body=body,
            base_url=f"{request.scheme}://{request.host}{base_path}",
        )
        if call.path.strip("/") == "$batch":
            if call.method != "POST":
                raise SapError(405, "/IWFND/CM_COS/006", "A batch needs POST")
            return batch.answer(self.state, lambda part: odata.answer(service, self.state, part), call)
        if call.method == "POST":
            return self.repeatability.answer(call.headers, lambda: odata.answer(service, self.state, call))
        return odata.answer(service, self.state, call)

    async def _soap(self, request: web.Request) -> web.Response:
        self.sessions.authenticate(request)
        body = await request.read()
        content_type = request.content_type
        try:
            if content_type not in {"text/xml", "application/soap+xml"}:
                raise SoapFault(f"Content type {content_type} is not supported; send text/xml")
            confirmation = soap.post_journal_entries(self.state, self.world, body)
        except SoapFault as fault:
            return web.Response(status=500, body=fault.body(), content_type="text/xml", charset="utf-8")
        return web.Response(body=confirmation, content_type="text/xml", charset="utf-8")
