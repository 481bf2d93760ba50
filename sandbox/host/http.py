"""The HTTP front: routes, keys, signed-in people, limits; then one invocation, then the answer."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.cookies import SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import web
from multidict import CIMultiDict

from sandbox.host import people
from sandbox.host.keys import Keys
from sandbox.host.protos import RpcHttp, TypedData
from sandbox.host.routes import Route, Routes
from sandbox.host.runtime import Invoker
from sandbox.host.settings import HostSettings
from sandbox.host.trace import trace_of
from sandbox.kit import exact_json, tokens

type Admin = Callable[[web.BaseRequest, str], Awaitable[web.Response]]

_IDENTITY_PATH: Final = "/__identity/token"
_SIGN_IN_PATH: Final = "/.auth/login/dev"
_ANSWER_SECONDS_MAX: Final = 230.0
_TOKEN_SECONDS: Final = 3600
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1"})
_NO_METADATA: Final[Mapping[str, TypedData]] = {}
_SAME_SITE: Final = {1: "Lax", 2: "Strict", 3: "None"}


class BodyTooLarge(Exception):
    """The request's body is over the limit."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Secrets of the sandbox's sign-ins: `token_secret` signs tokens, `header` is what the app shows to get its own."""

    token_secret: str
    header: str
    subject: str = "concord-functions"


class Front:
    """Answers every HTTP request of one worker; `admin` answers what lies under /admin/."""

    def __init__(
        self, settings: HostSettings, routes: Routes, keys: Keys, identity: Identity, invoker: Invoker, admin: Admin
    ) -> None:
        self._settings = settings
        self._routes = routes
        self._keys = keys
        self._identity = identity
        self._invoker = invoker
        self._admin = admin
        self._outstanding = 0
        limit = settings.concurrent_requests_max
        self._turn = asyncio.Semaphore(limit) if limit is not None else None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request to its answer."""
        path, _, query = request.raw_path.partition("?")
        if path.startswith("/admin/"):
            return await self._admin(request, path)
        if path.startswith("/.auth/"):
            return await self._sign_in(request, path)
        if path == _IDENTITY_PATH:
            return self._token(request, query)
        if path == "/" and request.method in {"GET", "HEAD"}:
            return web.Response(text="the functions host is up\n")
        return await self._call(request, path, query)

    async def _call(self, request: web.BaseRequest, path: str, query: str) -> web.Response:
        found = self._routes.find(request.method, path)
        if found is None:
            return _refused(404, "no function answers this method and path")
        route, values = found
        signed_in = request.headers.get("X-ZUMO-AUTH")
        person: people.Person | None = None
        if signed_in is not None:
            try:
                person = people.person_of(self._identity.token_secret, signed_in)
            except tokens.TokenRefused:
                return _refused(401, "the sign-in in X-ZUMO-AUTH does not hold: sign in again", "X-ZUMO-AUTH")
        asked = _query(query)
        key = request.headers.get("x-functions-key", asked.get("code"))
        if not self._keys.opens(route.level, route.function.name, key):
            return _refused(401, "a valid key is needed in x-functions-key", "x-functions-key")
        limit = self._settings.outstanding_requests_max
        if limit is not None and self._outstanding >= limit:
            return _refused(429, "too many requests at once")
        self._outstanding += 1
        try:
            body = await read_body(request, self._settings.body_bytes_max)
            if self._turn is None:
                return await self._invoke(request, route, values, asked, body, person)
            async with self._turn:
                return await self._invoke(request, route, values, asked, body, person)
        except BodyTooLarge:
            answer = _refused(413, f"the body is larger than {self._settings.body_bytes_max} bytes", "body")
            answer.force_close()  # the rest of the body is not read
            return answer
        finally:
            self._outstanding -= 1

    async def _invoke(
        self,
        request: web.BaseRequest,
        route: Route,
        values: dict[str, str],
        query: dict[str, str],
        body: bytes,
        person: people.Person | None,
    ) -> web.Response:
        headers = _headers_in(request.headers)
        if person is not None:
            headers.update(people.principal_headers(person))
        data = RpcHttp(
            method=request.method,
            url=f"{request.scheme}://{request.host}{request.raw_path}",
            headers=headers,
            query=query,
            params=values,
            body=TypedData(bytes=body) if body else TypedData(),
        )
        trace = trace_of(headers.get("traceparent"), headers.get("tracestate"))
        try:
            async with asyncio.timeout(_ANSWER_SECONDS_MAX):
                invoked = await self._invoker.invoke(route.function, TypedData(http=data), _NO_METADATA, trace)
        except TimeoutError:
            return _refused(
                504, "the function did not answer in time"
            )  # the function runs on, as behind Azure's load balancer
        if invoked.failure is not None or invoked.value is None:
            return web.Response(status=500)
        return _answer(invoked.value)

    async def _sign_in(self, request: web.BaseRequest, path: str) -> web.Response:
        if path != _SIGN_IN_PATH or request.method != "POST" or request.remote not in _LOOPBACK:
            return web.Response(status=404)
        try:
            person = people.read_sign_in(await request.read())
        except people.SignInRefused as fault:
            return exact_json.response({"error": str(fault)}, status=400)
        token = people.sign_in(self._identity.token_secret, person.name, person.roles)
        return exact_json.response({"authenticationToken": token, "user": {"userId": person.id}})

    def _token(self, request: web.BaseRequest, query: str) -> web.Response:
        """The App Service managed-identity protocol."""
        if request.method != "GET" or request.remote not in _LOOPBACK:
            return web.Response(status=404)
        shown = request.headers.get("X-IDENTITY-HEADER", "")
        if not hmac.compare_digest(shown.encode(), self._identity.header.encode()):
            return exact_json.response({"statusCode": 401, "message": "X-IDENTITY-HEADER does not match"}, status=401)
        asked = _query(query)
        resource = asked.get("resource") or asked.get("scope", "")
        if asked.get("api-version") != "2019-08-01" or not resource:
            return exact_json.response(
                {"statusCode": 400, "message": "api-version=2019-08-01 and a resource are needed"}, status=400
            )
        now = time.time()
        token = tokens.sign(
            self._identity.token_secret, resource, self._identity.subject, lifetime_seconds=_TOKEN_SECONDS, now=now
        )
        return exact_json.response(
            {
                "access_token": token,
                "expires_on": str(int(now) + _TOKEN_SECONDS),
                "resource": resource,
                "token_type": "Bearer",
                "client_id": asked.get("client_id", self._identity.subject),
            }
        )


