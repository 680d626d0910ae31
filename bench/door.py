"""The webhook, against FastAPI's hello and PostgreSQL's own benchmark: bursts, junk, and processes that die meanwhile."""

import asyncio
import json
import os
import signal
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import asyncpg

from app.config.settings import Settings, asyncpg_dsn
from bench import programs
from bench.figures import Figure, alternating, ratio
from bench.load import Load, post

PATH = "/webhooks/clarius"
SECONDS = 3.0
MANY = 64
BURST, BURST_CONNECTIONS = 1500, 300
FEW_ROWS, MANY_ROWS = 1000, 1_000_000
ALONE = 200
JUNK = """
    INSERT INTO exams (id, request_uuid, exam_uuid, source, state, step, reason)
    SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'webhook', 'waiting', 'verify', 'link'
    FROM generate_series(1, $1::int)
"""


def notification() -> bytes:
    """A body like no other."""
    return json.dumps(
        {
            "request_uuid": str(uuid.uuid4()),
            "exam_uuid": str(uuid.uuid4()),
            "customer_id": "a-customer-of-clarius",
            "download_url": "https://cloud.example/download-requests/1/data/",
            "submitted_at": "2026-03-01T10:00:00Z",
        }
    ).encode()


@dataclass
class Round:
    """What one round of each opponent came to: answers a second, and seconds of the slowest in a hundred."""

    rates: tuple[float, float, float]
    slowest: tuple[float, float]


async def measure(settings: Settings, folder: Path) -> AsyncIterator[Figure]:
    """The rows of the door, one after the other."""
    connection = await asyncpg.connect(asyncpg_dsn(settings.database_url))
    await connection.execute("CREATE TABLE bench_rows (id uuid PRIMARY KEY, number bigint, url text)")
    async with AsyncExitStack() as stack:
        hello = await stack.enter_async_context(programs.hello(folder))
        port, _ = await stack.enter_async_context(programs.api(settings, folder))
        for figure in await _throughput(settings, folder, port=port, hello=hello):
            yield figure
        async with programs.fastify(settings, folder) as fastify:
            yield await _beside_fastify(port, fastify)
        yield await _alone(settings, folder, port)
        async with programs.worker(settings, folder):
            yield await _burst(port)
        yield await _growth(connection, port)
    yield await _deaths(connection, settings, folder)
    await connection.close()


async def _throughput(settings: Settings, folder: Path, *, port: int, hello: int) -> list[Figure]:
    loads: dict[str, list[Load]] = {"webhook": [], "hello": []}

    async def rate(name: str, to: int, path: str) -> float:
        load = await post(to, path, notification, connections=MANY, seconds=SECONDS)
        _all_answered(load, 202 if name == "webhook" else 200)
        loads[name].append(load)
        return load.rate

    async def commits() -> float:
        run = partial(programs.pgbench, settings.database_url, folder, clients=MANY, seconds=int(SECONDS))
        return (await asyncio.to_thread(run))[0]

    ours, theirs, database = await alternating(
        partial(rate, "webhook", port, PATH), partial(rate, "hello", hello, "/hello"), commits
    )
    slowest = [[load.percentile(0.99) for load in loads[name]] for name in ("webhook", "hello")]
    detail = f"{_middle(ours):.0f}/s; hello {_middle(theirs):.0f}/s, pgbench {_middle(database):.0f}/s"
    tail = f"{_middle(slowest[0]) * 1000:.1f} ms; hello {_middle(slowest[1]) * 1000:.1f} ms"
    return [
        Figure(
            "durable webhook, 64 connections / FastAPI's hello", ratio(ours, theirs), 2.0, 1.5, True, detail
        ),
        Figure("… / pgbench, single-row commits, 64 clients", ratio(ours, database), 0.5, 0.25, True),
        Figure("p99 at 64 connections / hello's", ratio(*slowest), 1.5, 2.0, detail=tail),
    ]


async def _beside_fastify(port: int, fastify: int | str) -> Figure:
    """Beside the server on this port; a text says what is missing here for it."""
    name = "durable webhook, 64 connections / Fastify + pg writing the same row"
    if isinstance(fastify, str):
        return Figure(name, None, 1.5, 1.0, True, fastify)

    async def rate(to: int, path: str) -> float:
        load = await post(to, path, notification, connections=MANY, seconds=SECONDS)
        _all_answered(load, 202)
        return load.rate

    ours, theirs = await alternating(partial(rate, port, PATH), partial(rate, fastify, "/webhook"))
    detail = f"{_middle(ours):.0f}/s; Fastify {_middle(theirs):.0f}/s"
    return Figure(name, ratio(ours, theirs), 1.5, 1.0, True, detail)


