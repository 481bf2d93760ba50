"""Service Bus triggers: receivers of the real client that grow with the load.

Every receiver is a connection of its own and costs a little even when idle, so a function keeps only a few waiting and
opens more as they find work, as the .NET client bounds its concurrent session accepts. One receiver is always used by
one loop, strictly in turn (receive, run, settle): that is what keeps the order within a session, and the client's
socket lock would make concurrent use slow.
"""

import asyncio
import ssl
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Final
from uuid import uuid4

from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusReceivedMessage, ServiceBusSessionFilter
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSession
from azure.servicebus.exceptions import (
    OperationTimeoutError,
    ServiceBusCommunicationError,
    ServiceBusConnectionError,
    ServiceBusError,
    ServiceBusServerBusyError,
)

from sandbox.host.deliveries import made_delivery, many, one, read_delivery
from sandbox.host.runtime import BusRefused, Function, Invoked, Invoker
from sandbox.host.settings import BusSettings, SettingsRefused, connection_string, resolve

_SESSION_WAIT_SECONDS: Final = 60.0
_MESSAGE_WAIT_SECONDS: Final = 30.0
_SESSIONS_WAITING_MIN: Final = 4
_SESSIONS_WAITING_PER_BUSY: Final = 2  # a burst touches many sessions at once, and opening takes half a second
_CALLS_WAITING_MIN: Final = 1
_CALLS_WAITING_PER_BUSY: Final = 1
_REACH_SECONDS: Final = 30.0
_BACKOFF_SECONDS: Final = 0.2
_BACKOFF_SECONDS_MAX: Final = 5.0
_PASSING: Final = (
    ServiceBusConnectionError,
    ServiceBusCommunicationError,
    ServiceBusServerBusyError,
    OperationTimeoutError,
)
_RENEW_AT: Final = 0.5  # of the lock's duration


@dataclass(slots=True, eq=False)
class _Slot:
    """One receiver that waits or works: busy while it holds a session or message, processing while a function runs."""

    is_busy: bool = False
    processing_since: float | None = None


