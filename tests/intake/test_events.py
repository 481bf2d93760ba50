"""Events of the three systems become the right change, or every fault of theirs is named."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shared import exact_json
from shared.domain.changes import decode, encode, lane_of
from shared.domain.events import Envelope, OrderRefused, commerce_event, dataverse_event, sap_event, topic_of
from shared.errors import Malformed
from tests.hub import NOON

ENVELOPE = Envelope(NOON, "0" * 31 + "1", "")
ENTITIES = {"GB01", "JP01"}


def order(**changed: Any) -> dict[str, Any]:
    return {
        "SalesId": "S-1", "ChannelId": "web", "CustomerId": "C-1", "CurrencyCode": "GBP",
        "OrderPlacedDate": "2026-11-23T10:00:00Z", "BusinessDate": "2026-11-23",
        "SubtotalAmountWithoutTax": Decimal("100.00"), "TaxAmount": Decimal("20.00"), "TotalAmount": Decimal("120.00"),
        "SalesLines": [{"LineId": "1", "ItemId": "A", "Quantity": 10, "UnitOfMeasureSymbol": "ea",
                        "Price": Decimal("10.00"), "NetAmount": Decimal("100.00"), "TaxAmount": Decimal("20.00"),
                        "TotalAmount": Decimal("120.00")}],
        "ChargeLines": [], "TenderLines": [{"TenderTypeId": "4", "Amount": Decimal("120.00"), "Currency": "GBP"}],
    } | changed  # fmt: skip


def event(**changed: Any) -> dict[str, Any]:
    return {
        "type": "order.confirmed", "id": "e-1", "orderNumber": "S-1", "legalEntity": "GB01",
        "occurredAt": "2026-11-23T10:00:01Z", "order": order(), "decisionId": None,
    } | changed  # fmt: skip


def faults(error: pytest.ExceptionInfo[Malformed]) -> set[str]:
    return {fault.where for fault in error.value.faults}


def test_a_commerce_order_keeps_every_digit_and_every_unknown_field() -> None:
    change = commerce_event(event(order=order(Loyalty={"Points": Decimal("0.10")})), ENVELOPE, ENTITIES)
    assert topic_of(change) == "orders"
    travelled = decode(encode(change))
    assert travelled == change
    assert str(travelled.data["order"]["TotalAmount"]) == "120.00"
    assert travelled.data["order"]["Loyalty"] == {"Points": Decimal("0.10")}


def test_every_fault_of_an_envelope_is_named_at_once() -> None:
    with pytest.raises(Malformed) as refused:
        commerce_event(event(type="order.lost", id=7, occurredAt="yesterday", legalEntity=""), ENVELOPE, ENTITIES)
    assert faults(refused) == {"type", "id", "occurredAt", "legalEntity"}


@pytest.mark.parametrize("spoilt", [{}, {"TotalAmount": Decimal("120.01")}, {"SalesLines": "none"}])
def test_what_an_importer_could_not_understand_is_a_case_that_says_so_first(spoilt: dict[str, Any]) -> None:
    told = [{"Key": "Colour", "Value": {"StringValue": "red"}},
            {"Key": "ImportFault", "Value": {"StringValue": "row 7: Quantity 'six' is not a number"}}]  # fmt: skip
    with pytest.raises(OrderRefused) as refused:
        commerce_event(event(order=order(ExtensionProperties=told, **spoilt)), ENVELOPE, ENTITIES)
    first = refused.value.faults[0]
    assert (first.where, first.what) == (
        "order.ExtensionProperties[1]", "could not be imported: row 7: Quantity 'six' is not a number",
    )  # fmt: skip


@pytest.mark.parametrize(
    "properties", [None, "x", [7], [{"Key": "ImportFault"}], [{"Key": "ImportFault", "Value": {"StringValue": 7}}]]
)
def test_an_importer_that_does_not_say_what_it_could_not_understand_breaks_nothing(properties: Any) -> None:
    raw = event(order=order(ExtensionProperties=properties))
    if isinstance(properties, list) and isinstance(properties[0], dict):
        with pytest.raises(OrderRefused, match="ExtensionProperties"):
            commerce_event(raw, ENVELOPE, ENTITIES)
    else:
        assert commerce_event(raw, ENVELOPE, ENTITIES).key == "S-1"


def test_an_unknown_legal_entity_is_refused_by_name() -> None:
    with pytest.raises(Malformed) as refused:
        commerce_event(event(legalEntity="US99"), ENVELOPE, ENTITIES)
    assert faults(refused) == {"legalEntity"}


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"CurrencyCode": "XXZ"}, "order.CurrencyCode"),
        ({"TotalAmount": "NaN"}, "order.TotalAmount"),
        ({"TotalAmount": True}, "order.TotalAmount"),
        ({"SalesLines": "none"}, "order.SalesLines"),
        ({"SubtotalAmountWithoutTax": Decimal("100.001")}, "order.SubtotalAmountWithoutTax"),
        ({"SalesId": "S-2"}, "order.SalesId"),
        ({"TotalAmount": Decimal("1E+999999")}, "order.TotalAmount"),
    ],
)
def test_an_order_that_cannot_be_read_is_refused_with_its_field(changed: dict[str, Any], where: str) -> None:
    with pytest.raises(OrderRefused) as refused:
        commerce_event(event(order=order(**changed)), ENVELOPE, ENTITIES)
    assert faults(refused) == {where}


def test_an_order_that_does_not_add_up_is_taken_so_that_a_case_can_name_it() -> None:
    change = commerce_event(event(order=order(TotalAmount=Decimal("121.00"))), ENVELOPE, ENTITIES)
    assert change.data["order"]["TotalAmount"] == Decimal("121.00")


def test_quantities_of_an_event_are_above_zero() -> None:
    with pytest.raises(Malformed) as refused:
        commerce_event(event(order=None, lines=[{"lineId": "1", "quantity": -2}]), ENVELOPE, ENTITIES)
    assert faults(refused) == {"lines[0].quantity"}


def test_one_event_with_other_content_is_another_message() -> None:
    one = commerce_event(event(), ENVELOPE, ENTITIES)
    same = commerce_event(event(), Envelope(NOON, "f" * 32, ""), ENTITIES)
    other = commerce_event(event(orderNumber="S-2", order=None), ENVELOPE, ENTITIES)
    assert one.message_id == same.message_id
    assert one.message_id != other.message_id


def test_a_key_always_has_the_same_lane() -> None:
    assert lane_of("order|GB01|S-1", 8) == lane_of("order|GB01|S-1", 8)
    assert {lane_of(f"order|GB01|S-{number}", 8) for number in range(500)} == {f"lane-{n:02d}" for n in range(8)}


def test_a_stock_movement_names_plant_and_material() -> None:
    (change,) = sap_event(
        {
            "type": "sap.s4.beh.materialdocument.v1.MaterialDocument.Created.v1", "specversion": "1.0",
            "source": "/default/sap.s4.beh/1", "id": "x", "time": "2026-11-23T10:00:00Z",
            "data": {"MaterialDocument": "49", "Plant": "GB10", "Material": "A"},
        },
        ENVELOPE,
    )  # fmt: skip
    assert (change.entity, change.key, topic_of(change)) == ("stock", "GB10|A", "changes")


def context(**changed: Any) -> dict[str, Any]:
    return {
        "MessageName": "Update", "PrimaryEntityName": "account",
        "PrimaryEntityId": {"__type": "Guid:#System", "__value": "6D81597F-0F9F-E711-8122-000D3AA2331C"},
        "OperationCreatedOn": "/Date(1506409448000-0700)/", "OperationId": "op-1", "Depth": 1,
        "InputParameters": [{"key": "Target", "value": {
            "__type": "Entity:http://schemas.microsoft.com/xrm/2011/Contracts",
            "Attributes": [
                {"key": "creditlimit", "value": {"__type": "Money:http://x", "Value": Decimal("12.50")}},
                {"key": "industrycode", "value": {"__type": "OptionSetValue:http://x", "Value": 3}},
                {"key": "colours", "value": [{"__type": "OptionSetValue:http://x", "Value": 1}]},
                {"key": "modifiedon", "value": "/Date(1506384247000)/"},
            ]}}],
        "PreEntityImages": [{"key": "pre", "value": {"Attributes": [{"key": "name", "value": "Old"}]}}],
        "PostEntityImages": [], "SharedVariables": [],
        "ParentContext": {"SharedVariables": [{"key": "tag", "value": "concord"}], "ParentContext": None},
    } | changed  # fmt: skip


def test_a_dataverse_change_is_read_through_every_wrapping() -> None:
    change = dataverse_event(context(), ENVELOPE)
    assert change.key == "6d81597f-0f9f-e711-8122-000d3aa2331c"
    assert change.occurred_at.isoformat() == "2017-09-26T00:04:08+00:00"
    assert change.data["fields"] == {
        "creditlimit": Decimal("12.50"),
        "industrycode": 3,
        "colours": [1],
        "modifiedon": "2017-09-26T00:04:07+00:00",
    }
    assert change.data["before"] == {"name": "Old"}
    assert change.data["tag"] == "concord"


def test_a_dataverse_change_without_its_content_is_to_be_reread() -> None:
    body = context()
    for dropped in ("ParentContext", "InputParameters", "PreEntityImages", "PostEntityImages"):
        del body[dropped]
    change = dataverse_event(body, ENVELOPE)
    assert change.data["reread"] is True
    assert change.data["fields"] == {}


def test_every_fault_of_a_context_is_named() -> None:
    with pytest.raises(Malformed) as refused:
        dataverse_event(context(PrimaryEntityId="7", OperationCreatedOn="now", InputParameters={"Target": 1}), ENVELOPE)
    assert faults(refused) == {"PrimaryEntityId", "OperationCreatedOn", "InputParameters"}


def captured() -> list[Path]:
    folder = os.environ.get("CONCORD_TEST_DATA", "")
    return sorted(Path(folder, "dataverse-webhooks").glob("*.json")) if folder else []


@pytest.mark.skipif(not captured(), reason="CONCORD_TEST_DATA is not set: captured bodies are not part of the project")
@pytest.mark.parametrize("path", captured(), ids=lambda path: path.stem[-30:])
@pytest.mark.parametrize("form", ["as captured", "escaped slashes", "above 256 KB"])
def test_captured_webhook_bodies_are_understood(path: Path, form: str) -> None:
    text = path.read_text(encoding="utf-8-sig")
    if form == "escaped slashes":
        text = text.replace("\\/", "/").replace("/", "\\/")
    raw = exact_json.loads(text)
    if form == "above 256 KB":
        for dropped in ("ParentContext", "InputParameters", "PreEntityImages", "PostEntityImages"):
            raw.pop(dropped, None)
    change = dataverse_event(raw, ENVELOPE)
    assert change.entity == raw["PrimaryEntityName"]
    assert change.key == raw["PrimaryEntityId"]
    assert bool(change.data["fields"]) == (form != "above 256 KB")
    assert decode(encode(change)) == change
