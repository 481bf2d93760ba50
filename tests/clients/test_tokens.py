"""Access tokens: asked for once, kept until they end, outlived by an identity service that is down."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from shared.clients.tokens import BearerAuth, Tokens, TokenUnavailable
from shared.errors import RemoteDown


@dataclass(frozen=True, slots=True)
class Token:
    token: str
    expires_on: int


class Identity:
    """Gives numbered tokens of an hour; `down` makes it fail."""

    def __init__(self) -> None:
        self.asked = 0
        self.now = 1_000_000.0
        self.down = False

    async def get_token(self, *scopes: str) -> Token:
        self.asked += 1
        await asyncio.sleep(0)
        if self.down:
            raise TokenUnavailable("no answer")
        return Token(f"{scopes[0]}#{self.asked}", int(self.now) + 3600)

    async def close(self) -> None:
        self.down = True


@pytest.fixture
def identity() -> Identity:
    return Identity()


@pytest.fixture
def tokens(identity: Identity) -> Tokens:
    return Tokens(lambda: identity, clock=lambda: identity.now)


async def test_a_hundred_callers_ask_once(identity: Identity, tokens: Tokens) -> None:
    got = await asyncio.gather(*(tokens.token("s") for _ in range(100)))
    assert set(got) == {"s#1"}
    assert identity.asked == 1


async def test_each_scope_has_its_own_token(tokens: Tokens) -> None:
    assert [await tokens.token("a"), await tokens.token("b")] == ["a#1", "b#2"]


async def test_a_token_is_renewed_before_it_ends(identity: Identity, tokens: Tokens) -> None:
    await tokens.token("s")
    identity.now += 3301
    assert await tokens.token("s") == "s#2"


async def test_a_token_that_still_opens_outlives_an_outage(identity: Identity, tokens: Tokens) -> None:
    await tokens.token("s")
    identity.now += 3400
    identity.down = True
    assert await tokens.token("s") == "s#1"


async def test_without_any_token_the_identity_service_is_what_is_down(identity: Identity, tokens: Tokens) -> None:
    identity.down = True
    with pytest.raises(RemoteDown) as caught:
        await tokens.token("s")
    assert caught.value.system == "identity"


async def test_a_caller_that_gives_up_does_not_take_the_token_from_the_others(tokens: Tokens) -> None:
    first = asyncio.create_task(tokens.token("s"))
    second = asyncio.create_task(tokens.token("s"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "s#1"


async def test_a_refused_token_is_dropped(tokens: Tokens) -> None:
    auth = BearerAuth(tokens, "s")
    assert not auth.refused()
    await auth.headers()
    assert auth.refused()
    assert await auth.headers() == {"Authorization": "Bearer s#2"}
