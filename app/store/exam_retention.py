"""What has been kept long enough, found without reading what is kept: files, exam data, lines of history.

For how long anything is kept is `app.upkeep.retention`'s to say. The times stand in the SQL itself: a plan that knows
them reads by the index of what is old, also when it is made once for all values.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    CursorResult,
    DateTime,
    and_,
    case,
    delete,
    func,
    literal_column,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.states import FINAL, ExamState, Keep, states_with
from app.store.audit import AuditEvent
from app.store.captures import Capture
from app.store.exam_events import ExamEvent
from app.store.exams import Exam, in_lock_order

Lines = type[ExamEvent] | type[AuditEvent]


@dataclass(frozen=True, kw_only=True)
class KeptSeconds:
    """For how many seconds files of what is over, exam data and files of what was given up, and reviews are kept."""

    captures: float
    exam: float
    review: float


async def exams_with_files(session: AsyncSession, kept: KeptSeconds) -> Sequence[UUID]:
    """Exams that are over for long enough, and of which our store still has files."""
    held = select(Capture.exam_id).where(Capture.purged_at.is_(None), Capture.downloaded_at.is_not(None))
    # read first and whole, by its index: few exams have files, and nearly all are over
    holders = held.cte("held").prefix_with("MATERIALIZED")
    return (
        await session.scalars(
            select(Exam.id).where(Exam.id.in_(select(holders.c.exam_id)), *_over(kept)).order_by(Exam.id)
        )
    ).all()


async def without_use(session: AsyncSession, held: Sequence[UUID], kept: KeptSeconds) -> list[UUID]:
    """Those of these exams that are over for long enough, or that are not there (any more)."""
    existing = set(await session.scalars(select(Exam.id).where(Exam.id.in_(held))))
    ended = set(await session.scalars(select(Exam.id).where(Exam.id.in_(held), *_over(kept))))
    return [exam_id for exam_id in held if exam_id in ended or exam_id not in existing]


def _over(kept: KeptSeconds) -> tuple[ColumnElement[bool], ...]:
    ended_at = func.coalesce(Exam.delivered_at, Exam.updated_at)
    return (
        # a delivered one that is due still has its receipt to send
        Exam.due_at.is_(None),
        or_(
            and_(Exam.state.in_(_kept_as(Keep.OVER)), ended_at <= _before(kept.captures)),
            and_(Exam.state.in_(_kept_as(Keep.GIVEN_UP)), Exam.updated_at <= _before(kept.exam)),
            and_(Exam.state.in_(_kept_as(Keep.REVIEW)), Exam.updated_at <= _before(kept.review)),
        ),
    )


async def count_exam_data(session: AsyncSession, kept: KeptSeconds) -> int:
    """How many exams have exam data, or words of an upstream, that were kept for long enough."""
    return (await session.execute(select(func.count()).select_from(_old_data(kept)))).scalar_one()


async def forget_exam_data(session: AsyncSession, kept: KeptSeconds, *, limit: int, note: str) -> int:
    """Delete them, of at most `limit` exams; of how many. `note` is added to what one in review says."""
    some = select(_old_data(kept).c.id).limit(limit)
    forgotten = await session.scalars(
        update(Exam)
        .where(Exam.id.in_(in_lock_order(Exam.id.in_(some), *_resting(kept))))
        .values(
            exam_data_sealed=None,
            upstream_words_sealed=None,
            error_message=case(
                (Exam.state.in_(_kept_as(Keep.REVIEW)), func.concat_ws(" ", Exam.error_message, note)),
                else_=Exam.error_message,
            ),
            # the time from which its files are kept is that of what happened to it last
            updated_at=Exam.updated_at,
        )
        .returning(Exam.id)
    )
    gone = forgotten.all()
    await session.execute(update(Capture).where(Capture.exam_id.in_(gone)).values(url_sealed=None))
    return len(gone)


def _old_data(kept: KeptSeconds) -> CTE:
    """Questions that an index answers each; made whole before any are taken of it, for none may be there to find."""
    data = Exam.exam_data_sealed.is_not(None)
    undated = select(Exam.id).where(data, Exam.exam_data_at.is_(None), *_resting(kept))
    dated = select(Exam.id).where(data, Exam.exam_data_at < _before(kept.exam), *_resting(kept))
    # refused before there was any exam data: as old as the exam's last change
    words = select(Exam.id).where(
        Exam.upstream_words_sealed.is_not(None),
        Exam.exam_data_sealed.is_(None),
        Exam.updated_at < _before(kept.exam),
        *_resting(kept),
    )
    return union_all(undated, dated, words).cte("old").prefix_with("MATERIALIZED")


def _resting(kept: KeptSeconds) -> tuple[ColumnElement[bool], ...]:
    """A decision without data is none: one that waits for it keeps them longer."""
    decided = Exam.state.not_in(_kept_as(Keep.REVIEW))
    return Exam.state.in_(FINAL), or_(decided, Exam.updated_at < _before(kept.review))


async def count_old_lines(session: AsyncSession, model: Lines, seconds: float, *, at_once: int) -> int:
    """How many lines are older than this, as far as `delete_old_lines` would go."""
    count, last = 0, 0
    while True:
        oldest = _oldest(model, at_once, after=last)
        row = (
            await session.execute(
                select(
                    func.count().filter(oldest.c.at < _before(seconds)), func.max(oldest.c.id)
                ).select_from(oldest)
            )
        ).one()
        if not row[0]:
            return count
        count, last = count + row[0], row[1]


async def delete_old_lines(session: AsyncSession, model: Lines, seconds: float, *, at_once: int) -> int:
    """Delete those of the first `at_once` lines that are older than this; how many.

    Lines are numbered as they are appended, so that the old ones stand first: no others are read to find them.
    """
    oldest = _oldest(model, at_once)
    old = select(oldest.c.id).where(oldest.c.at < _before(seconds))
    done = await session.execute(
        delete(model).where(model.id.in_(old)).execution_options(synchronize_session=False)
    )
    return done.rowcount if isinstance(done, CursorResult) else 0


def _oldest(model: Lines, at_once: int, *, after: int = 0) -> CTE:
    lines = select(model.id, model.at).where(model.id > after).order_by(model.id).limit(at_once)
    return lines.cte("oldest").prefix_with("MATERIALIZED")


def _kept_as(keep: Keep) -> Collection[ExamState]:
    return states_with(lambda traits: traits.keep is keep)


def _before(seconds: float) -> ColumnElement[datetime]:
    """So many seconds ago on the database's clock."""
    return func.now() - literal_column(f"interval '{seconds:f} seconds'", DateTime(timezone=True))
