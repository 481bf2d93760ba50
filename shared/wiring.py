"""Every dependency of the app in one place: what a story may use, and how it is connected.

Importing opens no connection and loads no SDK; `hub()` connects on first use, once for each worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shared.settings import Settings, settings_of_process
from shared.telemetry import Counters, export

if TYPE_CHECKING:
    from azure.servicebus.aio import ServiceBusClient
    from azure.storage.blob.aio import BlobServiceClient

    from shared.authority.policy import Policy
    from shared.clients.commerce import Commerce
    from shared.clients.dataverse import Dataverse
    from shared.clients.inventory import Inventory
    from shared.clients.sap_credit import SapCredit
    from shared.clients.sap_ledger import SapLedger
    from shared.clients.sap_orders import SapOrders
    from shared.clients.sap_stock import SapStock
    from shared.messaging import Bodies, BusPort
    from shared.stores.cases import Cases
    from shared.stores.credit_book import CheckDesk, CreditBook
    from shared.stores.parking import ParkedIndex
    from shared.stores.pauses import Pauses
    from shared.stores.recollections import Recollections
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
    recollections: Recollections
    cases: Cases
    parked: ParkedIndex
    pauses: Pauses
    bodies: Bodies
    bus: BusPort
    credit_book: CreditBook
    credit_desk: CheckDesk
    sap_credit: SapCredit
    sap_ledger: SapLedger
    sap_orders: SapOrders
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
            settings = settings_of_process()
            export.start(settings)
            _connected = await build_hub(settings)
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
    from shared.stores.credit_book import CheckDesk, CreditBook
    from shared.stores.parking import ParkedIndex
    from shared.stores.pauses import Pauses
    from shared.stores.recollections import Recollections
    from shared.stores.records import Records

    policy = load_policy(settings.policy_overlay)
    counters = Counters()
    closing = AsyncExitStack()
    by_name = tables or await _azure_tables(settings, counters, closing)
    kept = bodies or _blob_bodies(settings, closing)
    sent = bus or _service_bus(settings, kept, counters, closing)
    clients = _clients(settings, policy, counters, closing)
    book = CreditBook(
        by_name("credit"), by_name("requests"), policy.credit, clock=clock, counters=counters, digest=policy.digest
    )
    return Hub(
        settings=settings,
        policy=policy,
        clock=clock,
        counters=counters,
        records=Records(by_name("records")),
        recollections=Recollections(),
        cases=Cases(by_name("cases")),
        parked=ParkedIndex(by_name("parked")),
        pauses=Pauses(by_name("parked")),
        bodies=kept,
        bus=sent,
        credit_book=book,
        credit_desk=CheckDesk(book, clients["sap_credit"]),
        closing=closing,
        **clients,
    )


async def _azure_tables(settings: Settings, counters: Counters, closing: AsyncExitStack) -> Callable[[str], Table]:
    from azure.data.tables.aio import TableServiceClient

    from shared.stores.azure_table import AzureTable

    if settings.tables_connection is not None:
        connection = settings.tables_connection.get_secret_value()
        service = TableServiceClient.from_connection_string(connection, transport=_transport())
    else:
        credential = _credential(settings, closing)
        service = TableServiceClient(
            endpoint=settings.tables_endpoint or "", credential=credential, transport=_transport()
        )
    await closing.enter_async_context(service)
    made = {name: AzureTable(service, name, counters) for name in TABLES}
    if settings.tables_connection is not None:  # in the cloud the deployment creates them
        await asyncio.gather(*(table.create() for table in made.values()))
    return made.__getitem__


def _transport() -> Any:
    """Azure's own transport, without the look into netrc that it otherwise takes on a thread for every request."""
    from azure.core.pipeline.transport import AioHttpTransport

    return AioHttpTransport(use_env_settings=False)


