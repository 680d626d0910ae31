"""Runs CPU work in processes beside the worker; must not know what the work is.

The processes are started when first needed, on all cores but one, and end with their parent, also when it is killed.
"""

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

T = TypeVar("T")


class ProcessDied(Exception):
    """The process that did this piece of work was killed or crashed, twice."""


class Pool:
    """Processes for pure functions over files. `run` may be called from any number of tasks."""

    def __init__(self, processes: int | None = None) -> None:
        self.processes = processes or max(1, (os.cpu_count() or 2) - 1)
        self._executor: _Executor | None = None

    async def run(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Call a picklable function in another process. What it raises is raised here.

        Work that was lost because some process died is done once more, alone: raises ProcessDied when it is
        this work that kills its process. Cancelling stops the waiting, not work that has begun.
        """
        loop = asyncio.get_running_loop()
        call = partial(function, *arguments, **named)
        executor = self._open()
        try:
            return await loop.run_in_executor(executor.processes, call)
        except BrokenProcessPool:
            if self._executor is executor:
                self._executor = None
                executor.end()
        alone = _Executor(1)
        try:
            return await loop.run_in_executor(alone.processes, call)
        except BrokenProcessPool:
            raise ProcessDied(getattr(function, "__name__", "work")) from None
        finally:
            alone.end()

    def _open(self) -> "_Executor":
        if self._executor is None:
            self._executor = _Executor(self.processes)
        return self._executor

    async def aclose(self) -> None:
        """End the processes at once, whatever they do: who wanted it has given its lease back by now."""
        if self._executor is not None:
            executor, self._executor = self._executor, None
            await asyncio.to_thread(executor.end, wait=True)


class _Executor:
    """An executor and the line by which its processes are told to end."""

    def __init__(self, processes: int) -> None:
        # spawned, not forked: a fork would carry the event loop's sockets and locks along
        context = multiprocessing.get_context("spawn")
        hears, self._line = context.Pipe(duplex=False)
        self._hears = hears
        self.processes = ProcessPoolExecutor(
            processes, mp_context=context, initializer=_end_with_parent, initargs=(hears,)
        )

    def end(self, *, wait: bool = False) -> None:
        self._line.close()
        self.processes.shutdown(wait=wait, cancel_futures=True)
        self._hears.close()


def _end_with_parent(line: Connection) -> None:
    """A parent that is killed can't tell its processes to end; they watch it, and the line that it may close."""
    parent = multiprocessing.parent_process()
    ends: list[Any] = [line] if parent is None else [line, parent.sentinel]

    def watch() -> None:
        wait(ends)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
