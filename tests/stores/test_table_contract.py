"""One contract for both tables: what the in-memory twin promises, Azure Tables keeps."""

from __future__ import annotations

import asyncio

import pytest

from shared.stores.table import Op, Row, RowChanged, RowExists, Table
from tests.conftest import TableFactory


@pytest.fixture
def table(table_factory: TableFactory) -> Table:
    return table_factory("contract")


async def test_a_row_comes_back_as_it_was_written(table: Table) -> None:
    values = {"text": "Zoë — 東京", "count": 7, "flag": True, "body0": b"\x00\xff bytes"}
    await table.insert(Row("order|GB01|S-1", "0|claim|K1", values))
    found = await table.read("order|GB01|S-1", "0|claim|K1")
    assert found is not None
    assert dict(found.values) == values


async def test_any_character_may_stand_in_a_key(table: Table) -> None:
    partition, key = "stock||GB10|A/B\\C#D?E%F=G", "0|line|1/2=3 ü"
    await table.insert(Row(partition, key, {"n": 1}))
    found = await table.read(partition, key)
    assert found is not None
    assert (found.partition, found.key) == (partition, key)


async def test_a_taken_key_is_refused_and_named(table: Table) -> None:
    await table.insert(Row("p", "a", {"n": 1}))
    with pytest.raises(RowExists) as taken:
        await table.transact("p", [Op("insert", Row("p", "b", {})), Op("insert", Row("p", "a", {}))])
    assert taken.value.key == "a"
    assert await table.read("p", "b") is None


async def test_a_replace_on_an_old_version_is_refused_and_changes_nothing(table: Table) -> None:
    old = await table.insert(Row("p", "a", {"n": 1}))
    await table.replace(Row("p", "a", {"n": 2}), old)
    with pytest.raises(RowChanged):
        await table.transact("p", [Op("insert", Row("p", "b", {})), Op("replace", Row("p", "a", {"n": 3}), old)])
    found = await table.read("p", "a")
    assert found is not None
    assert found.values["n"] == 2
    assert await table.read("p", "b") is None


async def test_replacing_or_deleting_what_is_not_there_is_refused(table: Table) -> None:
    with pytest.raises(RowChanged):
        await table.transact("p", [Op("replace", Row("p", "gone", {}), "*")])
    with pytest.raises(RowChanged):
        await table.transact("p", [Op("delete", Row("p", "gone", {}), "*")])


async def test_the_etag_of_a_transaction_is_the_one_a_read_gives(table: Table) -> None:
    etags = await table.transact("p", [Op("insert", Row("p", "a", {})), Op("upsert", Row("p", "b", {}))])
    rows = await table.query("p")
    assert [row.etag for row in rows] == etags


async def test_a_transaction_carries_every_kind_of_value_under_every_kind_of_key(table: Table) -> None:
    partition, key = "account|O'Hara & Søn/東京", "0|hold|50% of 'all' \\ #1?"
    values = {"text": 'Zoë — 東京 "quoted"\r\nnext --changeset_1', "count": -7, "flag": False, "body0": b"\x00\r\n--"}
    etags = await table.transact(
        partition, [Op("insert", Row(partition, key, values)), Op("upsert", Row(partition, "0|b", {"n": 1}))]
    )
    found = await table.read(partition, key)
    assert found is not None and dict(found.values) == values and found.etag == etags[0]
    moved = [Op("delete", Row(partition, key, {}), etags[0]), Op("insert", Row(partition, f"1{key[1:]}", values))]
    await table.transact(partition, moved)
    assert await table.read(partition, key) is None
    kept = await table.read(partition, f"1{key[1:]}")
    assert kept is not None and dict(kept.values) == values


async def test_a_hundred_rows_go_in_one_transaction_and_all_or_none_of_them(table: Table) -> None:
    rows = [Op("insert", Row("p", f"{number:03d}", {"body": "x" * 2000})) for number in range(100)]
    assert len(set(await table.transact("p", rows))) >= 1
    assert len(await table.query("p")) == 100
    with pytest.raises(RowExists) as taken:
        await table.transact("p", [Op("insert", Row("p", f"{100 + n}", {})) for n in range(60)] + [rows[42]])
    assert taken.value.key == "042"
    assert len(await table.query("p")) == 100


async def test_a_query_gives_one_partition_in_key_order_by_prefix_and_bound(table: Table) -> None:
    for key in ("1|z", "0|b", "0|a", "0|c"):
        await table.insert(Row("p", key, {}))
    await table.insert(Row("other", "0|a", {}))
    assert [row.key for row in await table.query("p", prefix="0|")] == ["0|a", "0|b", "0|c"]
    assert [row.key for row in await table.query("p", before="0|c")] == ["0|a", "0|b"]
    assert [row.key for row in await table.query("p", prefix="0|", limit=1)] == ["0|a"]


async def test_a_scan_finds_by_property_over_all_partitions(table: Table) -> None:
    await table.insert(Row("p", "a", {"state": "open"}))
    await table.insert(Row("q", "b", {"state": "open"}))
    await table.insert(Row("q", "c", {"state": "resolved"}))
    assert {row.key for row in await table.scan(where="state=open")} == {"a", "b"}


async def test_of_many_writers_on_one_version_exactly_one_wins(table: Table) -> None:
    etag = await table.insert(Row("p", "a", {"n": 0}))
    results = await asyncio.gather(
        *(table.replace(Row("p", "a", {"n": n}), etag) for n in range(8)), return_exceptions=True
    )
    assert sum(isinstance(result, str) for result in results) == 1
    assert sum(isinstance(result, RowChanged) for result in results) == 7
