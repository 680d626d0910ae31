"""The history of every exam: appended with each move and step, never changed."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base


class ExamEvent(Base):
    """One line of an exam's timeline. `detail` holds no patient data."""

    __tablename__ = "exam_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    exam_id: Mapped[UUID] = mapped_column(ForeignKey("exams.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    step: Mapped[str]
    event: Mapped[str]
    detail: Mapped[str | None]


async def record_event(
    session: AsyncSession, exam_id: UUID, *, step: str, event: str, detail: str | None = None
) -> None:
    """Append one line; the caller commits."""
    session.add(ExamEvent(exam_id=exam_id, step=step, event=event, detail=detail))


async def timeline(session: AsyncSession, exam_id: UUID) -> Sequence[ExamEvent]:
    """An exam's history, oldest first."""
    return (
        await session.scalars(select(ExamEvent).where(ExamEvent.exam_id == exam_id).order_by(ExamEvent.id))
    ).all()


async def was_recorded(session: AsyncSession, exam_id: UUID, *, step: str, event: str) -> bool:
    """Whether this event ever happened to the exam at this step."""
    events = select(ExamEvent.id).where(
        ExamEvent.exam_id == exam_id, ExamEvent.step == step, ExamEvent.event == event
    )
    return (await session.scalars(events.limit(1))).one_or_none() is not None
