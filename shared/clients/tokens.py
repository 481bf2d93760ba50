"""Access tokens of the app's managed identity: cached until shortly before they end, refreshed once for all callers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from shared.clients.single_flight import SingleFlight
from shared.errors import RemoteDown

_MARGIN_SECONDS = 300


class AccessToken(Protocol):
    """What a credential answers: `expires_on` in epoch seconds."""

    @property
    def token(self) -> str: ...
    @property
    def expires_on(self) -> int: ...


class Credential(Protocol):
    """The part of azure.identity's asynchronous credentials that is used here."""

    async def get_token(self, *scopes: str) -> AccessToken: ...
    async def close(self) -> None: ...


class TokenUnavailable(Exception):
    """The identity service gave no token."""


class Tokens:
    """Tokens by scope. `open_credential` is called at first use only: a cold start pays for no SDK it does not need."""

    def __init__(self, open_credential: Callable[[], Credential], *, clock: Callable[[], float] = time.time) -> None:
        self._open = open_credential
        self._clock = clock
        self._credential: Credential | None = None
        self._held: dict[str, AccessToken] = {}
        self._flights: SingleFlight[AccessToken] = SingleFlight()

    async def token(self, scope: str) -> str:
        """A token for `scope` that lives long enough for one call. Raises RemoteDown(system="identity")."""
        held = self._held.get(scope)
        if held is not None and held.expires_on - self._clock() > _MARGIN_SECONDS:
            return held.token
        try:
            fresh = await self._flights.run(scope, lambda: self._fetch(scope))
        except TokenUnavailable as error:
            if held is not None and held.expires_on - self._clock() > 0:
                return held.token  # the old one still opens; the next call asks again
            raise RemoteDown(f"no token for {scope}: {error}", system="identity") from error
        return fresh.token

    def forget(self, scope: str) -> bool:
        """Drop a token that was refused; True if there was one to drop."""
        return self._held.pop(scope, None) is not None

    async def close(self) -> None:
        credential, self._credential = self._credential, None
        if credential is not None:
            await credential.close()

    async def _fetch(self, scope: str) -> AccessToken:
        if self._credential is None:
            self._credential = self._open()
        token = await self._credential.get_token(scope)
        self._held[scope] = token
        return token


class BearerAuth:
    """A call signed with the app's identity for one scope."""

    def __init__(self, tokens: Tokens, scope: str) -> None:
        self._tokens = tokens
        self._scope = scope

    async def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {await self._tokens.token(self._scope)}"}

    def refused(self) -> bool:
        return self._tokens.forget(self._scope)


class ManagedIdentity:
    """The app's managed identity; `client_id` chooses a user-assigned one."""

    def __init__(self, client_id: str = "") -> None:
        from azure.identity.aio import ManagedIdentityCredential  # noqa: PLC0415  costs most of a second

        self._credential = ManagedIdentityCredential(client_id=client_id) if client_id else ManagedIdentityCredential()

    async def get_token(self, *scopes: str) -> AccessToken:
        from azure.core.exceptions import AzureError  # noqa: PLC0415  loaded with the credential already

        try:
            token: AccessToken = await self._credential.get_token(*scopes)
        except AzureError as error:
            raise TokenUnavailable(str(error)) from error
        return token

    async def close(self) -> None:
        await self._credential.close()
