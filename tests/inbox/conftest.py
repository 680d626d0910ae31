"""Resources on the test's stores, and ways to make customers known without a browser."""

from collections.abc import AsyncIterator

import pytest

from app.resources import Resources, open_resources
from app.settings import Settings


@pytest.fixture
async def resources(settings: Settings) -> AsyncIterator[Resources]:
    async with open_resources(settings) as opened:
        yield opened
