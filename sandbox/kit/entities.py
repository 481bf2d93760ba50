"""The legal entities of the sandbox, read from sandbox/entities.json."""

from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path

import msgspec


@dataclass(frozen=True, slots=True)
class LegalEntity:
    """One company code: `decimals` are those of its currency, `tax_rate` a fraction such as 0.20."""

    code: str
    name: str
    country: str
    currency: str
    decimals: int
    plants: tuple[str, ...]
    tax_rate: Decimal
    credit_segment: str
    time_zone: str


@cache
def legal_entities() -> dict[str, LegalEntity]:
    """All legal entities by company code."""
    content = (Path(__file__).parent.parent / "entities.json").read_bytes()
    return {entity.code: entity for entity in msgspec.json.decode(content, type=tuple[LegalEntity, ...])}


@cache
def currency_decimals() -> dict[str, int]:
    """Decimals by currency: those of the legal entities, and the usual trading currencies beside them."""
    return {"EUR": 2, "USD": 2, "CHF": 2, "AUD": 2} | {e.currency: e.decimals for e in legal_entities().values()}
