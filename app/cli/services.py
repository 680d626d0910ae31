"""`up`, `serve`, `migrate`: the commands that run the service or prepare it."""

import asyncio
import gc
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
import uvicorn
import uvloop

from app.cli.children import Child, keep_running
from app.cli.running import database_errors_told, read_settings
from app.cli.worker import python
from app.config.settings import Settings
from app.embedded import embedded_stores
from app.errors import SonobridgeError
from app.infrastructure.database import database_tls
from app.named import Named
from app.opening import UNTIL_STDIN_CLOSES, opened, stop_on_signals
from app.store.schema import head_revision

# alembic comes with it, which the API has no use for
MIGRATE: Named[None] = Named("app.store.migrating", "migrate")

GRACEFUL_SECONDS = 30
LISTEN_BACKLOG = 2048
HOST = "127.0.0.1"
PORT = 8000

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")]


class Server(uvicorn.Server):
    """uvicorn, with signals left to us: it would raise them again after draining, and the exit status must be 0."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and then leave out of every later garbage collection what stands until the end: it holds up answers."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing."""
        yield


def migrate_command() -> None:
    """Bring the database to the schema of this version. Harmless when it is there already.

    Example: sonobridge migrate
    """
    settings = read_settings()
    with database_errors_told():
        asyncio.run(_migrate(settings))
    typer.echo(f"The schema is at {head_revision()}.")


async def _migrate(settings: Settings) -> None:
    tls = database_tls(settings) if settings.database_url else None
    async with embedded_stores(settings) as stores:
        await asyncio.to_thread(MIGRATE, stores.database_url, tls)


def serve(
    host: Host = HOST,
    port: Port = PORT,
    fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    until_stdin_closes: Annotated[bool, typer.Option(UNTIL_STDIN_CLOSES, hidden=True)] = False,
) -> None:
    """Run the API: webhook, connect and sign-in pages, admin pages, admin API.

    Put a reverse proxy with TLS in front; its address belongs into SONOBRIDGE_TRUSTED_PROXIES when it is not on loopback.
    SIGTERM drains and exits 0.

    Example: sonobridge serve --host 0.0.0.0 --port 8000
    """
    settings = read_settings(service=True)
    listener = socket.socket(fileno=fd) if fd is not None else listen(host, port)
    with database_errors_told():
        uvloop.run(_serve(settings, listener, watch_stdin=until_stdin_closes))


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises SonobridgeError when the address can't be had."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=LISTEN_BACKLOG)
    except OSError as error:
        raise SonobridgeError(
            f"can't listen on {host} port {port}: {error.strerror or error}", code="address_taken"
        ) from error


async def _serve(settings: Settings, listener: socket.socket, *, watch_stdin: bool) -> None:
    config = uvicorn.Config(
        # by name: the application is a floor above the command line, and reads the environment itself
        "app.main:app",
        log_config=None,
        http="httptools",
        access_log=False,
        lifespan="on",
        # the application itself reads whom a trusted proxy forwards for (SONOBRIDGE_TRUSTED_PROXIES)
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )
    server = Server(config)
    stopping = stop_on_signals(watch_stdin=watch_stdin)
    # held from here on: the application, which opens them for itself, finds them running
    async with embedded_stores(settings):
        async with opened(settings):
            pass  # what can't be worked with is said now, in one line
        if stopping.is_set():
            return
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        stop = asyncio.create_task(stopping.wait())
        await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        stop.cancel()
        await serving
        if not server.started:
            raise SonobridgeError("the API could not start; its log says why", code="not_started")


def up(
    host: Host = HOST,
    port: Port = PORT,
    workers: Annotated[int, typer.Option(min=0, max=64, help="How many worker processes.")] = 1,
    until_stdin_closes: Annotated[bool, typer.Option(UNTIL_STDIN_CLOSES, hidden=True)] = False,
) -> None:
    """Run everything in one process tree: API, workers and the embedded stores; the schema is migrated first.

    What ends is started again. SIGTERM and ^C drain and exit 0.

    Example: sonobridge up --port 8080 --workers 2
    """
    settings = read_settings(service=True)
    with database_errors_told():
        asyncio.run(_up(settings, host=host, port=port, workers=workers, watch_stdin=until_stdin_closes))


async def _up(settings: Settings, *, host: str, port: int, workers: int, watch_stdin: bool) -> None:
    stopping = stop_on_signals(watch_stdin=watch_stdin)
    with listen(host, port) as listener:
        async with embedded_stores(settings) as stores:
            await asyncio.to_thread(MIGRATE, stores.database_url)
            number = listener.fileno()
            serve_command = python("app.cli", "serve", "--fd", str(number), UNTIL_STDIN_CLOSES)
            # the children find the embedded stores by the data folder, as everybody does
            children = [
                Child("serve", serve_command, (number,)),
                *(
                    Child(f"worker {index}", python("workers", UNTIL_STDIN_CLOSES))
                    for index in range(1, workers + 1)
                ),
            ]
            where = listener.getsockname()
            address = f"[{where[0]}]" if ":" in where[0] else where[0]
            typer.echo(
                f"Sonobridge listens on http://{address}:{where[1]} with {workers} workers; ^C stops it."
            )
            sys.stdout.flush()
            await keep_running(children, stopping)
