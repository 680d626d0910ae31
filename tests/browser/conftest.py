"""Chromium, and a whole bridge (application, worker, simulated Clarius and Aurabox) for it to look at."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from playwright.async_api import Browser

from app.config.settings import Settings
from tests.support.bridge import Bridge, open_bridge, settings_for
from tests.support.browser.chromium import need_browser, open_chromium, skip_without_browser
from tests.support.clarius import Sandbox


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a browser the tests are skipped, unless SONOBRIDGE_REQUIRE_BROWSER=1."""
    skip_without_browser(items)


@pytest.fixture
async def bridge(settings: Settings) -> AsyncIterator[Bridge]:
    """Everything, running; pages are at `bridge.url`."""
    need_browser()
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox())
        yield await stack.enter_async_context(open_bridge(settings_for(settings, sandbox), sandbox))


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """Debian's Chromium."""
    need_browser()
    async with open_chromium() as browser:
        yield browser
