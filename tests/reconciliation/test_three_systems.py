"""Three systems reconciled in one process: what was forged, deleted or altered is found, named and costed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shared.flows.order_to_ledger import order_to_ledger
from shared.flows.reconciliation import reconcile
from shared.reports.reconciliation import as_json
from tests.ledger.rig import event, line, sales_order
from tests.reconciliation.trading import PERIOD, cancel, document_of, give_back, history_row, into_history, trade
from tests.systems import Systems, systems


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Systems]:
    async with systems(monkeypatch) as running:
        yield running


async def reconciled(world: Systems, legal_entity: str = "GB01") -> dict[str, Any]:
    report, closes = await reconcile(legal_entity, PERIOD, world.hub)
    told = as_json(report, closes)
    assert all(bridge["addsUp"] for bridge in told["bridges"]), told["bridges"]
    return told


async def test_orders_returns_and_cancellations_match_three_ways(world: Systems) -> None:
    for number in ("S-1", "S-2", "S-3"):
        await trade(world, sales_order(number))
    await give_back(world, "S-2", [("1", "4")])
    await cancel(world, "S-3")
    told = await reconciled(world)
    assert (told["orders"], told["matched"], told["explained"], told["unexplained"]) == (3, 3, 0, 0)
    assert told["standing"] == {"cancellation": 1, "return": 1}
    assert told["difference"] == {"GBP": "0.00"}
    [ledger] = [one for one in told["bridges"] if one["to"] == "SAP ledger"]
    assert (ledger["start"], ledger["end"]) == ("360.00", "192.00")


async def test_the_last_evening_of_the_month_belongs_to_it_and_the_next_morning_does_not(world: Systems) -> None:
    await trade(world, sales_order("S-1", BusinessDate="2026-11-30"))
    await trade(world, sales_order("S-2", BusinessDate="2026-12-01"))
    told = await reconciled(world)
    assert (told["orders"], told["matched"]) == (1, 1)


async def _forge_in_sap(world: Systems) -> None:
    forged = {"legalEntity": "GB01", "gross": Decimal("12.00"), "order": "S-9", "postingDate": "2026-11-23"}
    await world.control("sap", "POST", "documents", forged)


async def _delete_in_sap(world: Systems) -> None:
    await world.control("sap", "DELETE", f"documents/{_id(await document_of(world, 'S-2'))}")


async def _alter_in_sap(world: Systems) -> None:
    document = await document_of(world, "S-2")
    await world.control("sap", "PATCH", f"documents/{_id(document)}", {"gross": Decimal("120.01")})


async def _forge_in_commerce(world: Systems) -> None:
    await world.control("commerce", "PUT", "orders/S-9", {"order": sales_order("S-9"), "legalEntity": "GB01"})


async def _delete_in_commerce(world: Systems) -> None:
    await world.control("commerce", "DELETE", "orders/S-2")


async def _alter_in_commerce(world: Systems) -> None:
    order = sales_order("S-2", lines=[line("1", "10", "100.01", "20.00")])
    await world.control("commerce", "PUT", "orders/S-2", {"order": order, "legalEntity": "GB01"})


async def _forge_in_crm(world: Systems) -> None:
    row = await history_row(world, "S-2")
    forged = {
        name: row[name]
        for name in ("concord_legalentity", "concord_businessdate", "totalamount", "totaltax", "name")
        if row.get(name) is not None
    }
    forged |= {"concord_orderkey": "GB01|S-9", "ordernumber": "S-9"}
    await world.control("dataverse", "POST", "rows/salesorders", forged)


async def _delete_in_crm(world: Systems) -> None:
    await world.control("dataverse", "DELETE", "rows/salesorders/GB01|S-2")


async def _alter_in_crm(world: Systems) -> None:
    await world.control("dataverse", "PATCH", "rows/salesorders/GB01|S-2", {"totalamount": Decimal("120.01")})


def _id(document: dict[str, Any]) -> str:
    return str(document.get("id") or f"{document['company_code']}-{document['fiscal_year']}-{document['document']}")


@pytest.mark.parametrize(
    ("tamper", "number", "code", "difference"),
    [
        (_forge_in_sap, "S-9", "forged_in_sap", "12.00"),
        (_delete_in_sap, "S-2", "document_gone", "120.00"),
        (_alter_in_sap, "S-2", "altered_in_sap", "0.01"),
        (_forge_in_commerce, "S-9", "never_received", "240.00"),
        (_delete_in_commerce, "S-2", "order_gone", "240.00"),
        (_alter_in_commerce, "S-2", "altered_in_commerce", "0.02"),
        (_forge_in_crm, "S-9", "forged_in_crm", "120.00"),
        (_delete_in_crm, "S-2", "row_gone", "120.00"),
        (_alter_in_crm, "S-2", "altered_in_crm", "0.01"),
    ],
)
async def test_what_is_forged_deleted_or_altered_by_a_penny_is_found_and_named(
    world: Systems, tamper: Callable[[Systems], Awaitable[None]], number: str, code: str, difference: str
) -> None:
    for known in ("S-1", "S-2", "S-3"):
        await trade(world, sales_order(known))
    assert (await reconciled(world))["unexplained"] == 0
    await tamper(world)
    told = await reconciled(world)
    assert told["unexplained"] == 1, told["rows"]
    assert {row["orderNumber"] for row in told["rows"]} == {number}
    assert code in {row["code"] for row in told["rows"]}, told["rows"]
    assert not any(row["explained"] for row in told["rows"])
    assert told["difference"]["GBP"] == difference


async def test_a_document_beside_the_orders_own_that_vanished_is_missed(world: Systems) -> None:
    """Commerce's list of orders says nothing of a return by line or a cancellation; what was posted does."""
    for known in ("S-1", "S-2"):
        await trade(world, sales_order(known))
    await give_back(world, "S-1", [("1", "4")])
    await cancel(world, "S-2")
    documents = (await world.control("sap", "GET", "state"))["documents"]
    for document in documents:
        if document["kind"] != "invoice":
            await world.control("sap", "DELETE", f"documents/{document['id']}")
    told = await reconciled(world)
    assert [(row["orderNumber"], row["code"], row["expected"], row["found"]) for row in told["rows"]] == [
        ("S-1", "document_gone", "-48.00", "0.00"),
        ("S-2", "document_gone", "-120.00", "0.00"),
    ]
    assert (told["unexplained"], told["difference"]) == (2, {"GBP": "168.00"})


