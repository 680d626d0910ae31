"""Statements over the tables that grow, at two million exams against twenty thousand: on a connection's first use and later.

PostgreSQL plans a prepared statement with its values five times and may from then on plan it once for all, so each call
is timed on the first and on the sixth to eighth use of connections of its own. Whatever it writes is rolled back.
"""

import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_sessionmaker

from app.config.settings import Settings
from app.resources import Resources, open_resources
from app.states import UNDER_WAY, ExamState, Reason, Step
from app.store import (
    due,
    exam_gaps,
    exam_leases,
    exam_retention,
    exam_search,
    exam_staging,
    exam_waiting,
    linked_exams,
    links,
    overview,
    unsettled,
    uploads,
)
from app.store.audit import AuditEvent
from app.store.cursors import write_cursor
from app.store.exam_events import ExamEvent
from app.store.exam_search import ExamFilter
from app.store.runs import DAY_SECONDS
from bench.figures import Figure
from bench.seed import HOST, Seeded, customer, seed
from tests.store.plans import plan_lines, sent_over

FEW, MANY = 20_000, 2_000_000
CONNECTIONS = 3
USES = 8
SIXTH = 6
GOAL = 2.0
# as many as the list of gaps asks for at once
ASKED = 1000
KEPT = exam_retention.KeptSeconds(captures=DAY_SECONDS, exam=30 * DAY_SECONDS, review=90 * DAY_SECONDS)
EVENTS_SECONDS = 7 * 365.25 * DAY_SECONDS
CLAIMS_SECONDS = 14 * DAY_SECONDS
COUNTED = 1001

Call = Callable[[AsyncSession, Seeded], Awaitable[Any]]


@dataclass(frozen=True)
class Times:
    """Seconds of a call: on the first use of a connection, and on the sixth and later."""

    first: float
    later: float


def _sessions(session: AsyncSession) -> async_sessionmaker[AsyncSession]:
    """For what commits by itself: on the same connection, and undone with the rest."""
    return async_sessionmaker(session.bind, join_transaction_mode="create_savepoint")


def _found(exam_filter: ExamFilter, *, q: Callable[[Seeded], str] | None = None) -> Call:
    """One page of exams and their number, as the admin page asks for them."""

    async def found(session: AsyncSession, seeded: Seeded) -> None:
        chosen = replace(exam_filter, q=q(seeded)) if q else exam_filter
        await exam_search.find_exams(session, chosen)
        await exam_search.count_exams(session, chosen, up_to=COUNTED)

    return found


async def _of_small(session: AsyncSession, seeded: Seeded) -> None:
    await _found(ExamFilter(organization_id=seeded.organizations[-1]))(session, seeded)


async def _since(session: AsyncSession, seeded: Seeded) -> None:
    await _found(ExamFilter(since=seeded.received(10_000)))(session, seeded)


async def _far_page(session: AsyncSession, seeded: Seeded) -> None:
    age = seeded.exams // 2
    cursor = write_cursor(seeded.received(age), seeded.exam(age))
    await exam_search.find_exams(session, ExamFilter(), cursor=cursor)


GROUPS: dict[str, dict[str, Call]] = {
    "claim": {
        "lease_exam": lambda s, w: exam_leases.lease_exam(s, w.exam(4), owner="o", host=HOST, seconds=60),
        "due_exams": lambda s, _: exam_leases.due_exams(s, limit=50, host=HOST),
        "glance": lambda s, _: due.glance(s, most=1.0),
    },
    "sweep": {
        "expired_leases": lambda s, _: exam_leases.expired_leases(s, limit=500),
        "staging_hosts": lambda s, _: exam_staging.staging_hosts(s),
        "forget_staging": lambda s, _: exam_staging.forget_staging(s, HOST),
        "queue_stragglers": lambda s, _: linked_exams.queue_stragglers(_sessions(s), limit=500),
        "due_exams": lambda s, _: exam_leases.due_exams(s, limit=100),
        "due_links": lambda s, _: links.due_links(s, limit=100),
        "abandoned_uploads": lambda s, _: uploads.abandoned_uploads(s, under_way=UNDER_WAY, limit=50),
        "wake_account": lambda s, _: exam_waiting.wake_account(s, "clarius"),
    },
    "unsettled": {
        "note_unsettled": lambda s, _: unsettled.note_unsettled(s, up_to=1_000_000),
        "expire_unlinked": lambda s, _: unsettled.expire_unlinked(
            s, after_seconds=CLAIMS_SECONDS, limit=5000
        ),
        "resume_expired": lambda s, _: unsettled.resume_expired(s, customer_hash=customer(1), limit=500),
        "count_customers": lambda s, _: exam_waiting.count_customers(s, [customer(1), customer(2)]),
    },
    "list": {
        "newest": _found(ExamFilter()),
        "far page": _far_page,
        "waiting": _found(ExamFilter(state=ExamState.WAITING)),
        "delivered": _found(ExamFilter(state=ExamState.DELIVERED)),
        "failed": _found(ExamFilter(state=ExamState.FAILED)),
        "at study": _found(ExamFilter(step=Step.STUDY)),
        "at send, failed": _found(ExamFilter(step=Step.SEND, state=ExamState.FAILED)),
        "at verify": _found(ExamFilter(step=Step.VERIFY)),
        "paused": _found(ExamFilter(reason=Reason.PAUSED)),
        "of a small organisation": _of_small,
        "since ten days": _since,
    },
    "search": {
        "whole id": _found(ExamFilter(), q=lambda w: str(w.request(5))),
        "eight digits": _found(ExamFilter(), q=lambda w: str(w.request(5))[:8]),
        "four digits": _found(ExamFilter(), q=lambda w: str(w.request(5))[:4]),
        "small organisation": _found(ExamFilter(), q=lambda _: "clinic 11"),
        "large organisation": _found(ExamFilter(), q=lambda _: "clinic 0"),
        "nothing": _found(ExamFilter(), q=lambda _: "nobody's"),
    },
    "overview": {
        "read_overview": lambda s, _: overview.read_overview(s),
        "hourly": lambda s, _: overview.hourly(s),
    },
    "gaps": {
        "known_requests": lambda s, w: exam_gaps.known_requests(s, [w.request(age) for age in range(ASKED)]),
    },
    "purge": {
        "exams_with_files": lambda s, _: exam_retention.exams_with_files(s, KEPT),
        "without_use": lambda s, w: exam_retention.without_use(s, [w.exam(age) for age in range(500)], KEPT),
        "count_exam_data": lambda s, _: exam_retention.count_exam_data(s, KEPT),
        "forget_exam_data": lambda s, _: exam_retention.forget_exam_data(s, KEPT, limit=500, note=""),
        "count_old_lines": lambda s, _: exam_retention.count_old_lines(
            s, ExamEvent, EVENTS_SECONDS, at_once=10_000
        ),
        "delete_old_lines": lambda s, _: exam_retention.delete_old_lines(
            s, ExamEvent, EVENTS_SECONDS, at_once=10_000
        ),
        "delete_old_lines (audit)": lambda s, _: exam_retention.delete_old_lines(
            s, AuditEvent, EVENTS_SECONDS, at_once=10_000
        ),
    },
}


