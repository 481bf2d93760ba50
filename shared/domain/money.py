"""Money: a decimal amount with its currency, right to the currency's own smallest unit.

Sums never mix currencies, nothing is rounded silently, and a binary float cannot get in. The number of decimals is
ISO 4217's minor unit of each currency that the product accepts.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Self

_ZERO_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DECIMALS = "BHD IQD JOD KWD LYD OMR TND"
_TWO_DECIMALS = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP "
    "CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR "
    "JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN "
    "NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP "
    "SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD YER ZAR ZMW"
)
DECIMALS: dict[str, int] = {
    **dict.fromkeys(_ZERO_DECIMALS.split(), 0),
    **dict.fromkeys(_TWO_DECIMALS.split(), 2),
    **dict.fromkeys(_THREE_DECIMALS.split(), 3),
}
"""Currency code → number of decimals of its smallest unit."""

MAGNITUDE_MAX = Decimal(10) ** 15
"""Beyond SAP's Decimal(23,2)-ish fields and beyond any order: an amount this large is a mistake or an attack."""


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An exact amount in one currency, already in that currency's decimals."""

    amount: Decimal
    currency: str

    def __post_init__(self) -> None:
        if not isinstance(self.amount, Decimal):
            raise TypeError(f"money is Decimal, not {type(self.amount).__name__}")
        if self.currency not in DECIMALS:
            raise ValueError(f"currency {self.currency!r} is not an ISO 4217 code")
        exponent = self.amount.as_tuple().exponent
        if not isinstance(exponent, int) or abs(self.amount) >= MAGNITUDE_MAX:
            raise ValueError(f"amount {self.amount} is not a usable number")
        if -exponent > DECIMALS[self.currency] and self.amount != self.amount.quantize(unit(self.currency)):
            raise ValueError(f"amount {self.amount} has more decimals than {self.currency} knows")

    @classmethod
    def zero(cls, currency: str) -> Self:
        return cls(Decimal(0), currency)

    @classmethod
    def rounded(cls, amount: Decimal, currency: str) -> Self:
        """Round half up to the currency's unit: the only place where money is rounded."""
        return cls(amount.quantize(unit(currency), rounding=ROUND_HALF_UP), currency)

    def __add__(self, other: Money) -> Money:
        return Money(self.amount + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount - self._same(other), self.currency)

    def __neg__(self) -> Money:
        return Money(-self.amount, self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.amount < self._same(other)

    def __le__(self, other: Money) -> bool:
        return self.amount <= self._same(other)

    def __gt__(self, other: Money) -> bool:
        return self.amount > self._same(other)

    def __ge__(self, other: Money) -> bool:
        return self.amount >= self._same(other)

    def __bool__(self) -> bool:
        return self.amount != 0

    def __str__(self) -> str:
        return f"{self.text} {self.currency}"

    @property
    def text(self) -> str:
        """The amount with exactly the currency's decimals, as it is stored and sent."""
        return format(self.amount.quantize(unit(self.currency)), "f")

    def _same(self, other: Money) -> Decimal:
        if other.currency != self.currency:
            raise ValueError(f"cannot combine {self.currency} with {other.currency}: convert first")
        return other.amount


def unit(currency: str) -> Decimal:
    """The smallest unit of a currency: 1 for JPY, 0.01 for GBP, 0.001 for KWD."""
    return Decimal(1).scaleb(-DECIMALS[currency])


def decimal_of(value: object) -> Decimal:
    """A decimal from what an edge received: a decimal string, an int or an exact JSON number.

    Raises ValueError for anything else: a bool, a binary float, NaN, Infinity, text that is no number, or a number
    beyond any order (also by its exponent, so that nothing expands into gigabytes of digits).
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        raise ValueError(f"is {type(value).__name__}, not a decimal number")
    if isinstance(value, str) and (len(value) > 40 or not value.strip() or "_" in value or not value.isascii()):
        raise ValueError("is not a decimal number")
    try:
        number = Decimal(value.strip() if isinstance(value, str) else value)
    except InvalidOperation as error:
        raise ValueError("is not a decimal number") from error
    if not number.is_finite():
        raise ValueError("is not a finite number")
    if number.adjusted() > 15 or (number.adjusted() < -15 and number != 0):
        raise ValueError("is out of range")
    return number
