"""The table interface on Azure Tables (and Azurite), through Microsoft's own client.

Every call is counted. What the service answers is mapped once: taken keys and lost races to `RowExists` and
`RowChanged`, an unreachable service to `RemoteDown`, a write whose answer was lost to `OutcomeUnknown`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import aiohttp
from azure.core import MatchConditions
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.rest import HttpRequest
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient, TableServiceClient

from shared.errors import OutcomeUnknown, RemoteDown
from shared.stores.table import Op, Row, RowChanged, RowExists
from shared.stores.table_batch import NotABatchAnswer, Part, Refused, decode_batch, encode_batch
from shared.telemetry import Counters, remote_call

_UNSAFE = re.compile(r"[/\\#?%=\x00-\x1f\x7f-\x9f]")
_ESCAPED = re.compile(r"=([0-9A-F]{2})")
_UNSENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_BUSY = {408, 429, 500, 502, 503, 504}


class AzureTable:
    """One table, created on first use where it does not exist."""

    def __init__(self, service: TableServiceClient, name: str, counters: Counters) -> None:
        self._client: TableClient = service.get_table_client(name)
        self._service_url = service.url.rstrip("/")
        self._counters = counters
        self._name = name

    async def create(self) -> None:
        """Create the table where it does not exist yet (deployment does so in the cloud)."""
        async with self._call("create", write=True):
            try:
                await self._client.create_table()
            except ResourceExistsError:
                return

    async def read(self, partition: str, key: str) -> Row | None:
        async with self._call("read"):
            try:
                entity = await self._client.get_entity(_safe(partition), _safe(key))
            except ResourceNotFoundError:
                return None
        return _row(entity)

    async def query(
        self, partition: str, *, prefix: str = "", before: str | None = None, limit: int | None = None
    ) -> list[Row]:
        wanted = "PartitionKey eq @partition"
        parameters: dict[str, Any] = {"partition": _safe(partition)}
        if prefix:
            wanted += " and RowKey ge @low and RowKey lt @high"
            low = _safe(prefix)
            parameters |= {"low": low, "high": low[:-1] + chr(ord(low[-1]) + 1)}
        if before is not None:
            wanted += " and RowKey lt @before"
            parameters["before"] = _safe(before)
        return await self._collect(wanted, parameters, limit)

    async def scan(self, *, where: str = "", limit: int | None = None) -> list[Row]:
        if not where:
            return await self._collect("PartitionKey ge @low", {"low": ""}, limit)
        name, value = where.split("=", 1)
        if not name.isidentifier():
            raise ValueError(f"{name!r} is not a property name")
        return await self._collect(f"{name} eq @value", {"value": value}, limit)

    async def insert(self, row: Row) -> str:
        async with self._call("insert", write=True):
            try:
                answer = await self._client.create_entity(_entity(row))
            except ResourceExistsError as error:
                raise RowExists(row.key) from error
        return str(answer["etag"])

    async def replace(self, row: Row, etag: str) -> str:
        async with self._call("replace", write=True):
            try:
                answer = await self._client.update_entity(
                    _entity(row), mode=UpdateMode.REPLACE, etag=etag, match_condition=MatchConditions.IfNotModified
                )
            except (ResourceModifiedError, ResourceNotFoundError) as error:
                raise RowChanged from error
        return str(answer["etag"])

    async def transact(self, partition: str, operations: Sequence[Op]) -> list[str]:
        if any(operation.row.partition != partition for operation in operations):
            raise ValueError("a transaction stays in one partition")
        if len(operations) == 1:  # a request of its own costs a third of a batch of one
            match operations[0]:
                case Op("insert", row):
                    return [await self.insert(row)]
                case Op("replace", row, etag) if etag != "*":
                    return [await self.replace(row, etag)]
        async with self._call("transact", write=True):
            try:
                return await self._send_batch([_part(operation) for operation in operations])
            except Refused as refused:
                if "AlreadyExists" in refused.code:
                    raise RowExists(operations[refused.index].row.key) from refused
                if refused.status in (404, 412) or "ConditionNotMet" in refused.code or "NotFound" in refused.code:
                    raise RowChanged from refused
                error = HttpResponseError(f"table {self._name}: {refused}")
                error.status_code = refused.status
                raise error from refused

    async def _send_batch(self, parts: Sequence[Part]) -> list[str]:
        """One transaction through the client's own pipeline, which signs and retries; only its body is ours."""
        content_type, body = encode_batch(f"{self._service_url}/{self._name}", parts)
        headers = {
            "x-ms-version": self._client.api_version,
            "DataServiceVersion": "3.0",
            "MaxDataServiceVersion": "3.0;NetFx",
            "Content-Type": content_type,
            "Accept": "application/json",
        }
        request = HttpRequest("POST", f"{self._service_url}/$batch", headers=headers, content=body)
        response = await self._client._client.send_request(request, stream=True)  # unread: it is no JSON
        await response.read()
        if response.status_code != HTTPStatus.ACCEPTED:
            raise HttpResponseError(response=response)
        try:
            return decode_batch(response.headers.get("Content-Type", ""), response.content)
        except NotABatchAnswer as error:  # it may have been carried out all the same
            raise OutcomeUnknown(f"table {self._name} answered a write with something else: {error}") from error

    async def _collect(self, wanted: str, parameters: dict[str, Any], limit: int | None) -> list[Row]:
        rows: list[Row] = []
        pages = self._client.query_entities(
            wanted, parameters=parameters, results_per_page=min(limit or 1000, 1000)
        ).by_page()
        while True:
            async with self._call("query"):
                try:
                    page = await anext(pages)
                except StopAsyncIteration:
                    return rows
                rows.extend([_row(entity) async for entity in page])
            if limit is not None and len(rows) >= limit:
                return rows[:limit]
            if not getattr(pages, "continuation_token", None):
                return rows

    @asynccontextmanager
    async def _call(self, name: str, *, write: bool = False) -> AsyncIterator[None]:
        self._counters.add("table_calls")
        self._counters.add(f"table_calls.{self._name}.{name}")
        try:
            with remote_call("tables", name, self._name) as call:
                try:
                    yield
                except HttpResponseError as error:
                    call.answered(error.status_code or 500)
                    raise
                except (ServiceRequestError, ServiceResponseError):
                    call.ended("lost")
                    raise
        except ServiceRequestError as error:
            # The client calls every lost connection so, also one that was lost after the request had gone out.
            if write and not isinstance(error.inner_exception, _UNSENT):
                raise OutcomeUnknown(f"the connection to table {self._name} was lost during a write") from error
            raise RemoteDown(f"table {self._name} cannot be reached", system="tables") from error
        except ServiceResponseError as error:
            if write:
                raise OutcomeUnknown(f"table {self._name} did not answer a write") from error
            raise RemoteDown(f"table {self._name} does not answer", system="tables") from error
        except HttpResponseError as error:
            if error.status_code not in _BUSY:
                raise
            if write and error.status_code != 429:
                raise OutcomeUnknown(f"table {self._name} failed a write with {error.status_code}") from error
            raise RemoteDown(f"table {self._name} answers {error.status_code}", system="tables") from error


def _part(operation: Op) -> Part:
    condition = "" if operation.kind in ("insert", "upsert") else operation.etag
    return Part(operation.kind, _entity(operation.row), condition)


def _entity(row: Row) -> dict[str, Any]:
    return {"PartitionKey": _safe(row.partition), "RowKey": _safe(row.key), **row.values}


def _row(entity: Any) -> Row:
    values = {name: value for name, value in entity.items() if name not in ("PartitionKey", "RowKey")}
    return Row(_plain(entity["PartitionKey"]), _plain(entity["RowKey"]), values, str(entity.metadata["etag"]))


def _safe(key: str) -> str:
    """Table keys may not hold some characters; `=XX` stands for them, so any business key is a key."""
    return _UNSAFE.sub(lambda match: f"={ord(match.group()):02X}", key)


def _plain(key: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), key)
