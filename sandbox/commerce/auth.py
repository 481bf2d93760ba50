"""Who may call: an Entra token for this Commerce, or for Inventory Visibility the token its security service issued."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from sandbox.kit import exact_json
from sandbox.kit.tokens import TokenRefused, sign, verify

INVENTORY_ENTRA: Final = "0cdb527f-a8d1-4bf8-9436-b352c68682b2"
_INVENTORY: Final = "https://inventoryservice.operations365.dynamics.com"
_INVENTORY_TOKEN_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class Gate:
    """Holds tokens to the stack's secret and the simulator's clock. Without a secret all may call."""

    secret: str
    clock: Callable[[], float]

    def refused(self, request: web.Request, audience: str | None = None) -> web.Response | None:
        """None for a good bearer token (of this very url unless another audience is named); else the 401 to answer."""
        if not self.secret:
            return None
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return _unauthorised("a bearer token is missing")
        return self._held(token, audience or own_url(request))

    def assertion_refused(self, assertion: str) -> web.Response | None:
        """None for a good Entra token for Inventory Visibility."""
        return self._held(assertion, INVENTORY_ENTRA) if self.secret else None

    def issue_inventory_token(self, environment: str) -> dict[str, object]:
        """The security service's answer: a token that opens one environment."""
        token = sign(
            self.secret, inventory_of(environment), "concord", lifetime_seconds=_INVENTORY_TOKEN_SECONDS,
            now=self.clock(),
        )  # fmt: skip
        return {"access_token": token, "token_type": "bearer", "expires_in": _INVENTORY_TOKEN_SECONDS}

    def _held(self, token: str, audience: str) -> web.Response | None:
        try:
            verify(self.secret, token, audience, now=self.clock())
        except TokenRefused as fault:
            return _unauthorised(str(fault))
        return None


def inventory_of(environment: str) -> str:
    """The audience of tokens for one environment's Inventory Visibility."""
    return f"{_INVENTORY}/{environment}"


def own_url(request: web.Request) -> str:
    """Where the caller reached this Commerce."""
    return f"{request.scheme}://{request.host}"


def _unauthorised(why: str) -> web.Response:
    body = {"error": {"code": "Unauthorized", "message": why}}
    return exact_json.response(body, status=401, headers={"WWW-Authenticate": "Bearer"})
