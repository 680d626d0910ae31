"""Whether a worker's memory follows what it carries: a large exam beside a small one, a long backlog beside none.

The worker is a process of its own; counted is the most that was resident in it, for exams together with its pool.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg

from app.config.settings import Settings, asyncpg_dsn
from app.resources import open_resources
from bench import programs
from bench.backlog import fill
from bench.exam_memory import Memory, carry
from bench.figures import Figure
from bench.imaging_memory import MEGABYTE, in_own_process, make_captures
from sandbox.server import Sandbox
from tests.support.bridge import settings_for
from tests.support.wait import until

CAPTURES = 4
SMALL_MEGABYTES, LARGE_MEGABYTES = 5, 100
WAITING = 50_000
REQUESTS = "/api/public/v0/download-requests"
WATCH_SECONDS = 8.0


async def measure(settings: Settings, folder: Path) -> AsyncIterator[Figure]:
    """The rows of memory, one after the other."""
    yield await _sizes(settings, folder)
    yield await _backlog(settings, folder)


async def _sizes(settings: Settings, folder: Path) -> Figure:
    peaks = []
    for megabytes in (SMALL_MEGABYTES, LARGE_MEGABYTES):
        await _empty(settings)
        captures = await asyncio.to_thread(in_own_process, make_captures, folder, CAPTURES, megabytes)
        peaks.append(_most(await carry(settings, captures, folder, video="h264")))
    small, large = peaks
    detail = (
        f"{large / MEGABYTE:.0f} MB; {small / MEGABYTE:.0f} MB; {CAPTURES} clips of {LARGE_MEGABYTES} MB and of "
        f"{SMALL_MEGABYTES} MB, as H.264"
    )
    name = f"an exam of {CAPTURES * LARGE_MEGABYTES} MB / of {CAPTURES * SMALL_MEGABYTES} MB: peak memory of the worker"
    return Figure(name, large / small, 1.15, detail=detail)


async def _backlog(settings: Settings, folder: Path) -> Figure:
    none, many = [await _beside(settings, folder, waiting=count) for count in (0, WAITING)]
    detail = f"{many / MEGABYTE:.0f} MB; {none / MEGABYTE:.0f} MB; the first {WATCH_SECONDS:.0f} s"
    return Figure(
        f"{WAITING:,} waiting exams / none: peak memory of a worker", many / none, 1.2, detail=detail
    )


async def _beside(plain: Settings, folder: Path, *, waiting: int) -> int:
    """The most bytes resident in a worker that looks for work while so many exams wait."""
    await _empty(plain)
    async with Sandbox() as sandbox:
        settings = settings_for(plain, sandbox)
        if waiting:
            async with open_resources(settings) as resources:
                # each is asked for, and not there
                await fill(resources, waiting, requests=f"{settings.clarius_base_url}{REQUESTS}")
        async with programs.worker(settings, folder) as pid:
            await _beats(settings)
            await asyncio.sleep(WATCH_SECONDS)
            return _peak(pid)


async def _empty(settings: Settings) -> None:
    connection = await asyncpg.connect(asyncpg_dsn(settings.database_url))
    await connection.execute("TRUNCATE organizations, exams, workers CASCADE")
    await connection.close()


async def _beats(settings: Settings) -> None:
    """Wait for a worker's first heartbeat."""
    connection = await asyncpg.connect(asyncpg_dsn(settings.database_url))
    await until(lambda: connection.fetchval("SELECT count(*) > 0 FROM workers"))
    await connection.close()


def _most(memory: Memory) -> int:
    return max((memory.peaks or {}).values())


def _peak(pid: int) -> int:
    """What was most resident in a process ever since its program began (proc(5), `VmHWM`), in bytes."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
