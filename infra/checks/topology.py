"""The bus of the cloud and the bus of the local stack are one topology: topics, subscriptions, rules, times."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.checks.deployment import Deployment
from infra.checks.findings import Finding

_BUS = "Microsoft.ServiceBus/namespaces"


def check_topology(deployment: Deployment, topology: dict[str, Any]) -> Iterator[Finding]:
    """What the Bicep deploys against what the local broker is configured with."""
    yield from _compare(f"{deployment.label}: bus", topology, _deployed(deployment))


def read_topology(config: Path) -> dict[str, Any]:
    """The broker's configuration as {topic: {…, subscriptions: {name: {…, rules: {name: sql}}}}}."""
    (namespace,) = json.loads(config.read_text(encoding="utf-8"))["UserConfig"]["Namespaces"]
    return {
        topic["Name"]: {
            "time to live": topic["Properties"]["DefaultMessageTimeToLive"],
            "duplicate detection": topic["Properties"]["RequiresDuplicateDetection"],
            "duplicate window": topic["Properties"]["DuplicateDetectionHistoryTimeWindow"],
            "subscriptions": {
                subscription["Name"]: {
                    "sessions": subscription["Properties"]["RequiresSession"],
                    "lock duration": subscription["Properties"]["LockDuration"],
                    "max delivery count": subscription["Properties"]["MaxDeliveryCount"],
                    "time to live": subscription["Properties"]["DefaultMessageTimeToLive"],
                    "dead-letters the expired": subscription["Properties"]["DeadLetteringOnMessageExpiration"],
                    "rules": {
                        rule["Name"]: rule["Properties"]["SqlFilter"]["SqlExpression"] for rule in subscription["Rules"]
                    },
                }
                for subscription in topic["Subscriptions"]
            },
        }
        for topic in namespace["Topics"]
    } | {f"queue {queue['Name']}": {} for queue in namespace["Queues"]}


def _deployed(deployment: Deployment) -> dict[str, Any]:
    rules = deployment.of_type(f"{_BUS}/topics/subscriptions/rules")
    subscriptions = deployment.of_type(f"{_BUS}/topics/subscriptions")
    return {
        topic.name: {
            "time to live": topic.body["properties"].get("defaultMessageTimeToLive"),
            "duplicate detection": topic.body["properties"].get("requiresDuplicateDetection", False),
            "duplicate window": topic.body["properties"].get("duplicateDetectionHistoryTimeWindow"),
            "subscriptions": {
                subscription.name: {
                    "sessions": subscription.body["properties"].get("requiresSession", False),
                    "lock duration": subscription.body["properties"].get("lockDuration"),
                    "max delivery count": subscription.body["properties"].get("maxDeliveryCount"),
                    "time to live": subscription.body["properties"].get("defaultMessageTimeToLive"),
                    "dead-letters the expired": subscription.body["properties"].get("deadLetteringOnMessageExpiration"),
                    "rules": {
                        rule.name: rule.body["properties"].get("sqlFilter", {}).get("sqlExpression")
                        for rule in rules
                        if rule.id.startswith(f"{subscription.id}/")
                    },
                }
                for subscription in subscriptions
                if subscription.id.startswith(f"{topic.id}/")
            },
        }
        for topic in deployment.of_type(f"{_BUS}/topics")
    } | {f"queue {queue.name}": {} for queue in deployment.of_type(f"{_BUS}/queues")}


def _compare(where: str, local: Any, cloud: Any) -> Iterator[Finding]:
    if isinstance(local, dict) and isinstance(cloud, dict):
        for name in sorted(local.keys() | cloud.keys()):
            if name not in cloud:
                yield Finding(where, f"{name} is in the local broker's configuration, the Bicep does not have it")
            elif name not in local:
                yield Finding(where, f"{name} is in the Bicep, the local broker's configuration does not have it")
            else:
                yield from _compare(f"{where} / {name}", local[name], cloud[name])
    elif local != cloud:
        yield Finding(where, f"is {cloud!r} in the Bicep and {local!r} in the local broker's configuration")
