"""Keeps child processes running: starts them, starts them again when they end, and ends them in good order."""

import asyncio
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from app.errors import SonobridgeError

log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
# a child that lived so long is started again at once, as if it had never ended
SETTLED_SECONDS = 60.0
# a worker drains for a minute at most (workers.settings.DRAIN_SECONDS); then it is ended
STOP_SECONDS = 75.0
MISUSE = 2


class ChildFailed(SonobridgeError):
    """A child can't run at all (wrong settings, schema); starting it again would not help. It has said why."""

    kind = "child_failed"


@dataclass(frozen=True)
class Child:
    """One process to keep running. `fds`: file descriptors that it inherits."""

    name: str
    command: Sequence[str]
    fds: tuple[int, ...] = ()


async def keep_running(children: Sequence[Child], stopping: asyncio.Event) -> None:
    """Run all children until `stopping` is set; then end them and wait. Raises ChildFailed, with the others ended."""
    keepers = [asyncio.create_task(_keep(child, stopping)) for child in children]
    try:
        done, _ = await asyncio.wait(keepers, return_when=asyncio.FIRST_EXCEPTION)
        for keeper in done:
            keeper.result()
    finally:
        stopping.set()
        await asyncio.gather(*keepers, return_exceptions=True)


async def _keep(child: Child, stopping: asyncio.Event) -> None:
    pause = FIRST_PAUSE_SECONDS
    while not stopping.is_set():
        began = time.monotonic()
        status = await _run_once(child, stopping)
        if stopping.is_set():
            return
        if status == MISUSE:
            raise ChildFailed(f"{child.name} can't start")
        lived = time.monotonic() - began
        pause = FIRST_PAUSE_SECONDS if lived > SETTLED_SECONDS else pause
        log.warning("child_ended", process=child.name, status=status, wait_seconds=pause)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await stopping.wait()
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


async def _run_once(child: Child, stopping: asyncio.Event) -> int:
    """One life of a child: its exit status, negative for a signal. Ended by SIGTERM when `stopping` is set."""
    process = await asyncio.create_subprocess_exec(
        *child.command, stdin=asyncio.subprocess.PIPE, pass_fds=child.fds
    )
    log.info("child_started", process=child.name, pid=process.pid)
    ended = asyncio.create_task(process.wait())
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            process.send_signal(signal.SIGTERM)
            await asyncio.wait({ended}, timeout=STOP_SECONDS)
        if not ended.done():
            log.error("child_killed", process=child.name, pid=process.pid)
            process.kill()
        return await ended
    finally:
        stop.cancel()
        # the child sees the end of its standard input, also when this process is killed
        if process.stdin is not None:
            process.stdin.close()
