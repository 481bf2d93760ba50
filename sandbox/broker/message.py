"""A message as the broker holds it: the sender's bytes, and the few fields the broker has to know.

`parse_content` cuts an encoded message into header, annotations and the bare message. The bare message (properties,
application properties, body) is never re-encoded, except that dead-lettering adds two application properties, as
Service Bus does. `Message.encode` writes what a receiver gets: a header with the delivery count, the broker's
annotations, and the bare message as it came.
"""

import struct
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from typing import Any, Final

from sandbox.broker import codec
from sandbox.broker.codec import CodecError, Symbol
from sandbox.broker.errors import ARGUMENT_ERROR, DECODE_ERROR, BrokerError

BATCH_FORMAT: Final = 0x80013700  # a transfer whose data sections are one encoded message each
_ID_LENGTH_MAX: Final = 128
_UINT_MAX: Final = 2**32 - 1

_HEADER, _DELIVERY_ANNOTATIONS, _MESSAGE_ANNOTATIONS = 0x70, 0x71, 0x72
_PROPERTIES, _APPLICATION_PROPERTIES, _DATA, _SEQUENCE, _VALUE, _FOOTER = 0x73, 0x74, 0x75, 0x76, 0x77, 0x78

# Annotations only the broker writes: what a sender puts there is dropped (a resubmitted message carries old ones).
_BROKER_ANNOTATIONS: Final = frozenset(
    {
        "x-opt-sequence-number",
        "x-opt-enqueue-sequence-number",
        "x-opt-enqueued-time",
        "x-opt-locked-until",
        "x-opt-lock-token",
        "x-opt-message-state",
        "x-opt-deadletter-source",
    }
)
_SCHEDULED_TIME: Final = "x-opt-scheduled-enqueue-time"
_PROPERTY_COUNT: Final = 13


class State(IntEnum):
    """What `x-opt-message-state` says."""

    ACTIVE = 0
    DEFERRED = 1
    SCHEDULED = 2


@dataclass(frozen=True)
class Content:
    """What a sender sent. `ttl_ms` and `scheduled_ms` (since the epoch) are None when not given."""

    bare: bytes
    properties: tuple[Any, ...]
    application_span: tuple[int, int, int] | None  # application properties in `bare`: section, its map, end
    annotations: tuple[bytes, ...]
    durable: bool | None
    priority: int | None
    ttl_ms: int | None
    scheduled_ms: int | None

    @property
    def message_id(self) -> Any:
        """The message id, of whatever type the sender chose; None when not given."""
        return self.properties[0]

    @property
    def session_id(self) -> str | None:
        """The session (group) id, None when not given."""
        group_id: str | None = self.properties[10]
        return group_id

    @cached_property
    def application_properties(self) -> dict[str, Any]:
        """The application properties, decoded when first asked for."""
        if self.application_span is None:
            return {}
        try:
            values, _ = codec.decode(self.bare, self.application_span[1])
        except CodecError as error:
            raise BrokerError(DECODE_ERROR, f"The application properties cannot be decoded: {error}") from error
        if not isinstance(values, dict):
            raise BrokerError(DECODE_ERROR, "application properties are not a map")
        return values

    def dead_lettered(self, reason: str | None, description: str | None) -> "Content":
        """This content with the properties that say why it was dead-lettered; everything else byte for byte."""
        added = {"DeadLetterReason": reason, "DeadLetterErrorDescription": description}
        entries = [codec.encode(key) + codec.encode(value) for key, value in added.items() if value is not None]
        if not entries:
            return self
        if self.application_span is None:
            start = end = _application_position(self.bare)
            old: list[bytes] = []
        else:
            start, values, end = self.application_span
            old = [raw for key, raw in codec.split_map(self.bare, values) if key not in added]
        section = codec.encode_described(_APPLICATION_PROPERTIES, codec.encode_map(old + entries))
        bare = self.bare[:start] + section + self.bare[end:]
        span = (start, start + 3, start + len(section))
        return replace(self, bare=bare, application_span=span, ttl_ms=None, scheduled_ms=None)