async def measure(
    settings: Settings, _: Path, *, exams: int = MANY, plans: bool = False
) -> AsyncIterator[Figure]:
    """A figure for each group: the ratio of the call that grows most, on the first use or later."""
    async with open_resources(settings) as resources:
        times: dict[int, dict[tuple[str, str], Times]] = {}
        for number in (min(FEW, exams), exams):
            began = time.monotonic()
            seeded = await seed(resources, number)
            async with resources.sessions.begin() as session:
                await overview.note_delivered(session, await overview.read_overview(session))
            print(f"{number:,} exams seeded in {time.monotonic() - began:.0f} s", flush=True)
            times[number] = {}
            for group, calls in GROUPS.items():
                for name, call in calls.items():
                    times[number][group, name] = await _timed(resources, call, seeded)
                    if plans and number == exams:
                        await _explain(resources, call, seeded, f"{group}: {name}")
        for group, calls in GROUPS.items():
            compared = {
                name: (times[min(FEW, exams)][group, name], times[exams][group, name]) for name in calls
            }
            if plans:
                for name, (few, many) in compared.items():
                    print(f"    {group}: {name:<26} {_detail(few, many)}")
            yield _figure(group, compared, exams)


def _figure(group: str, compared: dict[str, tuple[Times, Times]], exams: int) -> Figure:
    name = max(compared, key=lambda one: _growth(*compared[one]))
    few, many = compared[name]
    return Figure(
        f"{group}, {exams:,} exams / {min(FEW, exams):,}",
        _growth(few, many),
        GOAL,
        detail=f"{name}: {_detail(few, many)}",
    )


def _growth(few: Times, many: Times) -> float:
    return max(many.first / few.first, many.later / few.later)


def _detail(few: Times, many: Times) -> str:
    return (
        f"1st {many.first * 1000:.1f} ms; {few.first * 1000:.1f} ms, 6th {many.later * 1000:.1f} ms; "
        f"{few.later * 1000:.1f} ms, 6th/1st {many.later / many.first:.2f}"
    )


async def _timed(resources: Resources, call: Call, seeded: Seeded) -> Times:
    """The least of what several connections need: what else the machine does only ever adds to it."""
    firsts, laters = [], []
    # SQLAlchemy compiles a statement once for all connections, and pages are read from disk once
    for round_ in range(CONNECTIONS + 1):
        async with resources.engine.connect() as connection:
            uses = [await _use(connection, call, seeded) for _ in range(USES if round_ else 1)]
            # its prepared statements end with it
            await connection.invalidate()
        if round_:
            firsts.append(uses[0])
            laters.append(statistics.median(uses[SIXTH - 1 :]))
    return Times(min(firsts), min(laters))


async def _use(connection: AsyncConnection, call: Call, seeded: Seeded) -> float:
    outer = await connection.begin()
    try:
        async with AsyncSession(connection, expire_on_commit=False) as session:
            began = time.perf_counter()
            await call(session, seeded)
            return time.perf_counter() - began
    finally:
        await outer.rollback()


async def _explain(resources: Resources, call: Call, seeded: Seeded, name: str) -> None:
    """Print how each statement of a call is executed once its connection has used it six times."""
    async with resources.engine.connect() as connection:
        async with sent_over(connection) as sent:
            for _ in range(SIXTH):
                await _use(connection, call, seeded)
        for statement, parameters in sent.items():
            outer = await connection.begin()
            lines = await plan_lines(connection, statement, parameters)
            await outer.rollback()
            print(f"\n-- {name}\n{statement}", *lines, sep="\n    ")
        await connection.invalidate()
