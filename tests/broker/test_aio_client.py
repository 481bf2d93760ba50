"""The unmodified async client, end to end over the socket.

Opening and closing a link takes the client about half a second each, so a test here tells a story rather than one
fact; the facts one by one are in `test_entities`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.servicebus import (
    NEXT_AVAILABLE_SESSION,
    ServiceBusMessage,
    ServiceBusMessageState,
    ServiceBusReceivedMessage,
    ServiceBusReceiveMode,
    ServiceBusSubQueue,
)
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessageNotFoundError,
    MessageSizeExceededError,
    MessagingEntityNotFoundError,
    OperationTimeoutError,
    ServiceBusError,
    SessionCannotBeLockedError,
    SessionLockLostError,
)

from tests.broker.conftest import RunningBroker


@asynccontextmanager
async def _open(*handlers: Any) -> AsyncIterator[None]:
    """Open senders and receivers together, and close them together."""
    async with asyncio.TaskGroup() as group:
        for handler in handlers:
            group.create_task(handler.__aenter__())
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.gather, *[_LateClose(handler) for handler in handlers])
        yield


class _LateClose:
    """An awaitable that closes when it is awaited, not when it is made."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def __await__(self) -> Any:
        return self._handler.close().__await__()


async def _take(receiver: ServiceBusReceiver, count: int = 1) -> list[ServiceBusReceivedMessage]:
    """Exactly so many messages; a receive call may bring fewer than are there."""
    messages: list[ServiceBusReceivedMessage] = []
    while len(messages) < count:
        got = await receiver.receive_messages(count - len(messages), max_wait_time=5)
        assert got, f"{len(messages)} of {count} messages came"
        messages += got
    return messages


async def test_a_message_is_received_settled_in_every_way_and_looked_at(
    client: ServiceBusClient, broker: RunningBroker
) -> None:
    sender, receiver = client.get_queue_sender("work"), client.get_queue_receiver("work")
    dead = client.get_queue_receiver("work", sub_queue=ServiceBusSubQueue.DEAD_LETTER)
    async with _open(sender, receiver, dead):
        sent = ServiceBusMessage(
            b"body",
            message_id="m-1",
            correlation_id="c-1",
            subject="label",
            content_type="application/json",
            application_properties={"kind": "order.confirmed", "n": 7, "on": True},
            time_to_live=timedelta(hours=1),
        )
        await sender.send_messages(sent)
        [message] = await _take(receiver)
        assert b"".join(message.body) == b"body"
        assert (message.message_id, message.correlation_id, message.subject) == ("m-1", "c-1", "label")
        assert message.content_type == "application/json"
        assert message.application_properties == {b"kind": b"order.confirmed", b"n": 7, b"on": True}
        assert (message.sequence_number, message.enqueued_sequence_number, message.delivery_count) == (1, 1, 0)
        assert message.time_to_live == timedelta(hours=1)
        assert message.state is ServiceBusMessageState.ACTIVE
        assert message.enqueued_time_utc is not None and message.locked_until_utc is not None
        now = datetime.now(UTC)
        assert now - timedelta(seconds=30) < message.enqueued_time_utc <= now
        assert message.locked_until_utc - message.enqueued_time_utc >= timedelta(seconds=59)

        [looked_at] = await receiver.peek_messages(5, sequence_number=1)
        assert looked_at.sequence_number == 1
        assert await receiver.peek_messages(5, sequence_number=2) == []
        before = message.locked_until_utc
        assert await receiver.renew_message_lock(message) >= before

        await receiver.abandon_message(message)
        [message] = await _take(receiver)
        assert message.delivery_count == 1
        await receiver.defer_message(message)
        assert broker.entity("work")["deferred"] == 1
        [looked_at] = await receiver.peek_messages(5, sequence_number=1)
        assert looked_at.state is ServiceBusMessageState.DEFERRED
        [message] = await receiver.receive_deferred_messages(message.sequence_number or 0)
        assert (b"".join(message.body), message.delivery_count) == (b"body", 2)
        await receiver.renew_message_lock(message)
        await receiver.dead_letter_message(message, reason="why", error_description="because")
        with pytest.raises(MessageNotFoundError):
            await receiver.receive_deferred_messages(1)

        [buried] = await _take(dead)
        assert (buried.dead_letter_reason, buried.dead_letter_error_description) == ("why", "because")
        assert (b"".join(buried.body), buried.message_id) == (b"body", "m-1")
        await dead.complete_message(buried)

        await sender.send_messages(ServiceBusMessage("straight to the dead"))
        [message] = await _take(receiver)
        await receiver.dead_letter_message(message, reason="r" * 400, error_description="é" * 400)
        [buried] = await _take(dead)
        assert (buried.dead_letter_reason, buried.dead_letter_error_description) == ("r" * 400, "é" * 400)
        await dead.complete_message(buried)
        state = broker.entity("work")
        assert (state["active"], state["deferred"], state["dead_lettered"]) == (0, 0, 0)


