"""A simulated organization of each test's own."""

from collections.abc import AsyncIterator

import pytest

from tests.dataverse_simulator.organization import Organization, open_organization
from tests.kit.counter import Clock


@pytest.fixture
def clock() -> Clock:
    """Stands still unless a test moves it: 2027-01-15, 08:00 UTC."""
    return Clock()


@pytest.fixture
async def org(clock: Clock) -> AsyncIterator[Organization]:
    """A running, fresh organization."""
    async with open_organization(clock) as running:
        yield running
