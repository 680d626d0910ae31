"""The safety net: takes back leases that ran out, sets poison exams aside, rings whatever is due."""

from collections.abc import Sequence
from uuid import UUID

import psutil
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.resources import Resources
from app.states import ExamState
from app.store.base import clock, now
from app.store.exam_events import record_event
from app.store.exam_leases import due_exams, expired_leases
from app.store.exam_staging import forget_staging, staging_hosts
from app.store.exams import Exam, move
from app.store.linked_exams import queue_stragglers
from app.store.links import due_links
from app.store.runs import recurring
from app.store.unsettled import note_unsettled
from app.store.workers import has_witness, heartbeats_of, silent_hosts, silent_seconds

log = structlog.get_logger(__name__)

# arq reads only the first hundred due ids; more would hide the rest.
RING_LIMIT = 100
RECOVER_LIMIT = 500
DEATHS_TO_POISON = 3


async def sweep_when_due(resources: Resources) -> None:
    """One round, if the last one is SONOBRIDGE_SWEEP_SECONDS old."""
    async with recurring(resources.sessions, "sweep", every=resources.settings.sweep_seconds) as run:
        if run is not None:
            run.result = await sweep(resources)


async def sweep(resources: Resources) -> dict[str, int]:
    """One round; idempotent. Returns how many leases were taken back and how many wake-ups were sent."""
    async with resources.sessions.begin() as session:
        expired = await _judged(resources, session, await expired_leases(session, limit=RECOVER_LIMIT))
        for exam, died in expired:
            await _take_back(session, exam, died=died)
    async with resources.sessions() as session:
        silent = await silent_hosts(session, await staging_hosts(session))
    for host in silent:
        # a transaction of its own: what was taken back above was locked in no order
        async with resources.sessions.begin() as session:
            await forget_staging(session, host)
    await queue_stragglers(resources.sessions, limit=RECOVER_LIMIT)
    async with resources.sessions.begin() as session:
        await note_unsettled(session, up_to=resources.settings.max_unverified)
    rung = await ring_due(resources)
    if expired:
        log.warning("leases_taken_back", count=len(expired))
    return {"taken_back": len(expired), "rung": rung}


async def ring_due(resources: Resources) -> int:
    """Ring for due rows, organisations taking turns; how many."""
    async with resources.sessions() as session:
        exams: list[tuple[str, UUID, int]] = [
            ("exam", row_id, epoch) for row_id, epoch in await due_exams(session, limit=RING_LIMIT)
        ]
        links = [("link", row_id, epoch) for row_id, epoch in await due_links(session, limit=RING_LIMIT)]
    for kind, row_id, epoch in exams + links:
        if not await resources.queue.ring(kind, row_id, epoch):
            break
    return len(exams) + len(links)


async def _judged(
    resources: Resources, session: AsyncSession, expired: Sequence[Exam]
) -> list[tuple[Exam, bool]]:
    """Which leases are taken back now, and whether their worker is known to have ended with them.

    One that was heard of since, or runs on this host, was only slow, asleep or cut off from the database; one that
    nobody was there to hear is judged in a later round.
    """
    silent = silent_seconds(resources.settings.lease_seconds)
    owners = {exam.lease_owner for exam in expired if exam.lease_owner is not None}
    heard = await heartbeats_of(session, owners)
    witness = await has_witness(session, silent=silent)
    at = await clock(session)
    judged = []
    for exam in expired:
        last = heard.get(exam.lease_owner or "")
        if last is None:
            judged.append((exam, True))
        elif exam.lease_until is not None and last > exam.lease_until:
            judged.append((exam, False))
        elif (at - last).total_seconds() >= silent and witness:
            judged.append((exam, not _runs_here(resources, exam.lease_owner)))
    return judged


def _runs_here(resources: Resources, owner: str | None) -> bool:
    """Whether the worker is a process of this host that has not ended (`<host>:<pid>:<random>`)."""
    host, _, rest = (owner or "").rpartition(":")[0].rpartition(":")
    if host != resources.host or not rest.isdecimal():
        return False
    try:
        return bool(psutil.Process(int(rest)).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def _take_back(session: AsyncSession, exam: Exam, *, died: bool) -> None:
    """A worker slept, or died, holding the lease. The third time that one died the exam is taken to be the cause."""
    exam.lease_owner = exam.lease_until = None
    # fences the sleeper: whatever it still writes hits nothing
    exam.lease_epoch += 1
    exam.deaths += died
    if exam.state == ExamState.DELIVERED:
        exam.due_at = None if exam.deaths >= DEATHS_TO_POISON else await session.scalar(now().select())
        await record_event(session, exam.id, step=exam.step, event="lease_expired")
        return
    if exam.deaths >= DEATHS_TO_POISON:
        exam.error_code = "poison"
        exam.error_message = f"{DEATHS_TO_POISON} workers died while they worked on this exam"
        exam.due_at = None
        await move(session, exam, ExamState.FAILED, detail="poison")
        return
    exam.due_at = await session.scalar(now().select())
    await move(session, exam, ExamState.QUEUED, event="lease_expired")
