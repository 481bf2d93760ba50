"""What the product counted is told right even when a worker was replaced meanwhile."""

from __future__ import annotations

from collections import Counter

from sandbox.day.systems import Tally


def test_a_worker_that_was_replaced_keeps_what_it_had_counted() -> None:
    tally = Tally()
    assert tally.add(Counter(calls=5, kept=1)) == Counter(calls=5, kept=1)
    assert tally.add(Counter(calls=9, kept=1)) == Counter(calls=9, kept=1)
    assert tally.add(Counter(calls=2)) == Counter(calls=11, kept=1), "it began again"
    assert tally.add(Counter(calls=4, kept=3)) == Counter(calls=13, kept=4)
