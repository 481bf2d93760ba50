"""Webhooks: the true shape with its traps, sent once, for what is registered."""

import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sandbox.kit import exact_json
from tests.dataverse_simulator.organization import Delivery, Organization

TARGET = "Entity:http://schemas.microsoft.com/xrm/2011/Contracts"


async def _last(org: Organization, count: int) -> Delivery:
    return (await org.delivered(count))[count - 1]


async def test_a_change_is_told_with_the_registered_key_and_the_true_headers(org: Organization) -> None:
    await org.account()
    delivery = await _last(org, 1)
    assert (delivery.path, delivery.query) == ("/api/webhooks/dataverse", "code=host-key")
    assert delivery.headers["x-ms-dynamics-entity-name"] == "account"
    assert delivery.headers["x-ms-dynamics-request-name"] == "Create"
    assert delivery.headers["x-ms-correlation-request-id"] == delivery.context["CorrelationId"]
    assert "x-functions-key" not in delivery.headers


async def test_slashes_are_escaped_and_dates_stand_in_the_servers_zone(org: Organization) -> None:
    await org.account()
    delivery = await _last(org, 1)
    assert "/" not in delivery.text.replace("\\/", "")
    found = re.fullmatch(r"/Date\((\d+)([+-]\d\d)00\)/", delivery.context["OperationCreatedOn"])
    assert found is not None
    assert int(found[1]) // 1000 + int(found[2]) * 3600 == 1_800_000_000
    assert delivery.target()["createdon"] == "/Date(1800000000000)/"


async def test_a_target_has_a_type_and_entities_inside_images_have_none(org: Organization) -> None:
    await org.account()
    context = (await _last(org, 1)).context
    assert context["InputParameters"][0]["value"]["__type"] == TARGET
    image = context["PostEntityImages"][0]
    assert image["key"] == "AsynchronousStepPrimaryName"
    assert "__type" not in image["value"]


async def test_an_update_tells_what_was_sent_and_what_the_platform_added(org: Organization) -> None:
    await org.account(creditlimit=100)
    await org.account(creditlimit=Decimal("250.5"), customertypecode=3)
    delivery = await _last(org, 2)
    target = delivery.target()
    assert delivery.context["MessageName"] == "Update"
    assert target["creditlimit"]["Value"] == Decimal("250.5")
    assert target["creditlimit"]["__type"].startswith("Money:")
    assert target["customertypecode"]["Value"] == 3
    assert target["modifiedby"]["LogicalName"] == "systemuser"
    assert "telephone1" not in target
    sent = delivery.target(delivery.context["ParentContext"])
    assert set(sent) == {"accountid", "name", "creditlimit", "customertypecode"}


async def test_the_tag_of_a_write_is_in_the_shared_variables_here_or_in_the_parent(org: Organization) -> None:
    for _ in range(2):
        await org.call("PATCH", "accounts(accountnumber='C-1')?tag=concord", {"name": "x"})
    tag = {"key": "tag", "value": "concord"}
    created, updated = (delivery.context for delivery in await org.delivered(2))
    assert tag in created["SharedVariables"]
    assert tag not in updated["SharedVariables"]
    assert tag in updated["ParentContext"]["SharedVariables"]


async def test_a_deletion_names_the_row_by_reference_only(org: Organization) -> None:
    row_id = await org.account()
    await org.call("DELETE", f"accounts({row_id})")
    context = (await _last(org, 2)).context
    target = context["InputParameters"][0]["value"]
    assert (context["MessageName"], target["Id"], target["LogicalName"]) == ("Delete", row_id, "account")
    assert context["PrimaryEntityId"] == row_id


async def test_a_write_that_bypasses_asynchronous_logic_sets_nothing_off(org: Organization) -> None:
    header = {"MSCRM.BypassBusinessLogicExecution": "CustomSync,CustomAsync"}
    await org.call("PATCH", "accounts(accountnumber='C-1')", {"name": "x"}, header)
    await org.rest()
    assert org.inbox.deliveries == []


async def test_tables_that_nobody_registered_for_are_silent(org: Organization) -> None:
    await org.call("PATCH", "concord_creditapprovals(concord_decisionid='d')", {"concord_name": "x"})
    await org.call("PATCH", "salesorders(concord_orderkey='GB01|S-1')", {"name": "x"})
    await org.rest()
    assert org.inbox.deliveries == []
    await org.call("PATCH", "concord_creditapprovals(concord_decisionid='d')", {"concord_state": "approved"})
    assert (await _last(org, 1)).target()["concord_state"] == "approved"


