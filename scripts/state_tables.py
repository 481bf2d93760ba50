"""Export the state tables into one file, and put back what is missing from one.

    python scripts/state_tables.py export --endpoint https://….table.core.windows.net [--since HOURS] state.jsonl.gz
    python scripts/state_tables.py restore --endpoint … [--table records] [--overwrite] [--dry-run] state.jsonl.gz

A line of the file is one row with the type of every value, so that a row comes back exactly as it was. A restore
inserts what is missing and leaves what is there alone; `--overwrite` puts back the file's version of rows that differ.
It signs in as whoever is signed in (`az login`, a workflow's federated identity); `--connection-string` is for Azurite.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gzip
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import batched
from pathlib import Path
from typing import Any
from uuid import UUID

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.data.tables import EdmType, EntityProperty, TableEntity, UpdateMode
from azure.data.tables.aio import TableServiceClient

WRITES_AT_ONCE = 32
FORMAT = {"format": "concord-state", "version": 1}


@dataclass(slots=True)
class Restored:
    """What a restore did, or would do: rows put in, replaced, and left as they are."""

    inserted: int = 0
    replaced: int = 0
    left: int = 0


async def export(
    service: TableServiceClient,
    path: Path,
    *,
    tables: frozenset[str] = frozenset(),
    since: datetime | None = None,
) -> dict[str, int]:
    """Write every row of every table (or of those named; or only what was written since), give the counts.

    The file is complete or not there at all.
    """
    changed = "" if since is None else f"Timestamp ge datetime'{since.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z'"
    counts: dict[str, int] = {}
    partial = path.with_suffix(path.suffix + ".partial")
    with gzip.open(partial, "wt", encoding="utf-8") as out:
        started = datetime.now(UTC).isoformat()
        out.write(json.dumps({**FORMAT, "startedAt": started}) + "\n")
        names = sorted([table.name async for table in service.list_tables() if not tables or table.name in tables])
        for name in names:
            counts[name] = 0
            async for entity in service.get_table_client(name).query_entities(changed):
                out.write(json.dumps({"table": name, "row": _written(entity)}, ensure_ascii=False) + "\n")
                counts[name] += 1
        out.write(json.dumps({"end": counts}) + "\n")
    partial.replace(path)
    return counts


async def restore(
    service: TableServiceClient,
    path: Path,
    *,
    tables: frozenset[str] = frozenset(),
    partition: str = "",
    overwrite: bool = False,
    dry_run: bool = False,
) -> Restored:
    """Put rows back. `tables` and `partition` (a part of the partition key) limit which; empty means all.

    Raises ValueError when the file is not an export or was cut off: half an export must not pass for a whole one.
    """
    names = _tables_of(path)
    done = Restored()
    slots = asyncio.Semaphore(WRITES_AT_ONCE)
    if not dry_run:
        for name in names & tables if tables else names:
            await service.create_table_if_not_exists(name)

    async def put(name: str, written: dict[str, list[Any]]) -> None:
        client, row = service.get_table_client(name), _read(written)
        async with slots:
            try:
                there = await client.get_entity(row["PartitionKey"], row["RowKey"])
            except ResourceNotFoundError:
                there = None
            if there is None:
                if not dry_run:
                    try:
                        await client.create_entity(row)
                    except ResourceExistsError:  # the app wrote it meanwhile: newer than the file
                        done.left += 1
                        return
                done.inserted += 1
            elif overwrite and _written(there) != written:
                if not dry_run:
                    await client.upsert_entity(row, mode=UpdateMode.REPLACE)
                done.replaced += 1
            else:
                done.left += 1

    wanted = (
        (name, row)
        for name, row in _rows_of(path)
        if (not tables or name in tables) and partition in row["PartitionKey"][1]
    )
    for chunk in batched(wanted, 1000, strict=False):
        async with asyncio.TaskGroup() as group:
            for name, row in chunk:
                group.create_task(put(name, row))
    return done


def _tables_of(path: Path) -> set[str]:
    """The tables that a whole export holds rows of. Raises ValueError for anything but a whole one."""
    return {name for name, _ in _rows_of(path)}


def _rows_of(path: Path) -> Iterator[tuple[str, dict[str, list[Any]]]]:
    counts: dict[str, int] = {}
    ended: dict[str, int] | None = None
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        head = json.loads(next(lines, "{}"))
        if {name: head.get(name) for name in FORMAT} != FORMAT:
            raise ValueError(f"{path} is no export of state tables")
        for text in lines:
            line = json.loads(text)
            if "end" in line:
                ended = line["end"]
                continue
            counts[line["table"]] = counts.get(line["table"], 0) + 1
            yield line["table"], line["row"]
    if ended is None or {name: count for name, count in ended.items() if count} != counts:
        raise ValueError(f"{path} is incomplete: it ends before its last row")


def _written(entity: Any) -> dict[str, list[Any]]:
    """The row with every value as [type, text]."""
    return {name: _typed(value) for name, value in sorted(entity.items())}


def _typed(value: Any) -> list[Any]:
    if isinstance(value, tuple):  # an EntityProperty: the value and its type
        value, kind = value[0], value[1]
        return [EdmType(kind).value, str(value)]
    match value:
        case bool():
            return ["bool", value]
        case int():
            return ["int", value]
        case float():
            return ["float", value.hex()]
        case bytes():
            return ["bytes", base64.b64encode(value).decode()]
        case datetime():
            # the client's own text keeps the seventh digit of a second, which a datetime has no room for
            return ["datetime", getattr(value, "tables_service_value", None) or value.isoformat()]
        case UUID():
            return ["guid", str(value)]
        case str():
            return ["text", value]
        case _:
            raise TypeError(f"a table holds no {type(value).__name__}")


def _read(row: dict[str, list[Any]]) -> TableEntity:
    return TableEntity({name: _value(*typed) for name, typed in row.items()})


def _value(kind: str, text: Any) -> Any:
    match kind:
        case "bool" | "text" | "int":
            return text
        case "float":
            return float.fromhex(text)
        case "bytes":
            return base64.b64decode(text)
        case "datetime":
            return EntityProperty(text, EdmType.DATETIME)
        case "guid":
            return UUID(text)
        case _:
            return EntityProperty(int(text) if kind == EdmType.INT64.value else text, EdmType(kind))


@asynccontextmanager
async def _connect(endpoint: str, connection_string: str) -> AsyncIterator[TableServiceClient]:
    if connection_string:
        async with TableServiceClient.from_connection_string(connection_string) as service:
            yield service
        return
    from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415 - Azurite needs no sign-in

    async with DefaultAzureCredential() as credential, TableServiceClient(endpoint, credential=credential) as service:
        yield service


async def _run(arguments: argparse.Namespace) -> str:
    async with _connect(arguments.endpoint, arguments.connection_string) as service:
        if arguments.what == "export":
            since = datetime.now(UTC) - timedelta(hours=arguments.since) if arguments.since else None
            counts = await export(service, arguments.file, tables=frozenset(arguments.table), since=since)
            return f"exported {sum(counts.values())} rows: " + ", ".join(f"{n} {c}" for n, c in counts.items())
        done = await restore(
            service, arguments.file, tables=frozenset(arguments.table), partition=arguments.partition,
            overwrite=arguments.overwrite, dry_run=arguments.dry_run,
        )  # fmt: skip
        would = "would have " if arguments.dry_run else ""
        return f"{would}inserted {done.inserted}, replaced {done.replaced}, left {done.left} rows"


def main() -> int:
    """Export or restore, say what was done; 1 with the reason when it could not be."""
    parser = argparse.ArgumentParser(description="Export the state tables, or put back what is missing.")
    parser.add_argument("what", choices=("export", "restore"))
    parser.add_argument("--endpoint", default="", help="https://<account>.table.core.windows.net")
    parser.add_argument("--connection-string", default="", help="of Azurite")
    parser.add_argument("--table", action="append", default=[], help="only this table; may be given more than once")
    parser.add_argument("--since", type=float, default=0, help="export only rows written in the last so many hours")
    parser.add_argument("--partition", default="", help="only partitions whose key contains this")
    parser.add_argument("--overwrite", action="store_true", help="put back the file's version of rows that differ")
    parser.add_argument("--dry-run", action="store_true", help="count only")
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    if bool(arguments.endpoint) == bool(arguments.connection_string):
        parser.error("give either --endpoint or --connection-string")
    try:
        print(asyncio.run(_run(arguments)))
    except (HttpResponseError, OSError, ValueError) as fault:
        print(f"state_tables: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