def _blob_bodies(settings: Settings, closing: AsyncExitStack) -> Bodies:
    from shared.stores.bodies import BlobBodies

    def open_service() -> BlobServiceClient:
        from azure.storage.blob.aio import BlobServiceClient

        if settings.blobs_connection is not None:
            connection = settings.blobs_connection.get_secret_value()
            return BlobServiceClient.from_connection_string(connection, transport=_transport())
        credential = _credential(settings, closing)
        return BlobServiceClient(settings.blobs_endpoint or "", credential=credential, transport=_transport())

    bodies = BlobBodies(open_service)
    closing.push_async_callback(bodies.close)
    return bodies


def _service_bus(settings: Settings, bodies: Bodies, counters: Counters, closing: AsyncExitStack) -> BusPort:
    from shared.messaging import Bus

    opened: list[ServiceBusClient] = []

    async def client() -> ServiceBusClient:
        from azure.servicebus.aio import ServiceBusClient

        if not opened:
            if settings.servicebus_connection is not None:
                made = ServiceBusClient.from_connection_string(settings.servicebus_connection.get_secret_value())
            else:
                made = ServiceBusClient(settings.servicebus_namespace or "", _credential(settings, closing))
            opened.append(await closing.enter_async_context(made))
        return opened[0]

    bus = Bus(client, bodies, settings.lanes, counters)
    closing.push_async_callback(bus.close)
    return bus


def _credential(settings: Settings, closing: AsyncExitStack) -> Any:
    from azure.identity.aio import ManagedIdentityCredential

    credential = (
        ManagedIdentityCredential(client_id=settings.identity_client_id)
        if settings.identity_client_id
        else ManagedIdentityCredential()
    )
    closing.push_async_callback(credential.close)
    return credential


def _clients(settings: Settings, policy: Policy, counters: Counters, closing: AsyncExitStack) -> dict[str, Any]:
    """One pool of connections, one limiter and one circuit for each remote system."""
    from shared.clients.commerce import Commerce
    from shared.clients.dataverse import Dataverse
    from shared.clients.http import BasicAuth, RemoteSystem
    from shared.clients.inventory import Inventory, InventoryAuth
    from shared.clients.odata import ODataV2
    from shared.clients.sap_credit import SapCredit
    from shared.clients.sap_ledger import SapLedger
    from shared.clients.sap_orders import SapOrders
    from shared.clients.sap_stock import SapStock
    from shared.clients.tokens import BearerAuth, ManagedIdentity, Tokens

    tokens = Tokens(lambda: ManagedIdentity(settings.identity_client_id or ""))
    closing.push_async_callback(tokens.close)

    def system(name: str, url: str, *, auth: Any = None, concurrency_max: int = 32) -> RemoteSystem:
        made = RemoteSystem(name, url, auth=auth, concurrency_max=concurrency_max, counters=counters)
        closing.push_async_callback(made.close)
        return made

    def bearer(url: str) -> BearerAuth:
        return BearerAuth(tokens, f"{url.rstrip('/')}/.default")

    sap = ODataV2(
        system(
            "sap",
            settings.sap_url,
            auth=BasicAuth(settings.sap_user, settings.sap_password.get_secret_value()),
            concurrency_max=settings.sap_concurrent_calls,  # this worker's share of what SAP takes from all of them
        ),
        client=settings.sap_client,
    )
    security = system("inventory-security", settings.commerce_inventory_token_url)
    inventory = system(
        "inventory",
        settings.commerce_inventory_url,
        auth=InventoryAuth(tokens, security, settings.commerce_environment_id),
    )
    return {
        "sap_credit": SapCredit(sap, policy.credit),
        "sap_ledger": SapLedger(sap, client=settings.sap_client),
        "sap_orders": SapOrders(sap),
        "sap_stock": SapStock(sap),
        # Dataverse refuses the 53rd concurrent request of a user
        "dataverse": Dataverse(
            system("dataverse", settings.dataverse_url, auth=bearer(settings.dataverse_url), concurrency_max=52)
        ),
        "commerce": Commerce(
            system("commerce-retail", settings.commerce_retail_url, auth=bearer(settings.commerce_retail_url)),
            system("commerce-hq", settings.commerce_hq_url, auth=bearer(settings.commerce_hq_url)),
        ),
        "inventory": Inventory(inventory, settings.commerce_environment_id),
    }
