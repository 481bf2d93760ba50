"""An organization that nobody has customized gets everything once, and a second run finds nothing to do."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml

from sandbox.dataverse.webhooks import DEFAULT_STEPS
from scripts.dataverse_setup import SPEC, Organization, SetupStopped, set_up
from shared.mapping.customer import CUSTOMER
from tests.dataverse_simulator.organization import Organization as Simulated
from tests.dataverse_simulator.organization import open_organization
from tests.infra.conftest import ROOT

WANTED: dict[str, Any] = yaml.safe_load(SPEC.read_text(encoding="utf-8"))


@pytest.fixture
async def bare() -> AsyncIterator[Simulated]:
    """An organization without anything of the solution."""
    async with open_organization(without_solution="on") as running:
        yield running


def _of(simulated: Simulated, *, dry_run: bool = False) -> Organization:
    return Organization(simulated.session, simulated.url, simulated.token(), dry_run)


async def _set_up(
    simulated: Simulated, *, dry_run: bool = False, rotate_key: bool = False, key: str = "k1"
) -> list[str]:
    webhook = f"{simulated.simulator.settings.functions_url}/api/webhooks/dataverse"
    return await set_up(_of(simulated, dry_run=dry_run), WANTED, webhook=webhook, key=key, rotate_key=rotate_key)


async def test_what_is_missing_is_made_once(bare: Simulated) -> None:
    assert (await bare.call("PATCH", "salesorders(concord_orderkey='GB01|S-1')", {})).status == 400
    done = await _set_up(bare)
    columns = sum(len(table["columns"]) - 1 for table in WANTED["tables"].values())
    columns += sum(len(table) for table in WANTED["columns"].values())
    assert len(done) == len(WANTED["tables"]) + columns + len(WANTED["keys"]) + 1 + len(WANTED["steps"])
    assert await _set_up(bare) == []
    written = await bare.call("PATCH", "salesorders(concord_orderkey='GB01|S-1')", {"concord_kind": "order"})
    assert written.status == 204


async def test_a_dry_run_says_the_same_and_changes_nothing(bare: Simulated) -> None:
    would = await _set_up(bare, dry_run=True)
    assert (await bare.get("EntityDefinitions(LogicalName='concord_signal')")).status == 404
    assert (await bare.get("serviceendpoints")).rows == []
    assert await _set_up(bare) == would


async def test_a_change_in_crm_then_reaches_the_webhook_with_its_key(bare: Simulated) -> None:
    await _set_up(bare, key="first key")
    account = await bare.account(creditlimit=100)
    (delivery,) = await bare.delivered(1)
    assert (delivery.path, delivery.query) == ("/api/webhooks/dataverse", "code=first+key")
    assert delivery.context["PrimaryEntityId"] == account
    assert await _set_up(bare, key="second key", rotate_key=True) == ["webhook endpoint: its key"]
    await bare.account(creditlimit=200)
    assert (await bare.delivered(2))[1].query == "code=second+key"


async def test_changes_of_columns_that_concern_nobody_are_not_sent(bare: Simulated) -> None:
    await _set_up(bare)
    await bare.account()
    await bare.call("PATCH", "accounts(accountnumber='C-1')", {"description": "a note of our own"})
    await bare.call("PATCH", "accounts(accountnumber='C-1')", {"telephone1": "1"})
    await bare.rest()
    assert [d.context["MessageName"] for d in bare.inbox.deliveries] == ["Create", "Update"]


async def test_a_step_that_somebody_disabled_or_narrowed_is_put_right(bare: Simulated) -> None:
    await _set_up(bare)
    steps = (await bare.get("sdkmessageprocessingsteps?$filter=name eq 'concord: Update of account'")).rows
    path = f"sdkmessageprocessingsteps({steps[0]['sdkmessageprocessingstepid']})"
    await bare.call("PATCH", path, {"filteringattributes": "name", "statecode": 1, "statuscode": 2})
    assert await _set_up(bare) == ["step Update of account: filteringattributes, statecode, statuscode"]
    assert await _set_up(bare) == []


async def test_an_endpoint_that_moved_is_led_to_the_new_place(bare: Simulated) -> None:
    await _set_up(bare)
    done = await set_up(_of(bare), WANTED, webhook="https://new.example/api/webhooks/dataverse", key="k")
    assert done == ["webhook endpoint: its url, https://new.example/api/webhooks/dataverse"]


async def test_rows_that_share_a_keys_values_stop_the_run_and_are_named(bare: Simulated) -> None:
    for name in ("one", "two"):
        assert (await bare.call("POST", "accounts", {"name": name, "accountnumber": "C-1"})).status == 204
    with pytest.raises(SetupStopped, match="alternate key account"):
        await _set_up(bare)


async def test_a_column_of_another_type_stops_the_run(bare: Simulated) -> None:
    await _set_up(bare)
    other = {**WANTED, "columns": {"account": {"concord_RiskClass": "money"}}}
    with pytest.raises(SetupStopped, match="concord_riskclass is there as"):
        await set_up(_of(bare), other, webhook="https://x.example", key="k")
    wider = {**WANTED, "columns": {"account": {"concord_RiskClass": "text 11"}}}
    with pytest.raises(SetupStopped, match="takes 10 characters, 11 are needed"):
        await set_up(_of(bare), wider, webhook="https://x.example", key="k")


async def test_nobody_gets_in_without_a_good_token(bare: Simulated) -> None:
    with pytest.raises(SetupStopped, match="got 401"):
        await set_up(Organization(bare.session, bare.url, "no token"), WANTED, webhook="https://x.example", key="k")


def _made() -> set[str]:
    tables = {name.lower() for name in WANTED["tables"]}
    columns = [*(table["columns"] for table in WANTED["tables"].values()), *WANTED["columns"].values()]
    return tables | {name.lower() for group in columns for name in group}


def test_every_column_and_table_that_the_app_names_is_made() -> None:
    named: set[str] = set()
    for path in (ROOT / "shared").rglob("*.py"):
        named |= set(re.findall(r"\bconcord_[a-z]+\b", path.read_text(encoding="utf-8")))
    sets = {f"{table}s" for table in _made()}
    assert named - _made() - sets == set()


def test_the_local_stacks_organization_sends_the_same_messages() -> None:
    assert {(step["message"], step["table"]) for step in WANTED["steps"]} == set(DEFAULT_STEPS)


def test_the_webhook_on_accounts_watches_every_column_that_is_governed() -> None:
    (step,) = [s for s in WANTED["steps"] if (s["message"], s["table"]) == ("Update", "account")]
    governed = {field.dataverse for field in CUSTOMER.fields if field.dataverse}
    assert set(step["columns"]) == governed
