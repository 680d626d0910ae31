"""Deletes what has been kept long enough: captures, exam data, events (docs/security.md, "At rest"); says what it did.

Captures go once delivered and confirmed (SONOBRIDGE_CAPTURE_RETENTION_HOURS); exam data, and the captures of what failed,
after SONOBRIDGE_EXAM_RETENTION_DAYS; both of an exam that waits for a person's decision only after
SONOBRIDGE_REVIEW_RETENTION_DAYS; events after SONOBRIDGE_EVENT_RETENTION_YEARS. Rows of exams stay: they are history.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, CursorResult, and_, case, delete, func, or_, select, update

from app.resources import Resources
from app.states import FINAL, ExamState, Keep, states_with
from app.store.audit import SYSTEM, AuditEvent, By, audit
from app.store.base import in_seconds, now
from app.store.captures import Capture
from app.store.exam_events import ExamEvent
from app.store.exams import Exam, in_lock_order
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
    settings = resources.settings
    over = (
        # a delivered one that is due still has its receipt to send
        Exam.due_at.is_(None),
        or_(
            and_(
                Exam.state.in_(_kept(Keep.OVER)),
                func.coalesce(Exam.delivered_at, Exam.updated_at)
                <= in_seconds(-settings.capture_retention_hours * HOUR_SECONDS),
            ),
            and_(
                Exam.state.in_(_kept(Keep.GIVEN_UP)),
                Exam.updated_at <= in_seconds(-settings.exam_retention_days * DAY_SECONDS),
            ),
            and_(
                Exam.state.in_(_kept(Keep.REVIEW)),
                Exam.updated_at <= in_seconds(-settings.review_retention_days * DAY_SECONDS),
            ),
        ),
    )
    async with resources.sessions() as session:
        if resources.staging.shared:
            exam_ids = await session.scalars(
                select(Exam.id)
                .where(
                    *over,
                    select(Capture.id)
                    .where(
                        Capture.exam_id == Exam.id,
                        Capture.purged_at.is_(None),
                        Capture.downloaded_at.is_not(None),
                    )
                    .exists(),
                )
                .order_by(Exam.id)
            )
            return exam_ids.all()
        due: list[UUID] = []
        held = resources.staging.held()
        for start in range(0, len(held), BATCH):
            some = held[start : start + BATCH]
            existing = set(await session.scalars(select(Exam.id).where(Exam.id.in_(some))))
            ended = set(await session.scalars(select(Exam.id).where(Exam.id.in_(some), *over)))
            due += [exam_id for exam_id in some if exam_id in ended or exam_id not in existing]
        return due


def _kept(keep: Keep) -> tuple[ExamState, ...]:
    return states_with(lambda traits: traits.keep is keep)


async def _exam_data(resources: Resources, purged: Purged, *, dry_run: bool) -> None:
    """What Clarius said of the patient, and what an upstream said to it. A later retry reads it from Clarius again."""
    kept_seconds = resources.settings.exam_retention_days * DAY_SECONDS
    review_seconds = resources.settings.review_retention_days * DAY_SECONDS
    due: tuple[ColumnElement[bool], ...] = (
        or_(
            and_(
                Exam.exam_data_sealed.is_not(None),
                or_(Exam.exam_data_at.is_(None), Exam.exam_data_at < in_seconds(-kept_seconds)),
            ),
            # refused before there was any exam data: as old as the exam's last change
            and_(
                Exam.upstream_words_sealed.is_not(None),
                Exam.exam_data_sealed.is_(None),
                Exam.updated_at < in_seconds(-kept_seconds),
            ),
        ),
        Exam.state.in_(FINAL),
        # a decision without data is none
        or_(Exam.state.not_in(_kept(Keep.REVIEW)), Exam.updated_at < in_seconds(-review_seconds)),
    )
    if dry_run:
        async with resources.sessions() as session:
            counted = await session.execute(select(func.count()).select_from(Exam).where(*due))
            purged.exam_data = counted.scalar_one()
        return
    while (some := await _forget_some(resources, due)) > 0:
        purged.exam_data += some


async def _forget_some(resources: Resources, due: tuple[ColumnElement[bool], ...]) -> int:
    """Delete the exam data of a batch, in a transaction of its own; how many."""
    in_review = Exam.state.in_(_kept(Keep.REVIEW))
    async with resources.sessions.begin() as session:
        gone = (
            await session.scalars(
                update(Exam)
                .where(Exam.id.in_(in_lock_order(*due).limit(BATCH)))
                .values(
                    exam_data_sealed=None,
                    upstream_words_sealed=None,
                    error_message=case(
                        (in_review, func.concat_ws(" ", Exam.error_message, DECIDABLE)),
                        else_=Exam.error_message,
                    ),
                    # the time from which its files are kept is that of what happened to it last
                    updated_at=Exam.updated_at,
                )
                .returning(Exam.id)
            )
        ).all()
        await session.execute(update(Capture).where(Capture.exam_id.in_(gone)).values(url_sealed=None))
    return len(gone)


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
    before = in_seconds(-resources.settings.event_retention_years * YEAR_SECONDS)
    purged.events = await _delete(resources, ExamEvent, ExamEvent.at < before, dry_run=dry_run)
    purged.audit_events = await _delete(resources, AuditEvent, AuditEvent.at < before, dry_run=dry_run)


async def _delete(resources: Resources, model: Any, due: ColumnElement[bool], *, dry_run: bool) -> int:
    if dry_run:
        async with resources.sessions() as session:
            counted = await session.execute(select(func.count()).select_from(model).where(due))
            return int(counted.scalar_one())
    count = 0
    while True:
        async with resources.sessions.begin() as session:
            some = select(model.id).where(due).limit(LINES_AT_ONCE)
            done = await session.execute(delete(model).where(model.id.in_(some)))
        deleted = done.rowcount if isinstance(done, CursorResult) else 0
        count += deleted
        if deleted < LINES_AT_ONCE:
            return count
