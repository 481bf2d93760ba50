"""The namespace: topics that copy what they are sent to the subscriptions whose rules select it, and all by path."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from sandbox.broker.config import TopicSettings, Topology
from sandbox.broker.deadlines import Clock, Deadline, Deadlines, DuplicateHistory
from sandbox.broker.errors import NOT_ALLOWED, NOT_FOUND, BrokerError
from sandbox.broker.message import Content, Message, State
from sandbox.broker.queues import Queue, require_scheduled
from sandbox.broker.rules import Filter

_FORWARD_HOPS_MAX: Final = 4


class Topic:
    """A topic: what it is sent is copied to the subscriptions whose rules select it."""

    def __init__(self, name: str, settings: TopicSettings, clock: Clock, route: "Namespace") -> None:
        self.name = name
        self.settings = settings
        self.received_total = 0
        self._clock = clock
        self._sequence = 0
        self._scheduled: dict[int, Content] = {}
        self._deadlines = Deadlines(clock, self._fall_due, lambda: len(self._scheduled))
        self._deadlines.stale(lambda _kind, key: key not in self._scheduled)
        window = settings.duplicate_window_seconds
        self._history = None if window is None else DuplicateHistory(clock, window)
        self.subscriptions: dict[str, Queue] = {}
        self._rules: list[tuple[Queue, tuple[Filter, ...]]] = []
        for subscription, rules in settings.subscriptions.items():
            limits = [seconds for seconds in (settings.ttl_seconds, rules.queue.ttl_seconds) if seconds is not None]
            queue_settings = replace(rules.queue, ttl_seconds=min(limits, default=None))
            queue = Queue(f"{name}/Subscriptions/{subscription}", queue_settings, clock, route)
            self.subscriptions[subscription] = queue
            self._rules.append((queue, tuple(rule for _, rule in rules.rules)))

    def send(self, contents: Iterable[Content]) -> None:
        """Publish messages, all or none; duplicates are accepted and dropped."""
        contents = list(contents)
        for content in contents:
            _ = content.application_properties  # what cannot be decoded is refused before anything is published
        for content in contents:
            if self._history is not None and self._history.is_duplicate(content.message_id):
                continue
            if content.scheduled_ms is not None and content.scheduled_ms / 1000 > self._clock.now():
                self._schedule(content, content.scheduled_ms / 1000)
            else:
                self.put(content)

    def put(self, content: Content, hops: int = 0) -> None:
        """Copy a message to the subscriptions that select it."""
        self._sequence += 1
        self.received_total += 1
        for queue, rules in self._rules:
            if any(rule.selects(content) for rule in rules):
                queue.put(content, self._sequence, hops)

    def schedule(self, content: Content, when: float) -> int:
        """Publish a message at a time; returns the number it can be cancelled by."""
        if self._history is not None and self._history.is_duplicate(content.message_id):
            self._sequence += 1
            return self._sequence
        return self._schedule(content, when)

    def cancel_scheduled(self, sequence_numbers: Iterable[int]) -> None:
        """Forget scheduled messages. Raises message-not-found when one is not scheduled (any more)."""
        numbers = list(sequence_numbers)
        require_scheduled(numbers, self._scheduled, self.name)
        for number in numbers:
            self._scheduled.pop(number, None)

    @property
    def scheduled_count(self) -> int:
        """How many messages wait for their time."""
        return len(self._scheduled)

    def peek(self, from_sequence_number: int, count: int) -> list[Message]:
        """Scheduled messages in order of their numbers."""
        numbers = sorted(number for number in self._scheduled if number >= from_sequence_number)[:count]
        return [
            Message(content, number, number, (content.scheduled_ms or 0) / 1000, None, State.SCHEDULED)
            for number, content in ((number, self._scheduled[number]) for number in numbers)
        ]

    def _schedule(self, content: Content, when: float) -> int:
        self._sequence += 1
        self._scheduled[self._sequence] = content
        self._deadlines.add(when, Deadline.SCHEDULE, self._sequence)
        return self._sequence

    def _fall_due(self, _kind: Deadline, key: int, _when: float) -> None:
        content = self._scheduled.pop(key, None)
        if content is not None:
            self.put(content)


class Namespace:
    """All entities by their path, whatever its case."""

    def __init__(self, topology: Topology, clock: Clock) -> None:
        self.name = topology.name
        self.topics = {name: Topic(name, settings, clock, self) for name, settings in topology.topics.items()}
        self.queues = {name: Queue(name, settings, clock, self) for name, settings in topology.queues.items()}
        self._by_path: dict[str, Queue | Topic] = {}
        for topic in self.topics.values():
            self._by_path[topic.name.lower()] = topic
        for queue in self.all_queues():
            self._by_path[queue.name.lower()] = queue
            if queue.dead_letters is not None:
                self._by_path[queue.dead_letters.name.lower()] = queue.dead_letters

    def all_queues(self) -> list[Queue]:
        """Queues and subscriptions, without their dead-letter queues."""
        return [
            *self.queues.values(),
            *(queue for topic in self.topics.values() for queue in topic.subscriptions.values()),
        ]

    def find(self, path: str) -> Queue | Topic:
        """The entity of a path. Raises not-found."""
        entity = self._by_path.get(path.lower())
        if entity is None:
            raise BrokerError(NOT_FOUND, f"The messaging entity {path!r} could not be found")
        return entity

    def forward(self, path: str, content: Content, hops: int) -> None:
        """Pass a message on to another entity; a chain that is too long ends in an error."""
        if hops > _FORWARD_HOPS_MAX:
            raise BrokerError(NOT_ALLOWED, f"A message was forwarded more than {_FORWARD_HOPS_MAX} times")
        entity = self.find(path)
        if isinstance(entity, Topic):
            entity.put(content, hops)
        else:
            entity.put(content, hops=hops)

    def forward_dead(self, path: str, message: Message, content: Content, source: str) -> None:
        """Pass a dead-lettered message on to another entity."""
        entity = self.find(path)
        if isinstance(entity, Topic):
            entity.put(content)
        else:
            entity.put_dead(message, content, source)
