"""A running sandbox and clients for it; the clients never follow a redirect or read a proxy setting."""

from collections.abc import AsyncIterator

import httpx
import pytest

from sandbox.server import Sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as running:
        yield running


@pytest.fixture
async def clarius(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Service-API-Key {sandbox.clarius_key}"}
    base = f"{sandbox.clarius_url}/api/public/v0/"
    async with httpx.AsyncClient(base_url=base, headers=headers, trust_env=False, verify=False) as client:
        yield client


@pytest.fixture
async def aurabox(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {sandbox.team().key}", "accept": "application/json"}
    base = f"{sandbox.aurabox_url}/api/v1/"
    async with httpx.AsyncClient(base_url=base, headers=headers, trust_env=False, verify=False) as client:
        yield client


@pytest.fixture
async def stranger() -> AsyncIterator[httpx.AsyncClient]:
    """A client without credentials."""
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        yield client
