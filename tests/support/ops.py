"""Clients of the admin API of a running bridge, one for each scope."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx

from app.people.tokens import create_token
from app.store.audit import By
from sandbox.server import Sandbox
from tests.support.bridge import Bridge

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


@asynccontextmanager
async def open_ops(bridge: Bridge) -> AsyncIterator[Ops]:
    """Clients of a running bridge, closed at the end."""
    async with AsyncExitStack() as stack:
        clients = []
        for scope in ("write", "read", None):
            headers = {}
            if scope is not None:
                _, secret = await create_token(
                    bridge.resources, name=f"{scope} token", scope=scope, by=By("test")
                )
                headers["Authorization"] = f"Bearer {secret}"
            client = httpx.AsyncClient(
                base_url=f"{bridge.url}{API}/",
                headers=headers,
                timeout=30,
                verify=False,
                # a connection that rested may be closed by the server just as it is used again
                limits=httpx.Limits(max_keepalive_connections=0),
            )
            clients.append(await stack.enter_async_context(client))
        write, read, nobody = clients
        yield Ops(bridge, write, read, nobody)
