"""AMQP 1.0 over a socket: one connection, its headers, its frames, its heartbeat.

The engine knows no queue. Whoever listens gives it a `Host`, which is asked about every link a client attaches and
answers through the session. What is written within one turn of the event loop leaves in one send. A silent connection
is kept alive with empty frames, and closed when the peer has been silent for twice the idle time we announce.
"""

import asyncio
import logging
import struct
from typing import Any, Final

from sandbox.broker import codec
from sandbox.broker.codec import CodecError, UInt, UShort
from sandbox.broker.errors import CONNECTION_FORCED, DECODE_ERROR, FRAMING_ERROR, NOT_ALLOWED
from sandbox.broker.frames import (
    ATTACH,
    BEGIN,
    CLOSE,
    DETACH,
    DISPOSITION,
    END,
    FLOW,
    OPEN,
    SASL_INIT,
    SASL_MECHANISMS,
    SASL_OUTCOME,
    TRANSFER,
    ProtocolError,
    check_fields,
    encode_error,
)
from sandbox.broker.session import WINDOW, Host, Session

_LOGGER = logging.getLogger(__name__)

_AMQP_HEADER: Final = b"AMQP\x00\x01\x00\x00"
_SASL_HEADER: Final = b"AMQP\x03\x01\x00\x00"
_EMPTY_FRAME: Final = b"\x00\x00\x00\x08\x02\x00\x00\x00"
_FRAME_BYTES_MAX: Final = 65_536
_FRAME_BYTES_MIN: Final = 512
_CHANNEL_MAX: Final = 4_999
_HANDLE_MAX: Final = 1_023
_FRAME: Final = struct.Struct(">IBBH")


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
        except ProtocolError as error:
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
            error = () if condition is None else (encode_error(condition, description),)
            self.write_frame(0, codec.encode_described(CLOSE, codec.encode_list(error)))
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
                raise ProtocolError(FRAMING_ERROR, f"a frame of {size} bytes with data offset {offset}")
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
            self.write_frame(0, codec.encode_described(SASL_MECHANISMS, codec.encode_list([mechanisms])), kind=1)
            self._state = "sasl"
        elif header == _AMQP_HEADER:
            self._transport.write(header)
            self._state = "open"
        else:  # the protocol asks for our header, and then for the end
            self._transport.write(_AMQP_HEADER)
            raise ProtocolError(FRAMING_ERROR, f"not AMQP 1.0: {header!r}")

    def _on_frame(self, kind: int, channel: int, body: bytes) -> None:
        if len(body) < 4 or body[:2] != b"\x00\x53":
            raise ProtocolError(FRAMING_ERROR, "a frame has no performative")
        code = body[2]
        if kind == 1:
            self._on_sasl(code)
            return
        if self._state == "open":
            if code != OPEN:
                raise ProtocolError(NOT_ALLOWED, "the first frame has to be open")
            fields, _ = codec.decode(body, 3)
            check_fields(code, fields)
            self._on_open(fields)
            return
        if self._state != "opened":
            raise ProtocolError(NOT_ALLOWED, f"frame 0x{code:02x} before the connection is open")
        if code == BEGIN:
            fields, _ = codec.decode(body, 3)
            check_fields(code, fields)
            self._on_begin(channel, fields)
        elif code == CLOSE:
            self._state = "closed"
            self._end_sessions(orderly=True)
            self.write_frame(0, codec.encode_described(CLOSE, b"\x45"))
            self._flush()
            if self._transport is not None:
                self._transport.close()
        else:
            session = self._sessions.get(channel)
            if session is None and channel in self._ended:  # clients detach their links after they ended the session
                return
            if session is None:
                raise ProtocolError(NOT_ALLOWED, f"channel {channel} has no session")
            self._on_session_frame(session, channel, code, body)

    def _on_session_frame(self, session: Session, channel: int, code: int, body: bytes) -> None:
        if code == ATTACH:
            session.on_attach(body[3:])
            return
        fields, position = codec.decode(body, 3)
        check_fields(code, fields)
        if code == TRANSFER:
            session.on_transfer(fields, body[position:])
        elif code == DISPOSITION:
            session.on_disposition(fields)
        elif code == FLOW:
            session.on_flow(fields)
        elif code == DETACH:
            session.on_detach(fields)
        elif code == END:
            del self._sessions[channel]
            self._ended.add(channel)
            session.end(orderly=True)
            self.write_frame(channel, codec.encode_described(END, b"\x45"))
        else:
            raise ProtocolError(NOT_ALLOWED, f"performative 0x{code:02x} is out of turn")

    def _on_sasl(self, code: int) -> None:
        if self._state != "sasl" or code != SASL_INIT:
            raise ProtocolError(NOT_ALLOWED, f"SASL frame 0x{code:02x} out of turn")
        self.write_frame(0, codec.encode_described(SASL_OUTCOME, codec.encode_list([b"\x50\x00"])), kind=1)
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
                OPEN,
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
            raise ProtocolError(NOT_ALLOWED, f"channel {channel} cannot be used")
        self._ended.discard(channel)
        self._sessions[channel] = Session(self, channel, fields[1], fields[2])
        self.write_frame(
            channel,
            codec.encode_described(
                BEGIN,
                codec.encode_list(
                    [
                        codec.encode(UShort(channel)),
                        codec.encode_uint(0),
                        codec.encode_uint(WINDOW),
                        codec.encode_uint(WINDOW),
                        codec.encode_uint(_HANDLE_MAX),
                    ]
                ),
            ),
        )
