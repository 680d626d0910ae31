"""A large file in and out by our own clients, against curl: processor time for each byte, from a server that costs little.

Ours run in a process of its own, on the loop that a worker has. The server is another one (bench/plain_server.py), and
what it needs counts for nobody.
"""

import asyncio
import hashlib
import multiprocessing
import os
import random
import resource
import shutil
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from app.clients.http import Credentials, Egress, Http
from app.clients.media import download
from app.clients.tus import Hooks, Target, send_file
from app.config.settings import Settings
from bench import programs
from bench.figures import Figure, alternating, ratio
from tests.support.ports import free_port

FILE_BYTES = 400_000_000
PIECE_BYTES = 1_000_000
GIGABYTE = 1_000_000_000
DOWNLOAD = "download + sha256, CPU / curl -o + sha256sum"
UPLOAD = "upload by Tus, CPU / curl -T"
GOALS = {DOWNLOAD: 1.5, UPLOAD: 2.0}
# in a round; what curl needs to send a file differs by half from one time to the next
TIMES = {DOWNLOAD: 1, UPLOAD: 4}


async def measure(_settings: Settings, folder: Path) -> AsyncIterator[Figure]:
    """The rows of bytes, one after the other."""
    sent, got = folder / "sent", folder / "got"
    digest = _make_file(sent)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = programs.program(
        "-m", "bench.plain_server", str(port), str(folder), folder=folder, name="plain_server"
    )
    spawn = multiprocessing.get_context("spawn")
    async with server:
        await programs.answers(port, "/")
        with ProcessPoolExecutor(1, mp_context=spawn) as process:
            run = partial(asyncio.get_running_loop().run_in_executor, process)

            async def fetch() -> float:
                return await run(fetched, f"{url}/sent", got, digest)

            async def send() -> float:
                return await run(uploaded, f"{url}/upload", sent)

            yield await _compared(
                DOWNLOAD, fetch, ["curl", "-fsS", "-o", str(got), f"{url}/sent"], ["sha256sum", str(got)]
            )
            yield await _compared(
                UPLOAD, send, ["curl", "-fsS", "-H", "Expect:", "-T", str(sent), f"{url}/put"]
            )


def fetched(url: str, dest: Path, digest: str) -> float:
    """Seconds of processor time for a download as the worker makes it. RuntimeError when the bytes are others."""

    async def work(http: Http) -> None:
        got = await download(http, url, dest, cap=FILE_BYTES)
        if got.sha256 != digest:
            raise RuntimeError("other bytes came than were sent")

    seconds = asyncio.run(_used(url, work))
    dest.unlink()
    return seconds


def uploaded(url: str, path: Path) -> float:
    """Seconds of processor time for an upload as the worker makes it."""

    async def work(http: Http) -> None:
        target = Target(url, Credentials(url, {"Authorization": "Bearer invented"}))

        async def created(_url: str) -> None:
            """A worker commits the upload's URL here."""

        async def renewed() -> Target:
            return target

        await send_file(
            http,
            target,
            path,
            metadata={"filename": path.name},
            stored_url=None,
            account="bench",
            hooks=Hooks(created=created, renewed=renewed),
        )

    return asyncio.run(_used(url, work))


async def _used(url: str, work: Callable[[Http], Awaitable[None]]) -> float:
    async with Http(Egress(True, frozenset({urlsplit(url).netloc}))) as http:
        before = resource.getrusage(resource.RUSAGE_SELF)
        await work(http)
        after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def _compared(name: str, ours: Callable[[], Awaitable[float]], *theirs: list[str]) -> Figure:
    """Ours beside these commands, one after the other."""
    missing = [command[0] for command in theirs if shutil.which(command[0]) is None]
    if missing:
        return Figure(name, None, GOALS[name], detail=f"no {missing[0]}")

    async def all_ours() -> float:
        return sum([await ours() for _ in range(TIMES[name])])

    async def all_theirs() -> float:
        return sum([await asyncio.to_thread(_run, command) for command in theirs * TIMES[name]])

    mine, other = await alternating(all_ours, all_theirs)
    each, against = (
        statistics.median(seconds) / TIMES[name] / FILE_BYTES * GIGABYTE for seconds in (mine, other)
    )
    detail = f"{each:.2f} s a GB; {against:.2f} s; {FILE_BYTES // 1_000_000} MB"
    return Figure(name, ratio(mine, other), GOALS[name], detail=detail)


def _run(command: list[str]) -> float:
    """Seconds of processor time of a program. RuntimeError when it fails."""
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    process = os.posix_spawnp(command[0], command, os.environ, file_actions=silent)
    _, status, used = os.wait4(process, 0)
    if status:
        raise RuntimeError(f"{command[0]} ended with {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime


def _make_file(path: Path) -> str:
    """A file that no two pieces of are alike; its sha256 (hex)."""
    source, digest = random.Random(4711), hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(FILE_BYTES // PIECE_BYTES):
            piece = source.randbytes(PIECE_BYTES)
            file.write(piece)
            digest.update(piece)
    return digest.hexdigest()
