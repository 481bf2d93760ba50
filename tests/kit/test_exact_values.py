"""Claims about exact JSON, tokens and the legal entities."""

from decimal import Decimal

import pytest

from sandbox.kit import exact_json, tokens
from sandbox.kit.entities import legal_entities
from sandbox.kit.tokens import TokenRefused


@pytest.mark.parametrize("text", ["0.1", "1234567890123456.789", "0.30", "-0.001", "12"])
def test_a_number_leaves_as_it_came(text: str) -> None:
    assert exact_json.dumps(exact_json.loads(text)).decode() == text


def test_a_fraction_is_read_as_decimal_and_never_as_float() -> None:
    assert exact_json.loads_object('{"a": 0.1}')["a"] == Decimal("0.1")


@pytest.mark.parametrize("body", ["[1]", "not json", "", '"text"', b'{"a":"\xff"}', "[" * 100_000, '{"a":NaN}'])
def test_what_is_no_json_object_is_refused(body: str | bytes) -> None:
    with pytest.raises(exact_json.NotJson):
        exact_json.loads_object(body)


def test_a_token_opens_the_resource_it_was_issued_for() -> None:
    token = tokens.sign("secret", "https://crm.local/.default", "app", now=1000)
    assert tokens.verify("secret", token, "https://crm.local/", now=1001).subject == "app"


@pytest.mark.parametrize(
    ("secret", "audience", "now"),
    [
        ("other", "https://crm.local", 1001),
        ("secret", "https://erp.local", 1001),
        ("secret", "https://crm.local", 4600),
    ],
)
def test_a_forged_misdirected_or_expired_token_is_refused(secret: str, audience: str, now: float) -> None:
    token = tokens.sign("secret", "https://crm.local", "app", now=1000)
    with pytest.raises(TokenRefused):
        tokens.verify(secret, token, audience, now=now)


@pytest.mark.parametrize("token", ["", "a.b", "a", "ä.ö", "e30.x"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(TokenRefused):
        tokens.verify("secret", token, "https://crm.local")


def test_the_three_legal_entities_differ_in_decimals() -> None:
    assert {entity.currency: entity.decimals for entity in legal_entities().values()} == {"GBP": 2, "JPY": 0, "KWD": 3}
