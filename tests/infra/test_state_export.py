"""What is exported comes back as it was, after a loss and beside newer rows; half an export is no export."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from azure.data.tables import EdmType, EntityProperty, TableEntity
from azure.data.tables.aio import TableClient, TableServiceClient

from scripts.state_tables import Restored, export, restore

ROW: dict[str, Any] = {
    "PartitionKey": "order|GB01|S-1",
    "RowKey": "0|claim|K1",
    "text": "Zoë — 東京",
    "count": 7,
    "large": EntityProperty(2**40, EdmType.INT64),
    "flag": True,
    "share": 0.1,
    "body": b"\x00\xff",
    "at": datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=UTC),
    "id": UUID(int=7),
}


@pytest.fixture
async def table(azurite_tables: str) -> AsyncIterator[tuple[TableServiceClient, TableClient]]:
    """A table of this test's own with three rows, and the service that holds it."""
    async with TableServiceClient.from_connection_string(azurite_tables) as service:
        client = await service.create_table(f"x{uuid4().hex}")
        for key in ("a", "b"):
            await client.create_entity({"PartitionKey": "account|GB01|C-1", "RowKey": key, "n": 1})
        await client.create_entity(ROW)
        yield service, client
        await service.delete_table(client.table_name)


def _written_at(entity: TableEntity) -> datetime:
    moment = entity.metadata["timestamp"]
    assert moment is not None
    return moment


async def _rows(client: TableClient) -> dict[str, dict[str, object]]:
    return {entity["RowKey"]: dict(entity) async for entity in client.list_entities()}


async def test_rows_that_were_lost_come_back_exactly_as_they_were(
    table: tuple[TableServiceClient, TableClient], tmp_path: Path
) -> None:
    service, client = table
    before, only = await _rows(client), frozenset({client.table_name})
    assert await export(service, tmp_path / "state.jsonl.gz", tables=only) == {client.table_name: 3}
    await client.delete_entity(ROW)
    await client.delete_entity("account|GB01|C-1", "a")
    assert await restore(service, tmp_path / "state.jsonl.gz") == Restored(inserted=2, left=1)
    assert await _rows(client) == before
    assert await restore(service, tmp_path / "state.jsonl.gz") == Restored(left=3)


async def test_newer_rows_are_left_alone_unless_told_otherwise(
    table: tuple[TableServiceClient, TableClient], tmp_path: Path
) -> None:
    service, client = table
    path = tmp_path / "state.jsonl.gz"
    await export(service, path, tables=frozenset({client.table_name}))
    await client.upsert_entity({"PartitionKey": "account|GB01|C-1", "RowKey": "a", "n": 2})
    assert await restore(service, path) == Restored(left=3)
    assert await restore(service, path, overwrite=True, partition="|C-2") == Restored()
    assert await restore(service, path, overwrite=True, dry_run=True) == Restored(replaced=1, left=2)
    assert (await _rows(client))["a"]["n"] == 2
    assert await restore(service, path, overwrite=True) == Restored(replaced=1, left=2)
    assert (await _rows(client))["a"]["n"] == 1


async def test_half_an_export_is_refused(table: tuple[TableServiceClient, TableClient], tmp_path: Path) -> None:
    service, client = table
    path = tmp_path / "state.jsonl.gz"
    await export(service, path, tables=frozenset({client.table_name}))
    with gzip.open(path, "rt", encoding="utf-8") as whole:
        lines = whole.readlines()
    with gzip.open(path, "wt", encoding="utf-8") as half:
        half.writelines(lines[:-2])
    await client.delete_entity("account|GB01|C-1", "a")
    with pytest.raises(ValueError, match="incomplete"):
        await restore(service, path)
    assert set(await _rows(client)) == {"b", ROW["RowKey"]}


async def test_an_export_since_a_moment_holds_only_what_was_written_after_it(
    table: tuple[TableServiceClient, TableClient], tmp_path: Path
) -> None:
    service, client = table
    only = frozenset({client.table_name})
    newest = max([_written_at(entity) async for entity in client.list_entities()])
    for hours, rows in ((-1, 3), (1, 0)):
        since = newest + timedelta(hours=hours)
        assert await export(service, tmp_path / "new.jsonl.gz", tables=only, since=since) == {client.table_name: rows}