def _refused(status: int, detail: str, field: str = "") -> web.Response:
    """The host's own refusal as problem details, as the app's are. Azure's host sends the status alone."""
    told: dict[str, object] = {
        "type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail,
    }  # fmt: skip
    if field:
        told["errors"] = [{"field": field, "message": detail}]
    return web.Response(body=exact_json.dumps(told), status=status, content_type="application/problem+json")


async def read_body(request: web.BaseRequest, bytes_max: int) -> bytes:
    """The body as the real host passes it on: only one with a Content-Length. Raises BodyTooLarge."""
    length = request.content_length
    if length is None or length == 0:
        return b""
    if length > bytes_max:
        raise BodyTooLarge
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun
    return await request.content.readexactly(length)


def _headers_in(headers: Mapping[str, str]) -> dict[str, str]:
    """Lower-case names, repeats joined by commas, and nothing that pretends to come from the platform."""
    joined: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if not lower.startswith("x-ms-"):
            joined[lower] = f"{joined[lower]},{value}" if lower in joined else value
    return joined


def _query(query: str) -> dict[str, str]:
    if not query:
        return {}
    values: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        values[name] = f"{values[name]},{value}" if name in values else value
    return values


def _answer(value: TypedData) -> web.Response:
    if value.WhichOneof("data") != "http":
        return web.Response(text=str(value.string))  # a function may return plain text
    http: Any = value.http
    headers: CIMultiDict[str] = CIMultiDict(http.headers)
    for cookie in http.cookies or ():
        headers.add("Set-Cookie", _cookie(cookie))
    return web.Response(status=int(http.status_code), headers=headers, body=http.body.bytes)


def _cookie(cookie: Any) -> str:
    written: SimpleCookie = SimpleCookie()
    written[cookie.name] = cookie.value
    morsel = written[cookie.name]
    if cookie.domain is not None:
        morsel["domain"] = cookie.domain.value
    if cookie.path is not None:
        morsel["path"] = cookie.path.value
    if cookie.expires is not None:
        morsel["expires"] = cookie.expires.value.strftime("%a, %d %b %Y %H:%M:%S GMT")
    if cookie.max_age is not None:
        morsel["max-age"] = int(cookie.max_age.value)
    morsel["secure"] = bool(cookie.secure and cookie.secure.value)
    morsel["httponly"] = bool(cookie.http_only and cookie.http_only.value)
    if int(cookie.same_site) in _SAME_SITE:
        morsel["samesite"] = _SAME_SITE[int(cookie.same_site)]
    return morsel.OutputString()
