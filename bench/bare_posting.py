"""The floor of posting: receive, the same call of SAP, the same number of table rows, complete; nothing is decided.

The message is the journal entry itself, ready to send. It is posted, read for its document number, and remembered in
the three rows that a posting writes: a row before, and that row changed together with another one after.
"""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import dataclass

import aiohttp
import azure.functions as func
from azure.core import MatchConditions
from azure.core.pipeline.transport import AioHttpTransport
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient, TableServiceClient

from bench.floor import BUS, SAP_AUTHORIZATION, SAP_URL, TABLES

TOPIC, SUBSCRIPTION = "changes", "account_sync"
"""Where it receives: a subscription with lanes whose own flow is turned off meanwhile."""
_PATH = "/sap/bc/srt/scs_ext/sap/journalentrycreaterequestconfi"
_ACTION = "http://sap.com/xi/SAPSCORE/SFIN/JournalEntryCreateRequestConfirmation_In"
_ACTION += "/JournalEntryCreateRequestConfirmation_InRequest"


@dataclass(frozen=True, slots=True)
class _Connected:
    sap: aiohttp.ClientSession
    url: str
    rows: TableClient


_connecting: asyncio.Task[_Connected] | None = None
app = func.FunctionApp()


@app.function_name("bare_posting")
@app.service_bus_topic_trigger(
    arg_name="message",
    connection=BUS,
    topic_name=TOPIC,
    subscription_name=SUBSCRIPTION,
    is_sessions_enabled=True,
)
async def bare_posting(message: func.ServiceBusMessage) -> None:
    connected = await _connected()
    body = message.get_body()
    key = message.message_id
    row = {"PartitionKey": key, "RowKey": "0|claim", "state": "sending", "body": body.decode()}
    etag = (await connected.rows.create_entity(row))["etag"]
    headers = {"Content-Type": "text/xml; charset=utf-8", "Accept": "text/xml", "SOAPAction": f'"{_ACTION}"'}
    params = {"sap-client": "100"}
    async with connected.sap.post(connected.url + _PATH, params=params, data=body, headers=headers) as answer:
        answer.raise_for_status()
        said = await answer.text()
    found = re.search(r"<AccountingDocument>(\d+)</AccountingDocument>", said)
    if found is None or not found[1].strip("0"):
        raise RuntimeError(f"SAP posted nothing: {said[:500]}")
    condition = {"mode": UpdateMode.REPLACE, "etag": etag, "match_condition": MatchConditions.IfNotModified}
    evidence = {"PartitionKey": key, "RowKey": "1|done", "summary": found[1]}
    await connected.rows.submit_transaction(
        [("update", {**row, "state": "settled", "document": found[1]}, condition), ("create", evidence)]
    )


async def _connected() -> _Connected:
    global _connecting  # noqa: PLW0603 - connected once for each process, as the app is
    if _connecting is None:
        _connecting = asyncio.create_task(_connect())
    return await _connecting


async def _connect() -> _Connected:
    sap = aiohttp.ClientSession(
        headers={"Authorization": os.environ[SAP_AUTHORIZATION]},
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    tables = TableServiceClient.from_connection_string(
        os.environ[TABLES], transport=AioHttpTransport(use_env_settings=False)
    )
    return _Connected(sap, os.environ[SAP_URL], await tables.create_table_if_not_exists("bareposting"))
