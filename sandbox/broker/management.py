"""The operations of `<entity>/$management`, each a map in and a map out."""

import uuid
from collections.abc import Callable
from typing import Any, Final

from sandbox.broker.codec import Array, Int, Timestamp
from sandbox.broker.entities import Topic
from sandbox.broker.errors import (
    ARGUMENT_ERROR,
    MESSAGE_SIZE_EXCEEDED,
    NOT_ALLOWED,
    NOT_IMPLEMENTED,
    BrokerError,
)
from sandbox.broker.message import parse_content
from sandbox.broker.queues import Lock, Queue

_PREFIX: Final = "com.microsoft:"
_LISTING_ALL_MS: Final = 253_402_300_799_999  # from here on, "updated after" means: do not ask when
_LONG, _TIMESTAMP, _STRING = 0x81, 0x83, 0xB1

type _Result = tuple[int, dict[str, Any] | None]


class EntityManagement:
    """The management node of one queue, topic, subscription or dead-letter queue."""

    def __init__(self, entity: Queue | Topic) -> None:
        self._entity = entity
        self._operations: dict[str, Callable[[dict[str, Any], str | None], _Result]] = {
            "renew-lock": self._renew_lock,
            "peek-message": self._peek,
            "schedule-message": self._schedule,
            "cancel-scheduled-message": self._cancel_scheduled,
            "receive-by-sequence-number": self._receive_deferred,
            "update-disposition": self._update_disposition,
            "renew-session-lock": self._renew_session,
            "get-session-state": self._get_session_state,
            "set-session-state": self._set_session_state,
            "get-message-sessions": self._session_ids,
        }

    def perform(self, application: dict[str, Any], body: Any) -> _Result:
        """Perform the operation named in a request; returns (status code, body). Raises `BrokerError`."""
        name = str(application.get("operation", ""))
        operation = self._operations.get(name.removeprefix(_PREFIX))
        if operation is None:
            raise BrokerError(NOT_IMPLEMENTED, f"The operation {name!r} is not offered")
        if not isinstance(body, dict):
            raise BrokerError(ARGUMENT_ERROR, "The body of a request is a map")
        return operation(body, application.get("associated-link-name"))

    def _queue(self) -> Queue:
        if isinstance(self._entity, Topic):
            raise BrokerError(NOT_ALLOWED, f"{self._entity.name} is a topic: ask one of its subscriptions")
        return self._entity

    def _renew_lock(self, body: dict[str, Any], _link_name: str | None) -> _Result:
        queue = self._queue()
        expirations = [queue.renew_lock(token) for token in _tokens(body)]
        return 200, {"expirations": Array(_TIMESTAMP, tuple(_milliseconds(expiration) for expiration in expirations))}

    def _peek(self, body: dict[str, Any], _link_name: str | None) -> _Result:
        start, count = _integer(body, "from-sequence-number"), _integer(body, "message-count")
        if isinstance(self._entity, Topic):
            messages = self._entity.peek(start, count)
        else:
            messages = self._entity.peek(start, count, body.get("session-id"))
        if not messages:
            return 204, None
        return 200, {"messages": [{"message": message.encode(None)} for message in messages]}

    def _schedule(self, body: dict[str, Any], _link_name: str | None) -> _Result:
        contents = []
        for entry in body.get("messages") or []:
            encoded = entry.get("message")
            if not isinstance(encoded, bytes):
                raise BrokerError(ARGUMENT_ERROR, "An encoded message is missing")
            if len(encoded) > self._entity.settings.max_message_bytes:
                raise BrokerError(MESSAGE_SIZE_EXCEEDED, f"A message has {len(encoded)} bytes, which is too large")
            content = parse_content(encoded)
            if content.scheduled_ms is None:
                raise BrokerError(ARGUMENT_ERROR, "A scheduled message says when it is to be enqueued")
            if isinstance(self._entity, Queue):
                self._entity.check(content)
            contents.append((content, content.scheduled_ms / 1000))
        numbers = tuple(self._entity.schedule(content, when) for content, when in contents)
        return 200, {"sequence-numbers": Array(_LONG, numbers)}

    def _cancel_scheduled(self, body: dict[str, Any], _link_name: str | None) -> _Result:
        self._entity.cancel_scheduled(_numbers(body))
        return 200, None

    def _receive_deferred(self, body: dict[str, Any], _link_name: str | None) -> _Result:
        destructive = body.get("receiver-settle-mode", 1) == 0
        received = self._queue().receive_deferred(_numbers(body), body.get("session-id"), destructive)
        return 200, {
            "messages": [
                {"message": message.encode(None)}
                if lock is None
                else {"lock-token": uuid.UUID(bytes_le=lock.token), "message": message.encode(lock.until)}
                for message, lock in received
            ]
        }

    def _update_disposition(self, body: dict[str, Any], _link_name: str | None) -> _Result:
        queue = self._queue()
        reason, description = body.get("deadletter-reason"), body.get("deadletter-description")
        settle: dict[str, Callable[[Lock], None]] = {
            "completed": queue.complete,
            "abandoned": queue.abandon,
            "defered": queue.defer,
            "suspended": lambda lock: queue.dead_letter(lock, reason, description),
        }
        action = settle.get(str(body.get("disposition-status")))
        if action is None:
            raise BrokerError(ARGUMENT_ERROR, f"Unknown disposition {body.get('disposition-status')!r}")
        for lock in [queue.find_lock(token) for token in _tokens(body)]:
            action(lock)
        return 200, None

    def _renew_session(self, body: dict[str, Any], link_name: str | None) -> _Result:
        until = self._queue().renew_session(_session_id(body), link_name)
        return 200, {"expiration": Timestamp(_milliseconds(until))}

    def _get_session_state(self, body: dict[str, Any], link_name: str | None) -> _Result:
        return 200, {"session-state": self._queue().held_session(_session_id(body), link_name).state}

    def _set_session_state(self, body: dict[str, Any], link_name: str | None) -> _Result:
        state = body.get("session-state")
        if state is not None and not isinstance(state, bytes):
            raise BrokerError(ARGUMENT_ERROR, "A session state is binary")
        self._queue().set_session_state(_session_id(body), state, link_name)
        return 200, None

    def _session_ids(self, body: dict[str, Any], _link_name: str | None) -> _Result:
        updated_after_ms = _integer(body, "last-updated-time")
        skip, top = _integer(body, "skip"), _integer(body, "top")
        updated_after = None if updated_after_ms > _LISTING_ALL_MS else updated_after_ms / 1000
        found = self._queue().session_ids(updated_after)[skip : skip + top]
        if not found:
            return 204, None
        return 200, {"skip": Int(skip + len(found)), "sessions-ids": Array(_STRING, tuple(found))}


def _tokens(body: dict[str, Any]) -> list[bytes]:
    tokens = body.get("lock-tokens") or []
    if not tokens or not all(isinstance(token, uuid.UUID) for token in tokens):
        raise BrokerError(ARGUMENT_ERROR, "lock-tokens is an array of UUIDs")
    return [token.bytes_le for token in tokens]


def _numbers(body: dict[str, Any]) -> list[int]:
    numbers = body.get("sequence-numbers") or []
    if not numbers or not all(isinstance(number, int) for number in numbers):
        raise BrokerError(ARGUMENT_ERROR, "sequence-numbers is an array of longs")
    return list(numbers)


def _integer(body: dict[str, Any], name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int):
        raise BrokerError(ARGUMENT_ERROR, f"{name} is a number")
    return value


def _session_id(body: dict[str, Any]) -> str:
    value = body.get("session-id")
    if not isinstance(value, str):
        raise BrokerError(ARGUMENT_ERROR, "session-id is a string")
    return value


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
