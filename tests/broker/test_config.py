"""The topology that ships, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

import sandbox.broker
from sandbox.broker.config import ConfigError, parse_duration, parse_topology, read_topology

_SHIPPED = Path(sandbox.broker.__file__).with_name("Config.json")


def _document(queues: list[Any] | None = None, topics: list[Any] | None = None) -> dict[str, Any]:
    namespace = {"Name": "n", "Queues": queues or [], "Topics": topics or []}
    return {"UserConfig": {"Namespaces": [namespace]}}


def test_the_shipped_topology_has_every_flow_with_sessions_and_a_dead_letter_way_out() -> None:
    topics = read_topology(_SHIPPED).topics
    assert {name: sorted(topic.subscriptions) for name, topic in topics.items()} == {
        "orders": ["credit_hold_update", "crm_history_update", "order_to_ledger"],
        "changes": ["account_sync", "credit_approval_sync", "inventory_push"],
    }
    for topic in topics.values():
        assert topic.duplicate_window_seconds == 600
        assert topic.ttl_seconds == 14 * 86_400
        for subscription in topic.subscriptions.values():
            assert subscription.queue.requires_session
            assert subscription.queue.dead_letter_on_expiration
            assert subscription.queue.lock_seconds == 60


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("PT1M", 60), ("PT0.5S", 0.5), ("P14D", 1_209_600), ("P1DT2H3M4S", 93_784), ("PT1H", 3600)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "P", "PT", "1M", "PT1X", "P1M", "PT-1S"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ([], r"\$"),
        ({}, "Namespaces"),
        (_document([{"Name": "q", "Properties": {"LockDurations": "PT1M"}}]), "LockDurations"),
        (_document([{"Name": "q", "Properties": {"LockDuration": "soon"}}]), "LockDuration"),
        (_document([{"Name": "q", "Properties": {"LockDuration": "PT6M"}}]), "at most 300"),
        (_document([{"Name": "q", "Properties": {"MaxDeliveryCount": 0}}]), "MaxDeliveryCount"),
        (_document([{"Name": "q", "Properties": {"RequiresSession": "yes"}}]), "RequiresSession"),
        (_document([{"Name": "q", "Properties": {"ForwardTo": "nowhere"}}]), "nowhere"),
        (_document([{"Properties": {}}]), "Name: missing"),
        (_document([{"Name": "q"}], [{"Name": "Q"}]), "used twice"),
        (_document(None, [{"Name": "t", "Subscriptions": [{"Name": "s", "Rules": [{"Name": "r"}]}]}]), "FilterType"),
        (
            _document(
                None,
                [
                    {
                        "Name": "t",
                        "Subscriptions": [
                            {
                                "Name": "s",
                                "Rules": [
                                    {
                                        "Name": "r",
                                        "Properties": {"FilterType": "Sql", "SqlFilter": {"SqlExpression": "a ="}},
                                    }
                                ],
                            }
                        ],
                    }
                ],
            ),
            r"Rules\[0\].Properties.SqlFilter.SqlExpression",
        ),
    ],
)
def test_a_wrong_configuration_is_refused_with_the_place(document: Any, place: str) -> None:
    with pytest.raises(ConfigError, match=place):
        parse_topology(document)


def test_a_correlation_rule_is_read() -> None:
    rule = {
        "Name": "r",
        "Properties": {
            "FilterType": "Correlation",
            "CorrelationFilter": {"Label": "red", "Properties": {"size": "large"}},
        },
    }
    document = _document(None, [{"Name": "t", "Subscriptions": [{"Name": "s", "Rules": [rule]}]}])
    assert len(parse_topology(document).topics["t"].subscriptions["s"].rules) == 1
