"""SQL and correlation filters, on messages as the real client sends them."""

from typing import Any

import pytest

from sandbox.broker.rules import CorrelationFilter, FilterError, SqlFilter
from tests.broker.by_hand import content

_PROPERTIES: dict[str, Any] = {
    "kind": "order.shipped",
    "n": 2,
    "price": 1.5,
    "on": True,
    "name": "O'Hara 100%",
    "a b": "spaced",
    "Region": "EU",
}
_MESSAGE = content(
    "body", message_id="m-1", session_id="lane-07", subject="label", to="there", application_properties=_PROPERTIES
)


@pytest.mark.parametrize(
    "expression",
    [
        "kind = 'order.shipped'",
        "KIND = 'order.shipped' and REGION = 'EU'",
        "user.kind <> 'x'",
        "kind != 'x'",
        "n > 1 AND n >= 2 AND n < 3 AND n <= 2",
        "n = 2.0",
        "price = 1.5",
        "price * 2 = 3",
        "n + 1 = 3 AND n - 1 = 1 AND n * 3 = 6 AND 7 / n = 3 AND 7 % n = 1 AND -n = -2",
        "on",
        "on = TRUE",
        "NOT on = FALSE",
        "retryFor IS NULL",
        "kind IS NOT NULL",
        "retryFor IS NULL OR retryFor = 'crm_history_update'",
        "kind IN ('a', 'order.shipped')",
        "kind NOT IN ('a', 'b')",
        "kind LIKE 'order.%'",
        "kind LIKE 'order_shipped'",
        "kind NOT LIKE 'stock%'",
        "name LIKE 'O''Hara 100!%' ESCAPE '!'",
        "name = 'O''Hara 100%'",
        "EXISTS (kind)",
        "NOT EXISTS(missing)",
        "[a b] = 'spaced'",
        "\"a b\" = 'spaced'",
        "property([a b]) = 'spaced'",
        "sys.MessageId = 'm-1'",
        "sys.SessionId LIKE 'lane-%' AND sys.Label = 'label' AND sys.To = 'there'",
        "(n = 1 OR n = 2) AND NOT (n = 3)",
        "n = 1 OR n = 2 AND on",  # AND binds tighter
        "NOT n = 1 AND n = 2",  # NOT binds tighter than AND
        "1 = 1",
    ],
)
def test_an_expression_that_is_true_selects(expression: str) -> None:
    assert SqlFilter(expression).selects(_MESSAGE)


@pytest.mark.parametrize(
    "expression",
    [
        "kind = 'Order.Shipped'",  # values depend on case
        "kind <> 'order.shipped'",
        "missing = 'x'",
        "missing <> 'x'",  # unknown, not true
        "NOT missing = 'x'",  # NOT unknown is unknown
        "missing = 'x' OR n = 1",
        "missing = 'x' AND n = 2",
        "missing IN ('x')",
        "missing NOT IN ('x')",
        "missing NOT LIKE 'x'",
        "missing = missing",
        "kind = NULL",
        "n = '2'",  # nothing is converted
        "n > 'a'",
        "on = 1",
        "n / 0 = 1",
        "n LIKE '2'",
        "kind IN ('a', NULL)",
        "n NOT IN (1, NULL)",  # perhaps it is the NULL
        "kind LIKE 'order'",
        "FALSE",
        "sys.CorrelationId = 'x'",
    ],
)
def test_an_expression_that_is_false_or_unknown_does_not_select(expression: str) -> None:
    assert not SqlFilter(expression).selects(_MESSAGE)


@pytest.mark.parametrize(
    ("kind", "retry_for", "expected"),
    [
        ("order.confirmed", None, True),
        ("order.shipped", None, False),
        ("order.confirmed", "credit_hold_update", True),
        ("order.confirmed", "order_to_ledger", False),
        (None, None, False),  # a message without kind is nobody's order
    ],
)
def test_wake_ups_go_to_their_own_flow_alone(kind: str | None, retry_for: str | None, expected: bool) -> None:
    rule = SqlFilter("(retryFor IS NULL OR retryFor = 'credit_hold_update') AND kind <> 'order.shipped'")
    properties = {name: value for name, value in (("kind", kind), ("retryFor", retry_for)) if value is not None}
    assert rule.selects(content("body", application_properties=properties)) is expected


@pytest.mark.parametrize(
    "expression",
    ["", "n =", "n = 1 AND", "(n = 1", "n = 1)", "n ~ 1", "n NOT 1", "n IN 1", "n IN ()", "kind LIKE 'a' ESCAPE 'ab'",
     "other.kind = 1", "sys.Nothing = 1", "n IS 1", "'open", "SELECT n", "EXISTS ()", "and = 1"],
)  # fmt: skip
def test_what_does_not_follow_the_grammar_is_refused(expression: str) -> None:
    with pytest.raises(FilterError):
        SqlFilter(expression)


def test_a_correlation_filter_asks_for_equality_of_everything_it_names() -> None:
    assert CorrelationFilter({"Label": "label", "SessionId": "lane-07"}, {"KIND": "order.shipped"}).selects(_MESSAGE)
    assert not CorrelationFilter({"Label": "other"}, {}).selects(_MESSAGE)
    assert not CorrelationFilter({"Label": "label"}, {"kind": "order.posted"}).selects(_MESSAGE)
    assert not CorrelationFilter({}, {"missing": "x"}).selects(_MESSAGE)
