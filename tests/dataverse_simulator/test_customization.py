"""An organization nobody has customized: what is not made is not there, and is made in the form Dataverse wants."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.dataverse_simulator.organization import Organization, open_organization

ATTRIBUTES = "EntityDefinitions(LogicalName='account')/Attributes"


@pytest.fixture
async def bare() -> AsyncIterator[Organization]:
    """A running organization without the solution."""
    async with open_organization(without_solution="on") as running:
        yield running


def _label(text: str) -> dict[str, Any]:
    localized = {"@odata.type": "Microsoft.Dynamics.CRM.LocalizedLabel", "Label": text, "LanguageCode": 1033}
    return {"@odata.type": "Microsoft.Dynamics.CRM.Label", "LocalizedLabels": [localized]}


def _text(schema: str, length: int, **over: Any) -> dict[str, Any]:
    return {
        "@odata.type": "Microsoft.Dynamics.CRM.StringAttributeMetadata", "SchemaName": schema, "MaxLength": length,
        "DisplayName": _label(schema), "RequiredLevel": {"Value": "None"}, **over,
    }  # fmt: skip


def _signal(**over: Any) -> dict[str, Any]:
    return {
        "@odata.type": "Microsoft.Dynamics.CRM.EntityMetadata", "SchemaName": "concord_Signal",
        "DisplayName": _label("Signal"), "DisplayCollectionName": _label("Signals"), "OwnershipType": "UserOwned",
        "HasActivities": False, "HasNotes": False,
        "Attributes": [_text("concord_Name", 200, IsPrimaryName=True)], **over,
    }  # fmt: skip


async def test_what_nobody_made_is_neither_described_nor_writable(bare: Organization) -> None:
    names = {row["LogicalName"] for row in (await bare.get(f"{ATTRIBUTES}?$select=LogicalName")).rows}
    assert "creditlimit" in names
    assert not [name for name in names if name.startswith("concord_")]
    assert (await bare.get("concord_signals")).status == 404
    assert b"concord_" not in (await bare.get("$metadata")).body
    refused = await bare.call("POST", "accounts", {"name": "x", "concord_riskclass": "A"})
    assert (refused.status, refused.code) == (400, "0x80048d19")


async def test_a_column_can_be_written_once_it_is_made(bare: Organization) -> None:
    assert (await bare.call("POST", ATTRIBUTES, _text("concord_RiskClass", 10))).status == 204
    assert (await bare.call("POST", "accounts", {"name": "x", "concord_riskclass": "A"})).status == 204
    again = await bare.call("POST", ATTRIBUTES, _text("concord_RiskClass", 10))
    assert (again.status, "already exists" in again.message) == (400, True)


@pytest.mark.parametrize(
    "body",
    [
        _text("concord_RiskClass", 20),
        _text("concord_RiskClass", 10, **{"@odata.type": "Microsoft.Dynamics.CRM.MemoAttributeMetadata"}),
        _text("concord_RiskClass", 10, DisplayName="Risk class"),
        _text("concord_RiskClass", 10, RequiredLevel="None"),
        _text("concord_Unknown", 10),
        _text("RiskClass", 10),
    ],
    ids=["other length", "other type", "no label", "no level", "not in the model", "no prefix"],
)
async def test_a_column_is_refused_in_any_other_form(bare: Organization, body: dict[str, Any]) -> None:
    assert (await bare.call("POST", ATTRIBUTES, body)).status == 400


@pytest.mark.parametrize(
    "over",
    [
        {"@odata.type": "Microsoft.Dynamics.CRM.Entity"},
        {"OwnershipType": "Nobody"},
        {"HasNotes": None},
        {"DisplayCollectionName": "Signals"},
        {"Attributes": []},
        {"Attributes": [_text("concord_Name", 200)]},
        {"Attributes": [_text("concord_Kind", 60, IsPrimaryName=True)]},
    ],
)
async def test_a_table_is_refused_in_any_other_form(bare: Organization, over: dict[str, Any]) -> None:
    assert (await bare.call("POST", "EntityDefinitions", _signal(**over))).status == 400
    assert (await bare.get("concord_signals")).status == 404


async def test_a_table_has_its_name_and_nothing_else_until_columns_are_made(bare: Organization) -> None:
    assert (await bare.call("POST", "EntityDefinitions", _signal())).status == 204
    assert (await bare.call("POST", "concord_signals", {"concord_name": "x"})).status == 204
    assert (await bare.call("POST", "concord_signals", {"concord_kind": "x"})).status == 400
