"""The floor of the credit check: a door that makes the same calls and decides nothing.

The same five reads of SAP in the same order and side by side, the same two reads and writes of tables, the same three
rows in one transaction; through the libraries themselves, with no limiter, circuit, queue, policy, trace or count.
What it reads it parses, what it is asked it parses and keeps, as any handler would.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import azure.functions as func
from azure.core import MatchConditions
from azure.core.exceptions import ResourceNotFoundError
from azure.core.pipeline.transport import AioHttpTransport
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient, TableServiceClient

from bench.floor import SAP_AUTHORIZATION, SAP_URL, TABLES

_ODATA = "/sap/opu/odata/sap"
_TRIES = 30


@dataclass(frozen=True, slots=True)
class _Connected:
    sap: aiohttp.ClientSession
    url: str
    token: str
    cookies: str
    index: TableClient
    book: TableClient


_connecting: asyncio.Task[_Connected] | None = None
app = func.FunctionApp()


@app.function_name("bare_check")
@app.route(route="credit-checks", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
async def bare_check(req: func.HttpRequest) -> func.HttpResponse:
    connected = await _connected()
    asked = json.loads(req.get_body())
    entity, account, number = asked["legalEntity"], asked["account"], asked["requestId"]
    key = uuid.uuid4().hex
    await connected.index.create_entity(
        {"PartitionKey": f"{entity}|{number}", "RowKey": "0", "digest": key, "decision_id": key}
    )
    simulation = asyncio.create_task(_simulate(connected, asked))
    partition = f"1000|{account}"
    for _ in range(_TRIES):
        rows = [
            row
            async for row in connected.book.query_entities(
                "PartitionKey eq @partition and RowKey ge '0|' and RowKey lt '0}'", parameters={"partition": partition}
            )
        ]
        found = next((row for row in rows if row["RowKey"] == "0|account"), None)
        said = await asyncio.gather(
            _get(connected, "API_CRDTMBUSINESSPARTNER", _key_of("CreditManagementAccount", account)),
            _get(connected, "API_CRDTMBUSINESSPARTNER", f"CreditMgmtBusinessPartner('{quote(account)}')"),
            _owed(connected, account, entity),
            simulation,
        )
        answer = {"decisionId": key, "outcome": "approved", "limit": said[0]["d"]["CreditLimitAmount"]}
        body = json.dumps({"asked": asked, "answer": answer})
        standing = {"PartitionKey": partition, "RowKey": "0|account", "body": json.dumps(said[0]["d"])}
        written: list[tuple[str, dict[str, Any]] | tuple[str, dict[str, Any], dict[str, Any]]] = [
            ("create", {"PartitionKey": partition, "RowKey": f"1|{key}", "outcome": "approved", "body0": body}),
            ("create", {"PartitionKey": partition, "RowKey": f"0|hold|{key}", "live": "placed", "body": body}),
            ("create", standing) if found is None else ("update", standing, _condition(found)),
        ]
        try:
            await connected.book.submit_transaction(written)
        except (ResourceNotFoundError, aiohttp.ClientError):
            raise
        except Exception as error:
            if getattr(error, "status_code", 0) in (409, 412):
                continue
            raise
        return func.HttpResponse(json.dumps(answer), mimetype="application/json")
    return func.HttpResponse(status_code=503)


async def _owed(connected: _Connected, account: str, entity: str) -> tuple[Any, Any]:
    """Open orders, then receivables: the order of the real check, for the reason it has there."""
    orders = await _get(
        connected, "API_SALES_ORDER_SRV", "A_SalesOrder",
        {
            "$filter": f"SoldToParty eq '{account}' and OverallSDProcessStatus ne 'C' "
            f"and (SalesOrganization eq '{entity}')",
            "$select": "SalesOrder,SalesOrganization,PurchaseOrderByCustomer,TotalNetAmount,TransactionCurrency,"
            "TotalCreditCheckStatus",
            "$orderby": "SalesOrder",
            "$top": "1000",
        },
    )  # fmt: skip
    receivables = await _get(
        connected, "API_OPLACCTGDOCITEMCUBE_SRV", "A_OperationalAcctgDocItemCube",
        {
            "$filter": f"Customer eq '{account}' and IsCleared eq false and FinancialAccountType eq 'D' "
            f"and (CompanyCode eq '{entity}')",
            "$select": "CompanyCode,FiscalYear,AccountingDocument,AccountingDocumentItem,DocumentReferenceID,"
            "SalesDocument,NetDueDate,Reference1InDocumentHeader,Reference2InDocumentHeader,"
            "AmountInTransactionCurrency,TransactionCurrency",
            "$orderby": "AccountingDocument,CompanyCode,FiscalYear,AccountingDocumentItem",
            "$top": "1000",
        },
    )  # fmt: skip
    return orders, receivables


async def _simulate(connected: _Connected, asked: dict[str, Any]) -> Any:
    body = {
        "SalesOrderType": "OR",
        "SalesOrganization": asked["legalEntity"],
        "DistributionChannel": "10",
        "OrganizationDivision": "00",
        "SoldToParty": asked["account"],
        "PurchaseOrderByCustomer": asked["requestId"][:35],
        "to_Pricing": {},
        "to_Credit": {},
        "to_Item": [
            {
                "SalesOrderItem": str((at + 1) * 10),
                "Material": line["product"],
                "RequestedQuantity": str(line["quantity"]),
            }
            for at, line in enumerate(asked["lines"])
        ],
    }
    path = f"{_ODATA}/API_SALES_ORDER_SIMULATION_SRV/A_SalesOrderSimulation"
    headers = {"X-CSRF-Token": connected.token, "Cookie": connected.cookies}
    async with connected.sap.post(connected.url + path, params=_client(), json=body, headers=headers) as answer:
        answer.raise_for_status()
        return await answer.json()


async def _get(connected: _Connected, service: str, path: str, params: dict[str, str] | None = None) -> Any:
    url = f"{connected.url}{_ODATA}/{service}/{path}"
    async with connected.sap.get(url, params={**(params or {}), **_client()}) as answer:
        answer.raise_for_status()
        return await answer.json()


async def _connected() -> _Connected:
    global _connecting  # noqa: PLW0603 - connected once for each process, as the app is
    if _connecting is None:
        _connecting = asyncio.create_task(_connect())
    return await _connecting


async def _connect() -> _Connected:
    url = os.environ[SAP_URL]
    headers = {"Authorization": os.environ[SAP_AUTHORIZATION], "Accept": "application/json"}
    sap = aiohttp.ClientSession(
        headers=headers, connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    )
    fetch = {"X-CSRF-Token": "Fetch"}
    service = f"{url}{_ODATA}/API_SALES_ORDER_SIMULATION_SRV/"
    async with sap.get(service, params=_client(), headers=fetch) as answer:
        answer.raise_for_status()
        token = answer.headers["X-CSRF-Token"]
        cookies = "; ".join(f"{name}={one.value}" for name, one in answer.cookies.items())
    tables = TableServiceClient.from_connection_string(
        os.environ[TABLES], transport=AioHttpTransport(use_env_settings=False)
    )
    index, book = await asyncio.gather(*(tables.create_table_if_not_exists(name) for name in ("bareindex", "barebook")))
    return _Connected(sap, url, token, cookies, index, book)


def _key_of(entity_set: str, account: str) -> str:
    return f"{entity_set}(BusinessPartner='{quote(account)}',CreditSegment='1000')"


def _condition(row: Any) -> dict[str, Any]:
    return {
        "mode": UpdateMode.REPLACE,
        "etag": row.metadata["etag"],
        "match_condition": MatchConditions.IfNotModified,
    }


def _client() -> dict[str, str]:
    return {"sap-client": "100"}
