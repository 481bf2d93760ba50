"""The Dataverse simulator: HTTP around the Web API, sign-in, service protection, and the control surface."""

import argparse
import asyncio
from collections.abc import Sequence
from typing import ClassVar, Final
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from sandbox.dataverse import pipeline
from sandbox.dataverse.batch import BATCH_PATH, parts_of, read_batch
from sandbox.dataverse.calls import API_PATH, ApiAnswer, ApiCall
from sandbox.dataverse.errors import NOT_FOUND, Refused
from sandbox.dataverse.limits import Limits, Protection
from sandbox.dataverse.model import Table
from sandbox.dataverse.payload import read_payload
from sandbox.dataverse.reads import View, render
from sandbox.dataverse.rows import Caller, Row, Rows, Work
from sandbox.dataverse.seeds import INTEGRATION_USER, SALES_USER, seed
from sandbox.dataverse.service import BUSINESS_UNIT_ID, ORGANIZATION_ID, WebApi
from sandbox.dataverse.tables import BY_ENTITY_SET, TABLES
from sandbox.dataverse.values import Reference, Value, read_guid
from sandbox.dataverse.webhooks import Organization, Webhooks
from sandbox.kit import exact_json
from sandbox.kit.events import Emitter, RetryPolicy
from sandbox.kit.faults import FAILING_PART, Asked
from sandbox.kit.simulator import Settings, Simulator
from sandbox.kit.state import Clock
from sandbox.kit.tokens import TokenRefused, verify

_ORGANIZATION: Final = "unqconcordsandbox"


