"""What Service Bus means by a queue: messages that are lent to receivers under locks, and settled.

A subscription and a dead-letter queue are queues too. Messages wait in *streams*: a queue without sessions has one
stream that many receivers share, a queue with sessions has one per session, and whoever accepts the session is its
only receiver.

Everything is synchronous and runs on one thread. Times are seconds since the epoch; the `Clock` is given, so tests
can turn it by hand.
"""

import heapq
import os
from collections import OrderedDict, deque
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from sandbox.broker.config import QueueSettings
from sandbox.broker.deadlines import Clock, Deadline, Deadlines, DuplicateHistory
from sandbox.broker.errors import (
    ARGUMENT_ERROR,
    MESSAGE_LOCK_LOST,
    MESSAGE_NOT_FOUND,
    NOT_ALLOWED,
    SESSION_CANNOT_BE_LOCKED,
    SESSION_LOCK_LOST,
    BrokerError,
)
from sandbox.broker.message import Content, Message, State


class Route(Protocol):
    """The way to other entities, for what is forwarded."""

    def forward(self, path: str, content: Content, hops: int) -> None:
        """Pass a message on to another entity."""
        ...

    def forward_dead(self, path: str, message: Message, content: Content, source: str) -> None:
        """Pass a dead-lettered message of `source` on to another entity."""
        ...


class Receiver:
    """Somebody a queue can lend messages to. The transport says what lending means to it."""

    name = ""  # of its link
    destructive = False  # True: receive-and-delete, no lock
    stream: "Stream | None" = None

    def has_credit(self) -> bool:
        """Whether one more message may be delivered now."""
        raise NotImplementedError

    def deliver(self, message: Message, lock: "Lock | None") -> None:
        """Take a message; `lock` is None when receiving destructively."""
        raise NotImplementedError

    def session_granted(self, stream: "Stream") -> None:
        """A session that was waited for is this receiver's now."""
        raise NotImplementedError

    def session_lost(self) -> None:
        """The session lock has expired."""
        raise NotImplementedError


@dataclass(slots=True, eq=False)
class Lock:
    """A message lent to a receiver. `token` is the lock token as .NET lays out a GUID (bytes_le)."""

    token: bytes
    message: Message
    stream: "Stream"
    until: float
    active: bool = True
    entry: float = 0.0  # the deadline that is armed for it


@dataclass(slots=True, eq=False)
class Stream:
    """Messages that are handed out in order: a whole queue, or one session of it."""

    session_id: str | None
    available: list[int] = field(default_factory=list)  # heap of sequence numbers; may name messages long gone
    receivers: deque[Receiver] = field(default_factory=deque)
    holder: Receiver | None = None  # of the session lock
    until: float = 0.0
    entry: float = 0.0
    locks: dict[bytes, Lock] = field(default_factory=dict)
    state: bytes | None = None
    state_updated_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Counts:
    """What is in a queue. `active` includes what is locked, as in Azure's own counts."""

    active: int
    locked: int
    scheduled: int
    deferred: int
    dead_lettered: int
    sessions_locked: int
    oldest_enqueued_at: float | None


