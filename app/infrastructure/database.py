"""Connections to PostgreSQL that never wait for ever: time limits on this side, and a watch over servers gone silent.

After a failover, or behind a NAT or firewall that forgot us, a connection is dead and nobody says so: what is sent
is never answered. The kernel gives up on a peer that acknowledges nothing; a proxy that does acknowledge is noticed
by the watch, which asks a connection of its own now and then. When that one is silent while a new one is answered,
every connection from before is broken off, and whoever waited on one hears of it at once.
"""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from math import inf
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import asyncpg
import structlog
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from app.config.settings import Settings, asyncpg_dsn, sqlalchemy_url
from app.config.trust import tls_context
from app.errors import Misuse

POOL_CONNECTIONS = 30
STATEMENT_SECONDS = 30
# on this side: a little more than the server's own limit, so that a living server says so itself
COMMAND_SECONDS = STATEMENT_SECONDS + 5
CONNECT_SECONDS = 10
# a connection that was used so shortly before is not asked first whether it lives
UNASKED_SECONDS = 1.0
# the server lets go of what a dead client held: its open transaction, and with it the locks
IDLE_IN_TRANSACTION_SECONDS = 30

# an acknowledgement that takes longer than this never comes
SILENT_SECONDS = 12
KEEPALIVE_IDLE_SECONDS = 30
KEEPALIVE_EVERY_SECONDS = 5

LOOK_SECONDS = 5.0
PATIENCE_SECONDS = 3.0
# a server that was only slow answers the old connection soon after it answered the new one
GRACE_SECONDS = 1.0
# a connection is ended by word; how long a process that ends waits for the server to have heard it
GOODBYE_SECONDS = 5.0

READ_ONLY = "25006"
# what a connection attempt or a statement of asyncpg's may end in
TROUBLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)

log = structlog.get_logger(__name__)


# libpq's modes that look at the server's certificate
VERIFYING = frozenset({"verify-ca", "verify-full"})
# set after connecting: a pooler refuses a connection that begins with settings that it does not know
LIMITS = "; ".join(
    f"SET {name} = {value}"
    for name, value in {
        "statement_timeout": STATEMENT_SECONDS * 1000,
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_SECONDS * 1000,
        "tcp_user_timeout": SILENT_SECONDS * 1000,
        "tcp_keepalives_idle": KEEPALIVE_IDLE_SECONDS,
        "tcp_keepalives_interval": KEEPALIVE_EVERY_SECONDS,
    }.items()
)
POOLER = (
    "DATABASE_URL leads to a pooler that gives each transaction another server (PgBouncer's pool_mode transaction "
    "or statement); use pool_mode session, or the server's own address"
)
# how often two connections are compared: one that a third held at that moment proves nothing
COMPARISONS = 3


def database_tls(settings: Settings) -> ssl.SSLContext | None:
    """Whom to trust, for a URL that has the server's certificate verified; None where the driver sees to TLS itself.

    The driver knows no channel binding, libpq's guard against a server in the middle: where the URL requires it, the
    certificate must be right to its name. Raises Misuse for a file that is of no use.
    """
    query = make_url(settings.database_url).query
    mode, root = query.get("sslmode") or query.get("ssl"), query.get("sslrootcert")
    binds = query.get("channel_binding") == "require"
    if binds or root == "system":
        mode = "verify-full"
    elif root and mode == "require":
        mode = "verify-ca"  # as libpq takes it
    own = _own_roots()
    if mode not in VERIFYING or (own and not (binds or root or settings.ca_file)):
        return None
    context = tls_context(settings.ca_file)
    context.check_hostname = mode == "verify-full"
    file = root if root != "system" else None
    try:
        if file or own:
            context.load_verify_locations(cafile=str(file or own))
    except (OSError, ssl.SSLError):
        raise Misuse(
            "DATABASE_URL: its sslrootcert can't be read, or holds no certificates", code="ca_file"
        ) from None
    return context


def _own_roots() -> Path | None:
    """The authorities where libpq keeps them, which the driver reads too."""
    file = Path(os.environ.get("PGSSLROOTCERT") or Path.home() / ".postgresql" / "root.crt")
    return file if file.is_file() else None


