"""Resources on the test's stores, and an organisation."""

from collections.abc import AsyncIterator

import pytest

from app.config.settings import Settings
from app.resources import Resources, open_resources
from tests.support.pointed import organization

__all__ = ["organization", "resources"]


@pytest.fixture
async def resources(settings: Settings) -> AsyncIterator[Resources]:
    async with open_resources(settings) as opened:
        yield opened
