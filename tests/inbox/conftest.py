"""Resources on the test's stores."""

from collections.abc import AsyncIterator

import pytest

from app.config.settings import Settings
from app.resources import Resources, open_resources


@pytest.fixture
async def resources(settings: Settings) -> AsyncIterator[Resources]:
    async with open_resources(settings) as opened:
        yield opened
