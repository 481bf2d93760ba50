"""AMQP 1.0 over a socket: connections, sessions, links, credit, and transfers that span frames.

The engine knows no queue. Whoever listens gives it a `Host`, which is asked about every link a client attaches and
answers with `accept_sender`, `accept_receiver` or `refuse`. Names are the broker's point of view: an `IncomingLink`
carries messages to the broker, an `OutgoingLink` carries them to the client.

What is written within one turn of the event loop leaves in one send. Our window and link credit are kept open by
half; the peer's window, frame size and credit are honoured; a silent connection is kept alive with empty frames and
closed when the peer has been silent for twice the idle time we announce.
"""

import asyncio
import logging
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sandbox.broker import codec
from sandbox.broker.codec import CodecError, Symbol, UInt, ULong, UShort
from sandbox.broker.errors import (
    CONNECTION_FORCED,
    DECODE_ERROR,
    FRAMING_ERROR,
    HANDLE_IN_USE,
    MESSAGE_SIZE_EXCEEDED,
    NOT_ALLOWED,
    UNATTACHED_HANDLE,
    BrokerError,
)

_LOGGER = logging.getLogger(__name__)

_AMQP_HEADER: Final = b"AMQP\x00\x01\x00\x00"
_SASL_HEADER: Final = b"AMQP\x03\x01\x00\x00"
_EMPTY_FRAME: Final = b"\x00\x00\x00\x08\x02\x00\x00\x00"
_FRAME_BYTES_MAX: Final = 65_536
_FRAME_BYTES_MIN: Final = 512
_CHANNEL_MAX: Final = 4_999
_HANDLE_MAX: Final = 1_023
_WINDOW: Final = 5_000
_LINK_CREDIT: Final = 1_000
_TRANSFER_OVERHEAD: Final = 64  # no transfer performative of ours is longer
_ID_MASK: Final = 0xFFFF_FFFF

_OPEN, _BEGIN, _ATTACH, _FLOW, _TRANSFER, _DISPOSITION, _DETACH, _END, _CLOSE = range(0x10, 0x19)
_SASL_MECHANISMS, _SASL_INIT, _SASL_OUTCOME = 0x40, 0x41, 0x44

_FRAME: Final = struct.Struct(">IBBH")
_U32: Final = struct.Struct(">I")

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


class SenderHandler(Protocol):
    """The broker's end of a link that carries messages to it."""

    def on_message(self, payload: bytes, message_format: int) -> None:
        """Take one message; a `BrokerError` rejects it."""
        ...

    def on_detach(self, orderly: bool) -> None:
        """The link is gone; not `orderly` when the connection broke."""
        ...


class ReceiverHandler(Protocol):
    """The broker's end of a link that carries messages to a client."""

    def on_credit(self) -> None:
        """The link has credit and the session has room."""
        ...

    def on_outcome(self, delivery: Any, outcome: Outcome) -> bytes:
        """The client settles a delivery; returns the encoded state to answer with, a `BrokerError` rejects."""
        ...

    def on_detach(self, orderly: bool) -> None:
        """The link is gone; not `orderly` when the connection broke."""
        ...


class Host(Protocol):
    """Whoever listens."""

    def on_attach(self, session: "Session", attach: Attach) -> None:
        """Answer with `session.accept_sender`, `accept_receiver` or `refuse`, at once or later."""
        ...

    def on_attach_cancelled(self, session: "Session", attach: Attach, orderly: bool) -> None:
        """The client went before an answer was given."""
        ...

    def on_connected(self, connection: "Connection") -> None:
        """A connection is there."""
        ...

    def on_disconnected(self, connection: "Connection") -> None:
        """A connection is gone."""
        ...


