"""The topology: queues, topics, subscriptions and rules, from the `Config.json` of Microsoft's Service Bus emulator.

The same file serves either broker. Property names and defaults are the emulator's; `MaxMessageSizeInKilobytes`
(default 256) is the ARM property of that name, which the emulator does not read. Anything unknown, missing or of the
wrong type raises `ConfigError` naming the path of the value.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sandbox.broker.rules import CorrelationFilter, Filter, FilterError, SqlFilter, TrueFilter

_DURATION: Final = re.compile(
    r"P(?:(?P<days>\d+)D)?(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_LOCK_SECONDS_MAX: Final = 300
_DUPLICATE_WINDOW_SECONDS_MAX: Final = 7 * 86_400


class ConfigError(ValueError):
    """The configuration cannot be used; the message names the path of the value."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """A queue, or the queue a subscription keeps. Durations in seconds; None means without end."""

    lock_seconds: float = 60.0
    max_delivery_count: int = 10
    ttl_seconds: float | None = None
    requires_session: bool = False
    duplicate_window_seconds: float | None = None  # None: no duplicate detection
    dead_letter_on_expiration: bool = False
    forward_to: str | None = None
    forward_dead_letters_to: str | None = None
    max_message_bytes: int = 256 * 1024


@dataclass(frozen=True, slots=True)
class SubscriptionSettings:
    """A subscription: a queue, and the rules any of which lets a message in."""

    queue: QueueSettings
    rules: tuple[tuple[str, Filter], ...]


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """A topic and its subscriptions by name. Durations in seconds."""

    subscriptions: dict[str, SubscriptionSettings]
    ttl_seconds: float | None = None
    duplicate_window_seconds: float | None = None
    max_message_bytes: int = 256 * 1024


@dataclass(frozen=True, slots=True)
class Topology:
    """All entities of one namespace, by name."""

    name: str
    queues: dict[str, QueueSettings]
    topics: dict[str, TopicSettings]


def read_topology(path: Path) -> Topology:
    """Read a `Config.json`. Raises `ConfigError`."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    return parse_topology(document)


def parse_topology(document: Any) -> Topology:
    """The topology in a parsed `Config.json`, which has exactly one namespace."""
    root = _Node(document, "$")
    namespaces = root.child("UserConfig").children("Namespaces")
    if len(namespaces) != 1:
        raise ConfigError("$.UserConfig.Namespaces: exactly one namespace is expected")
    namespace = namespaces[0]
    queues = {node.text("Name"): _queue_settings(node, "Properties") for node in namespace.children("Queues")}
    topics = {node.text("Name"): _topic_settings(node) for node in namespace.children("Topics")}
    names = [name.lower() for name in (*queues, *topics)]
    if duplicates := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"{namespace.path}: names used twice: {', '.join(sorted(duplicates))}")
    _check_forwarding(namespace.path, queues, topics)
    return Topology(namespace.text("Name"), queues, topics)


def parse_duration(text: str) -> float:
    """Seconds in an ISO 8601 duration of days, hours, minutes and seconds, for example `PT1M` or `P14D`."""
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groupdict().values()):
        raise ValueError(f"{text!r} is not a duration of days, hours, minutes and seconds")
    days, hours, minutes, seconds = (float(match[name] or 0) for name in ("days", "hours", "minutes", "seconds"))
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@dataclass(frozen=True, slots=True)
class _Node:
    """A JSON object and where it stands."""

    value: Any
    path: str

    def child(self, name: str) -> "_Node":
        return _Node(self._get(name, dict, {}), f"{self.path}.{name}")

    def children(self, name: str) -> list["_Node"]:
        items = self._get(name, list, [])
        return [_Node(item, f"{self.path}.{name}[{index}]") for index, item in enumerate(items)]

    def text(self, name: str, default: str | None = None) -> str:
        value = self._get(name, str, default)
        if value is None:
            raise ConfigError(f"{self.path}.{name}: missing")
        return str(value)

    def flag(self, name: str) -> bool:
        return bool(self._get(name, bool, False))

    def number(self, name: str, default: int) -> int:
        value = self._get(name, int, default)
        if isinstance(value, bool) or value < 1:
            raise ConfigError(f"{self.path}.{name}: a positive number is expected")
        return int(value)

    def duration(self, name: str, default: float | None, maximum: float | None = None) -> float | None:
        text = self._get(name, str, None)
        if not text:
            return default
        try:
            seconds = parse_duration(text)
        except ValueError as error:
            raise ConfigError(f"{self.path}.{name}: {error}") from error
        if maximum is not None and not 0 < seconds <= maximum:
            raise ConfigError(f"{self.path}.{name}: at most {maximum:.0f} seconds")
        return seconds

    def only(self, known: set[str]) -> None:
        if not isinstance(self.value, dict):
            raise ConfigError(f"{self.path}: an object is expected")
        if unknown := sorted(set(self.value) - known):
            raise ConfigError(f"{self.path}: unknown {', '.join(unknown)}")

    def _get(self, name: str, kind: type, default: Any) -> Any:
        if not isinstance(self.value, dict):
            raise ConfigError(f"{self.path}: an object is expected")
        value = self.value.get(name)
        if value is None:
            return default
        if not isinstance(value, kind):
            raise ConfigError(f"{self.path}.{name}: {kind.__name__} is expected")
        return value


