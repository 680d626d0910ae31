"""Whether anything is due at all, or will be soon: the one question of a worker at rest."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.states import LEASABLE, ExamState, LinkState
from app.store.base import in_seconds, now
from app.store.exam_leases import DUE
from app.store.exams import Exam
from app.store.links import Link


@dataclass(frozen=True)
class Glance:
    """Whether `exams` or `links` are due, whoever may take them, and in how many `seconds` the next exam will be."""

    exams: bool
    links: bool
    seconds: float


async def glance(session: AsyncSession, *, most: float) -> Glance:
    """Ask in one statement; `seconds` is `most` when no exam becomes due before that."""
    # the least of each: an index is entered for it, where EXISTS may read a whole table
    exam = select(func.min(Exam.due_at)).where(DUE).scalar_subquery()
    link = select(func.min(Link.due_at)).where(Link.state == LinkState.PENDING, Link.due_at <= now())
    following = (
        select(func.extract("epoch", func.min(Exam.due_at) - func.clock_timestamp()))
        .where(
            Exam.due_at > now(),
            Exam.due_at < in_seconds(most),
            Exam.state.in_((*LEASABLE, ExamState.RUNNING, ExamState.DELIVERED)),
        )
        .scalar_subquery()
    )
    first_exam, first_link, seconds = (
        await session.execute(select(exam, link.scalar_subquery(), following))
    ).one()
    return Glance(
        first_exam is not None, first_link is not None, most if seconds is None else max(float(seconds), 0.0)
    )
