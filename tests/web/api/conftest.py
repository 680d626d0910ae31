"""A running bridge over a sandbox, with a client of the admin API for each scope."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from app.accounts.tokens import create_token
from app.settings import Settings
from sandbox.server import Sandbox
from tests.support.bridge import Bridge, open_bridge, settings_for

API = "/api/admin/v1"


@dataclass
class Ops:
    """The bridge, and clients with a write token, a read token, and none."""

    bridge: Bridge
    write: httpx.AsyncClient
    read: httpx.AsyncClient
    nobody: httpx.AsyncClient

    @property
    def sandbox(self) -> Sandbox:
        """The simulated vendors."""
        return self.bridge.sandbox


async def open_ops(bridge: Bridge) -> tuple[Ops, list[httpx.AsyncClient]]:
    """Clients of a running bridge."""
    base = f"{bridge.url}{API}/"
    clients = []
    for scope in ("write", "read", None):
        headers = {}
        if scope is not None:
            _, secret = await create_token(bridge.resources, name=f"{scope} token", scope=scope, actor="test")
            headers["Authorization"] = f"Bearer {secret}"
        clients.append(httpx.AsyncClient(base_url=base, headers=headers, timeout=30))
    return Ops(bridge, *clients), clients


@pytest.fixture
async def ops(settings: Settings) -> AsyncIterator[Ops]:
    """Everything, a worker included."""
    async with Sandbox() as sandbox, open_bridge(settings_for(settings, sandbox), sandbox) as bridge:
        made, clients = await open_ops(bridge)
        yield made
        for client in clients:
            await client.aclose()