class Listener:
    """Receives for one function from its queue or subscription, with or without sessions."""

    def __init__(self, function: Function, settings: BusSettings, invoker: Invoker) -> None:
        """Raises SettingsRefused when the trigger's connection or names are not set."""
        trigger = function.trigger
        self.function = function
        self._settings = settings
        self._invoker = invoker
        try:
            self._connection = connection_string(str(trigger["connection"]))
            self._queue = resolve(str(trigger["queueName"])) if "queueName" in trigger else None
            self._topic = resolve(str(trigger["topicName"])) if "topicName" in trigger else None
            self._subscription = resolve(str(trigger.get("subscriptionName", "")))
        except SettingsRefused as fault:
            raise SettingsRefused(f"function {function.name}: {fault}") from fault
        self._with_sessions = bool(trigger.get("isSessionsEnabled", False))
        self._takes_many = str(trigger.get("cardinality", "ONE")).upper() == "MANY"
        self._completes = bool(trigger.get("autoCompleteMessages", settings.auto_complete))
        self._limit = settings.concurrent_sessions_max if self._with_sessions else settings.concurrent_calls_max
        if self._takes_many:
            self._limit = 1 if not self._with_sessions else self._limit
        self._waiting_min = _SESSIONS_WAITING_MIN if self._with_sessions else _CALLS_WAITING_MIN
        self._per_busy = _SESSIONS_WAITING_PER_BUSY if self._with_sessions else _CALLS_WAITING_PER_BUSY
        self._client: ServiceBusClient | None = None
        self._slots: dict[_Slot, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # also of receivers that are closing
        self._stopping = False
        self._backoff_seconds = _BACKOFF_SECONDS
        self._closing: asyncio.Task[None] | None = None

    @property
    def entity(self) -> str:
        """The path received from."""
        return self._queue or f"{self._topic}/Subscriptions/{self._subscription}"

    async def start(self) -> None:
        """Begin to receive; returns once attached. Raises BusRefused when that cannot be."""
        self._client = ServiceBusClient.from_connection_string(
            self._connection,
            retry_total=0,  # retries are this class's own: the client's would repeat a refused attach for seconds
            ssl_context=_ssl_context(),  # or the client reads the certificate store anew for each connection
        )
        self._adjust()
        deadline = time.monotonic() + _REACH_SECONDS
        while True:
            try:
                await self._probe()
                return
            except _PASSING as fault:
                if time.monotonic() > deadline:
                    raise BusRefused(
                        f"function {self.function.name}: {self.entity} is out of reach: {fault}"
                    ) from fault
            except ServiceBusError as fault:
                raise BusRefused(f"function {self.function.name}: {self.entity}: {fault}") from fault
            await asyncio.sleep(_BACKOFF_SECONDS)

    async def _probe(self) -> None:
        """Attach once, receiving nothing. A wait for any free session would stay unanswered; a named one is granted."""
        receiver = self._receiver(_REACH_SECONDS, f"probe-{uuid4().hex}" if self._with_sessions else None)
        await receiver.__aenter__()
        self._closing = asyncio.create_task(receiver.close())  # takes a second that nobody need wait for

    async def stop(self, timeout_seconds: float) -> None:
        """Receive no more; messages at work are finished and settled if that takes no longer than the timeout."""
        self._stopping = True
        for slot, task in self._slots.items():
            if slot.processing_since is None:
                task.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=timeout_seconds)
            for task in late:
                task.cancel()
        if self._closing is not None:
            await asyncio.wait((self._closing,))
        if self._client is not None:
            await self._client.close()

    async def fire(self, body: str | None) -> Invoked:
        """Run the function on a message made of `body` that never was on the bus."""
        delivery = made_delivery(body or "")
        data, metadata = many([delivery]) if self._takes_many else one(delivery)
        return await self._invoker.invoke(self.function, data, metadata, delivery.trace)

    def _adjust(self) -> None:
        """Keep receivers waiting in proportion to the busy ones, within the limits."""
        if self._stopping:
            return
        while self._wanted() > 0:
            slot = _Slot()
            task = self._slots[slot] = asyncio.create_task(self._live(slot))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _retire(self, slot: _Slot) -> None:
        """A receiver that only has to close is no longer waiting: the next one may open."""
        self._slots.pop(slot, None)
        self._adjust()

    def _wanted(self) -> int:
        """How many receivers to open; negative: that many may go."""
        busy = sum(slot.is_busy for slot in self._slots)
        return min(self._limit - busy, max(self._waiting_min, self._per_busy * busy)) - (len(self._slots) - busy)

    async def _live(self, slot: _Slot) -> None:
        try:
            await (self._serve_session(slot) if self._with_sessions else self._serve_calls(slot))
        except OperationTimeoutError:
            pass  # no session became free in time: the next slot waits on
        except Exception as fault:  # noqa: BLE001 - the client leaks errors of its layers; a receiver must be replaced whatever it died of
            self._tell(fault)
            slot.is_busy = False
            if not self._stopping:
                await asyncio.sleep(self._backoff_seconds)
                self._backoff_seconds = min(self._backoff_seconds * 2, _BACKOFF_SECONDS_MAX)
        finally:
            self._retire(slot)

    async def _serve_session(self, slot: _Slot) -> None:
        """Wait for a session, run its messages in order until it is idle, and let it go."""
        async with self._receiver(_SESSION_WAIT_SECONDS, NEXT_AVAILABLE_SESSION) as receiver:
            self._backoff_seconds = _BACKOFF_SECONDS
            slot.is_busy = True
            self._adjust()
            renewal = asyncio.create_task(self._renew_session(receiver.session, slot))
            held_since = time.monotonic()
            try:
                while not self._stopping and time.monotonic() - held_since < self._settings.lock_renewal_seconds_max:
                    messages = await self._receive(receiver, self._settings.session_idle_seconds)
                    if not messages:
                        break
                    await self._process(receiver, messages, slot)
            finally:
                await _ended(renewal)
            self._retire(slot)

    async def _serve_calls(self, slot: _Slot) -> None:
        """Run messages one after the other; a receiver that finds nothing for a while goes when there are others."""
        async with self._receiver(_MESSAGE_WAIT_SECONDS, None) as receiver:
            self._backoff_seconds = _BACKOFF_SECONDS
            while not self._stopping:
                messages = await self._receive(receiver, _MESSAGE_WAIT_SECONDS)
                if messages:
                    slot.is_busy = True
                    self._adjust()
                    await self._process(receiver, messages, slot)
                    slot.is_busy = False
                elif self._wanted() < 0:
                    break
            self._retire(slot)

    async def _receive(self, receiver: ServiceBusReceiver, wait_seconds: float) -> list[ServiceBusReceivedMessage]:
        count = self._settings.batch_messages_max if self._takes_many else 1
        return await receiver.receive_messages(max_message_count=count, max_wait_time=wait_seconds)

    async def _process(
        self, receiver: ServiceBusReceiver, messages: Sequence[ServiceBusReceivedMessage], slot: _Slot
    ) -> None:
        """Run the function and settle: complete on success, abandon at once on failure."""
        slot.processing_since = time.monotonic()
        renewal = None if self._with_sessions else asyncio.create_task(self._renew_messages(receiver, messages))
        try:
            deliveries = [read_delivery(message) for message in messages]
            data, metadata = many(deliveries) if self._takes_many else one(deliveries[0])
            invoked = await self._invoker.invoke(self.function, data, metadata, deliveries[0].trace)
            for message in messages:
                if invoked.failure is not None:
                    await receiver.abandon_message(message)
                elif self._completes:
                    await receiver.complete_message(message)
        finally:
            slot.processing_since = None
            if renewal is not None:
                await _ended(renewal)

    async def _renew_session(self, session: ServiceBusSession, slot: _Slot) -> None:
        """Keep the session's lock; while one message is at work, for no longer than the renewal limit."""
        while True:
            await asyncio.sleep(_until_renewal(session.locked_until_utc))
            since = slot.processing_since
            if since is not None and time.monotonic() - since > self._settings.lock_renewal_seconds_max:
                return
            try:
                await session.renew_lock()
            except ServiceBusError as fault:
                self._tell(fault)
                return

    async def _renew_messages(
        self, receiver: ServiceBusReceiver, messages: Sequence[ServiceBusReceivedMessage]
    ) -> None:
        """Keep the locks of messages at work, for no longer than the renewal limit."""
        deadline = time.monotonic() + self._settings.lock_renewal_seconds_max
        while True:
            await asyncio.sleep(_until_renewal(min(filter(None, (m.locked_until_utc for m in messages)), default=None)))
            if time.monotonic() > deadline:
                return
            try:
                for message in messages:
                    await receiver.renew_message_lock(message)
            except ServiceBusError as fault:
                self._tell(fault)
                return

    def _receiver(self, wait_seconds: float, session: str | ServiceBusSessionFilter | None) -> ServiceBusReceiver:
        assert self._client is not None, "start() comes first"
        prefetch = self._settings.prefetch_count
        if self._queue is not None:
            return self._client.get_queue_receiver(
                self._queue, session_id=session, max_wait_time=wait_seconds, prefetch_count=prefetch
            )
        return self._client.get_subscription_receiver(
            str(self._topic),
            self._subscription,
            session_id=session,
            max_wait_time=wait_seconds,
            prefetch_count=prefetch,
        )

    def _tell(self, fault: Exception) -> None:
        if not self._stopping:
            print(f"function {self.function.name}: {self.entity}: {fault}", file=sys.stderr, flush=True)


@cache
def _ssl_context() -> ssl.SSLContext:
    """One for all receivers; reading the certificate store takes some 10 ms."""
    return ssl.create_default_context()


async def _ended(renewal: asyncio.Task[None]) -> None:
    """Cancel a renewal and wait for its end: it shares the receiver's connection, which may be closed next."""
    renewal.cancel()
    await asyncio.wait((renewal,))


def _until_renewal(locked_until: datetime | None) -> float:
    """Seconds until a lock is to be renewed."""
    if locked_until is None:
        return _MESSAGE_WAIT_SECONDS
    return max(0.05, (locked_until - datetime.now(UTC)).total_seconds() * _RENEW_AT)