class Dataverse(Simulator):
    """Dataverse: one organization with one integration user (every bearer of a good token) and one salesperson."""

    name: ClassVar[str] = "dataverse"
    default_port: ClassVar[int] = 7082
    # One more attempt on 502, 503 and 504, nothing else: whoever misses it has to find out for himself.
    retry: ClassVar[RetryPolicy] = RetryPolicy(
        attempts=2, backoff_seconds=0.2, statuses=frozenset({502, 503, 504}), lost_connection=False
    )
    event_lanes: ClassVar[int] = 4

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        if clock is None:
            super().__init__(settings)
        else:
            super().__init__(settings, clock)
        # A webhook's key travels as its registration says, never in the header that other senders use.
        self.events = Emitter(settings.functions_url, "", retry=self.retry, lanes=self.event_lanes)
        self.rows = Rows(self.state, native_pricing=bool(settings.options.get("native_pricing")))
        organization = Organization(ORGANIZATION_ID, _ORGANIZATION, BUSINESS_UNIT_ID, "concord.crm.dynamics.com")
        self.webhooks = Webhooks(self.rows, self.events, organization, settings.functions_url)
        self.api = WebApi(self.rows, self.webhooks.publish)
        self.protection = Protection(_limits(settings))
        self.reset()

    @classmethod
    def options(cls, parser: argparse.ArgumentParser) -> None:
        """Service protection limits per user, and whether the platform prices orders itself."""
        parser.add_argument("--limit-requests", help="requests per window (6000)")
        parser.add_argument("--limit-window-seconds", help="length of the window (300)")
        parser.add_argument("--limit-concurrent", help="requests under way (52)")
        parser.add_argument("--without-solution", action="store_const", const="on", help="nothing customized yet")
        parser.add_argument("--native-pricing", action="store_const", const="on", help="totals are worked out again")

    def routes(self, app: web.Application) -> None:
        """The Web API and this simulator's own control calls."""
        app.router.add_route("*", f"{API_PATH}/{{path:.*}}", self._serve)
        app.router.add_route("*", API_PATH, self._serve)
        app.router.add_get("/__sim/limits", self._read_limits)
        app.router.add_put("/__sim/limits", self._set_limits)
        app.router.add_put("/__sim/accounts/{account}", self._put_account)
        app.router.add_get("/__sim/rows/{table}", self._read_columns)
        app.router.add_post("/__sim/rows/{table}", self._add_row)
        app.router.add_patch("/__sim/rows/{table}/{id:.+}", self._edit_row)
        app.router.add_delete("/__sim/rows/{table}/{id:.+}", self._remove_row)

    def reset(self) -> None:
        """A fresh organization: currencies, users, keys, and the webhook registrations."""
        self.protection.clear()
        customized = not self.settings.options.get("without_solution")
        seed(self.rows, self.settings.functions_url, self.settings.functions_key, customized=customized)

    def snapshot(self) -> dict[str, object]:
        """Rows as the Web API shows them, by entity set."""
        tables = {
            table.entity_set: [render(View(table), self.rows, row, "") for row in self.rows.every(table)]
            for table in TABLES.values()
            if not table.name.startswith("sdkmessage") or table.name == "sdkmessageprocessingstep"
        }
        return {"tables": tables}

    def refusal(self, request: web.Request, status: int) -> web.Response:
        """An injected error in Dataverse's own form; 429 carries the code of the request limit."""
        code = {429: "0x80072322", 401: "0x80048306", 503: "0x80072323"}.get(status, "0x80040216")
        refused = Refused(status, code, f"injected fault: {status} for {request.method} {request.path}")
        return exact_json.response(refused.body(), status=status)

    async def contents(self, request: web.Request) -> Sequence[Asked]:
        """The requests of a $batch; none of one that cannot be read."""
        if not request.path.endswith(BATCH_PATH):
            return ()
        try:
            parts = parts_of(read_batch(_call_of(request, await request.read())))
        except Refused:
            return ()
        return [Asked(part.call.method, f"{API_PATH}/{part.call.path}", part.call.query) for part in parts]

    async def _serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            caller = self._caller(request)
            self.protection.enter(caller.user_id, self.state.clock())
        except Refused as refused:
            return _response(ApiAnswer.of_refusal(refused))
        started = self.state.clock()
        try:
            if self.protection.limits.service_seconds:
                # A batch is one request, and takes as long as everything in it.
                operations = max(1, len(await self.contents(request)))
                await asyncio.sleep(self.protection.limits.service_seconds * operations)
            response = _response(self.api.answer(_call_of(request, body), caller, request.get(FAILING_PART)))
        finally:
            now = self.state.clock()
            self.protection.leave(caller.user_id, now, now - started)
        remaining = str(self.protection.remaining(caller.user_id))
        response.headers["x-ms-ratelimit-burst-remaining-xrm-requests"] = remaining
        response.headers["x-ms-service-request-id"] = caller.request_id
        return response

    def _caller(self, request: web.Request) -> Caller:
        origin = f"{request.scheme}://{request.host}"
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        challenge = {
            "WWW-Authenticate": f'Bearer authorization_uri="{origin}/oauth2/authorize", resource_id="{origin}"'
        }
        if scheme.lower() != "bearer":
            raise Refused(401, "0x80048306", "A bearer token is required.", challenge)
        try:
            verify(self.settings.token_secret, token, origin, now=self.state.clock())
        except TokenRefused as fault:
            raise Refused(401, "0x80048306", f"The bearer token is not accepted: {fault}.", challenge) from fault
        user_id = INTEGRATION_USER
        impersonated = request.headers.get("CallerObjectId")
        if impersonated is not None:
            user_id = self._user_of(impersonated)
        return Caller(
            user_id=user_id,
            correlation_id=read_guid(request.headers.get("x-ms-correlation-request-id", "")) or str(uuid4()),
        )

    def _user_of(self, object_id: str) -> str:
        for row in self.rows.every(TABLES["systemuser"]):
            if row.get("azureactivedirectoryobjectid") == object_id.lower():
                return row.id
        raise Refused(
            403, "0x80041d1f", f"The user with the object id {object_id} is not a member of the organization."
        )

    async def _read_limits(self, _: web.Request) -> web.Response:
        return exact_json.response(msgspec.to_builtins(self.protection.limits))

    async def _set_limits(self, request: web.Request) -> web.Response:
        self.protection.limits = msgspec.json.decode(await request.read(), type=Limits)
        return exact_json.response(msgspec.to_builtins(self.protection.limits))

    async def _put_account(self, request: web.Request) -> web.Response:
        """Make sure of an account, without any webhook unless "emit" is true."""
        number = request.match_info["account"]
        body = exact_json.loads_object(await request.read() or b"{}")
        emit = body.pop("emit", False)
        table = TABLES["account"]
        given = {_ACCOUNT_SHORTHANDS.get(name, name): value for name, value in body.items()}
        currency = given.pop("currency", None)
        work = Work(self.rows, Caller(SALES_USER, silent=emit is not True))
        try:
            values = read_payload(_control_call(request, b""), self.rows, table, given).values
            if currency is not None:
                values["transactioncurrencyid"] = self._currency(str(currency))
            row = self.rows.by_key(table, {"accountnumber": number})
            with self.rows.atomic():
                if row is None:
                    initial: dict[str, Value] = {"name": number, "accountnumber": number}
                    row = pipeline.create(work, table, initial | values)
                elif values:
                    row = pipeline.update(work, table, row, values)
        except Refused as refused:
            return _response(ApiAnswer.of_refusal(refused))
        self.webhooks.publish(work.caller, work.changes)
        return exact_json.response(render(View(table), self.rows, row, ""))

    def _currency(self, code: str) -> Value:
        for row in self.rows.having(TABLES["transactioncurrency"], "isocurrencycode", code.casefold()) or ():
            return Reference("transactioncurrency", row.id)
        raise Refused(400, NOT_FOUND, f"currency: {code} is not a currency of the organization")

    async def _read_columns(self, request: web.Request) -> web.Response:
        """Some columns of every row (`?columns=a,b`): a whole table at once can be more than a caller wants to hold."""
        table = self._table(request)
        named = tuple(name for name in request.query.get("columns", "").split(",") if name)
        unknown = [name for name in named if name not in table.properties]
        if unknown:
            raise ValueError(f"columns: {table.entity_set} has no {', '.join(unknown)}")
        view = View(table, named or None)
        return exact_json.response([render(view, self.rows, row, "") for row in self.rows.every(table)])

    async def _add_row(self, request: web.Request) -> web.Response:
        return await self._control(request, None)

    async def _edit_row(self, request: web.Request) -> web.Response:
        return await self._control(request, request.match_info["id"])

    async def _remove_row(self, request: web.Request) -> web.Response:
        return await self._control(request, request.match_info["id"])

    async def _control(self, request: web.Request, row_id: str | None) -> web.Response:
        """What a salesperson does to a row in the app: it goes through the pipeline and sets webhooks off."""
        body, table = await request.read(), self._table(request)
        work = Work(self.rows, Caller(SALES_USER))
        call = _control_call(request, body)
        try:
            with self.rows.atomic():
                row = self._edited(call, work, table, row_id)
        except Refused as refused:
            return _response(ApiAnswer.of_refusal(refused))
        self.webhooks.publish(work.caller, work.changes)
        return exact_json.response(render(View(table), self.rows, row, ""))

    def _table(self, request: web.Request) -> Table:
        name = request.match_info["table"]
        table = BY_ENTITY_SET.get(name) or TABLES.get(name)
        if table is None:
            raise ValueError(f"table: {name} is not a table of the organization")
        return table

    def _edited(self, call: ApiCall, work: Work, table: Table, row_id: str | None) -> Row:
        """Create, change or delete as the method of the control call says; gives the row, the deleted one too."""
        if row_id is None:
            return pipeline.create(work, table, read_payload(call, self.rows, table, call.json()).values)
        row = self._find(table, row_id)
        if call.method == "DELETE":
            pipeline.delete(work, table, row)
            return row
        return pipeline.update(work, table, row, read_payload(call, self.rows, table, call.json()).values)

    def _find(self, table: Table, row_id: str) -> Row:
        guid = read_guid(row_id)
        row = None if guid is None else self.rows.get(table, guid)
        for columns in self.rows.alternate_keys(table):
            if row is None and len(columns) == 1:
                row = self.rows.by_key(table, {columns[0]: row_id})
        if row is None:
            raise Refused(404, NOT_FOUND, f"{table.entity_set} has no row with the id or key {row_id}")
        return row


