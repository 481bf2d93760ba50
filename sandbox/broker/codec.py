"""AMQP 1.0 types on the wire: values to bytes and back.

Only what a broker needs: every primitive can be read; the writer covers what the broker says. Sections of a message
that pass through are never decoded and encoded again, they are cut out and joined as bytes (`skip`, `split_list`,
`split_map`), so that a client's own encoding survives to the last bit.

Malformed input raises `CodecError`.
"""

import struct
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

_MAX_DEPTH = 32
_MAX_ELEMENTS = 65_536

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_I8 = struct.Struct(">b")
_I16 = struct.Struct(">h")
_I32 = struct.Struct(">i")
_I64 = struct.Struct(">q")
_F32 = struct.Struct(">f")
_F64 = struct.Struct(">d")


class CodecError(ValueError):
    """The bytes are not a well-formed AMQP value."""


class Symbol(str):
    """An AMQP symbol: ASCII, from a constrained vocabulary."""

    __slots__ = ()


class UByte(int):
    """An unsigned 8-bit integer."""


class UShort(int):
    """An unsigned 16-bit integer."""


class UInt(int):
    """An unsigned 32-bit integer."""


class ULong(int):
    """An unsigned 64-bit integer."""


class Int(int):
    """A signed 32-bit integer; a plain int is written as a 64-bit long."""


class Timestamp(int):
    """Milliseconds since 1970-01-01T00:00:00Z."""


