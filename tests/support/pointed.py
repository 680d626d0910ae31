"""Fixtures of rooms that ask Clarius: resources pointed at a simulated one, and an organisation."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from app.config.settings import Settings
from app.organizations.changes import add_organization
from app.resources import Resources, open_resources
from app.store.audit import By
from app.store.organizations import Organization
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


@pytest.fixture
async def organization(resources: Resources) -> Organization:
    """An organisation with its defaults."""
    return await add_organization(
        resources, {"name": "Harbour Clinic", "aurabox_key": "invented-key"}, by=By("test")
    )
