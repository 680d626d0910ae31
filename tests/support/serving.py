"""Serves an ASGI application on a free loopback port inside the test's own event loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import uvicorn

from tests.support.ports import free_port
from tests.support.wait import until


@asynccontextmanager
async def serving_app(
    app: Any, *, port: int | None = None, lifespan: Literal["on", "off"] = "on"
) -> AsyncIterator[str]:
    """The application's URL, until the body ends."""
    chosen = port or free_port()
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=chosen,
        log_config=None,
        access_log=False,
        lifespan=lifespan,
        # as `serve` has it
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started)
        yield f"http://127.0.0.1:{chosen}"
    finally:
        server.should_exit = True
        await running