@dataclass(frozen=True, slots=True)
class Described:
    """A value with its descriptor, for example a terminus, a filter or a delivery state."""

    descriptor: Any
    value: Any


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes that are an encoded AMQP value already."""

    encoded: bytes


@dataclass(frozen=True, slots=True)
class Array:
    """A typed array to be written; `constructor` is one of the fixed-width or 32-bit forms."""

    constructor: int
    items: tuple[Any, ...]


# --- reading -------------------------------------------------------------------------------------------------------


def decode(buffer: bytes, position: int = 0, depth: int = 0) -> tuple[Any, int]:
    """Read one value; returns it and the position after it."""
    try:
        reader = _READERS[buffer[position]]
    except IndexError:
        raise CodecError("a value is cut short") from None
    if reader is None:
        raise CodecError(f"unknown constructor 0x{buffer[position]:02x}")
    try:
        return reader(buffer, position + 1, depth)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise CodecError(f"a value is malformed: {error}") from error


def skip(buffer: bytes, position: int) -> int:
    """The position after the value at `position`, which is not decoded."""
    try:
        constructor = buffer[position]
        width = constructor >> 4
        if constructor == 0x00:
            return skip(buffer, skip(buffer, position + 1))
        if width in _FIXED_WIDTHS:
            end = position + 1 + _FIXED_WIDTHS[width]
        elif width in {0xA, 0xC, 0xE}:
            end = position + 2 + buffer[position + 1]
        elif width in {0xB, 0xD, 0xF}:
            end = int(position + 5 + _U32.unpack_from(buffer, position + 1)[0])
        else:
            raise CodecError(f"unknown constructor 0x{constructor:02x}")
    except (IndexError, struct.error):
        raise CodecError("a value is cut short") from None
    if end > len(buffer):
        raise CodecError("a value is cut short")
    return end


def split_list(buffer: bytes, position: int = 0) -> list[bytes]:
    """The encoded elements of the list at `position`."""
    count, start, end = _compound(buffer, position, "list")
    fields = []
    for _ in range(count):
        after = skip(buffer, start)
        fields.append(buffer[start:after])
        start = after
    if start != end:
        raise CodecError("a list does not fill its size")
    return fields


def split_map(buffer: bytes, position: int = 0) -> list[tuple[Any, bytes]]:
    """The entries of the map at `position`: (decoded key, encoded key and value)."""
    count, start, end = _compound(buffer, position, "map")
    if count % 2:
        raise CodecError("a map has a key without a value")
    entries = []
    for _ in range(count // 2):
        key, after_key = decode(buffer, start)
        after = skip(buffer, after_key)
        entries.append((key, buffer[start:after]))
        start = after
    if start != end:
        raise CodecError("a map does not fill its size")
    return entries


def _compound(buffer: bytes, position: int, kind: str) -> tuple[int, int, int]:
    """(element count, start of the first element, end) of the list or map at `position`."""
    small, large = (0xC0, 0xD0) if kind == "list" else (0xC1, 0xD1)
    end = skip(buffer, position)
    constructor = buffer[position]
    if constructor == 0x45 and kind == "list":
        return 0, end, end
    if constructor == small and end >= position + 3:
        return buffer[position + 2], position + 3, end
    if constructor == large and end >= position + 9:
        return _U32.unpack_from(buffer, position + 5)[0], position + 9, end
    raise CodecError(f"expected a {kind}, found constructor 0x{constructor:02x}")


_FIXED_WIDTHS = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}

type _Reader = Callable[[bytes, int, int], tuple[Any, int]]


def _constant(value: Any) -> _Reader:
    return lambda _buffer, position, _depth: (value, position)


def _fixed(layout: struct.Struct, make: Callable[[Any], Any] | None = None) -> _Reader:
    unpack, size = layout.unpack_from, layout.size
    if make is None:
        return lambda buffer, position, _depth: (unpack(buffer, position)[0], position + size)
    return lambda buffer, position, _depth: (make(unpack(buffer, position)[0]), position + size)


def _byte(buffer: bytes, position: int, _depth: int) -> tuple[int, int]:
    return buffer[position], position + 1


def _boolean(buffer: bytes, position: int, _depth: int) -> tuple[bool, int]:
    return buffer[position] == 1, position + 1


def _char(buffer: bytes, position: int, _depth: int) -> tuple[str, int]:
    try:
        return chr(_U32.unpack_from(buffer, position)[0]), position + 4
    except (ValueError, OverflowError) as error:
        raise CodecError(f"not a character: {error}") from error


def _sixteen(buffer: bytes, position: int) -> bytes:
    raw = buffer[position : position + 16]
    if len(raw) != 16:
        raise CodecError("a value is cut short")
    return raw


def _uuid(buffer: bytes, position: int, _depth: int) -> tuple[uuid.UUID, int]:
    return uuid.UUID(bytes=_sixteen(buffer, position)), position + 16


def _decimal128(buffer: bytes, position: int, _depth: int) -> tuple[Decimal, int]:
    bits = int.from_bytes(_sixteen(buffer, position), "big")
    sign = bits >> 127
    if (bits >> 122) & 0x1F == 0x1F:
        return Decimal("NaN"), position + 16
    if (bits >> 122) & 0x1F == 0x1E:
        return Decimal("-Infinity" if sign else "Infinity"), position + 16
    if (bits >> 125) & 0x3 == 0x3:  # the large-coefficient form never holds a canonical decimal128: it reads as zero
        return Decimal(0), position + 16
    exponent = ((bits >> 113) & 0x3FFF) - 6176
    coefficient = bits & ((1 << 113) - 1)
    return Decimal((sign, tuple(int(digit) for digit in str(coefficient)), exponent)), position + 16


def _variable(length: struct.Struct | None, make: Callable[[bytes], Any]) -> _Reader:
    def read(buffer: bytes, position: int, _depth: int) -> tuple[Any, int]:
        if length is None:
            start = position + 1
            end = start + buffer[position]
        else:
            start = position + 4
            end = start + length.unpack_from(buffer, position)[0]
        if end > len(buffer):
            raise CodecError("a value is cut short")
        return make(buffer[start:end]), end

    return read


def _text(raw: bytes) -> str:
    return raw.decode()


def _symbol(raw: bytes) -> Symbol:
    return Symbol(raw.decode("ascii"))


def _list(wide: bool) -> _Reader:
    def read(buffer: bytes, position: int, depth: int) -> tuple[list[Any], int]:
        count, position = _count(buffer, position, wide, depth)
        values = []
        for _ in range(count):
            value, position = decode(buffer, position, depth + 1)
            values.append(value)
        return values, position

    return read


def _map(wide: bool) -> _Reader:
    def read(buffer: bytes, position: int, depth: int) -> tuple[dict[Any, Any], int]:
        count, position = _count(buffer, position, wide, depth)
        if count % 2:
            raise CodecError("a map has a key without a value")
        values = {}
        for _ in range(count // 2):
            key, position = decode(buffer, position, depth + 1)
            value, position = decode(buffer, position, depth + 1)
            try:
                values[key] = value
            except TypeError as error:
                raise CodecError(f"a map key of type {type(key).__name__} cannot be one") from error
        return values, position

    return read


def _array(wide: bool) -> _Reader:
    def read(buffer: bytes, position: int, depth: int) -> tuple[list[Any], int]:
        count, position = _count(buffer, position, wide, depth)
        if count == 0:  # the element constructor may or may not be there: the size says where the array ends
            return [], position
        constructor = buffer[position]
        position += 1
        descriptor: Any = None
        if described := constructor == 0x00:
            descriptor, position = decode(buffer, position, depth + 1)
            constructor = buffer[position]
            position += 1
        reader = _READERS[constructor]
        if reader is None:
            raise CodecError(f"unknown constructor 0x{constructor:02x}")
        values = []
        for _ in range(count):
            value, position = reader(buffer, position, depth + 1)
            values.append(Described(descriptor, value) if described else value)
        return values, position

    def read_whole(buffer: bytes, position: int, depth: int) -> tuple[list[Any], int]:
        size = _U32.unpack_from(buffer, position)[0] + 4 if wide else buffer[position] + 1
        values, after = read(buffer, position, depth)
        if after > position + size:
            raise CodecError("an array does not fit its size")
        return values, position + size

    return read_whole


def _count(buffer: bytes, position: int, wide: bool, depth: int) -> tuple[int, int]:
    if depth > _MAX_DEPTH:
        raise CodecError("values are nested too deeply")
    if not wide:
        return buffer[position + 1], position + 2
    count = _U32.unpack_from(buffer, position + 4)[0]
    if count > _MAX_ELEMENTS:
        raise CodecError(f"{count} elements are more than a compound value may have")
    return count, position + 8


def _described(buffer: bytes, position: int, depth: int) -> tuple[Described, int]:
    if depth > _MAX_DEPTH:
        raise CodecError("values are nested too deeply")
    descriptor, position = decode(buffer, position, depth + 1)
    value, position = decode(buffer, position, depth + 1)
    return Described(descriptor, value), position


def _bytes(raw: bytes) -> bytes:
    return bytes(raw)


_READERS: list[_Reader | None] = [None] * 256
for _constructor, _reader in {
    0x00: _described,
    0x40: _constant(None),
    0x41: _constant(True),
    0x42: _constant(False),
    0x43: _constant(0),
    0x44: _constant(0),
    0x45: lambda _buffer, position, _depth: ([], position),
    0x50: _byte,
    0x51: _fixed(_I8),
    0x52: _byte,
    0x53: _byte,
    0x54: _fixed(_I8),
    0x55: _fixed(_I8),
    0x56: _boolean,
    0x60: _fixed(_U16),
    0x61: _fixed(_I16),
    0x70: _fixed(_U32),
    0x71: _fixed(_I32),
    0x72: _fixed(_F32),
    0x73: _char,
    0x80: _fixed(_U64),
    0x81: _fixed(_I64),
    0x82: _fixed(_F64),
    0x83: _fixed(_I64, Timestamp),
    0x94: _decimal128,
    0x98: _uuid,
    0xA0: _variable(None, _bytes),
    0xA1: _variable(None, _text),
    0xA3: _variable(None, _symbol),
    0xB0: _variable(_U32, _bytes),
    0xB1: _variable(_U32, _text),
    0xB3: _variable(_U32, _symbol),
    0xC0: _list(wide=False),
    0xC1: _map(wide=False),
    0xD0: _list(wide=True),
    0xD1: _map(wide=True),
    0xE0: _array(wide=False),
    0xF0: _array(wide=True),
}.items():
    _READERS[_constructor] = _reader


# --- writing -------------------------------------------------------------------------------------------------------


def encode(value: Any) -> bytes:
    """The bytes of a value. A plain int is written as a long; use `UInt`, `Int`, … where the type matters."""
    writer = _WRITERS.get(type(value))
    if writer is None:
        raise TypeError(f"no AMQP type for {type(value).__name__}")
    return writer(value)


def encode_list(encoded: Iterable[bytes]) -> bytes:
    """A list of elements that are encoded already."""
    fields = list(encoded)
    if not fields:
        return b"\x45"
    body = b"".join(fields)
    if len(body) < 255 and len(fields) < 256:
        return bytes((0xC0, len(body) + 1, len(fields))) + body
    return b"\xd0" + _U32.pack(len(body) + 4) + _U32.pack(len(fields)) + body


def encode_map(encoded_entries: Iterable[bytes]) -> bytes:
    """A map of entries (key and value together) that are encoded already."""
    entries = list(encoded_entries)
    body = b"".join(entries)
    count = len(entries) * 2
    if len(body) < 255 and count < 256:
        return bytes((0xC1, len(body) + 1, count)) + body
    return b"\xd1" + _U32.pack(len(body) + 4) + _U32.pack(count) + body


def encode_described(code: int, encoded_value: bytes) -> bytes:
    """A described value whose descriptor is a small numeric code."""
    return b"\x00\x53" + bytes((code,)) + encoded_value


def encode_uint(value: int) -> bytes:
    """An unsigned 32-bit integer in its shortest form."""
    if value == 0:
        return b"\x43"
    if value < 256:
        return bytes((0x52, value))
    return b"\x70" + _U32.pack(value)


def _write_ulong(value: int) -> bytes:
    if value == 0:
        return b"\x44"
    if value < 256:
        return bytes((0x53, value))
    return b"\x80" + _U64.pack(value)


def _write_long(value: int) -> bytes:
    if -128 <= value <= 127:
        return b"\x55" + _I8.pack(value)
    return b"\x81" + _I64.pack(value)


def _write_int(value: int) -> bytes:
    if -128 <= value <= 127:
        return b"\x54" + _I8.pack(value)
    return b"\x71" + _I32.pack(value)


def _write_sized(small: int, raw: bytes) -> bytes:
    if len(raw) < 256:
        return bytes((small, len(raw))) + raw
    return bytes((small + 0x10,)) + _U32.pack(len(raw)) + raw


def _write_array(array: Array) -> bytes:
    element = _ARRAY_ELEMENTS[array.constructor]
    body = bytes((array.constructor,)) + b"".join(element(item) for item in array.items)
    return b"\xf0" + _U32.pack(len(body) + 4) + _U32.pack(len(array.items)) + body


_ARRAY_ELEMENTS: dict[int, Callable[[Any], bytes]] = {
    0x81: _I64.pack,
    0x83: _I64.pack,
    0x98: lambda value: value.bytes,
    0xB1: lambda value: _U32.pack(len(value.encode())) + value.encode(),
    0xB3: lambda value: _U32.pack(len(value)) + value.encode("ascii"),
}

_WRITERS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _value: b"\x40",
    bool: lambda value: b"\x41" if value else b"\x42",
    int: _write_long,
    UByte: lambda value: bytes((0x50, value)),
    UShort: lambda value: b"\x60" + _U16.pack(value),
    UInt: encode_uint,
    ULong: _write_ulong,
    Int: _write_int,
    Timestamp: lambda value: b"\x83" + _I64.pack(value),
    float: lambda value: b"\x82" + _F64.pack(value),
    uuid.UUID: lambda value: b"\x98" + value.bytes,
    bytes: lambda value: _write_sized(0xA0, value),
    str: lambda value: _write_sized(0xA1, value.encode()),
    Symbol: lambda value: _write_sized(0xA3, value.encode("ascii")),
    list: lambda value: encode_list(encode(item) for item in value),
    dict: lambda value: encode_map(encode(key) + encode(item) for key, item in value.items()),
    Described: lambda value: b"\x00" + encode(value.descriptor) + encode(value.value),
    Array: _write_array,
    Raw: lambda value: value.encoded,
}
