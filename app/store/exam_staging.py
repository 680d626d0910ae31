"""On which hosts exams have bytes staged, and starting those of a lost host again."""

from collections.abc import Sequence

from sqlalchemy import case, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.states import LEASABLE, STAGED_STEPS, Step
from app.store.base import now
from app.store.captures import Capture
from app.store.exams import Exam, in_lock_order


async def staging_hosts(session: AsyncSession) -> Sequence[str]:
    """Hosts whose local staging folders hold bytes of exams under way."""
    hosts = await session.scalars(
        select(Exam.staging_host).where(Exam.staging_host.is_not(None), Exam.state.in_(LEASABLE)).distinct()
    )
    return [host for host in hosts if host]


async def forget_staging(session: AsyncSession, host: str) -> None:
    """Exams whose bytes lay on a host that is gone start again at download, those that need no bytes go on.

    Their captures count as not downloaded: a host that comes back, or had the exam before, may hold older files.
    """
    waiting = in_lock_order(Exam.staging_host == host, Exam.state.in_(LEASABLE))
    staged = Exam.step.in_(STAGED_STEPS)
    moved = (
        update(Exam)
        .where(Exam.id.in_(waiting))
        .values(
            step=case((staged, Step.DOWNLOAD), else_=Exam.step),
            due_at=case((staged, now()), else_=Exam.due_at),
            staging_host=None,
        )
        .returning(Exam.id, Exam.step)
        .cte("moved")
    )
    again = select(moved.c.id).where(moved.c.step == Step.DOWNLOAD.value)
    await session.execute(
        update(Capture)
        .where(Capture.exam_id.in_(again))
        .values(downloaded_at=None)
        .execution_options(synchronize_session=False)
    )
