"""Performatives: what the frames of AMQP 1.0 say, checked when read, and the pieces that are written often."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sandbox.broker import codec
from sandbox.broker.codec import Symbol
from sandbox.broker.errors import DECODE_ERROR, NOT_ALLOWED, BrokerError

OPEN, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION, DETACH, END, CLOSE = range(0x10, 0x19)
SASL_MECHANISMS, SASL_INIT, SASL_OUTCOME = 0x40, 0x41, 0x44

ACCEPTED: Final = b"\x00\x53\x24\x45"
RELEASED: Final = b"\x00\x53\x26\x45"
MODIFIED: Final = b"\x00\x53\x27\x45"
REJECTED: Final = b"\x00\x53\x25\x45"  # without an error: what a successful dead-lettering is answered with


@dataclass(frozen=True, slots=True)
class Outcome:
    """A delivery state a client set: its descriptor code (0x24 accepted … 0x27 modified) and fields."""

    code: int
    fields: list[Any]

    def field(self, index: int) -> Any:
        """A field, None when it was left out."""
        return self.fields[index] if index < len(self.fields) else None


@dataclass(frozen=True, slots=True)
class Attach:
    """A link a client wants. `source` and `target` are encoded, to be echoed exactly."""

    name: str
    handle: int
    client_sends: bool
    send_settle_mode: int | None
    receive_settle_mode: int | None
    source: bytes
    target: bytes
    source_fields: list[bytes]
    target_fields: list[bytes]
    properties: dict[str, Any]

    @property
    def source_address(self) -> str | None:
        """Where the messages come from."""
        return _address(self.source_fields)

    @property
    def target_address(self) -> str | None:
        """Where the messages go."""
        return _address(self.target_fields)


# What each field of a performative holds, as far as it is read here, and how many of them cannot be left out.
_FIELDS: Final[dict[int, tuple[int, tuple[type, ...]]]] = {
    OPEN: (1, (str, str, int, int, int)),
    BEGIN: (4, (int, int, int, int, int)),
    ATTACH: (3, (str, int, bool, int, int)),
    FLOW: (4, (int, int, int, int, int, int, int, int, bool, bool)),
    TRANSFER: (1, (int, int, bytes, int, bool, bool, int, object, bool, bool, bool)),
    DISPOSITION: (2, (bool, int, int, bool)),
    DETACH: (1, (int, bool)),
    END: (0, ()),
}
_MAY_BE_NULL: Final = {(BEGIN, 0), (FLOW, 0)}


def check_fields(code: int, fields: Any) -> None:
    """Raise where a performative is not a list of fields of their types."""
    if not isinstance(fields, list) or code not in _FIELDS:
        raise ProtocolError(NOT_ALLOWED, f"unknown performative 0x{code:02x}")
    mandatory, types = _FIELDS[code]
    if len(fields) < mandatory:
        raise ProtocolError(DECODE_ERROR, f"performative 0x{code:02x} lacks fields")
    for index, (value, kind) in enumerate(zip(fields, types, strict=False)):
        if value is None:
            if index < mandatory and (code, index) not in _MAY_BE_NULL:
                raise ProtocolError(DECODE_ERROR, f"field {index} of performative 0x{code:02x} is missing")
        elif not isinstance(value, kind):
            raise ProtocolError(DECODE_ERROR, f"field {index} of performative 0x{code:02x} is no {kind.__name__}")


def rejected(error: BrokerError) -> bytes:
    """The encoded rejected state that carries an error."""
    return codec.encode_described(0x25, codec.encode_list([encode_error(error.condition, error.description)]))


class ProtocolError(Exception):
    """The peer broke the protocol: the connection is closed."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(description)
        self.condition = condition
        self.description = description


def encode_error(condition: str, description: str) -> bytes:
    """An encoded error; clients read all three fields, so `info` is an empty map rather than null."""
    fields = (codec.encode(Symbol(condition)), codec.encode(description), codec.encode({}))
    return codec.encode_described(0x1D, codec.encode_list(fields))


def encode_transfer(fields: bytes, count: int) -> bytes:
    """The head of a transfer of so many fields, which are encoded already and shorter than 255 bytes together."""
    return b"\x00\x53\x14\xc0" + bytes((len(fields) + 1, count)) + fields


def encode_symbol_map(properties: dict[str, Any]) -> bytes:
    """An encoded map whose keys are symbols."""
    return codec.encode_map(codec.encode(Symbol(key)) + codec.encode(value) for key, value in properties.items())


def read_outcome(state: Any) -> Outcome | None:
    """The outcome in a delivery state; None for a state that is none, such as received."""
    if isinstance(state, codec.Described) and state.descriptor in {0x24, 0x25, 0x26, 0x27}:
        return Outcome(state.descriptor, state.value)
    return None


def parse_attach(encoded: bytes) -> Attach:
    """The attach whose encoded list of fields this is. Raises `ProtocolError`."""
    fields = codec.split_list(encoded)
    fields += [b"\x40"] * (14 - len(fields))
    decoded: Callable[[int], Any] = lambda index: codec.decode(fields[index])[0]  # noqa: E731
    check_fields(ATTACH, [decoded(index) for index in range(5)])
    properties = decoded(13)
    if not isinstance(properties, dict | None):
        raise ProtocolError(DECODE_ERROR, "the properties of a link are a map")
    return Attach(
        name=decoded(0),
        handle=decoded(1),
        client_sends=not decoded(2),
        send_settle_mode=decoded(3),
        receive_settle_mode=decoded(4),
        source=fields[5],
        target=fields[6],
        source_fields=_terminus(fields[5]),
        target_fields=_terminus(fields[6]),
        properties=properties or {},
    )


def _terminus(encoded: bytes) -> list[bytes]:
    """The encoded fields of a source or target, none when it is null."""
    if encoded[:1] != b"\x00":
        return []
    return codec.split_list(encoded, codec.skip(encoded, 1))


def _address(fields: list[bytes]) -> str | None:
    if not fields:
        return None
    address, _ = codec.decode(fields[0])
    return address if isinstance(address, str) else None
