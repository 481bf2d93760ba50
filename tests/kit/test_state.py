"""Claims about tables with a past."""

import random

import pytest

from sandbox.kit.state import State, Table
from tests.kit.counter import Clock


def parity(row: int) -> str:
    return "even" if row % 2 == 0 else "odd"


def even_odd() -> tuple[Clock, State, Table[str, int]]:
    clock = Clock()
    state = State(clock)
    return clock, state, state.table({"parity": parity})


def test_a_read_as_of_an_instant_sees_the_rows_as_they_stood() -> None:
    clock, state, table = even_odd()
    table.put("a", 1)
    clock.now += 10
    table.put("a", 2)
    table.put("b", 4)
    with state.as_of(5):
        assert table.get("a") == 1
        assert dict(table.items()) == {"a": 1}
        assert list(table.find("parity", "odd")) == [1]
        assert list(table.find("parity", "even")) == []
        assert len(table) == 1
    assert list(table.find("parity", "even")) == [2, 4]


def test_a_deleted_row_is_still_there_in_the_past() -> None:
    clock, state, table = even_odd()
    table.put("a", 1)
    clock.now += 10
    assert table.delete("a")
    assert not table.delete("a")
    assert "a" not in table
    with state.as_of(5):
        assert "a" in table
        assert list(table.find("parity", "odd")) == [1]


def test_every_past_instant_reads_as_it_was_whatever_happened_since() -> None:
    chance = random.Random(7)
    clock, state, table = even_odd()
    seen: list[tuple[float, dict[str, int]]] = []
    for _ in range(300):
        key = chance.choice("abcdef")
        if chance.random() < 0.3:
            table.delete(key)
        else:
            table.put(key, chance.randrange(100))
        seen.append((clock.now, dict(table.items())))
        clock.now += 1
    for instant, rows in seen:
        with state.as_of(clock.now - instant):
            assert dict(table.items()) == rows
            assert sorted(table.find("parity", "odd")) == sorted(r for r in rows.values() if r % 2)


def test_an_atomic_block_that_fails_leaves_no_trace_in_rows_or_indexes() -> None:
    _, state, table = even_odd()
    table.put("a", 1)
    with pytest.raises(RuntimeError), state.atomic():
        table.put("a", 2)
        table.put("b", 3)
        table.delete("a")
        raise RuntimeError
    assert dict(table.items()) == {"a": 1}
    assert list(table.find("parity", "odd")) == [1]
    assert list(table.find("parity", "even")) == []


def test_what_waits_for_a_commit_happens_once_the_outermost_block_took_effect() -> None:
    _, state, _ = even_odd()
    said: list[str] = []
    with state.atomic():
        with state.atomic():
            state.on_commit(lambda: said.append("done"))
        assert said == []
    assert said == ["done"]
    with pytest.raises(RuntimeError), state.atomic():
        state.on_commit(lambda: said.append("never"))
        raise RuntimeError
    assert said == ["done"]


def test_clearing_forgets_the_past_too() -> None:
    clock, state, table = even_odd()
    table.put("a", 1)
    clock.now += 10
    state.clear()
    with state.as_of(5):
        assert dict(table.items()) == {}