@dataclass(slots=True, eq=False)
class Message:
    """One message in one queue or subscription."""

    content: Content
    sequence_number: int
    enqueue_sequence_number: int
    enqueued_at: float
    expires_at: float | None
    state: State = State.ACTIVE
    delivery_count: int = 0  # failed attempts so far
    dead_letter_source: str | None = None
    lock: Any = None

    def encode(self, locked_until: float | None) -> bytes:
        """The message as a receiver gets it; times are in seconds since the epoch."""
        content = self.content
        annotations = [
            _SEQUENCE_KEY + _I64.pack(self.sequence_number),
            _ENQUEUE_SEQUENCE_KEY + _I64.pack(self.enqueue_sequence_number),
            _ENQUEUED_KEY + _I64.pack(int(self.enqueued_at * 1000)),
            _STATE_KEYS[self.state],
        ]
        if locked_until is not None:
            annotations.append(_LOCKED_KEY + _I64.pack(int(locked_until * 1000)))
        if self.dead_letter_source is not None:
            annotations.append(_SOURCE_KEY + codec.encode(self.dead_letter_source))
        if content.annotations:
            annotations.extend(content.annotations)
        return b"".join(
            (
                self._header(),
                b"\x00\x53\x72",
                codec.encode_map(annotations),
                content.bare,
            )
        )

    def _header(self) -> bytes:
        content = self.content
        ttl = b"\x40"
        if self.expires_at is not None:
            ttl = codec.encode_uint(min(_UINT_MAX, max(0, round((self.expires_at - self.enqueued_at) * 1000))))
        fields = (
            codec.encode(content.durable),
            b"\x40" if content.priority is None else bytes((0x50, content.priority)),
            ttl,
            b"\x40",
            codec.encode_uint(self.delivery_count),
        )
        return b"\x00\x53\x70" + codec.encode_list(fields)


def parse_content(payload: bytes) -> Content:
    """Cut one encoded message apart. Raises `BrokerError` where it is malformed or an id is too long."""
    header: list[Any] = []
    properties: list[Any] = []
    annotations: list[bytes] = []
    scheduled_ms: int | None = None
    application_span: tuple[int, int, int] | None = None
    bare_start: int | None = None
    position, end = 0, len(payload)
    try:
        while position < end:
            code, value_position = _section(payload, position)
            after = codec.skip(payload, value_position)
            if code == _HEADER:
                header, _ = codec.decode(payload, value_position)
            elif code == _MESSAGE_ANNOTATIONS:
                for key, raw in codec.split_map(payload, value_position):
                    if key == _SCHEDULED_TIME:
                        scheduled_ms, _ = codec.decode(raw, codec.skip(raw, 0))
                    if key not in _BROKER_ANNOTATIONS:
                        annotations.append(raw)
            elif code == _PROPERTIES:
                properties, _ = codec.decode(payload, value_position)
            elif code == _APPLICATION_PROPERTIES:
                application_span = (position, value_position, after)
            if code >= _PROPERTIES and bare_start is None:
                bare_start = position
            position = after
    except CodecError as error:
        raise BrokerError(DECODE_ERROR, f"The message cannot be decoded: {error}") from error
    if bare_start is None:
        raise BrokerError(DECODE_ERROR, "The message has no body")
    properties += [None] * (_PROPERTY_COUNT - len(properties))
    header += [None] * (5 - len(header))
    _check_ids(properties)
    if application_span is not None:
        section, values, after = application_span
        application_span = (section - bare_start, values - bare_start, after - bare_start)
    return Content(
        bare=payload[bare_start:],
        properties=tuple(properties),
        application_span=application_span,
        annotations=tuple(annotations),
        durable=header[0],
        priority=header[1],
        ttl_ms=header[2],
        scheduled_ms=scheduled_ms,
    )


