"""Prints what a notification costs the webhook's side, beside no junk and beside much of it.

Anybody can make rows that wait for a link, so a claim may not cost more the more of them there are (row 45 of the
faults). Junk is put in by SQL; claims of unknown customers come one after the other, as the webhook takes them.
`python -m bench.door` prints milliseconds a claim and, of those, the processor time of PostgreSQL's side.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path

from sqlalchemy import text

from app.config.sealing import new_key
from app.config.settings import Settings
from app.inbox.receive import Notification, Verdict, receive
from app.resources import Resources, open_resources
from app.upkeep.sweep import sweep
from tests.support.stores import open_test_stores

CLAIMS = 100
JUNK = text(
    """
    INSERT INTO exams (id, request_uuid, exam_uuid, source, state, step, reason)
    SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'webhook', 'waiting', 'verify', 'link'
    FROM generate_series(1, :count)
    """
)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--junk", type=int, default=200_000, help="how many rows wait for nobody")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="sonobridge-bench-") as folder,
        open_test_stores(Path(folder), worker="master") as stores,
    ):
        for count in (0, options.junk):
            with stores.database() as database_url:
                settings = Settings(
                    database_url=database_url,
                    redis_url=stores.empty_redis(),
                    data_dir=Path(folder) / "data",
                    env="development",
                    secret_keys=[new_key()],
                )
                took, processor = asyncio.run(_measure(settings, count))
            print(
                f"{count:>7} wait: a claim {took * 1000:6.1f} ms (median), "
                f"of PostgreSQL's processor {processor * 1000:6.1f} ms (mean)"
            )
    return 0


async def _measure(settings: Settings, count: int) -> tuple[float, float]:
    async with open_resources(settings) as resources:
        async with resources.sessions.begin() as session:
            await session.execute(JUNK, {"count": count})
        async with resources.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            await connection.execute(text("VACUUM ANALYZE exams"))
        await sweep(resources)
        # one connection from here on, whose processor time can be read
        await _claim(resources)
        async with resources.sessions() as session:
            backend = int((await session.execute(text("SELECT pg_backend_pid()"))).scalar_one())
        before = _processor_seconds(backend)
        took = [await _claim(resources) for _ in range(CLAIMS)]
        return statistics.median(took), (_processor_seconds(backend) - before) / CLAIMS


async def _claim(resources: Resources) -> float:
    began = time.perf_counter()
    receipt = await receive(
        resources,
        Notification(
            request_uuid=uuid.uuid4(),
            exam_uuid=uuid.uuid4(),
            customer_id=str(uuid.uuid4()),
            download_url="https://cloud.example/download-requests/1/data/",
        ),
    )
    assert receipt.verdict is Verdict.ACCEPTED
    return time.perf_counter() - began


def _processor_seconds(pid: int) -> float:
    """User and system time of a process of this host (proc(5), `stat`, fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
