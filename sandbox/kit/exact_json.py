"""JSON in which a number stays the number that was written: Decimal in, Decimal out, never a binary float."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec
from aiohttp import web

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


class NotJson(ValueError):
    """The bytes are not JSON, or not the kind of JSON value that was expected."""


def loads(data: bytes | str) -> object:
    """Decode; numbers with a fraction or exponent become Decimal, whole numbers int. Raises NotJson."""
    try:
        value: object = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise NotJson(str(fault)) from fault
    except RecursionError as fault:
        raise NotJson("JSON is nested too deep") from fault
    return value


def loads_object(data: bytes | str) -> dict[str, object]:
    """Decode a JSON object. Raises NotJson for anything else."""
    value = loads(data)
    if not isinstance(value, dict):
        raise NotJson(f"a JSON object was expected, not {type(value).__name__}")
    return value


def dumps(value: object) -> bytes:
    """Encode; Decimal is written as the number it is, with its own digits."""
    return _encoder.encode(value)


def response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.Response(body=dumps(value), status=status, headers=headers, content_type="application/json")
