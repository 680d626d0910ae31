"""Runs CPU work in processes beside the worker; must not know what the work is.

Each place is a process of its own, started when it is first needed, so that work which is cancelled or takes too long
ends with its process and nobody else's. They end with their parent, also when it is killed. Whoever has work for hours
does not hold up the others: places are given in turns, and the last one never to whom the others are taken by.
"""

import asyncio
import contextlib
import multiprocessing
import os
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Hashable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

T = TypeVar("T")

TRIES = 2
"""Work that was lost with its process is done once more: something else may have killed it."""


class ProcessDied(Exception):
    """The process that did this piece of work was killed or crashed, twice."""


class TookTooLong(Exception):
    """The work was not over when its time was; its process was ended."""


class PoolClosed(OSError):
    """The pool was closed before the work was over; that says nothing of the work."""


class Pool:
    """Processes for pure functions over files. `run` may be called from any number of tasks.

    There are as many as cores, and two at least; `share` is how many of them one party may hold: one fewer.
    """

    def __init__(self, processes: int | None = None) -> None:
        self.processes = processes or max(2, os.cpu_count() or 2)
        self.share = max(1, self.processes - 1)
        self._places = _Places(self.processes, self.share)
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()
        self._closed = False

    async def run(
        self,
        function: Callable[..., T],
        *arguments: Any,
        turn: Hashable = None,
        seconds: float | None = None,
        **named: Any,
    ) -> T:
        """Call a picklable function in another process. What it raises is raised here.

        `turn` is the party that the work is for: parties take turns. Raises TookTooLong when the work is not over
        after `seconds` (waiting for a place does not count), ProcessDied when it kills its process. By the time that
        it raises one of these, or is cancelled, the process is gone and writes nothing more.
        """
        call = partial(function, *arguments, **named)
        async with self._places.hold(turn):
            for _ in range(TRIES):
                try:
                    return await self._once(call, seconds)
                except BrokenProcessPool:
                    if self._closed:
                        raise PoolClosed("the pool was closed") from None
            raise ProcessDied(getattr(function, "__name__", "work"))

    async def _once(self, call: Callable[[], T], seconds: float | None) -> T:
        if self._closed:
            raise PoolClosed("the pool was closed")
        process = self._idle.pop() if self._idle else _Process()
        self._all.add(process)
        fit = False
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                work = asyncio.get_running_loop().run_in_executor(process.executor, call)
                try:
                    return await work
                finally:
                    # an answer or an error of the function's own: the process did what it was for
                    fit = (
                        work.done()
                        and not work.cancelled()
                        and not isinstance(work.exception(), BrokenProcessPool)
                    )
        except TimeoutError:
            if limit.expired() and not fit:
                raise TookTooLong(f"not over after {seconds:g} s") from None
            raise
        finally:
            if fit and not self._closed:
                self._idle.append(process)
            else:
                await self._end(process)

    async def _end(self, *processes: "_Process") -> None:
        """End them, and wait until they are gone, also when the waiting is cancelled meanwhile."""
        self._all.difference_update(processes)
        ending = asyncio.ensure_future(
            asyncio.gather(*(asyncio.to_thread(process.end) for process in processes))
        )
        cancelled: asyncio.CancelledError | None = None
        while not ending.done():
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def aclose(self) -> None:
        """End the processes at once, whatever they do: who wanted it has given its lease back by now."""
        self._closed = True
        self._idle.clear()
        await self._end(*self._all)


class _Places:
    """Who may work now, and who is next: whoever holds the fewest places, among those whoever had none for longest."""

    def __init__(self, places: int, share: int) -> None:
        self._free = places
        self._share = share
        self._held: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}
        self._served: dict[Hashable, int] = {}
        self._count = 0

    @asynccontextmanager
    async def hold(self, turn: Hashable) -> AsyncIterator[None]:
        """A place for as long as the body runs."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(turn, deque()).append(place)
        self._give()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._take_back(turn)
            else:
                self._forget(turn, place)
            raise
        try:
            yield
        finally:
            self._take_back(turn)

    def _give(self) -> None:
        while self._free and (able := [turn for turn in self._waiting if self._held[turn] < self._share]):
            turn = min(able, key=lambda party: (self._held[party], self._served.get(party, 0)))
            place = self._waiting[turn].popleft()
            if not self._waiting[turn]:
                del self._waiting[turn]
            if place.done():
                continue
            self._free -= 1
            self._held[turn] += 1
            self._count += 1
            self._served[turn] = self._count
            place.set_result(None)

    def _take_back(self, turn: Hashable) -> None:
        self._free += 1
        self._held[turn] -= 1
        if not self._held[turn]:
            del self._held[turn]
        if not self._held and not self._waiting:
            self._served.clear()
        self._give()

    def _forget(self, turn: Hashable, place: "asyncio.Future[None]") -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._waiting[turn].remove(place)
            if not self._waiting[turn]:
                del self._waiting[turn]


class _Process:
    """One process, and the line by which it is told to end."""

    def __init__(self) -> None:
        # spawned, not forked: a fork would carry the event loop's sockets and locks along
        context = multiprocessing.get_context("spawn")
        self._ending = threading.Lock()
        self._hears, self._line = context.Pipe(duplex=False)
        self.executor = ProcessPoolExecutor(
            1, mp_context=context, initializer=_end_with_parent, initargs=(self._hears,)
        )

    def end(self) -> None:
        """End it and wait until it is gone; the pool's end and that of the work may both want it at once."""
        with self._ending:
            if self._line.closed:
                return
            self._line.close()
            self.executor.shutdown(wait=True, cancel_futures=True)
            self._hears.close()


def _end_with_parent(line: Connection) -> None:
    """A parent that is killed can't tell its processes to end; they watch it, and the line that it may close."""
    parent = multiprocessing.parent_process()
    ends: list[Any] = [line] if parent is None else [line, parent.sentinel]

    def watch() -> None:
        wait(ends)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
