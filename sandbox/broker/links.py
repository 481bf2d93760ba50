"""Where the wire meets the entities: what a link to an address means.

`ServiceBusHost` answers every attach: senders to queues and topics, receivers of queues, subscriptions, dead-letter
queues and sessions, and the request/response nodes `$cbs` and `<entity>/$management`. A connection has to put a token
to `$cbs` before it may attach anywhere else; what the token says is not checked, the broker listens on loopback only.
"""

import asyncio
import os
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from sandbox.broker import codec
from sandbox.broker.codec import Int, Symbol
from sandbox.broker.deadlines import Timer
from sandbox.broker.entities import Namespace, Topic
from sandbox.broker.errors import (
    INVALID_FIELD,
    NOT_ALLOWED,
    NOT_FOUND,
    NOT_IMPLEMENTED,
    SESSION_LOCK_LOST,
    TIMEOUT,
    UNAUTHORIZED,
    BrokerError,
)
from sandbox.broker.frames import ACCEPTED, MODIFIED, REJECTED, RELEASED, Attach, Outcome
from sandbox.broker.management import EntityManagement
from sandbox.broker.message import BATCH_FORMAT, Message, encode_response, parse_content, read_request, split_batch
from sandbox.broker.queues import Lock, Queue, Receiver, Stream
from sandbox.broker.session import Carrier, OutgoingLink, Session

_SESSION_FILTER: Final = "com.microsoft:session-filter"
_LOCKED_UNTIL: Final = "com.microsoft:locked-until-utc"
_OPERATION_TIMEOUT: Final = "com.microsoft:timeout"
_SESSION_WAIT_SECONDS: Final = 60.0
_TICKS_AT_EPOCH: Final = 621_355_968_000_000_000  # .NET ticks (100 ns) at 1970-01-01
_MANAGEMENT_SUFFIX: Final = "/$management"
_REQUEST_BYTES_MAX: Final = 4 * 1024 * 1024
_COORDINATOR: Final = b"\x00\x53\x30"
_FILTER_FIELD: Final = 7

type _Answer = Callable[[bytes], tuple[str | None, bytes]]  # a request to (reply-to, response)


class LoopClock:
    """The real time, and the timers of the running event loop."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        """Call once `now() >= when`; the loop's clock may run a little fast, so the call is put off if it is early."""
        return _LoopTimer(self, when, call)


class _LoopTimer:
    _LONGEST_SECONDS = 3600.0

    def __init__(self, clock: LoopClock, when: float, call: Callable[[], None]) -> None:
        self._clock = clock
        self._when = when
        self._call = call
        self._handle = self._arm()

    def cancel(self) -> None:
        self._handle.cancel()

    def _arm(self) -> asyncio.TimerHandle:
        delay = min(self._LONGEST_SECONDS, max(0.0, self._when - self._clock.now()))
        return asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        if self._clock.now() < self._when:
            self._handle = self._arm()
        else:
            self._call()