async def test_a_header_text_that_somebody_edited_is_no_difference(world: Systems) -> None:
    await trade(world, sales_order("S-1"))
    document = await document_of(world, "S-1")
    await world.control("sap", "PATCH", f"documents/{_id(document)}", {"headerText": "seen by Carla"})
    told = await reconciled(world)
    assert (told["matched"], told["unexplained"], told["standing"]) == (1, 0, {"header_text": 1})


async def test_an_order_that_is_shipped_in_part_is_explained_until_commerce_says_that_all_of_it_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    overlay = tmp_path / "policy.yaml"
    overlay.write_text("ledger: {legal_entities: {GB01: {post_when: shipment}}}\n")
    async with systems(monkeypatch, policy_overlay=overlay) as world:
        for number in ("WHOLE", "PART", "CALLED-OFF", "LOST"):
            order = await trade(world, sales_order(number))
            parts = [[("1", "4")], [("1", "6")]] if number == "WHOLE" else [[("1", "4")]]
            for part, lines in enumerate(parts):
                shipped = event("shipped", number, lines=lines, event_id=f"shipped-{number}-{part}")
                assert await world.settle("order_to_ledger", order_to_ledger, shipped) == "accept"
                await into_history(world, shipped)
            assert order.kind == "order.confirmed"
        off = event("cancelled", "CALLED-OFF", lines=[("1", "6")])
        assert await world.settle("order_to_ledger", order_to_ledger, off) == "unchanged"
        gone = {"order": sales_order("LOST"), "legalEntity": "GB01", "status": "Shipped"}
        await world.control("commerce", "PUT", "orders/LOST", gone)
        told = await reconciled(world)
        found = {(row["orderNumber"], row["code"], row["explained"]) for row in told["rows"]}
        assert found == {
            ("WHOLE", "posted_in_parts", True),
            ("PART", "partly_shipped", True),
            ("CALLED-OFF", "partly_shipped", True),
            ("LOST", "shipment_missing", False),
        }
        [lost] = [row for row in told["rows"] if row["orderNumber"] == "LOST"]
        assert "48.00 GBP together; of 72.00 GBP nothing was shipped" in lost["reason"]


@pytest.mark.parametrize(
    ("system", "path", "body", "code"),
    [
        ("dataverse", "rows/salesorders/GB01|FREE", {"totalamount": Decimal("0.01")}, "altered_in_crm"),
        ("dataverse", "rows/salesorders/GB01|FREE", {"concord_businessdate": "2026-11-24"}, "altered_in_crm"),
        ("commerce", "orders/FREE", {"TotalAmount": Decimal("0.01")}, "altered_in_commerce"),
        ("commerce", "orders/FREE", {"BusinessDate": "2026-11-24"}, "altered_in_commerce"),
        ("commerce", "orders/FREE", None, "order_gone"),
        ("dataverse", "rows/salesorders/GB01|FREE", None, "row_gone"),
    ],
)
async def test_an_order_that_was_never_posted_is_not_tampered_with_unseen_either(
    world: Systems, system: Any, path: str, body: dict[str, Any] | None, code: str
) -> None:
    free = sales_order("FREE", lines=[line("1", "3", "0.00", "0.00")])
    await trade(world, free)
    await trade(world, sales_order("S-1"))
    if body is None:
        await world.control(system, "DELETE", path)
    elif system == "commerce":
        await world.control(system, "PUT", path, {"order": free | body, "legalEntity": "GB01"})
    else:
        await world.control(system, "PATCH", path, body)
    told = await reconciled(world)
    unexplained = [row for row in told["rows"] if not row["explained"]]
    assert {row["orderNumber"] for row in unexplained} == {"FREE"}
    assert {row["code"] for row in unexplained} == {code}
