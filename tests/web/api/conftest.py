"""A running bridge over a sandbox, a worker included, with clients of its admin API."""

from collections.abc import AsyncIterator

import pytest

from app.config.settings import Settings
from tests.support.bridge import open_bridge, settings_for
from tests.support.clarius import Sandbox
from tests.support.ops import Ops, open_ops


@pytest.fixture
async def ops(settings: Settings) -> AsyncIterator[Ops]:
    """Everything, running."""
    async with (
        Sandbox() as sandbox,
        open_bridge(settings_for(settings, sandbox), sandbox) as bridge,
        open_ops(bridge) as made,
    ):
        yield made