async def _alone(settings: Settings, folder: Path, port: int) -> Figure:
    async def ours() -> float:
        load = await post(port, PATH, notification, connections=1, seconds=SECONDS)
        _all_answered(load, 202)
        return load.percentile(0.5)

    async def theirs() -> float:
        run = partial(programs.pgbench, settings.database_url, folder, clients=1, seconds=int(SECONDS))
        return (await asyncio.to_thread(run))[1]

    webhook, database = await alternating(ours, theirs)
    detail = f"{_middle(webhook) * 1000:.2f} ms; pgbench {_middle(database) * 1000:.2f} ms"
    return Figure(
        "p50 at one connection / pgbench's mean at one client", ratio(webhook, database), 3.0, detail=detail
    )


async def _burst(port: int) -> Figure:
    load = await post(port, PATH, notification, connections=BURST_CONNECTIONS, requests=BURST)
    taken = load.statuses.get(202, 0)
    seconds = load.seconds if taken == BURST else float("inf")
    return Figure(
        "a burst of 1,500 from 300 connections, all 202, beside a worker: seconds",
        seconds,
        3.0,
        detail=f"{taken} taken",
    )


async def _growth(connection: asyncpg.Connection, port: int) -> Figure:
    """Seconds of a notification beside many unsettled rows, to those beside few."""
    seconds = []
    for rows in (FEW_ROWS, MANY_ROWS):
        await connection.execute("TRUNCATE exams CASCADE")
        await connection.execute(JUNK, rows, timeout=300)
        await connection.execute("VACUUM ANALYZE exams", timeout=300)
        await connection.execute("CHECKPOINT", timeout=300)
        load = await post(port, PATH, notification, connections=1, requests=ALONE)
        _all_answered(load, 202)
        seconds.append(load.percentile(0.5))
    await connection.execute("TRUNCATE exams CASCADE")
    detail = f"{seconds[1] * 1000:.2f} ms; {seconds[0] * 1000:.2f} ms"
    return Figure(
        "1,000,000 unsettled rows / 1,000: p50 of a notification", seconds[1] / seconds[0], 1.2, detail=detail
    )


async def _deaths(connection: asyncpg.Connection, settings: Settings, folder: Path) -> Figure:
    """What was acknowledged and is not there, after the API and PostgreSQL were killed in the middle."""
    acknowledged: list[str] = []

    def keep(status: int, body: bytes) -> None:
        if status == 202:
            acknowledged.append(json.loads(body)["request_uuid"])

    load = partial(post, path=PATH, body=notification, connections=MANY, answered=keep)
    async with programs.api(settings, folder) as (port, pid):
        running = asyncio.create_task(load(port, seconds=SECONDS))
        await asyncio.sleep(SECONDS / 2)
        os.kill(pid, signal.SIGKILL)
        await running
    async with programs.api(settings, folder) as (port, _):
        running = asyncio.create_task(load(port, seconds=SECONDS))
        await asyncio.sleep(SECONDS / 2)
        # a server process that dies so takes all the others with it, and what was committed is recovered from the log
        backends = await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE query LIKE '%unnest($1::uuid[]%' AND pid <> pg_backend_pid()"
        )
        for backend in backends:
            os.kill(backend["pid"], signal.SIGKILL)
        await running
    there = await _requests(settings)
    missing = sum(uuid.UUID(request) not in there for request in acknowledged)
    detail = f"of {len(acknowledged)}; {len(backends)} server processes killed"
    return Figure("acknowledged and missing, after kill -9 of API and PostgreSQL", missing, 0, detail=detail)


async def _requests(settings: Settings) -> set[uuid.UUID]:
    deadline = time.monotonic() + programs.START_SECONDS
    while True:
        try:
            connection = await asyncpg.connect(asyncpg_dsn(settings.database_url))
            break
        except (OSError, asyncpg.PostgresError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
    try:
        return {row["request_uuid"] for row in await connection.fetch("SELECT request_uuid FROM exams")}
    finally:
        await connection.close()


def _all_answered(load: Load, status: int) -> None:
    if set(load.statuses) != {status}:
        raise RuntimeError(f"answered {load.statuses} where {status} was wanted")


def _middle(values: Sequence[float]) -> float:
    return statistics.median(values)
