"""A simulated Commerce of each test's own."""

from collections.abc import AsyncIterator

import pytest

from tests.commerce_simulator.shop import Shop, open_shop
from tests.kit.counter import Clock


@pytest.fixture
def clock() -> Clock:
    """Stands still unless a test moves it: 2027-01-15, 08:00 UTC."""
    return Clock()


@pytest.fixture
async def shop(clock: Clock) -> AsyncIterator[Shop]:
    """A running, empty Commerce."""
    async with open_shop(clock) as running:
        yield running
