"""No interleaving of events overspends an account, leaks a hold or loses one."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.credit_proofs.machine import CreditMachine

_COMMON = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    print_blob=True,
)
"""A failure prints the blob that replays it."""


def test_no_history_overspends_or_leaks() -> None:
    run_state_machine_as_test(
        CreditMachine,
        settings=settings(_COMMON, max_examples=60, stateful_step_count=25),
    )


@pytest.mark.prove
def test_no_long_history_overspends_or_leaks() -> None:
    run_state_machine_as_test(
        CreditMachine,
        settings=settings(_COMMON, max_examples=800, stateful_step_count=50),
    )
