"""The official clients work against the running stack, unmodified, by what stack.json says."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyodata
import pytest
import requests
from azure.core.credentials import AccessToken
from azure.data.tables import TableServiceClient
from azure.data.tables.aio import TableServiceClient as AsyncTableServiceClient
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient as AsyncServiceBusClient
from PowerPlatform.Dataverse.client import DataverseClient

from sandbox.kit import exact_json
from tests.end_to_end.conftest import Outside
from tests.end_to_end.orders import event, open_account, sales_order


def sell_with_the_blocking_client(connection: str, number: str) -> None:
    """Sends an order's confirmation to its topic, as intake does."""
    with (
        ServiceBusClient.from_connection_string(connection) as client,
        client.get_topic_sender("orders") as sender,
    ):
        sender.send_messages(message_of(number))


def message_of(number: str) -> ServiceBusMessage:
    """A confirmed order as it travels."""
    now = datetime.now(UTC).isoformat()
    change = {
        "id": f"by-a-client-{number}", "source": "commerce", "entity": "order", "kind": "order.confirmed",
        "legalEntity": "GB01", "key": number, "occurredAt": now, "receivedAt": now, "correlationId": "c" * 32,
        "data": {"order": sales_order(number), "lines": None, "decisionId": None, "eventId": f"by-a-client-{number}"},
    }  # fmt: skip
    return ServiceBusMessage(
        exact_json.dumps(change), session_id="lane-00", message_id=f"by-a-client-{number}",
        application_properties={"kind": "order.confirmed", "entity": "order", "source": "commerce", "key": number},
    )  # fmt: skip


async def test_azure_servicebus_brings_orders_in_both_its_forms(outside: Outside) -> None:
    connection = outside.described["servicebus"]["connection_string"]
    async with (
        AsyncServiceBusClient.from_connection_string(connection) as client,
        client.get_topic_sender("orders") as sender,
    ):
        await sender.send_messages(message_of("AIO-1"))
        due: Any = await sender.schedule_messages(message_of("AIO-2"), datetime(2030, 1, 1, tzinfo=UTC))
        await sender.cancel_scheduled_messages(due)
    await asyncio.to_thread(sell_with_the_blocking_client, connection, "SYNC-1")
    await outside.rest()
    documents = await outside.documents_of("AIO-1", "AIO-2", "SYNC-1")
    assert sorted(one["order"] for one in documents) == ["AIO-1", "SYNC-1"]


def partners_with_pyodata(sap: dict[str, str], account: str) -> str:
    """Reads $metadata and one business partner."""
    session = requests.Session()
    session.auth = (sap["user"], sap["password"])
    session.params = {"sap-client": sap["client"]}
    client = pyodata.Client(f"{sap['url']}/sap/opu/odata/sap/API_BUSINESS_PARTNER/", session)
    return str(client.entity_sets.A_BusinessPartner.get_entity(account).execute().BusinessPartner)


async def test_pyodata_reads_the_simulated_sap(outside: Outside) -> None:
    await open_account(outside, "PYODATA-1")
    assert await asyncio.to_thread(partners_with_pyodata, outside.described["sap"], "PYODATA-1") == "PYODATA-1"


@dataclass(frozen=True)
class TokenOfTheStack:
    """An Azure credential that gives what stack.json holds."""

    token: str

    def get_token(self, *_: str, **__: object) -> AccessToken:
        return AccessToken(self.token, int(time.time()) + 3600)


def account_with_the_dataverse_client(way_in: dict[str, str], number: str) -> tuple[str, str]:
    """Finds an account that SAP's arrangement created, changes it, and reads it again: (number, telephone)."""
    with DataverseClient(way_in["url"], TokenOfTheStack(way_in["token"])) as client:
        [found] = client.records.list("account", filter=f"accountnumber eq '{number}'")
        client.records.update("account", found["accountid"], {"telephone1": "020 7946 0000"})
        row = client.records.retrieve("account", found["accountid"], select=["accountnumber", "telephone1"])
        assert row is not None
        return str(row["accountnumber"]), str(row["telephone1"])


async def test_the_dataverse_client_changes_a_customer_of_the_simulated_dataverse(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_account(outside, "DVCLIENT-1")
    way_in = outside.described["dataverse"]["https"]
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", way_in["certificate"])
    changed = await asyncio.to_thread(account_with_the_dataverse_client, way_in, "DVCLIENT-1")
    assert changed == ("DVCLIENT-1", "020 7946 0000")
    await outside.rest()


async def test_azure_data_tables_reads_what_the_app_remembers(outside: Outside) -> None:
    number = "TABLES-1"
    await outside.ask("POST", "/api/webhooks/commerce", event("confirmed", sales_order(number), number))
    await outside.rest()
    connection = outside.described["tables"]["connection_string"]
    asked = f"PartitionKey eq 'order|GB01|{number}'"
    async with AsyncTableServiceClient.from_connection_string(connection) as service:
        rows = [row async for row in service.get_table_client("records").query_entities(asked)]
    assert {row["RowKey"][:1] for row in rows} == {"0", "1"}

    def blocking() -> int:
        with TableServiceClient.from_connection_string(connection) as service:
            return sum(1 for _ in service.get_table_client("records").query_entities(asked))

    assert await asyncio.to_thread(blocking) == len(rows)
