"""What the set-up makes is enough for the app: a whole history stands in an organization nobody else touched."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from sandbox.kit.tokens import sign
from scripts.dataverse_setup import SPEC, Organization, set_up
from tests.history.test_crm_history import ORDER, posted, rows, settle_all
from tests.ledger.rig import confirmed
from tests.systems import SECRET, systems


async def test_an_order_stands_in_a_fresh_organization_after_the_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with systems(monkeypatch) as world:
        options: Any = world.dataverse.settings.options
        options["without_solution"] = "on"
        await world.control("dataverse", "POST", "reset")
        assert await settle_all(world, [confirmed(ORDER)]) == ["hold"]  # nothing to write to: a person is asked
        url = world.urls["dataverse"]
        organization = Organization(world.session, url, sign(SECRET, f"{url}/.default", "concord"))
        webhook = f"{world.dataverse.settings.functions_url}/api/webhooks/dataverse"
        await set_up(organization, yaml.safe_load(SPEC.read_text(encoding="utf-8")), webhook=webhook, key="key")
        other = {**ORDER, "SalesId": "S-2", "Id": "S-2"}
        assert await settle_all(world, [confirmed(other), posted("S-2")]) == ["accept", "accept"]
        tables = await rows(world)
    [head] = [row for row in tables["salesorders"] if row["concord_orderkey"] == "GB01|S-2"]
    assert head["concord_stage"] == "posted"
    assert len(tables["salesorderdetails"]) == 2
    assert len(tables["concord_signals"]) == 1
