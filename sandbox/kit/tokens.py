"""Access tokens of the sandbox: `base64url(json{aud,exp,sub}).signature`, HMAC-SHA256 with the stack's token secret."""

import base64
import hmac
import time
from dataclasses import dataclass

from sandbox.kit import exact_json


class TokenRefused(Exception):
    """The token is malformed, forged, expired, or meant for somebody else."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token states: `audience` is the resource it opens, `expires_on` is epoch seconds."""

    audience: str
    expires_on: int
    subject: str


def sign(secret: str, audience: str, subject: str, *, lifetime_seconds: int = 3600, now: float | None = None) -> str:
    """A token for `audience`, valid for `lifetime_seconds` from `now` (epoch seconds)."""
    issued = time.time() if now is None else now
    payload = _encode(exact_json.dumps({"aud": audience, "exp": int(issued) + lifetime_seconds, "sub": subject}))
    return f"{payload}.{_signature(secret, payload)}"


def verify(secret: str, token: str, audience: str, *, now: float | None = None) -> Claims:
    """The claims of a good token. Raises TokenRefused; a trailing slash or `/.default` of an audience means nothing."""
    payload, dot, signature = token.partition(".")
    if not dot or not hmac.compare_digest(_signature(secret, payload).encode(), signature.encode()):
        raise TokenRefused("the signature does not match")
    try:
        stated = exact_json.loads_object(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        claims = Claims(str(stated["aud"]), int(str(stated["exp"])), str(stated["sub"]))
    except (ValueError, KeyError) as fault:
        raise TokenRefused("the token does not carry aud, exp and sub") from fault
    if claims.expires_on <= (time.time() if now is None else now):
        raise TokenRefused("the token has expired")
    if resource(claims.audience) != resource(audience):
        raise TokenRefused(f"the token is for {claims.audience}, not for {audience}")
    return claims


def resource(audience: str) -> str:
    """The resource that an audience or an OAuth scope names: `https://x/.default` and `https://x/` are one."""
    return audience.removesuffix("/.default").rstrip("/").lower()


def _signature(secret: str, payload: str) -> str:
    return _encode(hmac.digest(secret.encode(), payload.encode(), "sha256"))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
