"""Sales on account that are posted by sales order: real stories and clients, SAP's simulator, one policy overlay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.delivery import deliver_without_dossier
from shared.domain.events import topic_of
from shared.flows.credit_hold_update import credit_hold_update
from shared.flows.order_to_ledger import order_to_ledger
from shared.messaging import Delivery
from shared.stores.cases import Case
from shared.stores.claims import Claim, claims_in
from tests.ledger.checking import approved
from tests.ledger.rig import confirmed, line, sales_order
from tests.systems import Systems, systems

BY_ORDER: dict[str, Any] = {"legal_entities": {"GB01": {"posting": "sales_order"}}}
ACCOUNT = {"legalEntity": "GB01", "limit": "100000", "currency": "GBP", "prices": {"ITEM-1": "10.00", "ITEM-2": "1.00"}}


@asynccontextmanager
async def trading(
    patch: pytest.MonkeyPatch,
    folder: Path,
    ledger: Mapping[str, Any] = BY_ORDER,
    *,
    credit: Mapping[str, Any] | None = None,
    **account: Any,
) -> AsyncIterator[Systems]:
    """A world in which GB01 posts by sales order and C-1 has credit."""
    overlay = folder / "overlay.yaml"
    overlay.write_text(yaml.safe_dump({"ledger": dict(ledger), "credit": dict(credit or {})}), encoding="utf-8")
    async with systems(patch, policy_overlay=overlay) as world:
        await world.control("sap", "PUT", "credit-accounts/C-1", ACCOUNT | account)
        yield world


def on_account(number: str = "S-1", **content: Any) -> dict[str, Any]:
    """An order over ten ITEM-1 for 100.00 and 20.00 of tax, or over other lines, wholly on account."""
    lines = content.pop("lines", None) or [line("1", "10", "100.00", "20.00")]
    bare = sales_order(number, lines=lines, tenders=[], **content)
    return {**bare, "TenderLines": [{"TenderTypeId": "4", "Amount": bare["TotalAmount"]}]}


async def checked(world: Systems, order: dict[str, Any]) -> str:
    """The credit decision that approves an order; its id."""
    deadline = asyncio.get_running_loop().time() + 10
    return await approved(order, world.hub, request_id=f"check-{order['SalesId']}", deadline=deadline)


async def post(world: Systems, order: dict[str, Any], *, decision: str = "") -> str:
    """Check and confirm an order and bring it to its stories; the ruling."""
    decision = decision or await checked(world, order)
    change = confirmed(order, decision=decision, at=world.clock.now)
    ruled = await world.settle("order_to_ledger", order_to_ledger, change)
    told = [sent.change for sent in world.bus.sent if sent.change.kind == "order.posted"]
    for one in (change, *(posted for posted in told if posted.key == order["SalesId"])):
        delivery = Delivery("credit_hold_update", topic_of(one), one.message_id, 1, one, None, b"")
        await deliver_without_dossier(delivery, credit_hold_update, world.hub)
    return ruled


async def orders_in_sap(world: Systems) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await world.control("sap", "GET", "state"))["sales_orders"]
    return found


async def documents_in_sap(world: Systems) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await world.control("sap", "GET", "state"))["documents"]
    return found


async def claim_of(world: Systems, number: str = "S-1") -> Claim:
    [claim] = claims_in(await world.hub.records.read(f"order|GB01|{number}"))
    return claim


async def open_case(world: Systems) -> Case:
    [case] = await world.hub.cases.list(state="open")
    return case