class IncomingLink:
    """A link that carries messages to the broker."""

    def __init__(self, session: "Session", attach: Attach, handler: SenderHandler, max_message_bytes: int) -> None:
        self.session = session
        self.attach = attach
        self.handler = handler
        self._max_message_bytes = max_message_bytes
        self._delivery_count = 0
        self._credit = _LINK_CREDIT
        self._parts: list[bytes] = []
        self._size = 0
        self._delivery: tuple[int, int, bool] | None = None  # id, message format, settled

    def on_transfer(self, fields: list[Any], payload: bytes) -> None:
        """One transfer frame: a message, or a part of one."""
        fields += [None] * (11 - len(fields))
        _, delivery_id, _, message_format, settled, more, _, _, _, aborted, _ = fields
        if self._delivery is None:
            if delivery_id is None:
                raise _ProtocolError(NOT_ALLOWED, "the first transfer of a delivery has no delivery-id")
            self._delivery = (delivery_id, message_format or 0, bool(settled))
        elif settled:
            self._delivery = (self._delivery[0], self._delivery[1], True)
        if aborted:
            self._finish()
            return
        self._size += len(payload)
        if self._size <= self._max_message_bytes:
            self._parts.append(payload)
        if more:
            return
        delivery_id, message_format, is_settled = self._delivery
        message = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        size = self._size
        self._finish()
        state = ACCEPTED
        try:
            if size > self._max_message_bytes:
                raise BrokerError(
                    MESSAGE_SIZE_EXCEEDED,
                    f"The message has {size} bytes, at most {self._max_message_bytes} are allowed",
                )
            self.handler.on_message(message, message_format)
        except BrokerError as error:
            state = rejected(error)
        if not is_settled:
            self.session.write_disposition(is_receiver=True, delivery_id=delivery_id, state=state)

    def send_flow(self) -> None:
        """Tell the client its credit."""
        self.session.write_flow(self.attach.handle, self._delivery_count, self._credit, drain=False)

    def _finish(self) -> None:
        self._parts = []
        self._size = 0
        self._delivery = None
        self._delivery_count = (self._delivery_count + 1) & _ID_MASK
        self._credit -= 1
        if self._credit <= _LINK_CREDIT // 2:
            self._credit = _LINK_CREDIT
            self.send_flow()


class OutgoingLink:
    """A link that carries messages to a client."""

    def __init__(self, session: "Session", attach: Attach, handler: ReceiverHandler) -> None:
        self.session = session
        self.attach = attach
        self.handler = handler
        self.is_open = True
        self._delivery_count = 0
        self._credit = 0
        self._handle = codec.encode_uint(attach.handle)

    def has_credit(self) -> bool:
        """Whether one more message may be sent now."""
        return self._credit > 0 and self.is_open and self.session.has_room()

    def send(self, payload: bytes, tag: bytes, delivery: Any) -> None:
        """Send one message. With a `delivery` the client has to settle it, `on_outcome` follows; None sends settled."""
        self._credit -= 1
        self._delivery_count = (self._delivery_count + 1) & _ID_MASK
        self.session.write_transfer(self, self._handle, payload, tag, delivery)

    def on_flow(self, delivery_count: int | None, credit: int, drain: bool) -> None:
        """The client gives credit, or asks to use up what it gave."""
        in_flight = (self._delivery_count - (delivery_count or 0)) & _ID_MASK
        self._credit = max(0, credit - in_flight)
        if self._credit:
            self.handler.on_credit()
        if drain and self.is_open:
            self._delivery_count = (self._delivery_count + self._credit) & _ID_MASK
            self._credit = 0
            self.session.write_flow(self.attach.handle, self._delivery_count, 0, drain=True)

    def send_flow(self) -> None:
        """Tell the client where the link stands."""
        self.session.write_flow(self.attach.handle, self._delivery_count, self._credit, drain=False)

    def close(self, condition: str, description: str) -> None:
        """Take the link from the client, saying why."""
        if self.is_open:
            self.is_open = False
            self.session.detach(self, condition, description)


