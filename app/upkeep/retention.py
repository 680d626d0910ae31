"""Deletes what has been kept long enough: captures, exam data, events (docs/security.md, "At rest"); says what it did.

Captures go once delivered and confirmed (SONOBRIDGE_CAPTURE_RETENTION_HOURS); exam data, and the captures of what failed,
after SONOBRIDGE_EXAM_RETENTION_DAYS; both of an exam that waits for a person's decision only after
SONOBRIDGE_REVIEW_RETENTION_DAYS; events after SONOBRIDGE_EVENT_RETENTION_YEARS. Rows of exams stay: they are history.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

import structlog
from sqlalchemy import func, select, update

from app.resources import Resources
from app.store.audit import SYSTEM, AuditEvent, By, audit
from app.store.base import now
from app.store.captures import Capture
from app.store.exam_events import ExamEvent
from app.store.exam_retention import (
    KeptSeconds,
    Lines,
    count_exam_data,
    count_old_lines,
    delete_old_lines,
    exams_with_files,
    forget_exam_data,
    without_use,
)
from app.store.runs import DAY_SECONDS, recurring
from app.store.unsettled import expire_unlinked

HOUR_SECONDS = 3600.0
YEAR_SECONDS = 365.25 * DAY_SECONDS
BATCH = 500
LINES_AT_ONCE = 10_000
# how long a claim is kept waiting for somebody to link its customer; Clarius's own list finds a true one after that
CLAIM_DAYS = 14
CLAIMS_AT_ONCE = 5000

DECIDABLE = "The exam data and captures were deleted after their time: try again, so that they are read anew."

Progress = Callable[[int, int], None]

log = structlog.get_logger(__name__)


@dataclass
class Purged:
    """How many were deleted (or would be): captures and exams of which files were, exam data, lines of history."""

    captures: int = 0
    capture_bytes: int = 0
    folders: int = 0
    exam_data: int = 0
    expired_claims: int = 0
    events: int = 0
    audit_events: int = 0

    def as_json(self) -> dict[str, int]:
        """As `purge --json` shows it and the audit trail records it."""
        return asdict(self)


async def purge_when_due(resources: Resources) -> Purged | None:
    """Every hour on each host, because a host alone can delete the files in its own folder; None when it is not time."""
    async with recurring(resources.sessions, f"purge:{resources.host}", every=HOUR_SECONDS) as run:
        if run is None:
            return None
        purged = await purge(resources, by=SYSTEM)
        run.result = purged.as_json()
        return purged


async def purge(
    resources: Resources,
    *,
    by: By,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Purged:
    """Delete what is due, or with `dry_run` only count it. Stopped half-way, the next run does the rest."""
    purged = Purged()
    await _captures(resources, purged, dry_run=dry_run, progress=progress)
    await _exam_data(resources, purged, dry_run=dry_run)
    await _claims(resources, purged, dry_run=dry_run)
    await _events(resources, purged, dry_run=dry_run)
    anything = any(purged.as_json().values())
    if not dry_run and (anything or by != SYSTEM):
        async with resources.sessions.begin() as session:
            detail = ", ".join(f"{name} {number}" for name, number in purged.as_json().items())
            await audit(session, by=by, action="purge", detail=detail)
        log.info("purged", count=sum(purged.as_json().values()))
    return purged


async def _captures(
    resources: Resources, purged: Purged, *, dry_run: bool, progress: Progress | None
) -> None:
    """The files of exams that are over, and folders of exams that are not in the database (any more)."""
    due = await _exams_with_files(resources)
    for position, exam_id in enumerate(due, start=1):
        if not dry_run:
            await resources.staging.discard(exam_id)
        async with resources.sessions.begin() as session:
            held = Capture.exam_id == exam_id, Capture.purged_at.is_(None), Capture.downloaded_at.is_not(None)
            row = (
                await session.execute(
                    select(func.count(), func.coalesce(func.sum(Capture.bytes), 0)).where(*held)
                )
            ).one()
            if not dry_run:
                await session.execute(update(Capture).where(*held).values(purged_at=now(), url_sealed=None))
        purged.captures += int(row[0])
        purged.capture_bytes += int(row[1] or 0)
        purged.folders += 1
        if progress is not None:
            progress(position, len(due))


async def _exams_with_files(resources: Resources) -> Sequence[UUID]:
    """Exams whose files this host can delete and nobody needs: with a bucket any, with a folder those in it."""
    kept = _times(resources)
    async with resources.sessions() as session:
        if resources.staging.shared:
            return await exams_with_files(session, kept)
        due: list[UUID] = []
        held = resources.staging.held()
        for start in range(0, len(held), BATCH):
            due += await without_use(session, held[start : start + BATCH], kept)
        return due


def _times(resources: Resources) -> KeptSeconds:
    settings = resources.settings
    return KeptSeconds(
        captures=settings.capture_retention_hours * HOUR_SECONDS,
        exam=settings.exam_retention_days * DAY_SECONDS,
        review=settings.review_retention_days * DAY_SECONDS,
    )


async def _exam_data(resources: Resources, purged: Purged, *, dry_run: bool) -> None:
    """What Clarius said of the patient, and what an upstream said to it. A later retry reads it from Clarius again."""
    kept = _times(resources)
    if dry_run:
        async with resources.sessions() as session:
            purged.exam_data = await count_exam_data(session, kept)
        return
    while True:
        async with resources.sessions.begin() as session:
            some = await forget_exam_data(session, kept, limit=BATCH, note=DECIDABLE)
        purged.exam_data += some
        if not some:
            return


async def _claims(resources: Resources, purged: Purged, *, dry_run: bool) -> None:
    """Claims that nobody linked: their rows stay, but wait no more (and take no room at the webhook)."""
    while True:
        async with resources.sessions() as session:
            some = await expire_unlinked(
                session, after_seconds=CLAIM_DAYS * DAY_SECONDS, limit=CLAIMS_AT_ONCE
            )
            if dry_run:
                # counted by doing it and not committing; that is a first batch, and there may be more
                await session.rollback()
            else:
                await session.commit()
        purged.expired_claims += some
        if dry_run or some < CLAIMS_AT_ONCE:
            return


async def _events(resources: Resources, purged: Purged, *, dry_run: bool) -> None:
    seconds = resources.settings.event_retention_years * YEAR_SECONDS
    purged.events = await _lines(resources, ExamEvent, seconds, dry_run=dry_run)
    purged.audit_events = await _lines(resources, AuditEvent, seconds, dry_run=dry_run)


async def _lines(resources: Resources, model: Lines, seconds: float, *, dry_run: bool) -> int:
    if dry_run:
        async with resources.sessions() as session:
            return await count_old_lines(session, model, seconds, at_once=LINES_AT_ONCE)
    count = 0
    while True:
        async with resources.sessions.begin() as session:
            some = await delete_old_lines(session, model, seconds, at_once=LINES_AT_ONCE)
        count += some
        if not some:
            return count
