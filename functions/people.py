"""Who is asking: a signed-in person with roles (App Service authentication) or a service with its key.

The platform strips `X-MS-*` headers from outside and puts in what it verified; roles are checked here in code all the
same. Reading doors also take the service key, so that checkout and monitoring need no person; acting doors never do.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

import azure.functions as func
import msgspec

from functions.answers import problem

ROLES = ("Reader", "Operator", "Approver", "SeniorApprover", "Controller")
_ROLE_CLAIMS = ("roles", "http://schemas.microsoft.com/ws/2008/06/identity/claims/role")


@dataclass(frozen=True, slots=True)
class Person:
    """A signed-in person: `id` is the directory's, `name` is shown in cases and approvals."""

    id: str
    name: str
    roles: frozenset[str]


def person_of(request: func.HttpRequest) -> Person | None:
    """The person the platform signed in, or None."""
    header = request.headers.get("x-ms-client-principal", "")
    if not header:
        return None
    try:
        principal = msgspec.json.decode(base64.b64decode(header, validate=True), type=_Principal)
    except (binascii.Error, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    role_claims = {principal.role_typ or "roles", *_ROLE_CLAIMS}
    roles = frozenset(claim.val for claim in principal.claims if claim.typ in role_claims) & frozenset(ROLES)
    name = request.headers.get("x-ms-client-principal-name", "")
    identity = request.headers.get("x-ms-client-principal-id", "") or name
    return Person(identity, name or identity, roles) if identity else None


def require(request: func.HttpRequest, *roles: str) -> Person | func.HttpResponse:
    """The person, if one of the roles is theirs; otherwise the answer to send: 401 unknown, 403 not allowed."""
    person = person_of(request)
    if person is None:
        return problem(401, "sign in first", code="unauthenticated")
    if not person.roles.intersection(roles):
        return problem(403, f"this needs the role {' or '.join(roles)}", code="forbidden")
    return person


def may_read(request: func.HttpRequest, service_key: str) -> func.HttpResponse | None:
    """None when the caller may read: any signed-in person with a role of ours, or a service with the key."""
    person = person_of(request)
    if person is not None:
        return None if person.roles else problem(403, "none of this application's roles is yours", code="forbidden")
    offered = request.headers.get("x-functions-key", "") or request.params.get("code", "")
    if offered and hmac.compare_digest(offered.encode(), service_key.encode()):
        return None
    return problem(401, "sign in, or send the service key as x-functions-key", code="unauthenticated")


def without_key(params: Mapping[str, str], service_key: str) -> dict[str, str]:
    """The query without the key, where the caller gave it as `code` and not as a header."""
    return {
        name: value
        for name, value in params.items()
        if not (name == "code" and hmac.compare_digest(value.encode(), service_key.encode()))
    }


class _Claim(msgspec.Struct):
    typ: str = ""
    val: str = ""


class _Principal(msgspec.Struct):
    claims: list[_Claim] = msgspec.field(default_factory=list)
    role_typ: str = ""
