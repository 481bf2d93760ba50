"""Every dependency of the app in one place: what a story may use, and how it is connected.

Importing opens no connection and loads no SDK; `hub()` connects on first use, once for each worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shared.settings import Settings, read_settings
from shared.telemetry import Counters

if TYPE_CHECKING:
    from azure.servicebus.aio import ServiceBusClient
    from azure.storage.blob.aio import BlobServiceClient

    from shared.authority.policy import Policy
    from shared.clients.commerce import Commerce
    from shared.clients.dataverse import Dataverse
    from shared.clients.inventory import Inventory
    from shared.clients.sap_credit import SapCredit
    from shared.clients.sap_ledger import SapLedger
    from shared.clients.sap_stock import SapStock
    from shared.messaging import Bodies, BusPort
    from shared.stores.cases import Cases
    from shared.stores.credit_book import CreditBook
    from shared.stores.parking import ParkedIndex
    from shared.stores.records import Records
    from shared.stores.table import Table

Clock = Callable[[], datetime]
TABLES = ("records", "cases", "parked", "credit", "requests")


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Hub:
    """What stories use. `closing` ends every connection, in the reverse order of opening."""

    settings: Settings
    policy: Policy
    clock: Clock
    counters: Counters
    records: Records
    cases: Cases
    parked: ParkedIndex
    bodies: Bodies
    bus: BusPort
    credit_book: CreditBook
    sap_credit: SapCredit
    sap_ledger: SapLedger
    sap_stock: SapStock
    dataverse: Dataverse
    commerce: Commerce
    inventory: Inventory
    closing: AsyncExitStack = field(default_factory=AsyncExitStack)


_connecting: asyncio.Lock | None = None
_connected: Hub | None = None


async def hub() -> Hub:
    """The worker's one hub, connected at the first call."""
    global _connecting, _connected  # noqa: PLW0603 - one hub for each worker process is the point
    if _connected is not None:
        return _connected
    if _connecting is None:
        _connecting = asyncio.Lock()
    async with _connecting:
        if _connected is None:
            _connected = await build_hub(read_settings())
    return _connected


async def build_hub(
    settings: Settings,
    *,
    clock: Clock = utc_now,
    tables: Callable[[str], Table] | None = None,
    bus: BusPort | None = None,
    bodies: Bodies | None = None,
) -> Hub:
    """Connect everything. Tests give their own tables, bus and bodies, and the addresses of simulators."""
    from shared.authority.policy import load_policy
    from shared.stores.cases import Cases
    from shared.stores.parking import ParkedIndex
    from shared.stores.records import Records

    policy = load_policy(settings.policy_overlay)
    counters = Counters()
    closing = AsyncExitStack()
    by_name = tables or await _azure_tables(settings, counters, closing)
    kept = bodies or _blob_bodies(settings, closing)
    sent = bus or _service_bus(settings, kept, counters, closing)
    clients = _clients(settings, policy, counters, closing)
    return Hub(
        settings=settings,
        policy=policy,
        clock=clock,
        counters=counters,
        records=Records(by_name("records")),
        cases=Cases(by_name("cases")),
        parked=ParkedIndex(by_name("parked")),
        bodies=kept,
        bus=sent,
        credit_book=_credit_book(by_name, policy, counters, clock),
        closing=closing,
        **clients,
    )
