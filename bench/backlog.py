"""Prints what a backlog costs: one look for due exams, and the worker's memory, with few and with many that wait.

Row 26 of the faults: 50,000 exams of three organisations wait at once. Wanted are a look that stays far below the
second between two looks, memory that does not follow the backlog, claims that stay within the limits, and a newest
exam that is served while the oldest still wait. `python -m bench.backlog` prints the figures and the ratios; exit
status 1 when a claim breaks a limit or the newest is not among the first.
"""

import argparse
import asyncio
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy import text

from app.config.settings import Settings
from app.organizations.changes import add_organization
from app.resources import Resources, open_resources
from app.store.audit import By
from app.store.exam_leases import due_exams, lease_exam
from bench.programs import fresh_settings

ORGANIZATIONS = 3
CONCURRENCY = 8
SLOTS = 20
LOOKS = 9
FEW = 500

FILL = text(
    """
    INSERT INTO exams (
        id, request_uuid, exam_uuid, source, state, step, organization_id, download_url, due_at, received_at
    )
    SELECT gen_random_uuid(), request, gen_random_uuid(), 'webhook', 'queued', 'fetch', CAST(:organization AS uuid),
           CAST(:requests AS text) || '/' || request || '/data/', at, at
    FROM (
        SELECT gen_random_uuid() AS request, now() - make_interval(secs => number) AS at
        FROM generate_series(1, :count) AS number
    ) AS waiting
    """
)


@dataclass(frozen=True)
class Cost:
    """What one size of backlog costs: seconds a look, bytes of memory at most, and how many were claimed."""

    seconds: float
    peak_bytes: int
    claimed: int
    newest_served: bool


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exams", type=int, default=50_000, help="how many wait")
    options = parser.parse_args()
    costs = []
    with tempfile.TemporaryDirectory(prefix="sonobridge-bench-") as folder:
        for count in (FEW, options.exams):
            with fresh_settings(Path(folder) / str(count), durable=False) as settings:
                costs.append(asyncio.run(_measure(settings, count)))
    few, many = costs
    for count, cost in zip((FEW, options.exams), costs, strict=True):
        print(
            f"{count:>6} wait: a look {cost.seconds * 1000:7.1f} ms, {cost.claimed} claimed of {SLOTS} places, "
            f"newest served: {'yes' if cost.newest_served else 'no'}, process {cost.peak_bytes / 1e6:.0f} MB"
        )
    print(
        f"a look is {many.seconds / few.seconds:.1f} times as long, memory {many.peak_bytes / few.peak_bytes:.2f} times"
    )
    bounded = all(cost.claimed == SLOTS and cost.newest_served for cost in costs)
    return 0 if bounded else 1


async def _measure(settings: Settings, count: int) -> Cost:
    async with open_resources(settings) as resources:
        newest = await fill(resources, count)
        took = []
        for _ in range(LOOKS):
            began = time.perf_counter()
            due = await _look(resources)
            took.append(time.perf_counter() - began)
        claimed = [exam_id for exam_id in due if await _claim(resources, exam_id)]
        return Cost(
            seconds=statistics.median(took),
            peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            claimed=len(claimed),
            newest_served=bool(newest & set(claimed)),
        )


async def fill(resources: Resources, count: int, *, requests: str | None = None) -> set[UUID]:
    """So many due exams, an equal share for each organisation; the newest of each.

    `requests` is the URL under which their data would be.
    """
    for number in range(ORGANIZATIONS):
        organization = await add_organization(
            resources,
            {"name": f"Clinic {number}", "aurabox_key": f"invented-{number}", "concurrency": CONCURRENCY},
            by=By("bench"),
        )
        async with resources.sessions.begin() as session:
            await session.execute(
                FILL,
                {
                    "organization": str(organization.id),
                    "requests": requests,
                    "count": count // ORGANIZATIONS,
                },
            )
    async with resources.sessions.begin() as session:
        await session.execute(text("ANALYZE exams"))
        newest = "SELECT DISTINCT ON (organization_id) id FROM exams ORDER BY organization_id, due_at DESC"
        return set((await session.execute(text(newest))).scalars())


async def _look(resources: Resources) -> list[UUID]:
    async with resources.sessions() as session:
        return [row_id for row_id, _ in await due_exams(session, limit=SLOTS, host=resources.host)]


async def _claim(resources: Resources, exam_id: UUID) -> bool:
    async with resources.sessions.begin() as session:
        claimed = await lease_exam(
            session, exam_id, owner=resources.worker_id, host=resources.host, seconds=60
        )
    return claimed is not None


if __name__ == "__main__":
    sys.exit(main())
