"""Several orders, returns and cancellations at once, and faults wherever chance puts them: what holds, holds always.

`CONCORD_SEED` moves the seeds to a range of its own; a failure prints the command that replays its run.
"""

from __future__ import annotations

import os

import pytest

from tests.ledger_proofs.histories import random_run, replay_command

FIRST_SEED = int(os.environ.get("CONCORD_SEED", "1"))
_CHUNK = 100


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + 40))
def test_chance_finds_nothing_that_is_lost_doubled_or_out_of_order(seed: int) -> None:
    _hold(seed)


@pytest.mark.prove
@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + 1500, _CHUNK))
def test_chance_finds_nothing_in_many_runs_either(first: int) -> None:
    for seed in range(first, first + _CHUNK):
        _hold(seed)


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + 15))
def test_chance_finds_no_sales_order_lost_doubled_or_billed_otherwise(seed: int) -> None:
    _hold(seed, "--by-order")


@pytest.mark.prove
@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + 800, _CHUNK))
def test_chance_finds_no_sales_order_lost_in_many_runs_either(first: int) -> None:
    for seed in range(first, first + _CHUNK):
        _hold(seed, "--by-order")


def _hold(seed: int, *how: str) -> None:
    ended = random_run(seed, by_order="--by-order" in how)
    assert not ended.wrong, f"{ended.wrong}\nstruck: {ended.struck}\n{replay_command('--seed', str(seed), *how)}"