class Session:
    """One session of a connection. Our channel and handles are the numbers the client chose."""

    def __init__(self, connection: "Connection", channel: int, next_incoming_id: int, remote_window: int) -> None:
        self.connection = connection
        self._channel = channel
        self._next_incoming_id = next_incoming_id
        self._incoming_window = _WINDOW
        self._next_outgoing_id = 0
        self._next_delivery_id = 0
        self._remote_window = remote_window
        self._links: dict[int, IncomingLink | OutgoingLink] = {}
        self._attaching: dict[int, Attach] = {}
        self._closing: dict[int, OutgoingLink | None] = {}  # closed from this side, the client has not answered yet
        self._unsettled: dict[int, tuple[OutgoingLink, Any]] = {}
        self._blocked: deque[tuple[bytes, bytes]] = deque()  # transfers the peer's window has no room for

    # --- links -----------------------------------------------------------------------------------------------------

    def accept_sender(self, attach: Attach, handler: SenderHandler, max_message_bytes: int) -> IncomingLink | None:
        """The client may send; None when it has gone meanwhile."""
        if self._attaching.pop(attach.handle, None) is None:
            return None
        link = IncomingLink(self, attach, handler, max_message_bytes)
        self._links[attach.handle] = link
        self._write_attach(attach, attach.source, attach.target, max_message_bytes, None)
        link.send_flow()
        return link

    def accept_receiver(
        self,
        attach: Attach,
        handler: ReceiverHandler,
        source: bytes | None = None,
        properties: dict[str, Any] | None = None,
    ) -> OutgoingLink | None:
        """The client will receive, from `source` (encoded) if given; None when it has gone meanwhile."""
        if self._attaching.pop(attach.handle, None) is None:
            return None
        link = OutgoingLink(self, attach, handler)
        self._links[attach.handle] = link
        self._write_attach(attach, source or attach.source, attach.target, 0, properties)
        return link

    def refuse(self, attach: Attach, condition: str, description: str) -> None:
        """There is no such link: an attach without the terminus asked for, then a closing detach that says why."""
        if self._attaching.pop(attach.handle, None) is None:
            return
        source = attach.source if attach.client_sends else b"\x40"
        target = b"\x40" if attach.client_sends else attach.target
        self._write_attach(attach, source, target, 0, None)
        self._closing[attach.handle] = None
        self._write_detach(attach.handle, condition, description)

    def detach(self, link: OutgoingLink, condition: str, description: str) -> None:
        """Close a link from this side. What the client settles before it notices is still answered."""
        if self._links.pop(link.attach.handle, None) is None:
            return
        self._closing[link.attach.handle] = link
        self._write_detach(link.attach.handle, condition, description)
        link.handler.on_detach(orderly=True)

    def has_room(self) -> bool:
        """Whether the peer's window admits another frame."""
        return self._remote_window > 0 and not self._blocked and self.connection.is_writable

    def credit_links(self) -> None:
        """Let every link that has credit go on: the session has room again."""
        for link in list(self._links.values()):
            if isinstance(link, OutgoingLink) and link.has_credit():
                link.handler.on_credit()

    def end(self, orderly: bool) -> None:
        """The session is over: all its links are."""
        links, self._links = self._links, {}
        attaching, self._attaching = self._attaching, {}
        self._unsettled.clear()
        self._blocked.clear()
        for attach in attaching.values():
            self.connection.host.on_attach_cancelled(self, attach, orderly)
        for link in links.values():
            if isinstance(link, OutgoingLink):
                link.is_open = False
            link.handler.on_detach(orderly)

    # --- frames from the client --------------------------------------------------------------------------------------

    def on_attach(self, encoded: bytes) -> None:
        attach = _parse_attach(encoded)
        if attach.handle in self._links or attach.handle in self._attaching:
            raise _ProtocolError(HANDLE_IN_USE, f"handle {attach.handle} is in use")
        self._forget_closing(attach.handle)
        self._attaching[attach.handle] = attach
        try:
            self.connection.host.on_attach(self, attach)
        except BrokerError as error:
            self.refuse(attach, error.condition, error.description)

    def on_flow(self, fields: list[Any]) -> None:
        fields += [None] * (11 - len(fields))
        next_incoming_id, window, _, _, handle, delivery_count, credit, _, drain, echo, _ = fields
        was_full = not self.has_room()
        self._remote_window = (((next_incoming_id or 0) + window - self._next_outgoing_id) & _ID_MASK) if window else 0
        self._unblock()
        if handle is None:
            if echo:
                self.write_flow(None, None, None, drain=False)
        else:
            link = self._links.get(handle)
            if isinstance(link, OutgoingLink):
                link.on_flow(delivery_count, credit or 0, bool(drain))
            if echo and link is not None:
                link.send_flow()
        if was_full and self.has_room():
            self.credit_links()

    def on_transfer(self, fields: list[Any], payload: bytes) -> None:
        self._next_incoming_id = (self._next_incoming_id + 1) & _ID_MASK
        self._incoming_window -= 1
        if self._incoming_window <= _WINDOW // 2:
            self._incoming_window = _WINDOW
            self.write_flow(None, None, None, drain=False)
        link = self._links.get(fields[0])
        if isinstance(link, IncomingLink):
            link.on_transfer(fields, payload)
        elif fields[0] not in self._closing:
            raise _ProtocolError(UNATTACHED_HANDLE, f"handle {fields[0]} is not attached")

    def on_disposition(self, fields: list[Any]) -> None:
        fields += [None] * (6 - len(fields))
        is_receiver, first, last, settled, state, _ = fields
        if not is_receiver:  # a sender that settles what we have settled already
            return
        outcome = _outcome(state)
        for delivery_id in self._range(first, first if last is None else last):
            entry = self._unsettled.get(delivery_id)
            if outcome is None:
                if not settled:  # only "received so far": nothing is decided
                    continue
                outcome = Outcome(0x26, [])
            answer = rejected(BrokerError(NOT_ALLOWED, f"Delivery {delivery_id} is unknown or settled"))
            if entry is not None:
                del self._unsettled[delivery_id]
                link, delivery = entry
                try:
                    answer = link.handler.on_outcome(delivery, outcome)
                except BrokerError as error:
                    answer = rejected(error)
            if not settled:
                self.write_disposition(is_receiver=False, delivery_id=delivery_id, state=answer)

    def on_detach(self, fields: list[Any]) -> None:
        handle = fields[0]
        link = self._links.pop(handle, None)
        attach = self._attaching.pop(handle, None)
        if link is not None:
            if isinstance(link, OutgoingLink):
                link.is_open = False
                self._forget_deliveries(link)
            link.handler.on_detach(orderly=True)
        elif attach is not None:
            self.connection.host.on_attach_cancelled(self, attach, orderly=True)
        else:  # the answer to a detach of ours
            self._forget_closing(handle)
            return
        self._write(_DETACH, (codec.encode_uint(handle), b"\x41"))

    # --- frames to the client ----------------------------------------------------------------------------------------

    def write_flow(self, handle: int | None, delivery_count: int | None, credit: int | None, drain: bool) -> None:
        self._write(
            _FLOW,
            (
                codec.encode_uint(self._next_incoming_id),
                codec.encode_uint(self._incoming_window),
                codec.encode_uint(self._next_outgoing_id),
                codec.encode_uint(_WINDOW),
                b"\x40" if handle is None else codec.encode_uint(handle),
                b"\x40" if delivery_count is None else codec.encode_uint(delivery_count),
                b"\x40" if credit is None else codec.encode_uint(credit),
                b"\x40",
                b"\x41" if drain else b"\x42",
            ),
        )

    def write_disposition(self, *, is_receiver: bool, delivery_id: int, state: bytes) -> None:
        encoded_id = codec.encode_uint(delivery_id)
        body = b"".join((b"\x41" if is_receiver else b"\x42", encoded_id, encoded_id, b"\x41", state))
        if len(body) < 255:
            self.connection.write_frame(self._channel, b"\x00\x53\x15\xc0" + bytes((len(body) + 1, 5)) + body)
        else:
            size = _U32.pack(len(body) + 4) + _U32.pack(5)
            self.connection.write_frame(self._channel, b"\x00\x53\x15\xd0" + size + body)

    def write_transfer(self, link: OutgoingLink, handle: bytes, payload: bytes, tag: bytes, delivery: Any) -> None:
        delivery_id = self._next_delivery_id
        self._next_delivery_id = (delivery_id + 1) & _ID_MASK
        if delivery is not None:
            self._unsettled[delivery_id] = (link, delivery)
        settled = b"\x41" if delivery is None else b"\x42"
        start = handle + codec.encode_uint(delivery_id) + codec.encode(tag) + b"\x43" + settled
        room = self.connection.frame_bytes_max - _TRANSFER_OVERHEAD
        if len(payload) <= room:
            self._send_transfer(_transfer(start + b"\x42", 6), payload)
            return
        position = 0
        while position < len(payload):
            part = payload[position : position + room]
            position += room
            more = b"\x41" if position < len(payload) else b"\x42"
            head = _transfer(start + more, 6) if position == room else _transfer(handle + b"\x40\x40\x40\x40" + more, 6)
            self._send_transfer(head, part)

    def _send_transfer(self, performative: bytes, payload: bytes) -> None:
        if self._remote_window <= 0 or self._blocked:
            self._blocked.append((performative, payload))
            return
        self._remote_window -= 1
        self._next_outgoing_id = (self._next_outgoing_id + 1) & _ID_MASK
        self.connection.write_frame(self._channel, performative, payload)

    def _unblock(self) -> None:
        while self._blocked and self._remote_window > 0:
            performative, payload = self._blocked.popleft()
            self._remote_window -= 1
            self._next_outgoing_id = (self._next_outgoing_id + 1) & _ID_MASK
            self.connection.write_frame(self._channel, performative, payload)

    def _range(self, first: int, last: int) -> list[int]:
        """The delivery ids from first to last that anybody can mean; numbers beyond what was sent are nobody's."""
        if first == last:
            return [first]
        return [delivery_id for delivery_id in self._unsettled if first <= delivery_id <= last]

    def _forget_closing(self, handle: int) -> None:
        link = self._closing.pop(handle, None)
        if link is not None:
            self._forget_deliveries(link)

    def _forget_deliveries(self, link: OutgoingLink) -> None:
        for delivery_id in [key for key, (holder, _) in self._unsettled.items() if holder is link]:
            del self._unsettled[delivery_id]

    def _write(self, code: int, fields: tuple[bytes, ...] | list[bytes]) -> None:
        self.connection.write_frame(self._channel, codec.encode_described(code, codec.encode_list(fields)))

    def _write_attach(
        self, attach: Attach, source: bytes, target: bytes, max_message_bytes: int, properties: dict[str, Any] | None
    ) -> None:
        self._write(
            _ATTACH,
            (
                codec.encode(attach.name),
                codec.encode_uint(attach.handle),
                b"\x41" if attach.client_sends else b"\x42",
                b"\x40" if attach.send_settle_mode is None else bytes((0x50, attach.send_settle_mode)),
                b"\x40" if attach.receive_settle_mode is None else bytes((0x50, attach.receive_settle_mode)),
                source,
                target,
                b"\x40",
                b"\x40",
                b"\x40" if attach.client_sends else b"\x43",  # initial-delivery-count is the sender's to give
                codec.encode(ULong(max_message_bytes)),
                b"\x40",
                b"\x40",
                b"\x40" if properties is None else _symbol_map(properties),
            ),
        )

    def _write_detach(self, handle: int, condition: str, description: str) -> None:
        self._write(_DETACH, (codec.encode_uint(handle), b"\x41", _error(condition, description)))


