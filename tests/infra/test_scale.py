"""The scale document says what the arithmetic says, and the arithmetic is what the rest of the project is made for."""

from __future__ import annotations

import json
import re

import pytest

from scripts import scale
from tests.infra.conftest import ROOT


def test_the_document_holds_the_tables_as_they_are_computed() -> None:
    text = scale.DOCUMENT.read_text(encoding="utf-8")
    assert scale.written(text) == text, "run: python scripts/scale.py --write"


def test_the_figures_in_the_prose_are_those_of_the_arithmetic() -> None:
    text = scale.DOCUMENT.read_text(encoding="utf-8")
    order, limits = scale.ORDER, scale.LIMITS
    for figure in (
        f"{order.messages_in:.0f} messages in", f"{order.messages_out:.0f} messages out",
        f"{order.bus_operations:.0f} bus operations", f"{order.table_calls:.0f} table calls",
        f"{order.sap_calls} calls to SAP", f"{order.dataverse_requests:.0f} requests to Dataverse",
        f"{order.telemetry_kilobytes:.0f} KB of telemetry",
        f"| {limits.standard_operations / order.bus_operations:.0f} orders a second |",
        f"| {32 / limits.lane_seconds * limits.lane_evenness:.0f} orders a second |",
        f"| {limits.unit_operations / order.bus_operations:.0f} orders a second |",
        f"| {limits.account_transactions / order.table_calls:,.0f} orders a second |",
        f"| {limits.dataverse_requests / order.dataverse_requests:.0f} orders a second for each |",
        f"{scale.units(100_000_000)} messaging units",
    ):  # fmt: skip
        assert figure in text, figure
    split = 100_000_000 // 16
    assert (round(scale.peak(split), -2), scale.lanes(split), scale.units(split)) == (500, 192, 4)


def test_the_messages_of_an_order_are_those_that_the_bus_delivers() -> None:
    """An order that is confirmed, posted and shipped, against the rules of the topology."""
    (namespace,) = json.loads((ROOT / "sandbox/broker/Config.json").read_text())["UserConfig"]["Namespaces"]
    orders = next(topic for topic in namespace["Topics"] if topic["Name"] == "orders")
    rules = [sub["Rules"][0]["Properties"]["SqlFilter"]["SqlExpression"] for sub in orders["Subscriptions"]]
    excluded = [re.search(r"kind <> '([\w.]+)'", rule) for rule in rules]
    kinds = ("order.confirmed", "order.posted", "order.shipped")
    delivered = sum(1 for kind in kinds for rule in excluded if rule is None or rule[1] != kind)
    assert (len(kinds), delivered) == (scale.ORDER.published, scale.ORDER.delivered)
    assert sum(len(topic["Subscriptions"]) for topic in namespace["Topics"]) == scale.LIMITS.flows


@pytest.mark.parametrize("orders", scale.SIZES.values())
def test_what_is_needed_never_shrinks_as_the_day_grows(orders: int) -> None:
    for measure in (scale.lanes, scale.instances, scale.units, scale.peak):
        assert measure(orders) <= measure(orders * 2)
    assert sum(scale.costs(orders, 0.1).values()) < sum(scale.costs(orders * 2, 0.1).values())


def test_production_is_made_for_a_million_a_day() -> None:
    given = {
        name: entry["value"]
        for name, entry in json.loads((ROOT / "infra/parameters/prod.json").read_text())["parameters"].items()
    }
    assert given["alwaysReadyInstances"] * scale.LIMITS.sessions_per_instance >= scale.lanes(1_000_000)
    assert given["messagingUnits"] >= scale.units(1_000_000)
    needed = scale.peak(1_000_000) * scale.ORDER.sap_calls * scale.LIMITS.sap_seconds
    assert given["sapConcurrentCalls"] >= needed
