"""What a queue, a topic and a subscription do, with the clock turned by hand."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox.broker.errors import BrokerError
from sandbox.broker.message import Content
from sandbox.broker.queues import Queue
from tests.broker.by_hand import HandReceiver, ManualClock, body, content, namespace, queue, topic


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def _opened(target: Queue, **options: Any) -> HandReceiver:
    receiver = HandReceiver(**options)
    target.open_receiver(receiver)
    target.hand_out(receiver)
    return receiver


def _accepted(target: Queue, session_id: str, **options: Any) -> HandReceiver:
    receiver = HandReceiver(**options)
    target.accept_session(receiver, session_id)
    target.hand_out(receiver)
    return receiver


def _send(target: Any, *texts: str, **fields: Any) -> None:
    target.send([content(text, **fields) for text in texts])


def _at(clock: ManualClock, seconds: float) -> datetime:
    return datetime.fromtimestamp(clock.now() + seconds, UTC)


# --- locks ---------------------------------------------------------------------------------------------------------


def test_messages_come_in_the_order_they_were_sent(clock: ManualClock) -> None:
    target = queue(clock)
    _send(target, "a", "b")
    receiver = _opened(target)
    _send(target, "c")
    assert receiver.bodies() == ["a", "b", "c"]


def test_credit_limits_what_is_handed_out(clock: ManualClock) -> None:
    target = queue(clock)
    _send(target, "a", "b", "c")
    receiver = _opened(target, credit=2)
    assert receiver.bodies() == ["a", "b"]
    assert (target.counts().active, target.counts().locked) == (3, 2)


def test_receivers_take_turns(clock: ManualClock) -> None:
    target = queue(clock)
    first, second = _opened(target), _opened(target)
    _send(target, "a", "b", "c", "d")
    assert (len(first.deliveries), len(second.deliveries)) == (2, 2)


def test_a_completed_message_is_gone(clock: ManualClock) -> None:
    target = queue(clock)
    _send(target, "a")
    target.complete(_opened(target).take())
    clock.advance(600)
    assert target.counts().active == 0
    assert target.peek(1, 10) == []


def test_an_abandoned_message_comes_again_first_with_its_attempts_counted(clock: ManualClock) -> None:
    target = queue(clock)
    _send(target, "a", "b")
    receiver = _opened(target, credit=1)
    target.abandon(receiver.take())
    receiver.credit = 2
    target.hand_out(receiver)
    assert receiver.bodies() == ["a", "b"]
    assert [message.delivery_count for message, _ in receiver.deliveries] == [1, 0]


def test_a_released_message_comes_again_and_the_attempt_does_not_count(clock: ManualClock) -> None:
    target = queue(clock)
    _send(target, "a")
    receiver = _opened(target, credit=1)
    target.release(receiver.take())
    receiver.credit = 1
    target.hand_out(receiver)
    assert receiver.deliveries[0][0].delivery_count == 0


def test_an_expired_lock_gives_the_message_to_somebody_else(clock: ManualClock) -> None:
    target = queue(clock, LockDuration="PT30S")
    _send(target, "a")
    slow = _opened(target, credit=1)
    other = _opened(target)
    clock.advance(29)
    assert other.deliveries == []
    clock.advance(1)
    assert [message.delivery_count for message, _ in other.deliveries] == [1]
    with pytest.raises(BrokerError) as lost:
        target.complete(slow.take())
    assert lost.value.condition == "com.microsoft:message-lock-lost"
    target.complete(other.take())


def test_a_renewed_lock_holds_on(clock: ManualClock) -> None:
    target = queue(clock, LockDuration="PT30S")
    _send(target, "a")
    lock = _opened(target).take()
    for _ in range(5):
        clock.advance(20)
        assert target.renew_lock(lock.token) == clock.now() + 30
    target.complete(lock)


def test_a_lost_lock_cannot_be_renewed(clock: ManualClock) -> None:
    target = queue(clock, LockDuration="PT30S")
    _send(target, "a")
    lock = _opened(target, credit=1).take()
    clock.advance(30)
    with pytest.raises(BrokerError) as lost:
        target.renew_lock(lock.token)
    assert lost.value.condition == "com.microsoft:message-lock-lost"


def test_a_message_cannot_be_settled_twice(clock: ManualClock) -> None:
    target = queue(clock)
    _send(target, "a")
    lock = _opened(target).take()
    target.complete(lock)
    for settle in (target.complete, target.abandon, target.release, target.defer):
        with pytest.raises(BrokerError):
            settle(lock)


def test_messages_held_without_a_session_stay_locked_when_the_receiver_goes(clock: ManualClock) -> None:
    target = queue(clock, LockDuration="PT30S")
    _send(target, "a")
    receiver = _opened(target)
    target.close_receiver(receiver, orderly=True)
    other = _opened(target)
    assert other.deliveries == []
    clock.advance(30)
    assert other.bodies() == ["a"]


def test_receiving_destructively_leaves_nothing_behind(clock: ManualClock) -> None:
    target = queue(clock)
    _send(target, "a", "b")
    receiver = _opened(target, destructive=True)
    assert receiver.bodies() == ["a", "b"]
    assert target.counts().active == 0


# --- dead letters --------------------------------------------------------------------------------------------------


def _dead(target: Queue) -> list[Content]:
    assert target.dead_letters is not None
    return [message.content for message in target.dead_letters.peek(1, 100)]


def test_a_dead_lettered_message_says_why_and_keeps_its_time_and_number(clock: ManualClock) -> None:
    target = queue(clock)
    _send(target, "a", message_id="m-1", application_properties={"kind": "k"})
    sent_at = clock.now()
    lock = _opened(target).take()
    clock.advance(5)
    target.dead_letter(lock, "why", "because")
    assert target.dead_letters is not None
    [message] = target.dead_letters.peek(1, 10)
    assert message.content.application_properties == {
        "kind": "k",
        "DeadLetterReason": "why",
        "DeadLetterErrorDescription": "because",
    }
    assert (message.content.message_id, message.enqueued_at, message.enqueue_sequence_number) == ("m-1", sent_at, 1)
    assert target.counts().dead_lettered == 1


@pytest.mark.parametrize("fail", ["abandon", "expire"])
def test_a_message_is_dead_lettered_after_its_last_attempt(clock: ManualClock, fail: str) -> None:
    target = queue(clock, MaxDeliveryCount=3, LockDuration="PT30S")
    _send(target, "a")
    receiver = _opened(target, credit=1)
    for _ in range(3):
        lock = receiver.take()
        receiver.credit = 1
        if fail == "abandon":
            target.abandon(lock)
        else:
            clock.advance(30)
    assert target.counts().active == 0
    assert [each.application_properties["DeadLetterReason"] for each in _dead(target)] == ["MaxDeliveryCountExceeded"]


def test_a_dead_letter_queue_settles_but_takes_nothing_and_keeps_everything(clock: ManualClock) -> None:
    target = queue(clock, MaxDeliveryCount=1, DefaultMessageTimeToLive="PT1M")
    _send(target, "a")
    target.abandon(_opened(target).take())
    dead = target.dead_letters
    assert dead is not None
    clock.advance(86_400)
    receiver = _opened(dead, credit=1)
    for _ in range(20):
        lock = receiver.take()
        receiver.credit = 1
        dead.abandon(lock)
    lock = receiver.take()
    with pytest.raises(BrokerError, match="already"):
        dead.dead_letter(lock, None, None)
    with pytest.raises(BrokerError, match="sent"):
        _send(dead, "b")
    dead.complete(lock)
    assert dead.counts().active == 0


def test_dead_letters_are_forwarded_with_where_they_came_from(clock: ManualClock) -> None:
    entities = namespace(clock, {"q": {"ForwardDeadLetteredMessagesTo": "morgue"}, "morgue": {}})
    source, morgue = entities.find("q"), entities.find("MORGUE")
    assert isinstance(source, Queue) and isinstance(morgue, Queue)
    _send(source, "a")
    source.dead_letter(_opened(source).take(), "why", None)
    [message] = morgue.peek(1, 10)
    assert message.dead_letter_source == "q"


def test_messages_are_forwarded_and_a_circle_ends(clock: ManualClock) -> None:
    entities = namespace(clock, {"a": {"ForwardTo": "b"}, "b": {}, "x": {"ForwardTo": "y"}, "y": {"ForwardTo": "x"}})
    start, end, circle = entities.find("a"), entities.find("b"), entities.find("x")
    assert isinstance(end, Queue)
    _send(start, "m")
    assert [body(message.content) for message in end.peek(1, 10)] == ["m"]
    with pytest.raises(BrokerError, match="forwarded"):
        _send(circle, "m")


# --- time to live --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("queue_ttl", "message_ttl", "lives"), [("PT10S", 60, 10), ("PT60S", 10, 10), (None, 10, 10)])
def test_the_shorter_time_to_live_counts(
    clock: ManualClock, queue_ttl: str | None, message_ttl: float, lives: float
) -> None:
    properties = {"DefaultMessageTimeToLive": queue_ttl} if queue_ttl else {}
    target = queue(clock, DeadLetteringOnMessageExpiration=True, **properties)
    _send(target, "a", time_to_live=timedelta(seconds=message_ttl))
    clock.advance(lives - 1)
    assert (target.counts().active, _dead(target)) == (1, [])
    clock.advance(1)
    assert target.counts().active == 0
    assert [each.application_properties["DeadLetterReason"] for each in _dead(target)] == ["TTLExpiredException"]


def test_an_expired_message_vanishes_where_expiry_does_not_dead_letter(clock: ManualClock) -> None:
    target = queue(clock, DefaultMessageTimeToLive="PT10S")
    _send(target, "a")
    clock.advance(10)
    assert (target.counts().active, _dead(target)) == (0, [])


def test_a_locked_message_does_not_expire_until_it_comes_back(clock: ManualClock) -> None:
    target = queue(clock, DefaultMessageTimeToLive="PT10S", DeadLetteringOnMessageExpiration=True)
    _send(target, "a", "b")
    receiver = _opened(target)
    clock.advance(20)
    assert target.counts().active == 2
    target.complete(receiver.take())
    target.abandon(receiver.take())
    assert target.counts().active == 0
    assert [body(each) for each in _dead(target)] == ["b"]


def test_a_subscription_lives_no_longer_than_its_topic_says(clock: ManualClock) -> None:
    target = topic(clock, {"DefaultMessageTimeToLive": "PT10S"}, [{"Name": "s"}])
    _send(target, "a")
    clock.advance(10)
    assert target.subscriptions["s"].counts().active == 0


# --- scheduling ----------------------------------------------------------------------------------------------------


def test_a_scheduled_message_comes_at_its_time_with_a_new_number(clock: ManualClock) -> None:
    target = queue(clock)
    receiver = _opened(target)
    number = target.schedule(content("later"), clock.now() + 30)
    _send(target, "now")
    assert target.counts().scheduled == 1
    clock.advance(29)
    assert receiver.bodies() == ["now"]
    clock.advance(1)
    assert receiver.bodies() == ["now", "later"]
    assert receiver.deliveries[1][0].sequence_number > receiver.deliveries[0][0].sequence_number > number
    assert receiver.deliveries[1][0].enqueued_at == clock.now()


def test_a_message_that_is_sent_with_a_time_waits_for_it(clock: ManualClock) -> None:
    target = queue(clock)
    receiver = _opened(target)
    _send(target, "later", scheduled_enqueue_time_utc=_at(clock, 30))
    _send(target, "late already", scheduled_enqueue_time_utc=_at(clock, -60))
    assert receiver.bodies() == ["late already"]
    clock.advance(30)
    assert receiver.bodies() == ["late already", "later"]


def test_a_cancelled_message_never_comes(clock: ManualClock) -> None:
    target = queue(clock)
    receiver = _opened(target)
    first, second = (target.schedule(content(text), clock.now() + 60) for text in ("a", "b"))
    target.cancel_scheduled([first])
    with pytest.raises(BrokerError) as missing:
        target.cancel_scheduled([second, first])
    assert missing.value.condition == "com.microsoft:message-not-found"
    clock.advance(60)
    assert receiver.bodies() == ["b"]  # the call that failed cancelled nothing
    with pytest.raises(BrokerError):
        target.cancel_scheduled([second])


def test_a_topic_schedules_and_cancels_before_its_rules_look(clock: ManualClock) -> None:
    target = topic(clock, {}, [{"Name": "s"}])
    kept = target.schedule(content("kept"), clock.now() + 60)
    target.cancel_scheduled([target.schedule(content("cancelled"), clock.now() + 60)])
    assert target.scheduled_count == 1
    assert [message.sequence_number for message in target.peek(1, 10)] == [kept]
    clock.advance(60)
    assert [body(message.content) for message in target.subscriptions["s"].peek(1, 10)] == ["kept"]


# --- duplicates ----------------------------------------------------------------------------------------------------

_WINDOW = {"RequiresDuplicateDetection": True, "DuplicateDetectionHistoryTimeWindow": "PT1M"}


def test_an_id_is_accepted_once_in_the_window(clock: ManualClock) -> None:
    target = queue(clock, **_WINDOW)
    receiver = _opened(target)
    _send(target, "a", message_id="m")
    target.complete(receiver.take())
    clock.advance(59)
    _send(target, "b", message_id="m")
    assert receiver.deliveries == []
    clock.advance(1)
    _send(target, "c", message_id="m")
    assert receiver.bodies() == ["c"]


def test_messages_without_an_id_are_no_duplicates(clock: ManualClock) -> None:
    target = queue(clock, **_WINDOW)
    _send(target, "a", "a")
    assert target.counts().active == 2


def test_scheduled_messages_count_as_sent(clock: ManualClock) -> None:
    target = queue(clock, **_WINDOW)
    target.schedule(content("a", message_id="m"), clock.now() + 10)
    _send(target, "b", message_id="m")
    target.schedule(content("c", message_id="m"), clock.now() + 10)
    clock.advance(10)
    assert [body(message.content) for message in target.peek(1, 10)] == ["a"]


def test_a_topic_drops_duplicates_for_all_its_subscriptions(clock: ManualClock) -> None:
    target = topic(clock, _WINDOW, [{"Name": "s"}, {"Name": "t"}])
    _send(target, "a", "b", message_id="m")
    assert [len(each.peek(1, 10)) for each in target.subscriptions.values()] == [1, 1]


def test_a_batch_that_is_refused_leaves_no_trace(clock: ManualClock) -> None:
    target = queue(clock, RequiresSession=True, **_WINDOW)
    good, bad = content("a", message_id="m", session_id="s"), content("b", message_id="n")
    with pytest.raises(BrokerError, match="session id"):
        target.send([good, bad])
    target.send([good])
    assert target.counts().active == 1


# --- sessions ------------------------------------------------------------------------------------------------------


def test_a_session_has_one_receiver_and_its_messages_in_order(clock: ManualClock) -> None:
    target = queue(clock, RequiresSession=True)
    _send(target, "a1", "a2", session_id="a")
    _send(target, "b1", session_id="b")
    first = _accepted(target, "a")
    _send(target, "a3", session_id="a")
    assert first.bodies() == ["a1", "a2", "a3"]
    with pytest.raises(BrokerError) as locked:
        _accepted(target, "a")
    assert locked.value.condition == "com.microsoft:session-cannot-be-locked"


def test_the_next_session_is_the_one_that_has_waited_longest(clock: ManualClock) -> None:
    target = queue(clock, RequiresSession=True)
    for session_id in ("b", "a", "c"):
        _send(target, session_id, session_id=session_id)
    found = []
    for _ in range(3):
        receiver = HandReceiver()
        assert target.accept_next_session(receiver)
        assert receiver.stream is not None
        found.append(receiver.stream.session_id)
    assert found == ["b", "a", "c"]
    assert not target.accept_next_session(HandReceiver())


def test_whoever_waits_gets_a_session_as_soon_as_one_is_free(clock: ManualClock) -> None:
    target = queue(clock, RequiresSession=True)
    first, second, third = HandReceiver(), HandReceiver(), HandReceiver()
    for receiver in (first, second, third):
        assert not target.accept_next_session(receiver)
    target.stop_waiting(first)
    _send(target, "x1", "x2", session_id="x")
    assert (first.was_granted, second.was_granted, third.was_granted) == (False, True, False)
    target.hand_out(second)
    target.complete(second.take())
    target.close_receiver(second, orderly=True)
    assert third.was_granted
    target.hand_out(third)
    assert third.bodies() == ["x2"]


def test_a_session_that_is_left_offers_what_was_not_settled_again(clock: ManualClock) -> None:
    target = queue(clock, RequiresSession=True, MaxDeliveryCount=2)
    _send(target, "a1", "a2", session_id="a")
    for orderly, expected in ((True, 0), (True, 0), (False, 1)):
        receiver = _accepted(target, "a")
        assert receiver.bodies() == ["a1", "a2"]
        lock = receiver.take()
        target.close_receiver(receiver, orderly)
        assert [message.delivery_count for message in target.peek(1, 10)] == [expected] * 2
        with pytest.raises(BrokerError) as lost:
            target.complete(lock)
        assert lost.value.condition == "com.microsoft:session-lock-lost"


def test_a_message_that_kills_every_process_that_holds_it_ends_as_a_dead_letter(clock: ManualClock) -> None:
    target = queue(clock, RequiresSession=True, MaxDeliveryCount=2)
    _send(target, "poison", session_id="a")
    for _ in range(2):
        receiver = HandReceiver()
        assert target.accept_next_session(receiver)
        target.hand_out(receiver)
        target.close_receiver(receiver, orderly=False)
    assert not target.accept_next_session(HandReceiver())
    assert len(_dead(target)) == 1


def test_an_expired_session_lock_is_lost_and_counts_as_an_attempt(clock: ManualClock) -> None:
    target = queue(clock, RequiresSession=True, LockDuration="PT30S")
    _send(target, "a1", "a2", session_id="a")
    receiver = _accepted(target, "a", credit=1)
    clock.advance(30)
    assert receiver.losses == 1
    with pytest.raises(BrokerError) as lost:
        target.complete(receiver.take())
    assert lost.value.condition == "com.microsoft:session-lock-lost"
    again = _accepted(target, "a")
    assert [(body(message.content), message.delivery_count) for message, _ in again.deliveries] == [
        ("a1", 1),
        ("a2", 0),
    ]


def test_a_renewed_session_holds_on_with_all_its_messages(clock: ManualClock) -> None:
    target = queue(clock, RequiresSession=True, LockDuration="PT30S")
    _send(target, "a1", session_id="a")
    receiver = _accepted(target, "a")
    for _ in range(5):
        clock.advance(20)
        assert target.renew_session("a") == clock.now() + 30
    target.complete(receiver.take())
    clock.advance(29)
    assert receiver.losses == 0
    clock.advance(1)
    assert receiver.losses == 1
    with pytest.raises(BrokerError):
        target.renew_session("a")


def test_only_the_link_that_holds_a_session_may_touch_it(clock: ManualClock) -> None:
    target = queue(clock, RequiresSession=True)
    receiver = _accepted(target, "a")
    receiver.name = "mine"
    target.renew_session("a", "mine")
    for touch in (target.renew_session, target.held_session):
        with pytest.raises(BrokerError) as lost:
            touch("a", "another")
        assert lost.value.condition == "com.microsoft:session-lock-lost"


def test_a_session_keeps_its_state_for_the_next_holder(clock: ManualClock) -> None:
    target = queue(clock, RequiresSession=True)
    receiver = _accepted(target, "a")
    target.set_session_state("a", b"so far")
    target.close_receiver(receiver, orderly=True)
    with pytest.raises(BrokerError):
        target.set_session_state("a", b"not held")
    receiver = _accepted(target, "a")
    assert target.held_session("a").state == b"so far"
    assert target.session_ids(None) == ["a"]
    target.set_session_state("a", None)
    target.close_receiver(receiver, orderly=True)
    assert target.session_ids(None) == []


def test_sessions_are_listed_by_messages_and_by_when_their_state_was_set(clock: ManualClock) -> None:
    target = queue(clock, RequiresSession=True)
    _send(target, "x", session_id="b")
    _accepted(target, "a")
    before = clock.now()
    clock.advance(1)
    target.set_session_state("a", b"s")
    assert target.session_ids(None) == ["a", "b"]
    assert target.session_ids(before) == ["a"]
    assert target.session_ids(clock.now()) == []


def test_a_locked_message_in_a_session_is_renewed_through_its_session(clock: ManualClock) -> None:
    target = queue(clock, RequiresSession=True)
    _send(target, "a1", session_id="a")
    lock = _accepted(target, "a").take()
    with pytest.raises(BrokerError, match="session"):
        target.renew_lock(lock.token)


def test_session_and_plain_receivers_do_not_mix(clock: ManualClock) -> None:
    plain, talks = queue(clock), queue(clock, RequiresSession=True)
    attempts: list[Callable[[], object]] = [
        lambda: plain.accept_session(HandReceiver(), "a"),
        lambda: plain.accept_next_session(HandReceiver()),
        lambda: talks.open_receiver(HandReceiver()),
        lambda: _send(talks, "no session"),
    ]
    for attempt in attempts:
        with pytest.raises(BrokerError) as refused:
            attempt()
        assert refused.value.condition == "amqp:not-allowed"


def test_a_message_without_session_is_a_dead_letter_where_a_subscription_needs_one(clock: ManualClock) -> None:
    target = topic(clock, {}, [{"Name": "s", "Properties": {"RequiresSession": True}}, {"Name": "t"}])
    _send(target, "a")
    [dead] = _dead(target.subscriptions["s"])
    assert dead.application_properties["DeadLetterReason"] == "Session ID is null"
    assert target.subscriptions["t"].counts().active == 1


def test_the_last_message_of_a_waiting_session_can_expire(clock: ManualClock) -> None:
    target = queue(clock, RequiresSession=True, DefaultMessageTimeToLive="PT10S")
    _send(target, "a", session_id="a")
    clock.advance(10)
    receiver = HandReceiver()
    assert not target.accept_next_session(receiver)
    _send(target, "b", session_id="a")
    assert receiver.was_granted


# --- deferral and peeking ------------------------------------------------------------------------------------------


def _deferred(target: Queue, receiver: HandReceiver) -> int:
    lock = receiver.take()
    target.defer(lock)
    return lock.message.sequence_number


def test_a_deferred_message_is_only_received_by_its_number(clock: ManualClock) -> None:
    target = queue(clock)
    _send(target, "a", "b")
    receiver = _opened(target)
    number = _deferred(target, receiver)
    assert target.counts().deferred == 1
    [(message, lock)] = target.receive_deferred([number], None, destructive=False)
    assert (body(message.content), message.delivery_count) == ("a", 1)
    assert lock is not None
    with pytest.raises(BrokerError) as missing:
        target.receive_deferred([number], None, destructive=False)
    assert missing.value.condition == "com.microsoft:message-not-found"
    target.complete(lock)
    assert target.counts().deferred == 0


def test_a_deferred_message_that_is_not_completed_stays_deferred(clock: ManualClock) -> None:
    target = queue(clock, LockDuration="PT30S")
    _send(target, "a")
    receiver = _opened(target)
    number = _deferred(target, receiver)
    [(_, lock)] = target.receive_deferred([number], None, destructive=False)
    assert lock is not None
    target.abandon(lock)
    target.receive_deferred([number], None, destructive=False)
    clock.advance(30)
    assert receiver.deliveries == []
    [(message, none)] = target.receive_deferred([number], None, destructive=True)
    assert (body(message.content), none) == ("a", None)
    assert target.peek(1, 10) == []


def test_a_message_that_expired_while_it_was_locked_is_not_deferred_but_dead(clock: ManualClock) -> None:
    target = queue(clock, DefaultMessageTimeToLive="PT10S", DeadLetteringOnMessageExpiration=True)
    _send(target, "a")
    lock = _opened(target).take()
    clock.advance(20)
    target.defer(lock)
    assert target.counts().deferred == 0
    assert [body(each) for each in _dead(target)] == ["a"]


def test_deferred_messages_of_a_session_need_the_session(clock: ManualClock) -> None:
    target = queue(clock, RequiresSession=True)
    _send(target, "a", session_id="a")
    receiver = _accepted(target, "a")
    number = _deferred(target, receiver)
    target.close_receiver(receiver, orderly=True)
    with pytest.raises(BrokerError) as lost:
        target.receive_deferred([number], "a", destructive=False)
    assert lost.value.condition == "com.microsoft:session-lock-lost"
    with pytest.raises(BrokerError):
        target.receive_deferred([number], None, destructive=False)
    _accepted(target, "b")
    with pytest.raises(BrokerError):
        target.receive_deferred([number], "b", destructive=False)
    _accepted(target, "a")
    [(message, _)] = target.receive_deferred([number], "a", destructive=False)
    assert body(message.content) == "a"


def test_fetching_deferred_messages_is_all_or_none(clock: ManualClock) -> None:
    target = queue(clock)
    _send(target, "a", "b")
    receiver = _opened(target)
    number = _deferred(target, receiver)
    with pytest.raises(BrokerError):
        target.receive_deferred([number, number + 1], None, destructive=True)
    assert len(target.receive_deferred([number], None, destructive=True)) == 1


def test_peeking_sees_everything_in_order_and_locks_nothing(clock: ManualClock) -> None:
    target = queue(clock)
    _send(target, "deferred", "locked", "waiting")
    receiver = _opened(target, credit=2)
    _deferred(target, receiver)
    target.schedule(content("scheduled"), clock.now() + 60)
    assert [(body(message.content), int(message.state)) for message in target.peek(1, 10)] == [
        ("deferred", 1),
        ("locked", 0),
        ("waiting", 0),
        ("scheduled", 2),
    ]
    assert [body(message.content) for message in target.peek(2, 1)] == ["locked"]
    assert target.counts().locked == 1


def test_peeking_can_look_at_one_session(clock: ManualClock) -> None:
    target = queue(clock, RequiresSession=True)
    for session_id in ("a", "b", "a"):
        _send(target, session_id, session_id=session_id)
    assert [message.sequence_number for message in target.peek(1, 10, "a")] == [1, 3]


# --- the long run --------------------------------------------------------------------------------------------------


def test_what_is_settled_long_ago_is_forgotten_before_its_deadlines(clock: ManualClock) -> None:
    target = queue(clock, DefaultMessageTimeToLive="P14D")
    receiver = _opened(target, credit=0)
    for _ in range(5000):
        _send(target, "a")
        receiver.credit = 1
        target.hand_out(receiver)
        target.complete(receiver.take())
    assert len(target._deadlines._heap) < 2500
