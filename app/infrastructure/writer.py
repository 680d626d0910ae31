"""Writes what many ask for at once, in as few commits as the database keeps up with; must not know what is written.

One connection and one writer. Whatever is asked for while a commit runs goes into the next one, and everybody is
answered after the commit of their own: nobody waits for a window of time, and a thousand cost little more than one.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import asyncpg

from app.infrastructure.database import GOODBYE_SECONDS, READ_ONLY

MOST_WAITING = 4000
MOST_AT_ONCE = 500
# what may be one item's own, and keep the others of a transaction from being written
ALONE = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.LockNotAvailableError)

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class WriterFull(OSError):
    """So many wait already that one more would not be written in time; it was not taken."""


@dataclass(frozen=True)
class _Asked(Generic[Item, Answer]):
    """An item that waits, until when it may (seconds of the loop's clock), and whoever waits for its answer."""

    item: Item
    until: float
    answer: asyncio.Future[Answer]


class Writer(Generic[Item, Answer]):
    """`write` gets a connection and some items, writes them in one transaction and gives an answer for each.

    `seconds`: how long an item may wait for a lock that somebody else holds.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        write: Callable[[asyncpg.Connection, Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        seconds: float,
    ) -> None:
        self._connect = connect
        self._write = write
        self._seconds = seconds
        self._waiting: deque[_Asked[Item, Answer]] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._connection: asyncpg.Connection | None = None

    async def put(self, item: Item) -> Answer:
        """The answer for an item, once it is committed.

        Raises what the database said, or OSError and TimeoutError where it could not be asked. Whoever is cancelled
        before the item's turn takes it back; later it may be written all the same. Raises WriterFull at once.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise WriterFull("too many wait to be written")
        loop = asyncio.get_running_loop()
        asked: _Asked[Item, Answer] = _Asked(item, loop.time() + self._seconds, loop.create_future())
        self._waiting.append(asked)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._run())
        return await asked.answer

    async def aclose(self) -> None:
        """Write what waits, then let the connection go."""
        if self._writing is not None:
            await self._writing
        if self._connection is not None:
            await self._connection.close(timeout=GOODBYE_SECONDS)

    async def _run(self) -> None:
        while self._waiting:
            count = min(len(self._waiting), MOST_AT_ONCE)
            await self._settle([self._waiting.popleft() for _ in range(count)])

    async def _settle(self, batch: Sequence[_Asked[Item, Answer]]) -> None:
        """Answer each of these. What the database refuses for its content is refused alone, and not with the others.

        Nor does one hold them up that waits for a lock: it comes again behind whatever came meanwhile.
        """
        batch = [asked for asked in batch if not asked.answer.done()]
        if not batch:
            return
        try:
            answers = await self._written([asked.item for asked in batch])
        except ALONE as error:
            if len(batch) > 1:
                for asked in batch:
                    await self._settle([asked])
            elif isinstance(error, asyncpg.LockNotAvailableError) and _has_time(batch[0]):
                self._waiting.append(batch[0])
            else:
                _fail(batch, error)
        except Exception as error:  # noqa: BLE001 - whoever waits gets it; the writer goes on
            _fail(batch, error)
        else:
            for asked, answer in zip(batch, answers, strict=True):
                if not asked.answer.done():
                    asked.answer.set_result(answer)

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


def _has_time(asked: _Asked[Item, Answer]) -> bool:
    return asyncio.get_running_loop().time() < asked.until


def _fail(batch: Sequence[_Asked[Item, Answer]], error: Exception) -> None:
    for asked in batch:
        if not asked.answer.done():
            asked.answer.set_exception(error)
