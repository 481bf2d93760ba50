"""Random histories of a queue: whatever happens to a message, it is not lost, not doubled, and not left locked."""

import contextlib
import random
from datetime import timedelta
from typing import Any

import pytest

from sandbox.broker.errors import BrokerError
from sandbox.broker.message import Message, State
from sandbox.broker.queues import Lock
from tests.broker.by_hand import HandReceiver, ManualClock, body, content, queue

_STEPS = 400
_ACTIONS = (
    *("send", "send", "schedule", "open", "credit", "credit", "complete", "abandon", "release", "dead_letter"),
    *("defer", "fetch", "renew", "leave", "die", "wait"),
)


class _History:
    """A queue, everybody who uses it, and what they know of the messages."""

    def __init__(self, seed: int, with_sessions: bool) -> None:
        self.chance = random.Random(seed)
        self.clock = ManualClock()
        self.with_sessions = with_sessions
        self.queue = queue(
            self.clock,
            RequiresSession=with_sessions,
            LockDuration="PT30S",
            MaxDeliveryCount=4,
            DefaultMessageTimeToLive="PT3M",
            DeadLetteringOnMessageExpiration=True,
        )
        self.receivers: list[HandReceiver] = []
        self.locks: list[Lock] = []
        self.deferred: dict[int, Message] = {}
        self.sent: list[str] = []
        self.completed: list[str] = []

    def step(self, number: int) -> None:
        """One random thing happens; what the queue refuses has no effect."""
        with contextlib.suppress(BrokerError):
            self._act(self.chance.choice(_ACTIONS), str(number))
        for receiver in self.receivers:
            while receiver.deliveries:
                self.locks.append(receiver.take())

    def finish(self) -> None:
        """Everybody leaves, all locks run out, and one last receiver takes what is there."""
        for receiver in self.receivers:
            self.queue.close_receiver(receiver, orderly=True)
        self.clock.advance(100)
        while True:
            last = HandReceiver(credit=10_000)
            if not self.with_sessions:
                self.queue.open_receiver(last)
            elif not self.queue.accept_next_session(last):
                return
            self.queue.hand_out(last)
            for lock in [last.take() for _ in list(last.deliveries)]:
                self._complete(lock)
            self.queue.close_receiver(last, orderly=True)
            if not self.with_sessions:
                return

    def _act(self, action: str, text: str) -> None:
        match action:
            case "send":
                self.sent.append(text)
                ttl = timedelta(seconds=self.chance.choice([5, 40, 1000]))
                self.queue.send([content(text, **self._session(), time_to_live=ttl)])
            case "schedule":
                self.sent.append(text)
                self.queue.schedule(content(text, **self._session()), self.clock.now() + self.chance.choice([0, 5, 50]))
            case "open":
                receiver = HandReceiver(credit=0)
                self.receivers.append(receiver)
                if self.with_sessions:
                    self.queue.accept_next_session(receiver)
                else:
                    self.queue.open_receiver(receiver)
            case "wait":
                self.clock.advance(self.chance.choice([1, 10, 31]))
            case "credit" if self.receivers:
                receiver = self.chance.choice(self.receivers)
                receiver.credit = self.chance.randrange(1, 4)
                self.queue.hand_out(receiver)
            case "leave" | "die" if self.receivers:
                receiver = self.receivers.pop(self.chance.randrange(len(self.receivers)))
                self.queue.close_receiver(receiver, orderly=action == "leave")
            case "fetch" if self.deferred:
                number, message = self.chance.choice(list(self.deferred.items()))
                session_id = message.content.session_id
                [(_, fetched)] = self.queue.receive_deferred([number], session_id, destructive=False)
                assert fetched is not None
                self.locks.append(fetched)
            case "complete" | "abandon" | "release" | "defer" | "renew" | "dead_letter" if self.locks:
                self._settle(action, self.locks.pop(self.chance.randrange(len(self.locks))))
            case _:
                pass

    def _settle(self, action: str, lock: Lock) -> None:
        match action:
            case "complete":
                self._complete(lock)
            case "abandon":
                self.queue.abandon(lock)
            case "release":
                self.queue.release(lock)
            case "dead_letter":
                self.queue.dead_letter(lock, "chance", None)
            case "defer":
                self.queue.defer(lock)
                self.deferred[lock.message.sequence_number] = lock.message
            case _:
                self.locks.append(lock)
                if lock.stream.session_id is None:
                    self.queue.renew_lock(lock.token)
                else:
                    self.queue.renew_session(lock.stream.session_id)

    def _complete(self, lock: Lock) -> None:
        self.queue.complete(lock)
        self.completed.append(body(lock.message.content))

    def _session(self) -> dict[str, Any]:
        return {"session_id": f"s{self.chance.randrange(4)}"} if self.with_sessions else {}


@pytest.mark.parametrize("with_sessions", [True, False])
@pytest.mark.parametrize("seed", range(30))
def test_every_message_is_completed_once_or_deferred_or_dead(seed: int, with_sessions: bool) -> None:
    history = _History(seed, with_sessions)
    for number in range(_STEPS):
        history.step(number)
    history.finish()
    left = history.queue.peek(1, 10_000)
    assert {message.state for message in left} <= {State.DEFERRED}
    assert history.queue.dead_letters is not None
    dead = history.queue.dead_letters.peek(1, 10_000)
    found = [*history.completed, *(body(message.content) for message in [*left, *dead])]
    assert sorted(found) == sorted(history.sent)
    counts = history.queue.counts()
    assert (counts.active, counts.locked, counts.scheduled, counts.sessions_locked) == (0, 0, 0, 0)
