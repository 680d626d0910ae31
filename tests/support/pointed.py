"""The `resources` of folders whose tests ask Clarius: pointed at the simulated one."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from app.config.settings import Settings
from app.resources import Resources, open_resources
from tests.support.clarius import Sandbox


@pytest.fixture
async def resources(settings: Settings, sandbox: Sandbox) -> AsyncIterator[Resources]:
    """Open, with the simulated Clarius as Clarius."""
    pointed = settings.model_copy(
        update={
            "clarius_base_url": sandbox.clarius_url,
            "clarius_api_key": SecretStr(sandbox.clarius_key),
            "allowed_upstreams": frozenset(sandbox.allowed_upstreams.split(",")),
            # long enough that a test which holds an answer back does not lose it by accident
            "lease_seconds": 20,
        }
    )
    async with open_resources(pointed) as opened:
        yield opened