def split_batch(payload: bytes) -> list[bytes]:
    """The encoded messages inside a batch transfer (message format `BATCH_FORMAT`)."""
    messages = []
    position = 0
    try:
        while position < len(payload):
            code, value_position = _section(payload, position)
            position = codec.skip(payload, value_position)
            if code == _DATA:
                data, _ = codec.decode(payload, value_position)
                messages.append(data)
    except CodecError as error:
        raise BrokerError(DECODE_ERROR, f"The batch cannot be decoded: {error}") from error
    return messages


def read_request(payload: bytes) -> tuple[bytes, str | None, dict[str, Any], Any]:
    """A request to a node: (encoded message id, reply-to, application properties, body value)."""
    message_id, reply_to = b"\x40", None
    application: dict[str, Any] = {}
    body: Any = None
    position = 0
    try:
        while position < len(payload):
            code, value_position = _section(payload, position)
            position = codec.skip(payload, value_position)
            if code == _PROPERTIES:
                fields = codec.split_list(payload, value_position)
                message_id = fields[0] if fields else message_id
                reply_to = codec.decode(fields[4])[0] if len(fields) > 4 else None
            elif code == _APPLICATION_PROPERTIES:
                application, _ = codec.decode(payload, value_position)
            elif code == _VALUE:
                body, _ = codec.decode(payload, value_position)
    except CodecError as error:
        raise BrokerError(DECODE_ERROR, f"The request cannot be decoded: {error}") from error
    return message_id, reply_to, application, body


def encode_response(correlation_id: bytes, application: dict[str, Any], body: Any) -> bytes:
    """A node's response; `correlation_id` is the encoded id of the request."""
    properties = codec.encode_list([b"\x40"] * 5 + [correlation_id])
    return b"".join(
        (
            codec.encode_described(_PROPERTIES, properties),
            codec.encode_described(_APPLICATION_PROPERTIES, codec.encode(application)),
            codec.encode_described(_VALUE, codec.encode(body)),
        )
    )


def _section(payload: bytes, position: int) -> tuple[int, int]:
    """(section code, position of its value). Descriptors may be a small or a wide ulong."""
    if payload[position : position + 2] == b"\x00\x53" and position + 3 < len(payload):
        return payload[position + 2], position + 3
    if payload[position : position + 1] != b"\x00":
        raise CodecError("a section has no descriptor")
    descriptor, value_position = codec.decode(payload, position + 1)
    if not isinstance(descriptor, int) or not _HEADER <= descriptor <= _FOOTER:
        raise CodecError(f"unknown section {descriptor!r}")
    return descriptor, value_position


def _application_position(bare: bytes) -> int:
    """Where an application-properties section belongs in a bare message that has none: after the properties."""
    code, value_position = _section(bare, 0)
    return codec.skip(bare, value_position) if code == _PROPERTIES else 0


def _check_ids(properties: list[Any]) -> None:
    for index, name in ((0, "message id"), (10, "session id")):
        value = properties[index]
        if isinstance(value, str) and len(value) > _ID_LENGTH_MAX:
            raise BrokerError(ARGUMENT_ERROR, f"The {name} is longer than {_ID_LENGTH_MAX} characters")


_I64 = struct.Struct(">q")
_SEQUENCE_KEY = codec.encode(Symbol("x-opt-sequence-number")) + b"\x81"
_ENQUEUE_SEQUENCE_KEY = codec.encode(Symbol("x-opt-enqueue-sequence-number")) + b"\x81"
_ENQUEUED_KEY = codec.encode(Symbol("x-opt-enqueued-time")) + b"\x83"
_LOCKED_KEY = codec.encode(Symbol("x-opt-locked-until")) + b"\x83"
_SOURCE_KEY = codec.encode(Symbol("x-opt-deadletter-source"))
_STATE_KEYS = [codec.encode(Symbol("x-opt-message-state")) + codec.encode(codec.Int(state)) for state in State]