async def test_sessions_are_accepted_renewed_remembered_and_listed(client: ServiceBusClient) -> None:
    sender = client.get_queue_sender("talks")
    named = client.get_queue_receiver("talks", session_id="b")
    rival = client.get_queue_receiver("talks", session_id="b")
    following = client.get_queue_receiver("talks", session_id=NEXT_AVAILABLE_SESSION, max_wait_time=5)
    nothing = client.get_queue_receiver("talks", session_id=NEXT_AVAILABLE_SESSION, max_wait_time=0.3)
    async with _open(sender, named):
        await sender.send_messages([ServiceBusMessage(f"{n}", session_id=s) for n, s in enumerate("abaab")])
        async with _open(following):
            assert (following.session.session_id, named.session.session_id) == ("a", "b")
            messages = await _take(following, 3)
            assert [(str(message), message.session_id) for message in messages] == [("0", "a"), ("2", "a"), ("3", "a")]
            assert [str(message) for message in await _take(named, 2)] == ["1", "4"]
            assert await following.session.get_state() is None
            await following.session.set_state(b"so far")
            assert await following.session.get_state() == b"so far"
            before = following.session.locked_until_utc
            assert before is not None
            assert before <= await following.session.renew_lock()
            assert [message.session_id for message in await following.peek_messages(10, sequence_number=1)] == ["a"] * 3
            await following.complete_message(messages[0])
            await following.defer_message(messages[1])
            [deferred] = await following.receive_deferred_messages(messages[1].sequence_number or 0)
            await following.complete_message(deferred)
            await following.abandon_message(messages[2])
            *refusals, listed = await asyncio.gather(
                rival.__aenter__(), nothing.__aenter__(), _listed(client, "talks"), return_exceptions=True
            )
            assert [type(refusal) for refusal in refusals] == [SessionCannotBeLockedError, OperationTimeoutError]
            assert listed == ["a", "b"]
    again = client.get_queue_receiver("talks", session_id="a")
    async with _open(again):
        assert await again.session.get_state() == b"so far"
        await again.session.set_state(None)
        [message] = await _take(again)
        assert (str(message), message.delivery_count) == ("3", 1)
        await again.complete_message(message)
        assert await again.session.get_state() is None


async def _listed(client: ServiceBusClient, name: str) -> list[str]:
    return [session_id async for session_id in client.list_queue_sessions(name)]


async def test_a_receiver_that_waits_for_a_session_gets_it_when_it_comes(client: ServiceBusClient) -> None:
    sender = client.get_queue_sender("talks")
    waiting = client.get_queue_receiver("talks", session_id=NEXT_AVAILABLE_SESSION, max_wait_time=20)
    async with _open(sender):
        opened = asyncio.create_task(waiting.__aenter__())
        await sender.send_messages(ServiceBusMessage("hello", session_id="s"))
        await opened
        [message] = await _take(waiting)
        await waiting.complete_message(message)
        await waiting.close()


