"""JSON in which a number keeps every digit it was sent with.

A fraction or exponent becomes a `Decimal`, never a binary float, and a `Decimal` is written as the JSON number it is.
NaN and Infinity are not JSON and are refused, as are nesting so deep and exponents so large that they could only be an
attack.
"""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import Any

import msgspec

from shared.errors import Fault, Malformed

DEPTH_MAX = 64
"""Deeper than any message of these systems; Dataverse's parent contexts come nearest."""
EXPONENT_MAX = 400
"""Beyond what a double holds: nothing measures that much, and written out it would fill the memory."""
_NAME_MAX = 100


def _number(text: str) -> Decimal:
    number = Decimal(text)
    if abs(number.adjusted()) > EXPONENT_MAX:
        raise ArithmeticError
    return number


_DECODER = msgspec.json.Decoder(float_hook=_number)
_NUMBERS = msgspec.json.Encoder(decimal_format="number")
_SORTED = msgspec.json.Encoder(decimal_format="number", order="deterministic")


def loads(body: bytes | str) -> Any:
    """Read JSON; raises `Malformed` naming the place when it is not JSON or nests too deeply."""
    try:
        content = _DECODER.decode(body)
    except msgspec.DecodeError as error:
        raise Malformed([Fault("body", str(error))]) from error
    except UnicodeDecodeError as error:
        raise Malformed([Fault("body", "is not UTF-8")]) from error
    except ArithmeticError as error:
        raise Malformed([Fault("body", "holds a number that is out of range")]) from error
    except RecursionError as error:
        raise Malformed([Fault("body", f"is nested deeper than {DEPTH_MAX} levels")]) from error
    if _is_too_deep(content):
        raise Malformed([Fault("body", f"is nested deeper than {DEPTH_MAX} levels")])
    return content


def repeated_names(body: bytes) -> list[str]:
    """Names that stand twice in one object of a body that `loads` takes: readers disagree on which of them counts."""
    repeated: dict[str, None] = {}

    def look(pairs: list[tuple[str, Any]]) -> None:
        counts = Counter(name for name, _ in pairs)
        repeated.update((name[:_NAME_MAX], None) for name, count in counts.items() if count > 1)

    json.loads(body, object_pairs_hook=look, parse_float=len, parse_int=len)
    return list(repeated)


def dumps(value: Any) -> bytes:
    """Write JSON with exact numbers, in the order given."""
    return _NUMBERS.encode(value)


def canonical(value: Any) -> bytes:
    """The same content always gives the same bytes: what digests are taken of."""
    return _SORTED.encode(value)


def _is_too_deep(content: Any) -> bool:
    level = [content]
    for _ in range(DEPTH_MAX):
        level = [
            inner
            for outer in level
            if type(outer) in (dict, list)
            for inner in (outer.values() if type(outer) is dict else outer)
        ]
        if not level:
            return False
    return True