async def pooler_problem(settings: Settings) -> str | None:
    """Why this address can't be served, when two connections to it turn out to share one server; else None.

    None too for a server that can't be reached: whoever asks it next says what is wrong.
    """
    dsn, tls = asyncpg_dsn(settings.database_url), database_tls(settings)
    pair: list[asyncpg.Connection] = []
    try:
        for _ in range(2):
            connection = await asyncpg.connect(dsn, ssl=tls, timeout=CONNECT_SECONDS, statement_cache_size=0)
            pair.append(connection)
        for _ in range(COMPARISONS):
            first, second = [await _server_of(connection) for connection in pair]
            if first == second:
                return POOLER
    except TROUBLE as error:
        # in statement mode it takes connections, but no transactions
        refused = (error, error.__cause__)
        if len(pair) == 2 and any(isinstance(refusal, asyncpg.ProtocolViolationError) for refusal in refused):
            return POOLER
    finally:
        for connection in pair:
            connection.terminate()
    return None


async def _server_of(connection: asyncpg.Connection) -> int:
    """Which process of the server a transaction runs in."""
    async with connection.transaction():
        return int(await connection.fetchval("SELECT pg_backend_pid()"))


async def _connect(*args: Any, **options: Any) -> asyncpg.Connection:
    """A connection for the pool, with its limits set; none without them."""
    connection = await asyncpg.connect(*args, **options)
    try:
        await connection.execute(LIMITS)
    except BaseException:
        connection.terminate()
        raise
    return connection


def open_engine(settings: Settings) -> AsyncEngine:
    """The process's pool of connections, each with limits of its own. Raises Misuse as `database_tls` does."""
    tls = database_tls(settings)
    engine = create_async_engine(
        sqlalchemy_url(settings.database_url),
        pool_size=POOL_CONNECTIONS,
        max_overflow=0,
        # the one that was used last has the statements prepared
        pool_use_lifo=True,
        hide_parameters=True,
        connect_args={
            "timeout": CONNECT_SECONDS,
            "command_timeout": COMMAND_SECONDS,
            "async_creator_fn": _connect,
            **({"ssl": tls} if tls is not None else {}),
        },
    )
    event.listen(engine.sync_engine, "handle_error", _let_go)
    _ask_before_use(engine)
    return engine


