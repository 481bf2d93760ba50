"""Logons: basic authentication, the SAP client, and CSRF tokens that are valid only in their own session."""

import base64
import hmac
import secrets
from binascii import Error as NotBase64
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from sandbox.kit.state import Clock
from sandbox.sap.errors import SapError

SYSTEM: Final = "S4S"
_LIFETIME_SECONDS: Final = 1800.0
_SESSIONS_MAX: Final = 5_000
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(slots=True)
class _Session:
    token: str
    used_at: float


@dataclass(slots=True)
class Sessions:
    """The open sessions of one SAP client. A session ends after half an hour without use."""

    clock: Clock
    user: str
    password: str
    client: str
    _open: dict[str, _Session] = field(default_factory=dict)

    def authenticate(self, request: web.Request) -> None:
        """Basic authentication in the right SAP client. Raises HTTPUnauthorized."""
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        try:
            user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (NotBase64, UnicodeDecodeError):
            user, password = "", ""
        known = user.upper() == self.user and hmac.compare_digest(password.encode(), self.password.encode())
        asked_client = request.query.get("sap-client", self.client)
        if scheme.lower() != "basic" or not known or asked_client != self.client:
            realm = f'Basic realm="SAP NetWeaver Application Server [{SYSTEM}/{self.client}]"'
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": realm}, text="Logon failed")

    def protect(self, request: web.Request) -> None:
        """Writes need the CSRF token of the session whose cookie comes along. Raises SapError 403."""
        if request.method in _SAFE:
            return
        session = self._session(request)
        given = request.headers.get("X-CSRF-Token", "")
        if session is None or not hmac.compare_digest(session.token.encode(), given.encode()):
            raise SapError(403, "/IWFND/CM_COS/012", "CSRF token validation failed")

    def issue(self, request: web.Request, answer: web.StreamResponse) -> None:
        """On GET or HEAD with `X-CSRF-Token: Fetch`, give the session's token, opening a session where none is."""
        if request.method not in _SAFE or request.headers.get("X-CSRF-Token", "").lower() != "fetch":
            return
        session = self._session(request)
        if session is None:
            identifier = secrets.token_urlsafe(24)
            session = _Session(secrets.token_urlsafe(18), self.clock())
            while len(self._open) >= _SESSIONS_MAX:
                self._open.pop(next(iter(self._open)))
            self._open[identifier] = session
            answer.headers.add("Set-Cookie", f"SAP_SESSIONID_{SYSTEM}_{self.client}={identifier}; path=/; HttpOnly")
            answer.headers.add("Set-Cookie", f"sap-XSRF_{SYSTEM}_{self.client}={session.token}; path=/; HttpOnly")
            answer.headers.add("Set-Cookie", f"sap-usercontext=sap-client={self.client}; path=/")
        answer.headers["X-CSRF-Token"] = session.token

    def end_all(self) -> int:
        """Every session ends, as at a restart; says how many there were."""
        ended = len(self._open)
        self._open.clear()
        return ended

    def _session(self, request: web.Request) -> _Session | None:
        identifier = request.cookies.get(f"SAP_SESSIONID_{SYSTEM}_{self.client}", "")
        session = self._open.get(identifier)
        if session is None:
            return None
        if self.clock() - session.used_at > _LIFETIME_SECONDS:
            del self._open[identifier]
            return None
        session.used_at = self.clock()
        return session