class Connection(asyncio.Protocol):
    """One client connection. The client is told to say something every `idle_seconds`, and gets twice that time."""

    def __init__(self, host: Host, idle_seconds: float) -> None:
        self.host = host
        self._idle_seconds = idle_seconds
        self.frame_bytes_max = _FRAME_BYTES_MIN
        self.is_writable = True
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._out: list[bytes] = []
        self._flush_due = False
        self._sessions: dict[int, Session] = {}
        self._ended: set[int] = set()
        self._state = "header"  # then sasl, amqp header, open, opened, closed
        self._heard_at = self._loop.time()
        self._said_at = self._heard_at
        self._empty_after_seconds: float | None = None
        self._idle_timer: asyncio.TimerHandle | None = None

    # --- the socket --------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.host.on_connected(self)
        self._watch_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._end_sessions(orderly=False)
        self.host.on_disconnected(self)

    def pause_writing(self) -> None:
        self.is_writable = False

    def resume_writing(self) -> None:
        self.is_writable = True
        for session in list(self._sessions.values()):
            session.credit_links()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        buffer = self._received
        if buffer:
            buffer += data
            data = bytes(buffer)
        position = 0
        try:
            position = self._consume(data)
        except _ProtocolError as error:
            self.close(error.condition, error.description)
        except CodecError as error:
            self.close(DECODE_ERROR, str(error))
        self._received = bytearray(data[position:]) if position < len(data) and self._state != "closed" else bytearray()

    def write_frame(self, channel: int, performative: bytes, payload: bytes = b"", kind: int = 0) -> None:
        """Queue a frame; all of one turn of the loop leave together."""
        self._out.append(_FRAME.pack(8 + len(performative) + len(payload), 2, kind, channel))
        self._out.append(performative)
        if payload:
            self._out.append(payload)
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def close(self, condition: str | None = None, description: str = "") -> None:
        """Close the connection, saying why if there is a reason."""
        if self._state == "closed":
            return
        if self._state == "opened":
            error = () if condition is None else (_error(condition, description),)
            self.write_frame(0, codec.encode_described(_CLOSE, codec.encode_list(error)))
        if condition is not None:
            _LOGGER.warning("closing a connection: %s: %s", condition, description)
        self._state = "closed"
        self._end_sessions(orderly=condition is None)
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        self._flush_due = False
        if not self._out:
            return
        out, self._out = self._out, []
        self._said_at = self._loop.time()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(out))

    def _end_sessions(self, orderly: bool) -> None:
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.end(orderly)

    def _watch_idle(self) -> None:
        now = self._loop.time()
        if now - self._heard_at > 2 * self._idle_seconds:
            self.close(CONNECTION_FORCED, "The connection was idle for too long")
            return
        wait = self._idle_seconds
        if self._empty_after_seconds is not None and self._state == "opened":
            quiet_seconds = now - self._said_at
            if quiet_seconds >= self._empty_after_seconds * 0.9:
                self._out.append(_EMPTY_FRAME)
                self._flush()
                quiet_seconds = 0.0
            wait = min(wait, self._empty_after_seconds - quiet_seconds)
        self._idle_timer = self._loop.call_later(wait, self._watch_idle)

    # --- frames ------------------------------------------------------------------------------------------------------

    def _consume(self, data: bytes) -> int:
        """Handle all whole frames in `data`; returns how many bytes they were."""
        position, end = 0, len(data)
        while end - position >= 8 and self._state != "closed":
            if self._state in {"header", "amqp header"}:
                self._on_header(data[position : position + 8])
                position += 8
                continue
            size, offset, kind, channel = _FRAME.unpack_from(data, position)
            if not 8 <= size <= _FRAME_BYTES_MAX or offset < 2 or offset * 4 > size:
                raise _ProtocolError(FRAMING_ERROR, f"a frame of {size} bytes with data offset {offset}")
            if end - position < size:
                break
            start = position + offset * 4
            position += size
            if start < position:
                self._on_frame(kind, channel, data[start:position])
        return position

    def _on_header(self, header: bytes) -> None:
        assert self._transport is not None
        if header == _SASL_HEADER and self._state == "header":
            self._transport.write(header)
            mechanisms = codec.encode(codec.Array(0xB3, ("MSSBCBS", "ANONYMOUS", "EXTERNAL")))
            self.write_frame(0, codec.encode_described(_SASL_MECHANISMS, codec.encode_list([mechanisms])), kind=1)
            self._state = "sasl"
        elif header == _AMQP_HEADER:
            self._transport.write(header)
            self._state = "open"
        else:  # the protocol asks for our header, and then for the end
            self._transport.write(_AMQP_HEADER)
            raise _ProtocolError(FRAMING_ERROR, f"not AMQP 1.0: {header!r}")

    def _on_frame(self, kind: int, channel: int, body: bytes) -> None:
        if len(body) < 4 or body[:2] != b"\x00\x53":
            raise _ProtocolError(FRAMING_ERROR, "a frame has no performative")
        code = body[2]
        if kind == 1:
            self._on_sasl(code)
            return
        if self._state == "open":
            if code != _OPEN:
                raise _ProtocolError(NOT_ALLOWED, "the first frame has to be open")
            fields, _ = codec.decode(body, 3)
            _check_fields(code, fields)
            self._on_open(fields)
            return
        if self._state != "opened":
            raise _ProtocolError(NOT_ALLOWED, f"frame 0x{code:02x} before the connection is open")
        if code == _BEGIN:
            fields, _ = codec.decode(body, 3)
            _check_fields(code, fields)
            self._on_begin(channel, fields)
        elif code == _CLOSE:
            self._state = "closed"
            self._end_sessions(orderly=True)
            self.write_frame(0, codec.encode_described(_CLOSE, b"\x45"))
            self._flush()
            if self._transport is not None:
                self._transport.close()
        else:
            session = self._sessions.get(channel)
            if session is None and channel in self._ended:  # clients detach their links after they ended the session
                return
            if session is None:
                raise _ProtocolError(NOT_ALLOWED, f"channel {channel} has no session")
            self._on_session_frame(session, channel, code, body)

    def _on_session_frame(self, session: Session, channel: int, code: int, body: bytes) -> None:
        if code == _ATTACH:
            session.on_attach(body[3:])
            return
        fields, position = codec.decode(body, 3)
        _check_fields(code, fields)
        if code == _TRANSFER:
            session.on_transfer(fields, body[position:])
        elif code == _DISPOSITION:
            session.on_disposition(fields)
        elif code == _FLOW:
            session.on_flow(fields)
        elif code == _DETACH:
            session.on_detach(fields)
        elif code == _END:
            del self._sessions[channel]
            self._ended.add(channel)
            session.end(orderly=True)
            self.write_frame(channel, codec.encode_described(_END, b"\x45"))
        else:
            raise _ProtocolError(NOT_ALLOWED, f"performative 0x{code:02x} is out of turn")

    def _on_sasl(self, code: int) -> None:
        if self._state != "sasl" or code != _SASL_INIT:
            raise _ProtocolError(NOT_ALLOWED, f"SASL frame 0x{code:02x} out of turn")
        self.write_frame(0, codec.encode_described(_SASL_OUTCOME, codec.encode_list([b"\x50\x00"])), kind=1)
        self._flush()
        self._state = "amqp header"

    def _on_open(self, fields: list[Any]) -> None:
        fields += [None] * (10 - len(fields))
        self.frame_bytes_max = max(_FRAME_BYTES_MIN, min(fields[2] or _FRAME_BYTES_MAX, _FRAME_BYTES_MAX))
        if fields[4]:
            self._empty_after_seconds = fields[4] / 1000 / 2
        self._state = "opened"
        self.write_frame(
            0,
            codec.encode_described(
                _OPEN,
                codec.encode_list(
                    [
                        codec.encode("concord-broker"),
                        b"\x40",
                        codec.encode(UInt(_FRAME_BYTES_MAX)),
                        codec.encode(UShort(_CHANNEL_MAX)),
                        codec.encode(UInt(int(self._idle_seconds * 1000))),
                    ]
                ),
            ),
        )
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._watch_idle()

    def _on_begin(self, channel: int, fields: list[Any]) -> None:
        if channel in self._sessions or channel > _CHANNEL_MAX:
            raise _ProtocolError(NOT_ALLOWED, f"channel {channel} cannot be used")
        self._ended.discard(channel)
        self._sessions[channel] = Session(self, channel, fields[1], fields[2])
        self.write_frame(
            channel,
            codec.encode_described(
                _BEGIN,
                codec.encode_list(
                    [
                        codec.encode(UShort(channel)),
                        codec.encode_uint(0),
                        codec.encode_uint(_WINDOW),
                        codec.encode_uint(_WINDOW),
                        codec.encode_uint(_HANDLE_MAX),
                    ]
                ),
            ),
        )


