"""Who may call: an Entra token for this Commerce, or for Inventory Visibility the token its security service issued."""

from aiohttp import web

from sandbox.kit import exact_json
from sandbox.kit.tokens import TokenRefused, verify

INVENTORY_ENTRA = "0cdb527f-a8d1-4bf8-9436-b352c68682b2"
INVENTORY = "https://inventoryservice.operations365.dynamics.com"


def refused(request: web.Request, secret: str, audience: str) -> web.Response | None:
    """None for a good bearer token; else the 401 to answer. Without a secret (a simulator alone) all may call."""
    if not secret:
        return None
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        return _unauthorised("a bearer token is missing")
    try:
        verify(secret, token, audience)
    except TokenRefused as fault:
        return _unauthorised(str(fault))
    return None


def own_url(request: web.Request) -> str:
    return f"{request.scheme}://{request.host}"


def _unauthorised(why: str) -> web.Response:
    body = {"error": {"code": "Unauthorized", "message": why}}
    return exact_json.response(body, status=401, headers={"WWW-Authenticate": "Bearer"})
