"""Sessions and links: credit, windows, deliveries, and transfers that span frames.

Names are the broker's point of view: an `IncomingLink` carries messages to the broker, an `OutgoingLink` carries them
to the client. Our window and link credit are kept open by half; the peer's window, frame size and credit are honoured.
"""

import struct
from collections import deque
from typing import Any, Final, Protocol

from sandbox.broker import codec
from sandbox.broker.codec import ULong
from sandbox.broker.errors import HANDLE_IN_USE, MESSAGE_SIZE_EXCEEDED, NOT_ALLOWED, UNATTACHED_HANDLE, BrokerError
from sandbox.broker.frames import (
    ACCEPTED,
    ATTACH,
    DETACH,
    FLOW,
    Attach,
    Outcome,
    ProtocolError,
    encode_error,
    encode_symbol_map,
    encode_transfer,
    parse_attach,
    read_outcome,
    rejected,
)

WINDOW: Final = 5_000
_LINK_CREDIT: Final = 1_000
_TRANSFER_OVERHEAD: Final = 64  # no transfer performative of ours is longer
_ID_MASK: Final = 0xFFFF_FFFF
_U32: Final = struct.Struct(">I")


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

    def on_connected(self, connection: "Carrier") -> None:
        """A connection is there."""
        ...

    def on_disconnected(self, connection: "Carrier") -> None:
        """A connection is gone."""
        ...


class Carrier(Protocol):
    """The connection, as far as its sessions and the host know it."""

    host: Host
    frame_bytes_max: int
    is_writable: bool

    def write_frame(self, channel: int, performative: bytes, payload: bytes = b"", kind: int = 0) -> None:
        """Queue a frame; all of one turn of the loop leave together."""
        ...

    def close(self, condition: str | None = None, description: str = "") -> None:
        """Close the connection, saying why if there is a reason."""
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
                raise ProtocolError(NOT_ALLOWED, "the first transfer of a delivery has no delivery-id")
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

    def __init__(self, connection: Carrier, channel: int, next_incoming_id: int, remote_window: int) -> None:
        self.connection = connection
        self._channel = channel
        self._next_incoming_id = next_incoming_id
        self._incoming_window = WINDOW
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
        attach = parse_attach(encoded)
        if attach.handle in self._links or attach.handle in self._attaching:
            raise ProtocolError(HANDLE_IN_USE, f"handle {attach.handle} is in use")
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
        if self._incoming_window <= WINDOW // 2:
            self._incoming_window = WINDOW
            self.write_flow(None, None, None, drain=False)
        link = self._links.get(fields[0])
        if isinstance(link, IncomingLink):
            link.on_transfer(fields, payload)
        elif fields[0] not in self._closing:
            raise ProtocolError(UNATTACHED_HANDLE, f"handle {fields[0]} is not attached")

    def on_disposition(self, fields: list[Any]) -> None:
        fields += [None] * (6 - len(fields))
        is_receiver, first, last, settled, state, _ = fields
        if not is_receiver:  # a sender that settles what we have settled already
            return
        outcome = read_outcome(state)
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
        self._write(DETACH, (codec.encode_uint(handle), b"\x41"))

    # --- frames to the client ----------------------------------------------------------------------------------------

    def write_flow(self, handle: int | None, delivery_count: int | None, credit: int | None, drain: bool) -> None:
        self._write(
            FLOW,
            (
                codec.encode_uint(self._next_incoming_id),
                codec.encode_uint(self._incoming_window),
                codec.encode_uint(self._next_outgoing_id),
                codec.encode_uint(WINDOW),
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
            self._send_transfer(encode_transfer(start + b"\x42", 6), payload)
            return
        position = 0
        while position < len(payload):
            part = payload[position : position + room]
            position += room
            more = b"\x41" if position < len(payload) else b"\x42"
            head = (
                encode_transfer(start + more, 6)
                if position == room
                else encode_transfer(handle + b"\x40\x40\x40\x40" + more, 6)
            )
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
            ATTACH,
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
                b"\x40" if properties is None else encode_symbol_map(properties),
            ),
        )

    def _write_detach(self, handle: int, condition: str, description: str) -> None:
        self._write(DETACH, (codec.encode_uint(handle), b"\x41", encode_error(condition, description)))