async def test_what_is_scheduled_comes_in_time_and_what_is_cancelled_never(client: ServiceBusClient) -> None:
    sender, receiver = client.get_queue_sender("work"), client.get_queue_receiver("work")
    async with _open(sender, receiver):
        soon, far = datetime.now(UTC) + timedelta(seconds=0.3), datetime.now(UTC) + timedelta(hours=1)
        [first] = await sender.schedule_messages(ServiceBusMessage("soon"), soon)
        numbers = await sender.schedule_messages([ServiceBusMessage("far"), ServiceBusMessage("farther")], far)
        [looked_at, *_] = await receiver.peek_messages(5)
        assert looked_at.state is ServiceBusMessageState.SCHEDULED
        await sender.send_messages(ServiceBusMessage("sent with a time", scheduled_enqueue_time_utc=soon))
        await sender.cancel_scheduled_messages(numbers)
        with pytest.raises(MessageNotFoundError):
            await sender.cancel_scheduled_messages(numbers[0])
        messages = await _take(receiver, 2)
        assert {str(message) for message in messages} == {"soon", "sent with a time"}
        assert all((message.enqueued_time_utc or soon) >= soon - timedelta(milliseconds=2) for message in messages)
        assert all((message.sequence_number or 0) > first for message in messages)
        await asyncio.gather(*(receiver.complete_message(message) for message in messages))


async def test_a_topic_copies_by_its_rules_and_drops_nothing_it_should_keep(client: ServiceBusClient) -> None:
    sender = client.get_topic_sender("news")
    everything, europe = (client.get_subscription_receiver("news", name) for name in ("everything", "europe"))
    retries = client.get_subscription_receiver("news", "retries", session_id="lane-00")
    async with _open(sender, everything, europe, retries):
        regions: list[tuple[str, int, str | None]] = [("eu", 2, None), ("us", 2, "retries"), ("eu", 1, "another")]
        for n, (region, urgency, retry_for) in enumerate(regions):
            properties: dict[str | bytes, Any] = {"region": region, "urgency": urgency}
            if retry_for is not None:
                properties["retryFor"] = retry_for
            await sender.send_messages(
                ServiceBusMessage(f"{n}", application_properties=properties, session_id="lane-00")
            )
        assert [str(message) for message in await _take(everything, 3)] == ["0", "1", "2"]
        assert [str(message) for message in await _take(europe)] == ["0"]
        assert [str(message) for message in await _take(retries, 2)] == ["0", "1"]
        assert await europe.receive_messages(5, max_wait_time=0.1) == []


async def test_lost_locks_are_reported_as_such(client: ServiceBusClient) -> None:
    sender, talks = client.get_queue_sender("brief"), client.get_queue_sender("brief-talks")
    slow, quick = client.get_queue_receiver("brief"), client.get_queue_receiver("brief")
    holder = client.get_queue_receiver("brief-talks", session_id="s")
    async with _open(sender, talks, slow):
        await sender.send_messages(ServiceBusMessage("a"))
        [held] = await _take(slow)
        async with _open(quick):
            [again] = await _take(quick)  # comes when the lock has expired
            assert again.delivery_count == 1
            held._settled = False
            with pytest.raises(MessageLockLostError):
                await slow.complete_message(held)
            await quick.complete_message(again)
        await talks.send_messages(ServiceBusMessage("b", session_id="s"))
        async with _open(holder):
            [held] = await _take(holder)
            with pytest.raises(SessionLockLostError):
                for _ in range(50):  # until the lock has expired, which the broker says by taking the link away
                    await holder.receive_messages(1, max_wait_time=0.1)
            with pytest.raises(SessionLockLostError):
                await holder.session.renew_lock()