_TOPIC_PROPERTIES: Final = {
    "DefaultMessageTimeToLive",
    "DuplicateDetectionHistoryTimeWindow",
    "RequiresDuplicateDetection",
    "MaxMessageSizeInKilobytes",
}
_QUEUE_PROPERTIES: Final = {
    *_TOPIC_PROPERTIES,
    "DeadLetteringOnMessageExpiration",
    "ForwardDeadLetteredMessagesTo",
    "ForwardTo",
    "LockDuration",
    "MaxDeliveryCount",
    "RequiresSession",
}


def _check_forwarding(path: str, queues: dict[str, QueueSettings], topics: dict[str, TopicSettings]) -> None:
    known = {name.lower() for name in (*queues, *topics)}
    subscriptions = {
        f"{topic}/{name}": subscription.queue
        for topic, settings in topics.items()
        for name, subscription in settings.subscriptions.items()
    }
    for name, queue in {**queues, **subscriptions}.items():
        for target in (queue.forward_to, queue.forward_dead_letters_to):
            if target is not None and target.lower() not in known:
                raise ConfigError(f"{path}: {name} forwards to {target!r}, which is no queue or topic")


def _duplicate_window(node: _Node) -> float | None:
    window = node.duration("DuplicateDetectionHistoryTimeWindow", 600.0, _DUPLICATE_WINDOW_SECONDS_MAX)
    return window if node.flag("RequiresDuplicateDetection") else None


def _queue_settings(parent: _Node, name: str) -> QueueSettings:
    node = parent.child(name)
    node.only(_QUEUE_PROPERTIES)
    return QueueSettings(
        lock_seconds=node.duration("LockDuration", 60.0, _LOCK_SECONDS_MAX) or 60.0,
        max_delivery_count=node.number("MaxDeliveryCount", 10),
        ttl_seconds=node.duration("DefaultMessageTimeToLive", None),
        requires_session=node.flag("RequiresSession"),
        duplicate_window_seconds=_duplicate_window(node),
        dead_letter_on_expiration=node.flag("DeadLetteringOnMessageExpiration"),
        forward_to=node.text("ForwardTo", "") or None,
        forward_dead_letters_to=node.text("ForwardDeadLetteredMessagesTo", "") or None,
        max_message_bytes=node.number("MaxMessageSizeInKilobytes", 256) * 1024,
    )


def _topic_settings(node: _Node) -> TopicSettings:
    properties = node.child("Properties")
    properties.only(_TOPIC_PROPERTIES)
    return TopicSettings(
        subscriptions={child.text("Name"): _subscription_settings(child) for child in node.children("Subscriptions")},
        ttl_seconds=properties.duration("DefaultMessageTimeToLive", None),
        duplicate_window_seconds=_duplicate_window(properties),
        max_message_bytes=properties.number("MaxMessageSizeInKilobytes", 256) * 1024,
    )


def _subscription_settings(node: _Node) -> SubscriptionSettings:
    rules = tuple((child.text("Name"), _rule_filter(child)) for child in node.children("Rules"))
    return SubscriptionSettings(_queue_settings(node, "Properties"), rules or (("$Default", TrueFilter()),))


def _rule_filter(node: _Node) -> Filter:
    properties = node.child("Properties")
    properties.only({"FilterType", "SqlFilter", "CorrelationFilter"})
    kind = properties.text("FilterType")
    if kind.lower() == "sql":
        sql = properties.child("SqlFilter")
        sql.only({"SqlExpression"})
        try:
            return SqlFilter(sql.text("SqlExpression"))
        except FilterError as error:
            raise ConfigError(f"{sql.path}.SqlExpression: {error}") from error
    if kind.lower() == "correlation":
        correlation = properties.child("CorrelationFilter")
        correlation.only({*CorrelationFilter.SYSTEM_NAMES, "Properties"})
        return CorrelationFilter(
            {name: correlation.text(name) for name in CorrelationFilter.SYSTEM_NAMES if correlation.text(name, "")},
            dict(correlation.child("Properties").value),
        )
    raise ConfigError(f"{properties.path}.FilterType: Sql or Correlation is expected")