def _ask_before_use(engine: AsyncEngine) -> None:
    """Ask a connection whether it lives before it is used again, unless it was used just now: it costs a round trip.

    What breaks within that second is noticed by the statement itself, and drops the whole pool.
    """

    def returned(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["returned_at"] = time.monotonic()

    def taken(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        if time.monotonic() - record.info.get("returned_at", -inf) < UNASKED_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.dbapi.Error as error:  # type: ignore[union-attr]
            raise DisconnectionError from error

    event.listen(engine.sync_engine, "checkin", returned)
    event.listen(engine.sync_engine, "checkout", taken)


def _let_go(context: ExceptionContext) -> None:
    """Which errors say that a connection, or all of them, must not be used again."""
    error = context.original_exception
    if isinstance(error, TimeoutError):
        # its ROLLBACK would wait behind the statement that is not answered
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = False
    elif getattr(error, "sqlstate", None) == READ_ONLY:
        # the server is a standby by now: a new connection may lead to the one that took over
        context.is_disconnect = True


class Watch:
    """Notices within 15 seconds that the server's connections went dead; one per process."""

    def __init__(self, settings: Settings) -> None:
        self._dsn, self._tls = asyncpg_dsn(settings.database_url), database_tls(settings)
        self._watched: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        self._suspicious = asyncio.Event()
        self._probe: asyncpg.Connection | None = None
        self._answer: asyncio.Task[object] | None = None
        self._opening: asyncio.Task[asyncpg.Connection] | None = None

    def over(self, engine: AsyncEngine) -> None:
        """Watch over every connection of this pool, from when it is made."""

        def connected(connection: Any, _record: object) -> None:
            self.add(connection.driver_connection)

        def broke(context: ExceptionContext) -> None:
            if isinstance(context.original_exception, TimeoutError | asyncio.CancelledError):
                self._suspicious.set()

        event.listen(engine.sync_engine, "connect", connected)
        event.listen(engine.sync_engine, "handle_error", broke)

    async def connect(self, *, seconds: float, session: str = "") -> asyncpg.Connection:
        """A connection that no pool holds; each statement has so many seconds on either side. `session`: what else is SET."""
        connection = await _connect(
            self._dsn,
            ssl=self._tls,
            timeout=seconds,
            command_timeout=seconds + (COMMAND_SECONDS - STATEMENT_SECONDS),
        )
        self.add(connection)
        await connection.execute(f"SET statement_timeout = {int(seconds * 1000)}; {session}")
        return connection

    def add(self, connection: asyncpg.Connection) -> None:
        """Watch over a connection that no pool holds."""
        _limit(connection)
        self._watched[connection] = time.monotonic()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look now and then, and when somebody waited in vain, for as long as the body runs."""
        looking = asyncio.create_task(self._run())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            await self._drop()

    async def close(self, engine: AsyncEngine) -> None:
        """Close the pool; a connection whose server does not hear it is broken off, so that the process can end."""
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                await engine.dispose()
        except TimeoutError:
            self._break_off(before=time.monotonic())
            await engine.dispose()

    async def _run(self) -> None:
        while True:
            with suppress(*TROUBLE):
                await self._look()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._suspicious.wait()
            self._suspicious.clear()

    async def _look(self) -> None:
        """Ask our own connection; when it is silent and a new one is not, break off all that are older."""
        if self._probe is None or self._probe.is_closed():
            await self._drop()
            self._probe = await self._connect()
        if self._answer is None:
            self._answer = asyncio.create_task(self._probe.execute("SELECT 1"))
        began = time.monotonic()
        if await self._answered(PATIENCE_SECONDS):
            return
        fresh = await self._connect()
        try:
            await fresh.fetchval("SELECT 1", timeout=PATIENCE_SECONDS)
            if await self._answered(GRACE_SECONDS):
                return
            await self._drop()
            self._break_off(before=began)
            self._probe, fresh = fresh, None
        finally:
            if fresh is not None:
                fresh.terminate()

    async def _answered(self, seconds: float) -> bool:
        """Whether our connection has answered, or was closed, which the pool learns by itself."""
        if self._answer is None:
            return True
        done, _ = await asyncio.wait({self._answer}, timeout=seconds)
        if done:
            await asyncio.gather(self._answer, return_exceptions=True)
            self._answer = None
        return bool(done)

    async def _connect(self) -> asyncpg.Connection:
        """A connection; cancelled meanwhile, it is still opened, and `_drop` ends it (asyncpg would lose it)."""
        self._opening = asyncio.create_task(
            asyncpg.connect(self._dsn, ssl=self._tls, timeout=PATIENCE_SECONDS, statement_cache_size=0)
        )
        connection = await asyncio.shield(self._opening)
        self._opening = None
        _limit(connection)
        return connection

    async def _drop(self) -> None:
        if self._opening is not None:
            await asyncio.wait({self._opening})
            if self._opening.exception() is None:
                self._opening.result().terminate()
            self._opening = None
        if self._probe is not None:
            self._probe.terminate()
        if self._answer is not None:
            await asyncio.gather(self._answer, return_exceptions=True)
        self._probe = self._answer = None

    def _break_off(self, *, before: float) -> None:
        dead = [
            connection
            for connection, since in self._watched.items()
            if since < before and not connection.is_closed()
        ]
        for connection in dead:
            connection.terminate()
        log.warning("database_connections_dead", count=len(dead))


def _limit(connection: asyncpg.Connection) -> None:
    """Let the kernel give up on a peer that acknowledges nothing, and keep idle connections known on the way.

    asyncpg opens its sockets itself and has no public way to them; a Unix socket knows no such options.
    """
    transport = getattr(connection, "_transport", None)
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {
        "TCP_USER_TIMEOUT": SILENT_SECONDS * 1000,
        "TCP_KEEPIDLE": KEEPALIVE_IDLE_SECONDS,
        "TCP_KEEPINTVL": KEEPALIVE_EVERY_SECONDS,
    }
    for name, value in options.items():
        # not every system has every one of them
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
