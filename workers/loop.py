"""Works from the database alone: heartbeat, recurring work, and due rows that no ring brought to anybody."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.config.settings import asyncpg_dsn
from app.infrastructure.database import CONNECT_SECONDS, GOODBYE_SECONDS, database_tls
from app.resources import Resources
from app.store.due import glance
from app.store.exam_leases import due_exams
from app.store.links import due_links
from app.store.waking import WAKE_CHANNEL, named_in
from app.store.workers import beat, beat_seconds, leave, silent_seconds
from app.upkeep.recurring import tick, watch
from workers.ending import end
from workers.jobs import run_if_due

log = structlog.get_logger(__name__)

# How often the database is asked for due rows at least; a notification (LISTEN), a ring and a due time come sooner.
POLL_SECONDS = 1.0
TICK_SECONDS = 5.0
# So much longer than a single request may take is what runs at SIGTERM let go on.
DRAIN_GRACE_SECONDS = 1.0


class Loop:
    """Runs until cancelled, and looks for due rows whenever it is woken."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._wake = asyncio.Event()
        self._running: dict[UUID, asyncio.Task[bool]] = {}
        self._ending = False
        # the workers that live, by their ids in order
        self.peers: Sequence[str] = ()
        # the last look found less than there was room for
        self._caught_up = False

    @property
    def _free(self) -> int:
        return self._resources.settings.worker_concurrency - len(self._running)

    def wake(self) -> None:
        """Look for due rows now: a notification or a ring came, or there is room for another."""
        self._wake.set()

    def hear(self, payload: str) -> None:
        """A notification: begin at once with our share of the exams that it names where nothing else waits, else look.

        What is another worker's share and is not taken by it, our next look finds.
        """
        named = named_in(payload)
        ours = share_of(named, self.peers, self._resources.worker_id)
        if not named or self._ending or not self._caught_up or len(ours) > self._free:
            self.wake()
            return
        for row_id in ours:
            if row_id not in self._running:
                self._start("exam", row_id)

    def end(self) -> None:
        """Take nothing more, also if the cancellation that follows is lost on the way (`workers.ending`)."""
        self._ending = True

    async def run(self) -> None:
        """Look, claim, work, until cancelled; then let what is running end, or give its lease back."""
        try:
            while not self._ending:
                pause = await self._round()
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
                self._wake.clear()
        finally:
            await self._drain()

    async def _drain(self) -> None:
        """Let every request end that is on its way: one that is cut off has to be looked for before it is repeated."""
        running = list(self._running.values())
        seconds = self._resources.settings.request_seconds + DRAIN_GRACE_SECONDS
        try:
            if running:
                await asyncio.wait(running, timeout=seconds)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _round(self) -> float:
        """Start whatever is due and has room here; in how many seconds to look again."""
        resources = self._resources
        free = self._free
        self._caught_up = False
        if free <= 0:
            return POLL_SECONDS
        try:
            async with resources.statements() as session:
                due = await glance(session, most=POLL_SECONDS)
                if due.links:
                    self._start_all("link", await due_links(session, limit=free))
                exams = await due_exams(session, limit=free, host=resources.host) if due.exams else ()
                self._start_all("exam", exams)
                self._caught_up = len(exams) < free
                return due.seconds
        except (SQLAlchemyError, OSError) as error:
            log.warning("due_rows_not_read", error_type=type(error).__name__)
            return POLL_SECONDS

    def _start_all(self, kind: str, rows: Sequence[tuple[UUID, int]]) -> None:
        for row_id, _ in rows:
            if row_id not in self._running and self._free > 0:
                self._start(kind, row_id)

    def _start(self, kind: str, row_id: UUID) -> None:
        task = asyncio.create_task(run_if_due(self._resources, kind, row_id))
        self._running[row_id] = task

        def ended(done: asyncio.Task[bool]) -> None:
            del self._running[row_id]
            # room for another; but a row that was not to be had must not be asked for again at once
            if not done.cancelled() and done.exception() is None and done.result():
                self.wake()

        task.add_done_callback(ended)

    async def listen(self) -> None:
        """Hear the database's notifications; reconnect when the connection is lost."""
        settings = self._resources.settings
        dsn, tls = asyncpg_dsn(settings.database_url), database_tls(settings)
        while True:
            try:
                connection = await asyncpg.connect(dsn, ssl=tls, timeout=CONNECT_SECONDS)
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(POLL_SECONDS * 2)
                continue
            try:
                self._resources.watch.add(connection)
                gone = asyncio.Event()
                connection.add_termination_listener(lambda *_, gone=gone: gone.set())
                await connection.add_listener(WAKE_CHANNEL, lambda *heard: self.hear(heard[-1]))
                # what was told before we listened
                self.wake()
                await gone.wait()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                log.warning("listening_ended")
            finally:
                await connection.close(timeout=GOODBYE_SECONDS)


def share_of(ids: Sequence[UUID], peers: Sequence[str], me: str) -> Sequence[UUID]:
    """Those of the ids that are this worker's to try, so that not every worker tries every one; all while it is alone."""
    if me not in peers:
        return ids
    rank = peers.index(me)
    return [row_id for row_id in ids if row_id.int % len(peers) == rank]


async def beats(resources: Resources, loop: Loop) -> None:
    """Show that this worker lives, and learn who else does, until cancelled."""
    lease = resources.settings.lease_seconds
    while True:
        try:
            async with resources.sessions.begin() as session:
                loop.peers = await beat(
                    session, resources.worker_id, resources.host, silent=silent_seconds(lease)
                )
        except (SQLAlchemyError, OSError) as error:
            log.warning("heartbeat_not_written", error_type=type(error).__name__)
        await asyncio.sleep(beat_seconds(lease))


async def ticks(resources: Resources) -> None:
    """Recurring work whenever it is due, until cancelled.

    The same `tick` that arq's cron calls: here also without Redis, and for what each worker and host does for itself.
    """
    while True:
        await tick(resources)
        await asyncio.sleep(min(TICK_SECONDS, resources.settings.sweep_seconds))


async def watches(resources: Resources) -> None:
    """Alerts whenever they are due, until cancelled."""
    while True:
        await watch(resources)
        await asyncio.sleep(min(TICK_SECONDS, resources.settings.sweep_seconds))


async def supervised(part: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a part until it ends: a mistake of ours in one of them is logged and must not stop a whole worker."""
    while True:
        try:
            return await part()
        except Exception as error:
            log.exception("background_part_broke", error_type=type(error).__name__)
            await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def background(resources: Resources) -> AsyncIterator[Callable[[], None]]:
    """All that a worker does besides arq's jobs, for as long as the body runs; gives what wakes the loop."""
    loop = Loop(resources)
    parts: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = (
        loop.run,
        loop.listen,
        lambda: beats(resources, loop),
        lambda: ticks(resources),
        lambda: watches(resources),
    )
    tasks = [asyncio.create_task(supervised(part)) for part in parts]
    try:
        yield loop.wake
    finally:
        loop.end()
        working, *others = tasks
        working.cancel()
        await end(others)
        await asyncio.gather(working, return_exceptions=True)
        async with resources.sessions.begin() as session:
            await leave(session, resources.worker_id)
