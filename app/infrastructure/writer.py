"""Writes what many ask for at once, in as few commits as the database keeps up with; must not know what is written.

One connection and one writer. Whatever is asked for while a commit runs goes into the next one, and everybody is
answered after the commit of their own: nobody waits for a window of time, and a thousand cost little more than one.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import asyncpg
import structlog

from app.infrastructure.database import GOODBYE_SECONDS, READ_ONLY

MOST_WAITING = 4000
MOST_AT_ONCE = 500

Item = TypeVar("Item")
Answer = TypeVar("Answer")

log = structlog.get_logger(__name__)


class WriterFull(OSError):
    """So many wait already that one more would not be written in time; it was not taken."""


class Writer(Generic[Item, Answer]):
    """`write` gets a connection and some items, writes them in one transaction and gives an answer for each."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        write: Callable[[asyncpg.Connection, Sequence[Item]], Awaitable[Sequence[Answer]]],
    ) -> None:
        self._connect = connect
        self._write = write
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._connection: asyncpg.Connection | None = None

    async def put(self, item: Item) -> Answer:
        """The answer for an item, once it is committed.

        Raises what the database said, or OSError and TimeoutError where it could not be asked. Whoever is cancelled
        before the item's turn takes it back; later it may be written all the same. Raises WriterFull at once.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise WriterFull("too many wait to be written")
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._run())
        return await answer

    async def aclose(self) -> None:
        """Write what waits, then let the connection go."""
        if self._writing is not None:
            await self._writing
        if self._connection is not None:
            await self._connection.close(timeout=GOODBYE_SECONDS)

    async def _run(self) -> None:
        while self._waiting:
            count = min(len(self._waiting), MOST_AT_ONCE)
            batch = [self._waiting.popleft() for _ in range(count)]
            await self._settle([(item, answer) for item, answer in batch if not answer.done()])

    async def _settle(self, batch: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        """Answer each of these. What the database refuses for its content is refused alone, and not with the others."""
        if not batch:
            return
        try:
            answers = await self._written([item for item, _ in batch])
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            if len(batch) > 1:
                for one in batch:
                    await self._settle([one])
            else:
                _fail(batch, error)
        except Exception as error:  # noqa: BLE001 - whoever waits gets it; the writer goes on
            _fail(batch, error)
        else:
            for (_, waiting), answer in zip(batch, answers, strict=True):
                if not waiting.done():
                    waiting.set_result(answer)

    async def _written(self, items: Sequence[Item]) -> Sequence[Answer]:
        """Once more over a new connection where the old one was what failed: after a failover it is dead or read-only."""
        try:
            return await self._write(await self._connected(), items)
        except Exception as error:
            if not self._let_go(error):
                raise
        return await self._write(await self._connected(), items)

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        return self._connection

    def _let_go(self, error: Exception) -> bool:
        """Let a connection go that is of no use any more; whether to try over a new one.

        A server that did not answer in time is not asked the same again while the others wait.
        """
        connection, silent = self._connection, isinstance(error, TimeoutError)
        if connection is None:
            return False
        broken = connection.is_closed() or isinstance(error, OSError | asyncpg.InternalClientError)
        if silent or broken or getattr(error, "sqlstate", None) == READ_ONLY:
            connection.terminate()
            self._connection = None
            return not silent
        return False


def _fail(batch: Sequence[tuple[object, asyncio.Future[Answer]]], error: Exception) -> None:
    for _, waiting in batch:
        if not waiting.done():
            waiting.set_exception(error)
