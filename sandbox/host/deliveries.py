"""A Service Bus message in the form in which the real host hands it to a function.

The delivery count is the one the .NET client shows: 1 on the first delivery. Times are written with six digits and an
offset, which the worker library reads four times as fast as seven digits and Z.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.amqp import AmqpMessageBodyType

from sandbox.host.protos import Collection, TypedData
from sandbox.host.runtime import Trace
from sandbox.host.trace import trace_of_message

_TEXTS: Final = {
    "MessageId": "message_id",
    "LockToken": "lock_token",
    "SessionId": "session_id",
    "ContentType": "content_type",
    "CorrelationId": "correlation_id",
    "Subject": "subject",
    "Label": "subject",
    "ReplyTo": "reply_to",
    "To": "to",
    "PartitionKey": "partition_key",
}


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message: `texts` and `times` hold what it carries, nothing for what it does not."""

    body: bytes
    texts: Mapping[str, str]
    times: Mapping[str, str]
    delivery_count: int
    sequence_number: int
    properties: Mapping[str, Any] = field(default_factory=dict)

    @property
    def trace(self) -> Trace:
        """The trace it carries, or a new one."""
        return trace_of_message(self.properties)


def read_delivery(message: ServiceBusReceivedMessage) -> Delivery:
    """What a received message carries."""
    texts: dict[str, str] = {}
    for name, attribute in _TEXTS.items():
        value = getattr(message, attribute)
        if value is not None:
            texts[name] = str(value)
    times = {
        name: value.isoformat()
        for name, value in (("EnqueuedTimeUtc", message.enqueued_time_utc), ("ExpiresAtUtc", message.expires_at_utc))
        if value is not None
    }
    properties = {_text(name): _plain(value) for name, value in (message.application_properties or {}).items()}
    return Delivery(
        _body(message), texts, times, (message.delivery_count or 0) + 1, message.sequence_number or 0, properties
    )


def made_delivery(body: str) -> Delivery:
    """A message that never was on the bus: the input of a function that is fired on demand."""
    texts = {"MessageId": uuid4().hex, "LockToken": str(uuid4())}
    return Delivery(body.encode(), texts, {"EnqueuedTimeUtc": datetime.now(UTC).isoformat()}, 1, 0)


def one(delivery: Delivery) -> tuple[TypedData, dict[str, TypedData]]:
    """Data and trigger metadata for a function that takes one message."""
    metadata = {name: TypedData(string=value) for name, value in delivery.texts.items()}
    for name, value in delivery.times.items():
        metadata[name] = TypedData(json=f'"{value}"')
    metadata["DeliveryCount"] = TypedData(json=str(delivery.delivery_count))
    metadata["SequenceNumber"] = TypedData(json=str(delivery.sequence_number))
    properties = TypedData(json=json.dumps(delivery.properties))
    metadata["ApplicationProperties"] = metadata["UserProperties"] = properties
    return TypedData(bytes=delivery.body), metadata


def many(deliveries: Sequence[Delivery]) -> tuple[TypedData, dict[str, TypedData]]:
    """Data and trigger metadata for a function that takes a batch."""
    metadata: dict[str, TypedData] = {}
    for name in _TEXTS:
        _put_array(metadata, name, [delivery.texts.get(name) for delivery in deliveries])
    for name in ("EnqueuedTimeUtc", "ExpiresAtUtc"):
        _put_array(metadata, name, [delivery.times.get(name) for delivery in deliveries])
    metadata["DeliveryCountArray"] = _numbers([delivery.delivery_count for delivery in deliveries])
    metadata["SequenceNumberArray"] = _numbers([delivery.sequence_number for delivery in deliveries])
    properties = TypedData(json=json.dumps([delivery.properties for delivery in deliveries]))
    metadata["ApplicationPropertiesArray"] = metadata["UserPropertiesArray"] = properties
    return TypedData(collection_bytes=Collection(bytes=[delivery.body for delivery in deliveries])), metadata


def _put_array(metadata: dict[str, TypedData], name: str, values: list[str | None]) -> None:
    if all(value is not None for value in values):
        metadata[f"{name}Array"] = TypedData(collection_string=Collection(string=values))
    elif any(value is not None for value in values):
        metadata[f"{name}Array"] = TypedData(json=json.dumps(values))


def _numbers(values: list[int]) -> TypedData:
    return TypedData(collection_sint64=Collection(sint64=values))


def _body(message: ServiceBusReceivedMessage) -> bytes:
    if message.body_type is AmqpMessageBodyType.DATA:
        return b"".join(message.body)
    if message.body_type is AmqpMessageBodyType.VALUE:
        value = message.body
        if isinstance(value, bytes):
            return value
        return value.encode() if isinstance(value, str) else json.dumps(value, default=_plain).encode()
    return json.dumps(list(message.body), default=_plain).encode()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _plain(value: Any) -> Any:
    """An AMQP value as JSON has it."""
    match value:
        case bytes():
            return value.decode(errors="replace")
        case datetime():
            return value.isoformat()
        case UUID():
            return str(value)
        case _:
            return value