class Queue:
    """A queue, subscription or dead-letter queue: `name` is its path, as clients write it."""

    def __init__(self, name: str, settings: QueueSettings, clock: Clock, route: Route, is_dead: bool = False):
        self.name = name
        self.settings = settings
        self.is_dead = is_dead
        self.received_total = 0
        self.completed_total = 0
        self._clock = clock
        self._route = route
        self._messages: dict[int, Message] = {}
        self._sequence = 0
        self._shared = Stream(None)
        self._sessions: dict[str, Stream] = {}
        self._ready: OrderedDict[str, None] = OrderedDict()  # sessions that nobody holds and that have messages
        self._waiting: deque[Receiver] = deque()
        self._locks: dict[bytes, Lock] = {}
        self._scheduled: set[int] = set()
        self._deferred: set[int] = set()
        self._deadlines = Deadlines(clock, self._fall_due, lambda: len(self._messages) + len(self._sessions))
        self._deadlines.stale(self._is_stale)
        window = settings.duplicate_window_seconds
        self._history = None if window is None else DuplicateHistory(clock, window)
        self.dead_letters: Queue | None = None
        if not is_dead:
            inherited = QueueSettings(lock_seconds=settings.lock_seconds)
            self.dead_letters = Queue(f"{name}/$DeadLetterQueue", inherited, clock, route, is_dead=True)

    # --- sending ---------------------------------------------------------------------------------------------------

    def send(self, contents: Iterable[Content]) -> None:
        """Accept messages from a sender, all or none; duplicates are accepted and dropped."""
        contents = list(contents)
        for content in contents:
            self.check(content)
        for content in contents:
            if self._history is not None and self._history.is_duplicate(content.message_id):
                continue
            if content.scheduled_ms is not None and content.scheduled_ms / 1000 > self._clock.now():
                self._schedule(content, content.scheduled_ms / 1000)
            else:
                self.put(content)

    def check(self, content: Content) -> None:
        """Raise `BrokerError` for a message this queue does not take."""
        if self.is_dead:
            raise BrokerError(NOT_ALLOWED, f"Nothing can be sent to {self.name}")
        if self.settings.requires_session and not content.session_id:
            raise BrokerError(NOT_ALLOWED, f"{self.name} requires sessions: the message has no session id")

    def put(self, content: Content, enqueue_sequence: int | None = None, hops: int = 0) -> None:
        """Append a message now and hand out what can be."""
        self._sequence += 1
        now = self._clock.now()
        if self.settings.forward_to is not None:
            self._route.forward(self.settings.forward_to, content, hops + 1)
            return
        message = Message(
            content=content,
            sequence_number=self._sequence,
            enqueue_sequence_number=self._sequence if enqueue_sequence is None else enqueue_sequence,
            enqueued_at=now,
            expires_at=self._expiry(content, now),
        )
        if self.settings.requires_session and not content.session_id:
            self._dead_letter(message, "Session ID is null", "The entity requires sessions, the message has none")
            return
        self._add(message)

    def put_dead(self, message: Message, content: Content, source: str) -> None:
        """Take over a dead-lettered message of `source`."""
        self._sequence += 1
        self._add(
            Message(
                content=content,
                sequence_number=self._sequence,
                enqueue_sequence_number=message.enqueue_sequence_number,
                enqueued_at=message.enqueued_at,
                expires_at=None,
                delivery_count=message.delivery_count,
                dead_letter_source=source if self.name != f"{source}/$DeadLetterQueue" else None,
            )
        )

    def schedule(self, content: Content, when: float) -> int:
        """Append a message at a time; returns the number it can be cancelled by."""
        self.check(content)
        if self._history is not None and self._history.is_duplicate(content.message_id):
            self._sequence += 1
            return self._sequence
        return self._schedule(content, when)

    def cancel_scheduled(self, sequence_numbers: Iterable[int]) -> None:
        """Forget scheduled messages. Raises message-not-found when one is not scheduled (any more)."""
        numbers = list(sequence_numbers)
        require_scheduled(numbers, self._scheduled, self.name)
        for number in numbers:
            self._scheduled.discard(number)
            del self._messages[number]

    def _schedule(self, content: Content, when: float) -> int:
        self._sequence += 1
        number = self._sequence
        self._messages[number] = Message(content, number, number, when, None, State.SCHEDULED)
        self._scheduled.add(number)
        self._deadlines.add(when, Deadline.SCHEDULE, number)
        return number

    def _expiry(self, content: Content, now: float) -> float | None:
        if self.is_dead:
            return None
        limits = [seconds for seconds in (self.settings.ttl_seconds, _seconds(content.ttl_ms)) if seconds is not None]
        return now + min(limits) if limits else None

    def _add(self, message: Message) -> None:
        self._messages[message.sequence_number] = message
        self.received_total += 1
        if message.expires_at is not None:
            self._deadlines.add(message.expires_at, Deadline.EXPIRY, message.sequence_number)
        self._offer(message)

    # --- handing out -----------------------------------------------------------------------------------------------

    def open_receiver(self, receiver: Receiver) -> None:
        """Let a receiver without a session take part. Raises not-allowed on a queue with sessions."""
        if self.settings.requires_session:
            raise BrokerError(NOT_ALLOWED, f"{self.name} requires sessions: a receiver has to accept a session")
        receiver.stream = self._shared
        self._shared.receivers.append(receiver)

    def accept_session(self, receiver: Receiver, session_id: str) -> None:
        """Lock a session by name. Raises session-cannot-be-locked while somebody else holds it."""
        self._require_sessions()
        stream = self._session(session_id)
        if stream.holder is not None:
            raise BrokerError(SESSION_CANNOT_BE_LOCKED, f"Session {session_id!r} of {self.name} is locked")
        self._grant(stream, receiver)

    def accept_next_session(self, receiver: Receiver) -> bool:
        """Lock the session that has waited longest. False: none is free, `session_granted` follows when one is."""
        self._require_sessions()
        if not self._ready:
            self._waiting.append(receiver)
            return False
        session_id, _ = self._ready.popitem(last=False)
        self._grant(self._sessions[session_id], receiver)
        return True

    def stop_waiting(self, receiver: Receiver) -> None:
        """Give up a wait that `accept_next_session` began."""
        if receiver in self._waiting:
            self._waiting.remove(receiver)

    def hand_out(self, receiver: Receiver) -> None:
        """Deliver what the receiver's credit allows: to be called when it was given credit."""
        if receiver.stream is not None:
            self._pump(receiver.stream)

    def close_receiver(self, receiver: Receiver, orderly: bool) -> None:
        """A receiver goes. Its session is free at once; a process that died (not `orderly`) counts as an attempt at
        every message it held in the session. Messages held without a session stay locked until the lock expires."""
        stream = receiver.stream
        self.stop_waiting(receiver)
        if stream is None:
            return
        receiver.stream = None
        if receiver in stream.receivers:
            stream.receivers.remove(receiver)
        if stream.holder is receiver:
            self._free_session(stream, failed=not orderly)

    def _require_sessions(self) -> None:
        if not self.settings.requires_session:
            raise BrokerError(NOT_ALLOWED, f"{self.name} has no sessions: a session receiver cannot be created")

    def _session(self, session_id: str) -> Stream:
        stream = self._sessions.get(session_id)
        if stream is None:
            stream = self._sessions[session_id] = Stream(session_id)
        return stream

    def _grant(self, stream: Stream, receiver: Receiver) -> None:
        assert stream.session_id is not None
        self._ready.pop(stream.session_id, None)
        stream.holder = receiver
        stream.receivers.append(receiver)
        receiver.stream = stream
        stream.until = self._clock.now() + self.settings.lock_seconds
        self._arm_session(stream)

    def _arm_session(self, stream: Stream) -> None:
        stream.entry = stream.until
        self._deadlines.add(stream.until, Deadline.SESSION, stream.session_id)

    def _free_session(self, stream: Stream, failed: bool) -> None:
        stream.receivers.clear()
        for lock in list(stream.locks.values()):  # while the session still counts as held, so that nobody gets half
            self._unlock(lock)
            if failed:
                self._count_failure(lock.message)
            else:
                self._return(lock.message)
        stream.holder = None
        self._announce(stream)

    def _announce(self, stream: Stream) -> None:
        """Offer a free session to whoever waits, or note that it is there; forget it when nothing is left of it."""
        assert stream.session_id is not None
        if not self._first(stream):
            self._ready.pop(stream.session_id, None)
            if stream.state is None:
                self._sessions.pop(stream.session_id, None)
        elif self._waiting:
            receiver = self._waiting.popleft()
            self._grant(stream, receiver)
            receiver.session_granted(stream)
        else:
            self._ready[stream.session_id] = None

    def _offer(self, message: Message) -> None:
        stream = self._stream_of(message)
        heapq.heappush(stream.available, message.sequence_number)
        if stream.session_id is not None and stream.holder is None:
            if stream.session_id not in self._ready:
                self._announce(stream)
        else:
            self._pump(stream)

    def _stream_of(self, message: Message) -> Stream:
        if not self.settings.requires_session:
            return self._shared
        assert message.content.session_id is not None
        return self._session(message.content.session_id)

    def _first(self, stream: Stream) -> Message | None:
        """The first message that can be lent; numbers on the heap that name no such message are dropped."""
        while stream.available:
            message = self._messages.get(stream.available[0])
            if message is not None and message.lock is None and message.state is State.ACTIVE:
                return message
            heapq.heappop(stream.available)
        return None

    def _pump(self, stream: Stream) -> None:
        receivers = stream.receivers
        idle = 0
        while idle < len(receivers):
            receiver = receivers[0]
            if not receiver.has_credit():
                receivers.rotate(-1)
                idle += 1
                continue
            message = self._first(stream)
            if message is None:
                return
            heapq.heappop(stream.available)
            idle = 0
            if len(receivers) > 1:
                receivers.rotate(-1)
            if receiver.destructive:
                del self._messages[message.sequence_number]
                self.completed_total += 1
                receiver.deliver(message, None)
            else:
                receiver.deliver(message, self._lock(message, stream))

    def _lock(self, message: Message, stream: Stream) -> Lock:
        until = stream.until if stream.session_id is not None else self._clock.now() + self.settings.lock_seconds
        lock = Lock(os.urandom(16), message, stream, until)
        message.lock = lock
        self._locks[lock.token] = lock
        stream.locks[lock.token] = lock
        if stream.session_id is None:
            self._arm_lock(lock)
        return lock

    def _arm_lock(self, lock: Lock) -> None:
        lock.entry = lock.until
        self._deadlines.add(lock.until, Deadline.LOCK, lock.token)

    def _unlock(self, lock: Lock) -> None:
        lock.active = False
        lock.message.lock = None
        self._locks.pop(lock.token, None)
        lock.stream.locks.pop(lock.token, None)

    # --- settling --------------------------------------------------------------------------------------------------

    def complete(self, lock: Lock) -> None:
        """The message is done with. Raises a lock-lost error, as every way of settling does."""
        self._settle(lock)
        self._remove(lock.message)
        self.completed_total += 1

    def abandon(self, lock: Lock) -> None:
        """The attempt failed: the message is available again, or dead-lettered after the last attempt."""
        self._settle(lock)
        self._count_failure(lock.message)

    def release(self, lock: Lock) -> None:
        """The message was not looked at: available again, and the attempt does not count."""
        self._settle(lock)
        self._return(lock.message)

    def defer(self, lock: Lock) -> None:
        """Set the message aside; from now on it is received by its sequence number."""
        self._settle(lock)
        message = lock.message
        message.delivery_count += 1
        message.state = State.DEFERRED
        self._deferred.add(message.sequence_number)
        self._return(message)  # which it does not survive if it expired while it was locked

    def dead_letter(self, lock: Lock, reason: str | None, description: str | None) -> None:
        """Move the message to the dead-letter queue."""
        if self.is_dead:
            raise BrokerError(NOT_ALLOWED, f"{self.name} is a dead-letter queue already")
        self._settle(lock)
        self._dead_letter(lock.message, reason, description)

    def find_lock(self, token: bytes) -> Lock:
        """The lock a token stands for. Raises message-lock-lost."""
        lock = self._locks.get(token)
        if lock is None:
            raise BrokerError(MESSAGE_LOCK_LOST, "The lock supplied is invalid: it expired, or the message is settled")
        return lock

    def renew_lock(self, token: bytes) -> float:
        """Extend a message lock; returns the time it lasts until."""
        lock = self.find_lock(token)
        if lock.stream.session_id is not None:
            raise BrokerError(NOT_ALLOWED, "In a session the session lock is renewed, not the message's")
        self._check_lock(lock)
        lock.until = self._clock.now() + self.settings.lock_seconds
        return lock.until

    def renew_session(self, session_id: str, link_name: str | None = None) -> float:
        """Extend a session lock; returns the time it lasts until. Raises session-lock-lost."""
        stream = self.held_session(session_id, link_name)
        stream.until = self._clock.now() + self.settings.lock_seconds
        for lock in stream.locks.values():
            lock.until = stream.until
        return stream.until

    def held_session(self, session_id: str, link_name: str | None = None) -> Stream:
        """A session whose lock is held, by the link of that name if one is given. Raises session-lock-lost."""
        self._require_sessions()
        stream = self._sessions.get(session_id)
        if stream is None or stream.holder is None or stream.until <= self._clock.now():
            raise BrokerError(SESSION_LOCK_LOST, f"The lock of session {session_id!r} has expired")
        if link_name is not None and stream.holder.name != link_name:
            raise BrokerError(SESSION_LOCK_LOST, f"The lock of session {session_id!r} is another receiver's")
        return stream

    def set_session_state(self, session_id: str, state: bytes | None, link_name: str | None = None) -> None:
        """Keep bytes for whoever holds the session next; None clears them."""
        stream = self.held_session(session_id, link_name)
        stream.state = state
        stream.state_updated_at = self._clock.now()

    def session_ids(self, updated_after: float | None) -> list[str]:
        """Sessions with messages or a state; or those whose state was set after a time."""
        if updated_after is not None:
            return sorted(
                session_id
                for session_id, stream in self._sessions.items()
                if stream.state is not None and stream.state_updated_at > updated_after
            )
        with_messages = {message.content.session_id for message in self._messages.values()}
        with_state = {session_id for session_id, stream in self._sessions.items() if stream.state is not None}
        return sorted(with_state | {session_id for session_id in with_messages if session_id is not None})

    def _check_lock(self, lock: Lock) -> None:
        if lock.active and lock.until > self._clock.now():
            return
        if lock.stream.session_id is not None:
            raise BrokerError(SESSION_LOCK_LOST, f"The lock of session {lock.stream.session_id!r} has expired")
        raise BrokerError(MESSAGE_LOCK_LOST, "The lock supplied is invalid: it expired, or the message is settled")

    def _settle(self, lock: Lock) -> None:
        self._check_lock(lock)
        self._unlock(lock)

    def _count_failure(self, message: Message) -> None:
        message.delivery_count += 1
        if message.delivery_count >= self.settings.max_delivery_count and not self.is_dead:
            self._dead_letter(
                message, "MaxDeliveryCountExceeded", f"Not consumed after {message.delivery_count} delivery attempts"
            )
        else:
            self._return(message)

    def _return(self, message: Message) -> None:
        if message.expires_at is not None and message.expires_at <= self._clock.now():
            self._expire(message)
        elif message.state is State.ACTIVE:
            self._offer(message)

    def _remove(self, message: Message) -> None:
        self._messages.pop(message.sequence_number, None)
        self._deferred.discard(message.sequence_number)
        stream = self._stream_of(message) if self.settings.requires_session else None
        if stream is not None and stream.holder is None:
            self._announce(stream)

    def _expire(self, message: Message) -> None:
        if self.settings.dead_letter_on_expiration:
            self._dead_letter(message, "TTLExpiredException", "The message expired and was dead-lettered")
        else:
            self._remove(message)

    def _dead_letter(self, message: Message, reason: str | None, description: str | None) -> None:
        assert self.dead_letters is not None
        if message.sequence_number in self._messages:
            self._remove(message)
        content = message.content.dead_lettered(reason, description)
        target = self.settings.forward_dead_letters_to
        if target is None:
            self.dead_letters.put_dead(message, content, self.name)
        else:
            self._route.forward_dead(target, message, content, self.name)

    # --- looking and fetching by number ------------------------------------------------------------------------------

    def peek(self, from_sequence_number: int, count: int, session_id: str | None = None) -> list[Message]:
        """Messages in order of their numbers, whatever their state, without locking them."""
        found = []
        now = self._clock.now()
        for number in sorted(number for number in self._messages if number >= from_sequence_number):
            message = self._messages[number]
            if session_id is not None and message.content.session_id != session_id:
                continue
            if message.expires_at is not None and message.expires_at <= now:
                continue
            found.append(message)
            if len(found) == count:
                break
        return found

    def receive_deferred(
        self, sequence_numbers: Iterable[int], session_id: str | None, destructive: bool
    ) -> list[tuple[Message, Lock | None]]:
        """Fetch deferred messages, all or none. Raises message-not-found."""
        stream = self._shared
        if self.settings.requires_session:
            if session_id is None:
                raise BrokerError(ARGUMENT_ERROR, "A session id is required")
            stream = self.held_session(session_id)
        messages = []
        for number in sequence_numbers:
            message = self._messages.get(number)
            wrong_session = self.settings.requires_session and message and message.content.session_id != session_id
            if message is None or message.state is not State.DEFERRED or message.lock is not None or wrong_session:
                raise BrokerError(MESSAGE_NOT_FOUND, f"No deferred message {number} in {self.name}")
            messages.append(message)
        if destructive:
            for message in messages:
                self._remove(message)
            return [(message, None) for message in messages]
        return [(message, self._lock(message, stream)) for message in messages]

    def counts(self) -> Counts:
        """What is in the queue now."""
        oldest = None
        active = 0
        for message in self._messages.values():
            if message.state is State.ACTIVE:
                active += 1
                oldest = message.enqueued_at if oldest is None else min(oldest, message.enqueued_at)
        return Counts(
            active=active,
            locked=len(self._locks),
            scheduled=len(self._scheduled),
            deferred=len(self._deferred),
            dead_lettered=0 if self.dead_letters is None else len(self.dead_letters._messages),
            sessions_locked=sum(1 for stream in self._sessions.values() if stream.holder is not None),
            oldest_enqueued_at=oldest,
        )

    # --- time --------------------------------------------------------------------------------------------------------

    def _fall_due(self, kind: Deadline, key: Any, when: float) -> None:
        match kind:
            case Deadline.LOCK:
                self._lock_due(key, when)
            case Deadline.SESSION:
                self._session_due(key, when)
            case Deadline.EXPIRY:
                message = self._messages.get(key)
                if message is not None and message.lock is None:
                    self._expire(message)
            case Deadline.SCHEDULE:
                if key in self._scheduled:
                    self._scheduled.discard(key)
                    self.put(self._messages.pop(key).content)

    def _lock_due(self, token: bytes, when: float) -> None:
        lock = self._locks.get(token)
        if lock is None or lock.entry != when:
            return
        if lock.until > self._clock.now():  # renewed meanwhile
            self._arm_lock(lock)
            return
        self._unlock(lock)
        self._count_failure(lock.message)

    def _session_due(self, session_id: str, when: float) -> None:
        stream = self._sessions.get(session_id)
        if stream is None or stream.holder is None or stream.entry != when:
            return
        if stream.until > self._clock.now():
            self._arm_session(stream)
            return
        holder = stream.holder
        holder.stream = None
        self._free_session(stream, failed=True)
        holder.session_lost()

    def _is_stale(self, kind: Deadline, key: Any) -> bool:
        if kind is Deadline.LOCK:
            return key not in self._locks
        if kind is Deadline.SESSION:
            stream = self._sessions.get(key)
            return stream is None or stream.holder is None
        return key not in self._messages


def require_scheduled(numbers: list[int], scheduled: Container[int], name: str) -> None:
    """Raise message-not-found for a number that is not scheduled."""
    for number in numbers:
        if number not in scheduled:
            raise BrokerError(MESSAGE_NOT_FOUND, f"No message {number} is scheduled in {name}")


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
