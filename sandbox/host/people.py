"""Signed-in people, as App Service authentication shows them to an app.

Only the host may say who is calling: every X-MS-* header that comes in is dropped, and the principal of a verified
sign-in token is put in its place. Tokens are signed and stateless, so they outlive a worker.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from sandbox.kit import exact_json, tokens

_AUDIENCE: Final = "urn:concord:people"
_NAME_CLAIM: Final = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"
_ID_CLAIM: Final = "http://schemas.microsoft.com/identity/claims/objectidentifier"
_ROLE_CLAIM: Final = "roles"
_PROVIDER: Final = "aad"
SIGNED_IN_SECONDS: Final = 24 * 3600


class SignInRefused(ValueError):
    """The body of a sign-in is malformed; the text names the fault."""


@dataclass(frozen=True, slots=True)
class Person:
    """A signed-in person; the id follows from the name."""

    name: str
    roles: tuple[str, ...]

    @property
    def id(self) -> str:
        """The object id."""
        return str(uuid5(NAMESPACE_URL, f"concord-person:{self.name}"))


def sign_in(secret: str, name: str, roles: Sequence[str]) -> str:
    """The value of X-ZUMO-AUTH for this person."""
    subject = exact_json.dumps({"name": name, "roles": list(roles)}).decode()
    return tokens.sign(secret, _AUDIENCE, subject, lifetime_seconds=SIGNED_IN_SECONDS)


def read_sign_in(body: bytes) -> Person:
    """The person of a dev sign-in `{"name", "roles": […]}`. Raises SignInRefused."""
    try:
        stated = exact_json.loads_object(body)
    except exact_json.NotJson as fault:
        raise SignInRefused(str(fault)) from fault
    name, roles = stated.get("name"), stated.get("roles", [])
    if not isinstance(name, str) or not name:
        raise SignInRefused("name: a non-empty string was expected")
    if not isinstance(roles, list) or not all(isinstance(role, str) and role for role in roles):
        raise SignInRefused("roles: a list of strings was expected")
    return Person(name, tuple(roles))


def person_of(secret: str, token: str) -> Person:
    """Who signed in with this token. Raises tokens.TokenRefused."""
    return read_sign_in(tokens.verify(secret, token, _AUDIENCE).subject.encode())


def principal_headers(person: Person) -> dict[str, str]:
    """The headers that tell the app who calls, in lower case."""
    claims = [
        {"typ": _ID_CLAIM, "val": person.id},
        {"typ": _NAME_CLAIM, "val": person.name},
        *({"typ": _ROLE_CLAIM, "val": role} for role in person.roles),
    ]
    principal = {"auth_typ": _PROVIDER, "claims": claims, "name_typ": _NAME_CLAIM, "role_typ": _ROLE_CLAIM}
    return {
        "x-ms-client-principal": base64.b64encode(exact_json.dumps(principal)).decode(),
        "x-ms-client-principal-id": person.id,
        "x-ms-client-principal-idp": _PROVIDER,
        "x-ms-client-principal-name": person.name,
    }
