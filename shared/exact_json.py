"""JSON in which a number keeps every digit it was sent with.

A fraction or exponent becomes a `Decimal`, never a binary float, and a `Decimal` is written as the JSON number it is.
NaN and Infinity are not JSON and are refused, as is nesting so deep that it could only be an attack.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from shared.errors import Fault, Malformed

_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_NUMBERS = msgspec.json.Encoder(decimal_format="number")
_SORTED = msgspec.json.Encoder(decimal_format="number", order="deterministic")


def loads(body: bytes | str) -> Any:
    """Read JSON; raises `Malformed` naming the place when it is not JSON or nests too deeply."""
    try:
        return _DECODER.decode(body)
    except msgspec.DecodeError as error:
        raise Malformed([Fault("body", str(error))]) from error
    except UnicodeDecodeError as error:
        raise Malformed([Fault("body", "is not UTF-8")]) from error
    except RecursionError as error:
        raise Malformed([Fault("body", "is nested too deeply")]) from error


def dumps(value: Any) -> bytes:
    """Write JSON with exact numbers, in the order given."""
    return _NUMBERS.encode(value)


def canonical(value: Any) -> bytes:
    """The same content always gives the same bytes: what digests are taken of."""
    return _SORTED.encode(value)