async def test_what_the_service_refuses_is_refused_with_its_error(client: ServiceBusClient) -> None:
    async def refused(handler: Any, error: type[Exception], match: str) -> None:
        with pytest.raises(error, match=match):
            await handler.__aenter__()

    async def not_taken(name: str, error: type[Exception], match: str, *messages: ServiceBusMessage) -> None:
        sender = client.get_queue_sender(name)
        with pytest.raises(error, match=match):
            await sender.send_messages(messages[0] if len(messages) == 1 else list(messages))
        await sender.close()

    async def not_scheduled(sender: ServiceBusSender) -> None:
        with pytest.raises(ServiceBusError, match="session id"):
            await sender.schedule_messages(ServiceBusMessage("a"), datetime.now(UTC) + timedelta(hours=1))
        await sender.close()

    absent = client.get_subscription_receiver("news", "nobody")
    large, without = ServiceBusMessage(b"x" * 300_000), ServiceBusMessage("no session")
    await asyncio.gather(
        refused(client.get_queue_sender("nowhere"), MessagingEntityNotFoundError, "could not be found"),
        refused(client.get_queue_receiver("nowhere"), MessagingEntityNotFoundError, "could not be found"),
        refused(absent, MessagingEntityNotFoundError, "could not be found"),
        refused(client.get_queue_receiver("news"), ServiceBusError, "is a topic"),
        refused(client.get_queue_sender("news/Subscriptions/europe"), ServiceBusError, "Nothing can be sent"),
        refused(client.get_queue_receiver("talks"), ServiceBusError, "requires sessions"),
        refused(client.get_queue_receiver("work", session_id="s"), ServiceBusError, "has no sessions"),
        not_taken("talks", ServiceBusError, "session id", without),
        not_taken("talks", ServiceBusError, "session id", ServiceBusMessage("a", session_id="s"), without),
        not_taken("work", MessageSizeExceededError, "300", large),
        not_scheduled(client.get_queue_sender("talks")),
    )


async def test_large_messages_and_full_batches_arrive_whole(client: ServiceBusClient) -> None:
    sender, receiver = client.get_queue_sender("large"), client.get_queue_receiver("large", prefetch_count=50)
    body = bytes(range(256)) * 3900  # about 1 MB: many frames in each direction
    async with _open(sender, receiver):
        await sender.send_messages(ServiceBusMessage(body, message_id="large"))
        batch = await sender.create_message_batch()
        with pytest.raises(MessageSizeExceededError):
            for n in range(100_000):
                batch.add_message(ServiceBusMessage(f"{n}" + "x" * 900, message_id=f"{n}"))
        await sender.send_messages(batch)
        messages = await _take(receiver, 1 + len(batch))
        assert b"".join(messages[0].body) == body
        assert [message.message_id for message in messages[1:]] == [f"{n}" for n in range(len(batch))]
        await asyncio.gather(*(receiver.complete_message(message) for message in messages))


async def test_receive_and_delete_takes_without_asking(client: ServiceBusClient, broker: RunningBroker) -> None:
    sender = client.get_queue_sender("work")
    receiver = client.get_queue_receiver("work", receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE)
    async with _open(sender, receiver):
        await sender.send_messages([ServiceBusMessage(f"{n}") for n in range(3)])
        assert [str(message) for message in await _take(receiver, 3)] == ["0", "1", "2"]
        assert broker.entity("work")["active"] == 0


async def test_what_was_prefetched_and_not_read_is_free_again_when_the_receiver_closes(
    client: ServiceBusClient, broker: RunningBroker
) -> None:
    sender, greedy = client.get_queue_sender("work"), client.get_queue_receiver("work", prefetch_count=10)
    async with _open(sender):
        await sender.send_messages([ServiceBusMessage(f"{n}") for n in range(5)])
        async with _open(greedy):
            [first] = await _take(greedy)
            await greedy.complete_message(first)
        state = broker.entity("work")
        assert (state["active"], state["locked"]) == (4, 0)
        receiver = client.get_queue_receiver("work")
        async with _open(receiver):
            assert {message.delivery_count for message in await _take(receiver, 4)} == {0}
