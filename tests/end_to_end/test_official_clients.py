"""The official clients work against the running stack, unmodified, by what stack.json says."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pyodata
import requests
from azure.data.tables.aio import TableServiceClient
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient as AsyncServiceBusClient

from tests.end_to_end.conftest import Outside
from tests.end_to_end.orders import event, open_account, sales_order


def peek_with_the_blocking_client(connection: str) -> int:
    """Looks at a subscription without taking anything."""
    with (
        ServiceBusClient.from_connection_string(connection) as client,
        client.get_subscription_receiver("orders", "order_to_ledger", session_id="lane-99") as receiver,
    ):
        return len(receiver.peek_messages(max_message_count=5))


async def test_azure_servicebus_sends_and_looks_in_both_its_forms(outside: Outside) -> None:
    connection = outside.described["servicebus"]["connection_string"]
    message = ServiceBusMessage(b"{}", session_id="lane-99", message_id="by-the-client")
    async with (
        AsyncServiceBusClient.from_connection_string(connection) as client,
        client.get_topic_sender("changes") as sender,
    ):
        due: Any = await sender.schedule_messages(message, datetime(2030, 1, 1, tzinfo=UTC))
        await sender.cancel_scheduled_messages(due)
    assert await asyncio.to_thread(peek_with_the_blocking_client, connection) == 0


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


async def test_a_token_of_the_stack_opens_the_simulated_dataverse(outside: Outside) -> None:
    dataverse = outside.described["dataverse"]
    headers = {"Authorization": f"Bearer {dataverse['token']}"}
    async with outside.session.get(f"{dataverse['url']}/api/data/v9.2/WhoAmI", headers=headers) as answer:
        assert answer.status == 200, await answer.read()


async def test_azure_data_tables_reads_what_the_app_remembers(outside: Outside) -> None:
    number = "TABLES-1"
    await outside.ask("POST", "/api/webhooks/commerce", event("confirmed", sales_order(number), number))
    await outside.rest()
    connection = outside.described["tables"]["connection_string"]
    async with TableServiceClient.from_connection_string(connection) as service:
        table = service.get_table_client("records")
        rows = [row async for row in table.query_entities(f"PartitionKey eq 'order|GB01|{number}'")]
    assert {row["RowKey"][:1] for row in rows} == {"0", "1"}