# What each field of a performative holds, as far as it is read here, and how many of them cannot be left out.
_FIELDS: Final[dict[int, tuple[int, tuple[type, ...]]]] = {
    _OPEN: (1, (str, str, int, int, int)),
    _BEGIN: (4, (int, int, int, int, int)),
    _ATTACH: (3, (str, int, bool, int, int)),
    _FLOW: (4, (int, int, int, int, int, int, int, int, bool, bool)),
    _TRANSFER: (1, (int, int, bytes, int, bool, bool, int, object, bool, bool, bool)),
    _DISPOSITION: (2, (bool, int, int, bool)),
    _DETACH: (1, (int, bool)),
    _END: (0, ()),
}
_MAY_BE_NULL: Final = {(_BEGIN, 0), (_FLOW, 0)}


def _check_fields(code: int, fields: Any) -> None:
    """Raise where a performative is not a list of fields of their types."""
    if not isinstance(fields, list) or code not in _FIELDS:
        raise _ProtocolError(NOT_ALLOWED, f"unknown performative 0x{code:02x}")
    mandatory, types = _FIELDS[code]
    if len(fields) < mandatory:
        raise _ProtocolError(DECODE_ERROR, f"performative 0x{code:02x} lacks fields")
    for index, (value, kind) in enumerate(zip(fields, types, strict=False)):
        if value is None:
            if index < mandatory and (code, index) not in _MAY_BE_NULL:
                raise _ProtocolError(DECODE_ERROR, f"field {index} of performative 0x{code:02x} is missing")
        elif not isinstance(value, kind):
            raise _ProtocolError(DECODE_ERROR, f"field {index} of performative 0x{code:02x} is no {kind.__name__}")


