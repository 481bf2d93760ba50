"""A simulated SAP system of each test's own."""

from collections.abc import AsyncIterator

import pytest

from sandbox.kit.simulator import Settings
from sandbox.sap.simulator import SapSimulator
from tests.kit.counter import Clock
from tests.sap_simulator.caller import PASSWORD, Sap, running_sap


@pytest.fixture
def clock() -> Clock:
    """Stands still unless a test moves it: 2027-01-15, 08:00 UTC."""
    return Clock()


@pytest.fixture
async def sap(clock: Clock) -> AsyncIterator[Sap]:
    """A running, empty system."""
    async with running_sap(SapSimulator(Settings(), clock, password=PASSWORD)) as running:
        yield running
