"""Governance of customers: the owner's change reaches the readers, a reader's is restored, held or let be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from shared.clients.http import deadline_after
from shared.domain.changes import Change
from shared.errors import Transient
from shared.flows.account_sync import account_sync
from shared.stores.records import Evidence
from tests.systems import Systems, systems

FLOW = "account_sync"
ACCOUNT = {
    "legalEntity": "GB01", "limit": "1000", "currency": "GBP", "exposure": "0", "blocked": False, "riskClass": "A",
    "prices": {}, "overdueDays": 0,
}  # fmt: skip


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Systems]:
    async with systems(monkeypatch) as running:
        await set_account(running)
        yield running


async def set_account(world: Systems) -> None:
    """A customer with its credit account; SAP's own event is brought to the flow."""
    await world.control("sap", "PUT", "credit-accounts/C-1", ACCOUNT)
    change = await world.heard(lambda one: one.source == "sap" and one.entity == "account")
    await world.settle(FLOW, account_sync, change)


async def changed_in_sap(world: Systems, **changes: object) -> Change:
    """Credit data changes in SAP, which tells only that the business partner changed."""
    await world.control("sap", "PUT", "credit-accounts/C-1", ACCOUNT | changes)
    created = await world.heard(lambda one: one.source == "sap" and one.entity == "account")
    return replace(created, id=f"changed {changes}", kind="record.updated")


async def row(world: Systems) -> dict[str, Any]:
    """The customer's row in Dataverse, with its id."""
    accounts = (await world.control("dataverse", "GET", "state"))["tables"]["accounts"]
    found: dict[str, Any] = next(one for one in accounts if one["accountnumber"] == "C-1")
    return found


async def edited(world: Systems, **columns: object) -> Change:
    """A user changes the account in Dataverse; the change as its webhook brought it."""
    account = (await row(world))["accountid"]
    world.bus.sent.clear()
    await world.control("dataverse", "PATCH", f"rows/accounts/{account}", columns)
    return await world.heard(
        lambda one: (
            one.source == "dataverse"
            and one.kind == "record.updated"
            and one.data["tag"] != "concord"
            and columns.keys() <= one.data["fields"].keys()
        )
    )


async def evidence_of(world: Systems, change: Change) -> Evidence:
    """What lineage keeps of one change."""
    kept = await world.hub.records.read_evidence(change.business_key)
    return next(one for one in kept if one.message_id == change.message_id)


async def test_a_new_limit_in_sap_stands_in_crm_with_its_currency(world: Systems) -> None:
    change = await changed_in_sap(world, limit="2500.50")
    assert await world.settle(FLOW, account_sync, change) == "accept"
    assert Decimal(str((await row(world))["creditlimit"])) == Decimal("2500.50")


async def test_a_limit_that_lands_long_after_it_was_given_up_does_not_take_a_newer_one_back(world: Systems) -> None:
    first = await changed_in_sap(world, limit="2000")
    late = {"kind": "timeout_late", "match": {"method": "PATCH", "path": "accounts"}, "appliesAfter": 1.0, "count": 1}
    await world.control("dataverse", "POST", "faults", late)
    with pytest.raises(Transient), deadline_after(0.3):
        await account_sync(first, await world.hub.records.read(first.business_key), world.hub)
    assert await world.settle(FLOW, account_sync, await changed_in_sap(world, limit="3000")) == "accept"
    async with asyncio.timeout(10):
        while (await world.control("dataverse", "GET", "faults"))["late_effects_pending"]:
            await asyncio.sleep(0)
    assert Decimal(str((await row(world))["creditlimit"])) == 3000


async def test_a_limit_edited_in_crm_is_restored_from_sap(world: Systems) -> None:
    change = await edited(world, creditlimit=999999)
    assert await world.settle(FLOW, account_sync, change) == "accept"
    assert Decimal(str((await row(world))["creditlimit"])) == 1000
    evidence = await evidence_of(world, change)
    fates = {one["name"]: (one["owner"], one["ruling"]) for one in evidence.fields}
    assert fates["credit_limit"] == ("sap", "restore")


async def test_two_systems_that_fight_over_a_limit_end_with_a_person(world: Systems) -> None:
    rulings = [
        await world.settle(FLOW, account_sync, await edited(world, creditlimit=5000 + attempt)) for attempt in range(4)
    ]
    assert rulings == ["accept", "accept", "accept", "hold"]
    assert Decimal(str((await row(world))["creditlimit"])) == 5003, "the person sees what the user wrote"


async def test_our_own_write_that_comes_back_is_an_echo(world: Systems) -> None:
    await world.settle(FLOW, account_sync, await changed_in_sap(world, limit="3000"))
    echo = await world.heard(lambda one: one.source == "dataverse" and one.data.get("tag") == "concord")
    assert await world.settle(FLOW, account_sync, echo) == "unchanged"
    assert (await evidence_of(world, echo)).reasons[0]["code"] == "echo"


async def test_a_name_edited_in_crm_waits_for_a_person(world: Systems) -> None:
    before = (await row(world))["name"]
    change = await edited(world, name="Somebody Else Ltd")
    assert await world.settle(FLOW, account_sync, change) == "hold"
    [case] = await world.hub.cases.list(state="open")
    assert case.code == "not_the_owner" and before != "Somebody Else Ltd"


async def test_an_email_edited_in_crm_reaches_commerce_because_crm_owns_it(world: Systems) -> None:
    change = await edited(world, emailaddress1="buying@example.com")
    assert await world.settle(FLOW, account_sync, change) == "accept"
    customers = (await world.control("commerce", "GET", "state"))["customers"]
    assert "buying@example.com" in str(customers)


async def test_a_deleted_account_waits_for_a_person(world: Systems) -> None:
    change = await edited(world, telephone1="1")
    gone = Change(
        "e-9", "dataverse", "account", "record.deleted", "", change.key, change.occurred_at, change.received_at, "c"
    )
    assert await world.settle(FLOW, account_sync, gone) == "hold"
