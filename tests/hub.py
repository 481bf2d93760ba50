"""A hub for tests: tables in memory, a bus that remembers what was sent, the policy that ships, a clock that is set."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from shared.authority.policy import Policy, load_policy
from shared.domain.changes import Change
from shared.settings import Settings
from shared.stores.cases import Cases
from shared.stores.parking import ParkedIndex
from shared.stores.pauses import Pauses
from shared.stores.recollections import Recollections
from shared.stores.records import Records
from shared.stores.table import Table
from shared.telemetry import Counters
from shared.wiring import Hub
from tests.memory_table import MemoryTable

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@dataclass
class SetClock:
    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass
class Sent:
    """One message the bus took. `flow` is set for wake-ups."""

    topic: str
    change: Change
    flow: str = ""
    due: datetime | None = None
    force: bool = False


@dataclass
class RememberingBus:
    sent: list[Sent] = field(default_factory=list)

    async def publish(self, topic: str, change: Change) -> None:
        self.sent.append(Sent(topic, change))

    async def wake(
        self, topic: str, change: Change, *, flow: str, due: datetime | None = None, force: bool = False
    ) -> None:
        self.sent.append(Sent(topic, change, flow, due, force))


class MemoryBodies:
    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def put(self, body: bytes) -> str:
        name = f"body-{len(self.kept)}"
        self.kept[name] = body
        return name

    async def get(self, name: str) -> bytes:
        return self.kept[name]


_POLICY: list[Policy] = []


def shipped_policy() -> Policy:
    if not _POLICY:
        _POLICY.append(load_policy())
    return _POLICY[0]


def settings() -> Settings:
    return Settings(
        servicebus_connection=SecretStr("Endpoint=sb://127.0.0.1"),
        tables_connection=SecretStr("UseDevelopmentStorage=true"),
        blobs_connection=SecretStr("UseDevelopmentStorage=true"),
        sap_url="http://127.0.0.1:1",
        sap_user="CONCORD",
        sap_password=SecretStr("not-a-secret"),
        dataverse_url="http://127.0.0.1:1",
        commerce_retail_url="http://127.0.0.1:1",
        commerce_hq_url="http://127.0.0.1:1",
        commerce_inventory_url="http://127.0.0.1:1",
        commerce_inventory_token_url="http://127.0.0.1:1",
        commerce_environment_id="sandbox",
        service_key=SecretStr("service-key-of-the-tests"),
    )


def hub_in_memory(**given: Any) -> Hub:
    """Everything that needs no other system; give the clients that a test talks to."""
    counters = Counters()
    tables: dict[str, Table] = given.pop("tables", None) or {
        name: MemoryTable(counters) for name in ("records", "cases", "parked")
    }
    parts: dict[str, Any] = {
        "settings": settings(),
        "policy": shipped_policy(),
        "clock": SetClock(),
        "counters": counters,
        "records": Records(tables["records"]),
        "recollections": Recollections(),
        "cases": Cases(tables["cases"]),
        "parked": ParkedIndex(tables["parked"]),
        "pauses": Pauses(tables["parked"]),
        "bodies": MemoryBodies(),
        "bus": RememberingBus(),
        **dict.fromkeys(
            (
                "credit_book",
                "credit_desk",
                "sap_credit",
                "sap_ledger",
                "sap_orders",
                "sap_stock",
                "dataverse",
                "commerce",
                "inventory",
            ),
            None,
        ),
    }
    return Hub(**(parts | given))