async def test_a_body_above_256_kilobytes_loses_what_changed(org: Organization) -> None:
    steps = (await org.get("sdkmessageprocessingsteps?$filter=name eq 'concord: Update of account'")).rows
    await org.account(description="x" * 2000)
    await org.delivered(1)
    images = [
        {
            "@odata.type": "Microsoft.Dynamics.CRM.sdkmessageprocessingstepimage", "name": f"i{number}",
            "entityalias": f"i{number}", "imagetype": 1,
            "sdkmessageprocessingstepid@odata.bind":
                f"/sdkmessageprocessingsteps({steps[0]['sdkmessageprocessingstepid']})",
        }
        for number in range(110)
    ]  # fmt: skip
    await org.call("POST", "sdkmessageprocessingstepimages/Microsoft.Dynamics.CRM.CreateMultiple", {"Targets": images})
    row_id = await org.account(description="y" * 2000)
    delivery = await _last(org, 2)
    assert "x-ms-dynamics-msg-size-exceeded" in delivery.headers
    assert delivery.context["PrimaryEntityId"] == row_id
    assert not {"ParentContext", "InputParameters", "PostEntityImages"} & delivery.context.keys()


@pytest.mark.parametrize(("status", "attempts"), [(503, 2), (502, 2), (504, 2), (500, 1), (400, 1), (429, 1)])
async def test_only_a_gateways_refusal_is_tried_once_more(org: Organization, status: int, attempts: int) -> None:
    org.inbox.answers = [status] * 9
    await org.account()
    await org.rest()
    assert org.inbox.attempts == attempts


async def test_registrations_are_rows_and_obey_them(org: Organization) -> None:
    steps = (await org.get("sdkmessageprocessingsteps?$filter=name eq 'concord: Update of account'")).rows
    step = f"sdkmessageprocessingsteps({steps[0]['sdkmessageprocessingstepid']})"
    await org.call("PATCH", step, {"filteringattributes": "creditlimit, creditonhold"})
    await org.account()
    await org.account(telephone1="1")
    await org.account(creditonhold=True)
    await org.rest()
    assert [d.context["MessageName"] for d in org.inbox.deliveries] == ["Create", "Update"]
    await org.call("PATCH", step, {"statecode": 1, "statuscode": 2})
    await org.account(creditonhold=False)
    await org.rest()
    assert len(org.inbox.deliveries) == 2


async def test_a_new_registration_is_made_as_a_deployment_makes_it(org: Organization) -> None:
    endpoint = await org.call("POST", "serviceendpoints", {
        "name": "own", "contract": 8, "authtype": 4, "authvalue": "other key", "messageformat": 2, "connectionmode": 1,
        "url": org.simulator.settings.functions_url + "/api/elsewhere",  # type: ignore[operator]
    })  # fmt: skip
    message = (await org.get("sdkmessages?$filter=name eq 'Create'")).rows[0]["sdkmessageid"]
    query = f"primaryobjecttypecode eq 'salesorder' and _sdkmessageid_value eq {message}"
    filters = (await org.get(f"sdkmessagefilters?$filter={query}")).rows
    await org.call("POST", "sdkmessageprocessingsteps", {
        "name": "own step", "mode": 1, "stage": 40, "rank": 1, "supporteddeployment": 0, "asyncautodelete": True,
        "eventhandler_serviceendpoint@odata.bind": f"/serviceendpoints({endpoint.row_id})",
        "sdkmessageid@odata.bind": f"/sdkmessages({message})",
        "sdkmessagefilterid@odata.bind": f"/sdkmessagefilters({filters[0]['sdkmessagefilterid']})",
    })  # fmt: skip
    await org.call("PATCH", "salesorders(concord_orderkey='GB01|S-1')", {"name": "x"})
    delivery = await _last(org, 1)
    assert (delivery.path, delivery.query) == ("/api/elsewhere", "code=other+key")
    assert (await org.get(f"serviceendpoints({endpoint.row_id})")).json["authvalue"] is None


def _captured() -> list[Path]:
    data = os.environ.get("CONCORD_TEST_DATA")
    return sorted((Path(data) / "dataverse-webhooks").glob("*.json")) if data else []


def _shape(value: Any) -> Any:
    """Names and kinds, without the values."""
    if isinstance(value, dict):
        return {name: _shape(inner) for name, inner in value.items() if name not in {"ParentContext", "value"}}
    return [_shape(inner) for inner in value[:1]] if isinstance(value, list) else type(value).__name__


@pytest.mark.skipif(not _captured(), reason="CONCORD_TEST_DATA is not set: no captured webhooks to compare with")
async def test_our_contexts_have_the_keys_of_captured_ones(org: Organization) -> None:
    await org.account()
    await org.account(telephone1="1")
    ours = {delivery.context["MessageName"]: delivery.context for delivery in await org.delivered(2)}
    optional = {"InitiatingUserAgent", "InitiatingUserAzureActiveDirectoryObjectId", "UserAzureActiveDirectoryObjectId"}
    for path in _captured():
        captured = exact_json.loads_object(path.read_bytes())
        own = ours[str(captured["MessageName"])]
        assert captured.keys() - optional <= own.keys() <= captured.keys() | optional
        captured_target, own_target = (c["InputParameters"][0]["value"] for c in (captured, own))  # type: ignore[index]
        assert captured_target.keys() == own_target.keys()
        assert _shape(captured["OwningExtension"]).keys() | {"__type"} == _shape(own["OwningExtension"]).keys() | {
            "__type"
        }
