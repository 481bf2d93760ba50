"""Amounts as the reports say them."""

from __future__ import annotations

from decimal import Decimal

from shared.domain.money import DECIMALS, Money


def told(amount: Decimal, currency: str) -> str:
    """The amount with its currency."""
    return f"{amount_text(amount, currency)} {currency}"


def amount_text(amount: Decimal, currency: str) -> str:
    """In the currency's own decimals; a forged row may carry others or no such currency: then as it stands there."""
    if currency not in DECIMALS or amount != round(amount, DECIMALS[currency]):
        return f"{amount.normalize():f}" if amount else "0"
    return Money(amount.normalize() if amount else Decimal(0), currency).text
