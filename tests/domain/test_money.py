"""Money is exact, keeps its currency and its currency's decimals, and is never a binary float."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import exact_json
from shared.domain.money import DECIMALS, Money, decimal_of, unit
from shared.errors import Malformed

CURRENCIES = st.sampled_from(["GBP", "JPY", "KWD"])


@st.composite
def money(draw: st.DrawFn, currency: str | None = None) -> Money:
    chosen = currency or draw(CURRENCIES)
    return Money(draw(st.integers(-(10**12), 10**12)) * unit(chosen), chosen)


@given(st.data(), CURRENCIES)
def test_sums_are_exact_in_any_order(data: st.DataObject, currency: str) -> None:
    a, b, c = (data.draw(money(currency)) for _ in range(3))
    assert (a + b) + c == a + (b + c)
    assert a + b - b == a


@given(money())
def test_the_text_of_an_amount_has_exactly_the_decimals_of_its_currency(amount: Money) -> None:
    _, _, decimals = amount.text.partition(".")
    assert len(decimals) == DECIMALS[amount.currency]
    assert Money(Decimal(amount.text), amount.currency) == amount


@given(money())
def test_an_amount_survives_json_digit_by_digit(amount: Money) -> None:
    assert str(exact_json.loads(exact_json.dumps({"a": Decimal(amount.text)}))["a"]) == amount.text


def test_currencies_do_not_mix() -> None:
    with pytest.raises(ValueError, match="cannot combine"):
        Money(Decimal(1), "GBP") + Money(Decimal(1), "JPY")


@pytest.mark.parametrize(
    ("amount", "currency"), [("0.5", "JPY"), ("0.001", "GBP"), ("0.0001", "KWD"), ("1", "XXZ"), ("NaN", "GBP")]
)
def test_what_is_no_amount_of_the_currency_is_refused(amount: str, currency: str) -> None:
    with pytest.raises(ValueError, match=r"decimals|ISO 4217|usable"):
        Money(Decimal(amount), currency)


def test_a_binary_float_cannot_become_money() -> None:
    with pytest.raises(TypeError):
        Money(0.1, "GBP")  # type: ignore[arg-type]


def test_rounding_is_half_up_and_only_on_request() -> None:
    assert Money.rounded(Decimal("2.345"), "GBP").text == "2.35"
    assert Money.rounded(Decimal("-2.345"), "GBP").text == "-2.35"
    assert Money.rounded(Decimal("99.5"), "JPY").text == "100"


@pytest.mark.parametrize("value", [True, 0.1, None, "", "12,5", "1_000", "Infinity", "1E+400", [], "9" * 41, "١٢"])
def test_what_is_no_decimal_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="is "):
        decimal_of(value)


@pytest.mark.parametrize("body", [b"{", b"NaN", b'{"a": Infinity}', b"\xff", b"[" * 5000 + b"]" * 5000])
def test_what_is_no_json_is_refused_and_never_crashes(body: bytes) -> None:
    with pytest.raises(Malformed):
        exact_json.loads(body)
