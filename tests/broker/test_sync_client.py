"""The unmodified sync client, end to end over the socket: the same wire, other code in the client."""

from datetime import UTC, datetime, timedelta

from azure.servicebus import (
    NEXT_AVAILABLE_SESSION,
    ServiceBusClient,
    ServiceBusMessage,
    ServiceBusReceivedMessage,
    ServiceBusReceiver,
    ServiceBusSubQueue,
)

from tests.broker.conftest import RunningBroker


def _take(receiver: ServiceBusReceiver, count: int = 1) -> list[ServiceBusReceivedMessage]:
    messages: list[ServiceBusReceivedMessage] = []
    while len(messages) < count:
        got = receiver.receive_messages(count - len(messages), max_wait_time=5)
        assert got, f"{len(messages)} of {count} messages came"
        messages += got
    return messages


def test_a_queue_serves_the_sync_client(sync_client: ServiceBusClient, broker: RunningBroker) -> None:
    with sync_client.get_queue_sender("work") as sender, sync_client.get_queue_receiver("work") as receiver:
        sender.send_messages(ServiceBusMessage("one", application_properties={"kind": "k"}))
        sender.send_messages([ServiceBusMessage("two"), ServiceBusMessage("three")])
        one, two, three = _take(receiver, 3)
        assert [str(message) for message in (one, two, three)] == ["one", "two", "three"]
        assert one.application_properties == {b"kind": b"k"}
        receiver.renew_message_lock(one)
        receiver.complete_message(one)
        receiver.abandon_message(two)
        [two] = _take(receiver)
        assert two.delivery_count == 1
        receiver.defer_message(two)
        [two] = receiver.receive_deferred_messages([two.sequence_number or 0])
        receiver.complete_message(two)
        receiver.dead_letter_message(three, reason="why")
        [number] = sender.schedule_messages(ServiceBusMessage("never"), datetime.now(UTC) + timedelta(hours=1))
        assert len(receiver.peek_messages(10)) == 1
        sender.cancel_scheduled_messages(number)
    state = broker.entity("work")
    assert (state["active"], state["scheduled"], state["dead_lettered"]) == (0, 0, 1)
    with sync_client.get_queue_receiver("work", sub_queue=ServiceBusSubQueue.DEAD_LETTER) as dead:
        [message] = _take(dead)
        assert message.dead_letter_reason == "why"
        dead.complete_message(message)


def test_a_session_serves_the_sync_client_and_outlives_its_lock_when_renewed(sync_client: ServiceBusClient) -> None:
    with sync_client.get_queue_sender("renewed-talks") as sender:
        sender.send_messages([ServiceBusMessage(f"{n}", session_id="s") for n in range(2)])
        with sync_client.get_queue_receiver(
            "renewed-talks", session_id=NEXT_AVAILABLE_SESSION, max_wait_time=5
        ) as receiver:
            first, second = _take(receiver, 2)
            receiver.complete_message(first)
            granted_until = receiver.session.locked_until_utc
            assert granted_until is not None
            receiver.session.set_state("halfway")
            while datetime.now(UTC) < granted_until:
                assert receiver.session.renew_lock() >= granted_until
                assert receiver.receive_messages(1, max_wait_time=0.1) == []
            receiver.complete_message(second)
            assert receiver.session.get_state() == b"halfway"
