"""Gives a process its two stores, starting what is not configured; must give back what it took, however it ends."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from app.config.settings import Settings
from app.embedded import places, postgres, redis
from app.embedded.share import FolderLock, Server, hold

T = TypeVar("T")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Stores:
    """Where PostgreSQL and Redis are, as `DATABASE_URL` and `REDIS_URL` would say it."""

    database_url: str
    redis_url: str


@dataclass(frozen=True)
class HeldStores:
    """Embedded servers in use by this process, until `release`. A URL is None for a server not asked for."""

    holds: tuple[FolderLock, ...]
    database_url: str | None
    redis_url: str | None

    def release(self) -> None:
        """Gives all back; stops those that nobody else uses. Every one is tried; the first error is raised."""
        errors: list[Exception] = []
        for held in reversed(self.holds):
            try:
                held.release()
            except Exception as error:  # noqa: BLE001 - raised below, once the other server had its turn
                errors.append(error)
        if errors:
            raise errors[0]


def hold_stores(
    data_dir: Path, *, want_postgres: bool = True, want_redis: bool = True, durable: bool = True
) -> HeldStores:
    """Joins (or starts) the servers of a data folder; blocks for some seconds the first time.

    For callers without an event loop. Whoever calls this calls `release`. Raises EmbeddedError.
    """
    folder = places.own_folder(data_dir)
    locks = folder / "locks"
    servers = {
        "postgres": Server(
            name="postgres",
            start=partial(postgres.start, folder / "postgres", durable=durable),
            stop=partial(postgres.stop, folder / "postgres"),
        ),
        "redis": Server(
            name="redis",
            start=partial(redis.start, folder / "redis"),
            stop=partial(redis.stop, folder / "redis"),
        ),
    }
    needs = {"postgres": want_postgres, "redis": want_redis}
    holds: dict[str, FolderLock] = {}
    try:
        for name, server in servers.items():
            if needs[name]:
                holds[name] = hold(server, locks)
    except BaseException:
        for held in reversed(holds.values()):
            held.release()
        raise
    return HeldStores(
        holds=tuple(holds.values()),
        database_url=holds["postgres"].url if "postgres" in holds else None,
        redis_url=holds["redis"].url if "redis" in holds else None,
    )


@asynccontextmanager
async def embedded_stores(settings: Settings) -> AsyncIterator[Stores]:
    """The stores the settings name, or embedded ones for those they leave empty.

    ^C and SIGTERM end the block like any other way out, and what was started is stopped. A program that handles
    SIGTERM itself (`up`, `serve`, `worker`) sets its handler before it enters this block; it is then left alone.
    Raises EmbeddedError.
    """
    if settings.database_url and settings.redis_url:
        yield Stores(database_url=settings.database_url, redis_url=settings.redis_url)
        return
    start = partial(
        hold_stores,
        settings.data_dir,
        want_postgres=not settings.database_url,
        want_redis=not settings.redis_url,
    )
    with _end_on_stop_signals():
        held = await _finish_in_thread(start)
        try:
            yield Stores(
                database_url=settings.database_url or held.database_url or "",
                redis_url=settings.redis_url or held.redis_url or "",
            )
        finally:
            await _to_the_end(asyncio.to_thread(held.release))


async def _finish_in_thread(start: "partial[HeldStores]") -> HeldStores:
    """Starts the servers in a thread. Cancelled meanwhile, it waits for the start to end and gives them back."""
    starting = asyncio.ensure_future(asyncio.to_thread(start))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        held = await _to_the_end(starting)
        await _to_the_end(asyncio.to_thread(held.release))
        raise


async def _to_the_end(work: Awaitable[T]) -> T:
    """Waits for `work` however often we are cancelled meanwhile (a second signal, a signal while leaving)."""
    working = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not working.done():
        try:
            await asyncio.wait([working])
        except asyncio.CancelledError as error:
            cancelled = error
    result = working.result()
    if cancelled is not None:
        raise cancelled
    return result


@contextmanager
def _end_on_stop_signals() -> Iterator[None]:
    """Lets a stop signal that nobody handles end the current task, and then the process by that very signal."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    received: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        received.append(number)
        if task is not None:
            task.cancel()

    ours = [number for number in STOP_SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    try:
        for number in ours:
            loop.add_signal_handler(number, stop, number)
    except (RuntimeError, ValueError):
        ours = []  # not in the main thread: whoever runs the main thread sees to signals
    try:
        yield
    finally:
        for number in ours:
            loop.remove_signal_handler(number)
        if received:
            os.kill(os.getpid(), received[0])
