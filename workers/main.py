"""Runs one worker process: the database loop for as long as it lives, and arq's worker whenever Redis is there."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog
from arq.worker import Worker
from redis.exceptions import RedisError

from app.resources import Resources
from workers.ending import end
from workers.loop import background
from workers.settings import DRAIN_SECONDS, worker_options

log = structlog.get_logger(__name__)

REDIS_AGAIN_SECONDS = 2.0


async def run_worker(resources: Resources, stopping: asyncio.Event) -> None:
    """Work until `stopping` is set; then let what is running end, or give its leases back."""
    async with background(resources) as wake:
        while not stopping.is_set():
            await _with_redis(resources, stopping, wake)
            with suppress(TimeoutError):
                async with asyncio.timeout(REDIS_AGAIN_SECONDS):
                    await stopping.wait()


async def _with_redis(resources: Resources, stopping: asyncio.Event, wake: Callable[[], None]) -> None:
    """One life of an arq worker: until Redis is lost or `stopping` is set. The database loop goes on meanwhile."""
    options = worker_options(resources.settings)
    worker = Worker(**options, ctx={"resources": resources, "wake": wake}, handle_signals=False)
    main = asyncio.create_task(worker.async_run())
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({main, stop}, return_when=asyncio.FIRST_COMPLETED)
        if stop.done():
            worker.allow_pick_jobs = False
            await _drain(worker)
    finally:
        await end([stop, main])
        _note_end(None if main.cancelled() else main.exception())
        for task in worker.tasks.values():
            task.cancel()
        await asyncio.gather(*worker.tasks.values(), return_exceptions=True)
        # not `worker.close()`: it waits for the tasks and raises what they raised
        with suppress(RedisError, OSError):
            await options["redis_pool"].aclose(close_connection_pool=True)


def _note_end(ended: object) -> None:
    if isinstance(ended, RedisError | OSError | TimeoutError):
        log.warning("redis_lost", error_type=type(ended).__name__)
    elif isinstance(ended, Exception):
        log.error("arq_ended", error_type=type(ended).__name__, exc_info=ended)


async def _drain(worker: Worker) -> None:
    """Wait for running jobs, bounded; those that are still running then are cancelled and give their leases back."""
    running = list(worker.tasks.values())
    if running:
        await asyncio.wait(running, timeout=DRAIN_SECONDS)