def rejected(error: BrokerError) -> bytes:
    """The encoded rejected state that carries an error."""
    return codec.encode_described(0x25, codec.encode_list([_error(error.condition, error.description)]))


class _ProtocolError(Exception):
    """The peer broke the protocol: the connection is closed."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(description)
        self.condition = condition
        self.description = description


def _error(condition: str, description: str) -> bytes:
    """An encoded error; clients read all three fields, so `info` is an empty map rather than null."""
    fields = (codec.encode(Symbol(condition)), codec.encode(description), codec.encode({}))
    return codec.encode_described(0x1D, codec.encode_list(fields))


def _transfer(fields: bytes, count: int) -> bytes:
    return b"\x00\x53\x14\xc0" + bytes((len(fields) + 1, count)) + fields


def _symbol_map(properties: dict[str, Any]) -> bytes:
    return codec.encode_map(codec.encode(Symbol(key)) + codec.encode(value) for key, value in properties.items())


def _outcome(state: Any) -> Outcome | None:
    """The outcome in a delivery state; None for a state that is none, such as received."""
    if isinstance(state, codec.Described) and state.descriptor in {0x24, 0x25, 0x26, 0x27}:
        return Outcome(state.descriptor, state.value)
    return None


def _parse_attach(encoded: bytes) -> Attach:
    fields = codec.split_list(encoded)
    fields += [b"\x40"] * (14 - len(fields))
    decoded: Callable[[int], Any] = lambda index: codec.decode(fields[index])[0]  # noqa: E731
    _check_fields(_ATTACH, [decoded(index) for index in range(5)])
    properties = decoded(13)
    if not isinstance(properties, dict | None):
        raise _ProtocolError(DECODE_ERROR, "the properties of a link are a map")
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