class ServiceBusHost:
    """The namespace, as clients see it."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.connections: set[Carrier] = set()
        self._authorized: set[Carrier] = set()
        self._waiting: dict[tuple[Session, int], _EntityReceiver] = {}
        self._reply_links: dict[Carrier, list[_ReplyLink]] = {}

    def on_connected(self, connection: Carrier) -> None:
        """A connection is there."""
        self.connections.add(connection)

    def on_disconnected(self, connection: Carrier) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        self._authorized.discard(connection)
        self._reply_links.pop(connection, None)

    def on_attach(self, session: Session, attach: Attach) -> None:
        """Answer an attach."""
        if attach.client_sends and attach.target.startswith(_COORDINATOR):
            raise BrokerError(NOT_IMPLEMENTED, "Transactions are not offered")
        address = attach.target_address if attach.client_sends else attach.source_address
        if address is None:
            raise BrokerError(INVALID_FIELD, "The link names no address")
        path = _path(address)
        if path.lower() == "$cbs":
            self._attach_node(session, attach, path, self._token_answer(session.connection))
        elif session.connection not in self._authorized:
            raise BrokerError(UNAUTHORIZED, f"No token was put for {path!r} on this connection")
        elif path.lower().endswith(_MANAGEMENT_SUFFIX):
            entity = self.namespace.find(path[: -len(_MANAGEMENT_SUFFIX)])
            self._attach_node(session, attach, path, _management(EntityManagement(entity)))
        elif attach.client_sends:
            self._attach_sender(session, attach, self.namespace.find(path))
        else:
            self._attach_receiver(session, attach, self.namespace.find(path))

    def on_attach_cancelled(self, session: Session, attach: Attach, orderly: bool) -> None:
        """A receiver that waited for a session went."""
        receiver = self._waiting.pop((session, attach.handle), None)
        if receiver is not None:
            receiver.stop_waiting()
            receiver.on_detach(orderly)

    def _token_answer(self, connection: Carrier) -> "_Answer":
        def answer(payload: bytes) -> tuple[str | None, bytes]:
            message_id, reply_to, application, token = read_request(payload)
            if application.get("operation") != "put-token" or not token:
                refusal = {"status-code": Int(400), "status-description": "The operation is put-token, with a token"}
                return reply_to, encode_response(message_id, refusal, None)
            self._authorized.add(connection)
            accepted = {"status-code": Int(202), "status-description": "Accepted"}
            return reply_to, encode_response(message_id, accepted, None)

        return answer

    def _attach_sender(self, session: Session, attach: Attach, entity: Queue | Topic) -> None:
        if isinstance(entity, Queue) and (entity.is_dead or "/" in entity.name):
            raise BrokerError(NOT_ALLOWED, f"Nothing can be sent to {entity.name}")
        session.accept_sender(attach, _EntitySender(entity), entity.settings.max_message_bytes)

    def _attach_receiver(self, session: Session, attach: Attach, entity: Queue | Topic) -> None:
        if isinstance(entity, Topic):
            raise BrokerError(NOT_ALLOWED, f"{entity.name} is a topic: receive from one of its subscriptions")
        receiver = _EntityReceiver(entity, session, attach)
        has_filter, session_id = _session_filter(attach)
        if not has_filter:
            entity.open_receiver(receiver)
            receiver.link = session.accept_receiver(attach, receiver)
        elif session_id is not None:
            entity.accept_session(receiver, session_id)
            receiver.answer_session()
        elif entity.accept_next_session(receiver):
            receiver.answer_session()
        else:
            key = (session, attach.handle)
            self._waiting[key] = receiver
            receiver.wait_for_session(lambda: self._waiting.pop(key, None))

    def _attach_node(self, session: Session, attach: Attach, path: str, answer: "_Answer") -> None:
        links = self._reply_links.setdefault(session.connection, [])
        if attach.client_sends:
            session.accept_sender(attach, _RequestNode(path, links, answer), _REQUEST_BYTES_MAX)
        else:
            reply = _ReplyLink(path, attach.target_address, links)
            reply.link = session.accept_receiver(attach, reply)


class _EntitySender:
    """A client that sends to a queue or topic."""

    def __init__(self, entity: Queue | Topic) -> None:
        self._entity = entity

    def on_message(self, payload: bytes, message_format: int) -> None:
        if message_format == BATCH_FORMAT:
            self._entity.send([parse_content(message) for message in split_batch(payload)])
        else:
            self._entity.send([parse_content(payload)])

    def on_detach(self, orderly: bool) -> None:
        pass


class _EntityReceiver(Receiver):
    """A client that receives from a queue, subscription or session."""

    def __init__(self, queue: Queue, session: Session, attach: Attach) -> None:
        self.name = attach.name
        self.destructive = attach.send_settle_mode == 1
        self.link: OutgoingLink | None = None
        self._queue = queue
        self._session = session
        self._attach = attach
        self._timer: asyncio.TimerHandle | None = None
        self._answered: Callable[[], Any] = lambda: None

    # what the queue asks of it

    def has_credit(self) -> bool:
        return self.link is not None and self.link.has_credit()

    def deliver(self, message: Message, lock: Lock | None) -> None:
        assert self.link is not None
        if lock is None:
            self.link.send(message.encode(None), os.urandom(16), None)
        else:
            self.link.send(message.encode(lock.until), lock.token, lock)

    def session_granted(self, stream: Stream) -> None:
        self.stop_waiting()
        self.answer_session()

    def session_lost(self) -> None:
        if self.link is not None:
            self.link.close(SESSION_LOCK_LOST, "The session lock has expired. Accept the session again")

    # what the link asks of it

    def on_credit(self) -> None:
        self._queue.hand_out(self)

    def on_outcome(self, delivery: Lock, outcome: Outcome) -> bytes:
        if outcome.code == 0x24:
            self._queue.complete(delivery)
            return ACCEPTED
        if outcome.code == 0x25:
            reason, description = _dead_letter_reason(outcome.field(0))
            self._queue.dead_letter(delivery, reason, description)
            return REJECTED
        if outcome.code == 0x27 and outcome.field(1):
            self._queue.defer(delivery)
            return MODIFIED
        if outcome.code == 0x27 and outcome.field(0):
            self._queue.abandon(delivery)
            return MODIFIED
        self._queue.release(delivery)
        return RELEASED if outcome.code == 0x26 else MODIFIED

    def on_detach(self, orderly: bool) -> None:
        self._queue.close_receiver(self, orderly)

    # sessions

    def wait_for_session(self, answered: Callable[[], Any]) -> None:
        """Leave the attach unanswered until a session is free or the client's time is up."""
        self._answered = answered
        timeout_ms = self._attach.properties.get(_OPERATION_TIMEOUT)
        seconds = _SESSION_WAIT_SECONDS if timeout_ms is None else timeout_ms / 1000
        self._timer = asyncio.get_running_loop().call_later(seconds, self._time_out)

    def stop_waiting(self) -> None:
        """The wait is over, whatever its end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._answered()

    def answer_session(self) -> None:
        """Answer the attach with the session that was locked."""
        stream = self.stream
        assert stream is not None and stream.session_id is not None
        fields = list(self._attach.source_fields)
        fields[_FILTER_FIELD] = codec.encode({Symbol(_SESSION_FILTER): stream.session_id})
        source = codec.encode_described(0x28, codec.encode_list(fields))
        ticks = int(stream.until * 10_000_000) + _TICKS_AT_EPOCH
        self.link = self._session.accept_receiver(self._attach, self, source, {_LOCKED_UNTIL: ticks})

    def _time_out(self) -> None:
        self.stop_waiting()
        self._queue.stop_waiting(self)
        self._session.refuse(self._attach, TIMEOUT, "No session became available in the time given")


class _RequestNode:
    """The sending half of a request/response pair."""

    def __init__(self, path: str, links: list["_ReplyLink"], answer: "_Answer") -> None:
        self._path = path.lower()
        self._links = links
        self._answer = answer

    def on_message(self, payload: bytes, message_format: int) -> None:
        reply_to, response = self._answer(payload)
        at_node = [link for link in self._links if link.path == self._path]
        addressed = [link for link in at_node if reply_to is not None and link.target == reply_to]
        if not at_node:
            raise BrokerError(NOT_FOUND, f"No link receives the responses of {self._path}")
        (addressed or at_node)[-1].send(response)

    def on_detach(self, orderly: bool) -> None:
        pass


class _ReplyLink:
    """The receiving half of a request/response pair; responses wait here for credit."""

    def __init__(self, path: str, target: str | None, links: list["_ReplyLink"]) -> None:
        self.path = path.lower()
        self.target = target
        self.link: OutgoingLink | None = None
        self._links = links
        self._waiting: deque[bytes] = deque()
        links.append(self)

    def send(self, response: bytes) -> None:
        self._waiting.append(response)
        self.on_credit()

    def on_credit(self) -> None:
        while self._waiting and self.link is not None and self.link.has_credit():
            self.link.send(self._waiting.popleft(), os.urandom(16), None)

    def on_outcome(self, delivery: Any, outcome: Outcome) -> bytes:
        return ACCEPTED

    def on_detach(self, orderly: bool) -> None:
        if self in self._links:
            self._links.remove(self)


def _management(management: EntityManagement) -> _Answer:
    def answer(payload: bytes) -> tuple[str | None, bytes]:
        message_id, reply_to, application, body = read_request(payload)
        application_answer: dict[str, Any]
        try:
            status, result = management.perform(application, body)
            description = "OK" if status == 200 else "No content"
            application_answer = {"statusCode": Int(status), "statusDescription": description}
        except BrokerError as error:
            result = None
            application_answer = {
                "statusCode": Int(error.status_code),
                "statusDescription": error.description,
                "errorCondition": Symbol(error.condition),
            }
        application_answer["com.microsoft:tracking-id"] = str(uuid.uuid4())
        return reply_to, encode_response(message_id, application_answer, result)

    return answer


def _path(address: str) -> str:
    """The entity path in an address, which may be a URI of any scheme and port."""
    path = urlsplit(address).path if "://" in address else address
    return path.strip("/")


def _session_filter(attach: Attach) -> tuple[bool, str | None]:
    """(whether the source asks for a session, which one); None asks for the next that is free."""
    if len(attach.source_fields) <= _FILTER_FIELD:
        return False, None
    filters, _ = codec.decode(attach.source_fields[_FILTER_FIELD])
    if not isinstance(filters, dict) or _SESSION_FILTER not in filters:
        return False, None
    value = filters[_SESSION_FILTER]
    if isinstance(value, codec.Described):
        value = value.value
    if value is not None and not isinstance(value, str):
        raise BrokerError(INVALID_FIELD, "The session filter is a string or null")
    return True, value


def _dead_letter_reason(error: Any) -> tuple[str | None, str | None]:
    """(reason, description) in the error of a rejected outcome."""
    if not isinstance(error, codec.Described) or not isinstance(error.value, list):
        return None, None
    fields = [*error.value, None, None, None]
    info = fields[2] if isinstance(fields[2], dict) else {}
    return info.get("DeadLetterReason"), info.get("DeadLetterErrorDescription", fields[1])
