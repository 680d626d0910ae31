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
from multiprocessing.connection import wait
from typing import Any, TypeVar

T = TypeVar("T")


class ProcessDied(Exception):
    """The process that did this piece of work was killed or crashed, twice."""


class Pool:
    """Processes for pure functions over files. `run` may be called from any number of tasks."""

    def __init__(self, processes: int | None = None) -> None:
        self._processes = processes or max(1, (os.cpu_count() or 2) - 1)
        self._executor: ProcessPoolExecutor | None = None

    async def run(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Call a picklable function in another process. What it raises is raised here.

        Work that was lost because some process died is done once more, alone: raises ProcessDied when it is
        this work that kills its process.
        """
        loop = asyncio.get_running_loop()
        call = partial(function, *arguments, **named)
        executor = self._open()
        try:
            return await loop.run_in_executor(executor, call)
        except BrokenProcessPool:
            if self._executor is executor:
                self._executor = None
                executor.shutdown(wait=False)
        alone = _executor(1)
        try:
            return await loop.run_in_executor(alone, call)
        except BrokenProcessPool:
            raise ProcessDied(getattr(function, "__name__", "work")) from None
        finally:
            alone.shutdown(wait=False)

    def _open(self) -> ProcessPoolExecutor:
        if self._executor is None:
            self._executor = _executor(self._processes)
        return self._executor

    async def aclose(self) -> None:
        """End the processes; work that has not begun is dropped."""
        if self._executor is not None:
            executor, self._executor = self._executor, None
            await asyncio.to_thread(executor.shutdown, wait=True, cancel_futures=True)


def _executor(processes: int) -> ProcessPoolExecutor:
    # spawned, not forked: a fork would carry the event loop's sockets and locks along
    return ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent
    )


def _end_with_parent() -> None:
    """A parent that is killed can't tell its processes; they watch it instead, and would wait for ever if not."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