_ACCOUNT_SHORTHANDS: Final = {
    "legalEntity": "concord_legalentity", "limit": "creditlimit", "creditLimit": "creditlimit",
    "blocked": "creditonhold", "riskClass": "concord_riskclass", "email": "emailaddress1",
}  # fmt: skip


def _limits(settings: Settings) -> Limits:
    given = settings.options
    known = Limits()
    return Limits(
        requests=int(given.get("limit_requests") or known.requests),
        window_seconds=float(given.get("limit_window_seconds") or known.window_seconds),
        concurrent=int(given.get("limit_concurrent") or known.concurrent),
    )


def _control_call(request: web.Request, body: bytes) -> ApiCall:
    headers = CIMultiDict({"Content-Type": "application/json"})
    return ApiCall(request.method, "", "", headers, body, f"{request.scheme}://{request.host}")


def _call_of(request: web.Request, body: bytes) -> ApiCall:
    raw_path, _, query = request.raw_path.partition("?")
    path = unquote(urlsplit(raw_path).path.removeprefix(API_PATH).removeprefix("/"))
    return ApiCall(request.method, path, query, request.headers, body, f"{request.scheme}://{request.host}")


def _response(answer: ApiAnswer) -> web.Response:
    headers = {"OData-Version": "4.0", **answer.headers}
    if answer.body is None:
        return web.Response(status=answer.status, headers=headers)
    return web.Response(
        status=answer.status, body=answer.body, headers={**headers, "Content-Type": answer.content_type}
    )
