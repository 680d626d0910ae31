"""A program that uses the embedded stores of a data folder until its standard input ends; run by the tests.

Prints one JSON line when the stores are up (their URLs, the servers' process ids, how often it was here before), or
one with the error. Must be a process of its own, because what is tested is what happens when a process ends.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import asyncpg
from redis.asyncio import Redis

from app.config.settings import Settings, asyncpg_dsn
from app.embedded import EmbeddedError, embedded_stores
from app.observing.logs import configure_logging


def tell(report: dict[str, Any]) -> None:
    """One line for the test."""
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


async def told_to_leave() -> None:
    """Waits for a line, or the end, of the standard input, in no thread: a signal would have to wait for that too."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.readline()


async def main() -> None:
    """Enters, writes something to both stores, tells about it, waits, leaves."""
    folder = Path(sys.argv[1])
    try:
        async with embedded_stores(Settings(data_dir=folder)) as stores:
            connection = await asyncpg.connect(asyncpg_dsn(stores.database_url))
            await connection.execute(
                "SELECT pg_advisory_lock(1)"
            )  # one visitor at a time; gone with the connection
            await connection.execute("CREATE TABLE IF NOT EXISTS visits (at timestamptz DEFAULT now())")
            await connection.execute("INSERT INTO visits DEFAULT VALUES")
            client = Redis.from_url(stores.redis_url)
            report = {
                "database_url": stores.database_url,
                "redis_url": stores.redis_url,
                "visits": await connection.fetchval("SELECT count(*) FROM visits"),
                "redis_visits": await client.incr("visits"),
                "postgres": int((folder / "postgres" / "postmaster.pid").read_text().splitlines()[0]),
                "redis": int((folder / "redis" / "redis.pid").read_text()),
                "settings": {
                    name: await connection.fetchval("SELECT current_setting($1)", name)
                    for name in (
                        "fsync",
                        "max_connections",
                        "listen_addresses",
                        "server_version_num",
                        "TimeZone",
                    )
                },
            }
            await connection.close()
            await client.aclose()
            tell(report)
            await told_to_leave()
    except EmbeddedError as error:
        tell({"problem": error.problem, "remedy": error.remedy})
        raise SystemExit(1) from None


configure_logging("development")
asyncio.run(main())
