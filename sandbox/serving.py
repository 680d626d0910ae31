"""Runs ASGI applications on loopback ports inside the caller's event loop, with a way to break a connection.

Unlike `uvicorn.run` it leaves signal handling to the process that it is a guest in.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

GRACEFUL_SHUTDOWN_SECONDS = 2
LISTEN_BACKLOG = 2048
DATE_SECONDS = 1.0


class Connections:
    """The open connections of one server, by the client's address: what a cut needs to get at."""

    def __init__(self) -> None:
        self._transports: dict[tuple[str, int], asyncio.Transport] = {}

    def opened(self, client: tuple[str, int], transport: asyncio.Transport) -> None:
        """A client has connected."""
        self._transports[client] = transport

    def closed(self, client: tuple[str, int]) -> None:
        """A client is gone."""
        self._transports.pop(client, None)

    def abort(self, client: tuple[str, int]) -> None:
        """Breaks the connection at once; what was not sent yet is lost."""
        if (transport := self._transports.get(client)) is not None:
            transport.abort()

    def abort_all(self) -> None:
        """Breaks every connection, so that nothing keeps a server from stopping."""
        for transport in list(self._transports.values()):
            transport.abort()

    def close(self, client: tuple[str, int]) -> None:
        """Closes the connection after what was written has gone out."""
        if (transport := self._transports.get(client)) is not None:
            transport.close()


def tracked_protocol(connections: Connections) -> type[H11Protocol]:
    """The HTTP protocol of uvicorn, telling `connections` about each connection."""

    class TrackedProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if self.client is not None:
                connections.opened(self.client, transport)

        def connection_lost(self, exc: Exception | None) -> None:
            if self.client is not None:
                connections.closed(self.client)
            super().connection_lost(exc)

    return TrackedProtocol


class _GuestServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        # Waiting beats uvicorn's ten looks a second: a test starts and stops four of these. Each tick renews the
        # Date header, by which clients judge clocks.
        while not self.stopping.is_set():
            await self.on_tick(0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DATE_SECONDS):
                    await self.stopping.wait()


class RunningServer:
    """One application on one loopback port. `start()` returns once it accepts connections."""

    def __init__(self, app: ASGIApp, *, connections: Connections, host: str, listener: socket.socket) -> None:
        self._listener, self._connections = listener, connections
        config = uvicorn.Config(
            app,
            http=tracked_protocol(connections),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_SECONDS,
            timeout_keep_alive=60,
        )
        self._server = _GuestServer(config)
        self._task: asyncio.Task[None] | None = None
        self.url = f"http://{host}:{listener.getsockname()[1]}"

    async def start(self) -> None:
        """Returns once requests are answered."""
        # The socket already listens, so a client that connects before the loop gets round to it only waits.
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        while not self._server.started:
            if self._task.done():
                await self._task
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Breaks what is still being answered and closes the port."""
        self._connections.abort_all()
        self._server.stopping.set()
        if self._task is not None:
            await self._task
        self._listener.close()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. OSError when the port is taken."""
    # asyncio turns Nagle's delay off only where the protocol is named: 40 ms an answer otherwise.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(LISTEN_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
