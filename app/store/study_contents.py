"""What a study holds already: one row for each capture content that was delivered and read back."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ForeignKey, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base


class StudyContent(Base):
    """A capture (by the sha256 of its bytes as served) whose images are in the study."""

    __tablename__ = "study_contents"

    study_id: Mapped[UUID] = mapped_column(ForeignKey("studies.id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[str]
    exam_id: Mapped[UUID] = mapped_column(ForeignKey("exams.id"))


async def contents_of(session: AsyncSession, study_id: UUID) -> dict[str, StudyContent]:
    """The contents a study holds, by capture sha256."""
    rows = await session.scalars(select(StudyContent).where(StudyContent.study_id == study_id))
    return {row.sha256: row for row in rows}


async def keep_contents(session: AsyncSession, rows: Sequence[dict[str, object]]) -> None:
    """Record contents as delivered; one that is recorded already stays with its first exam."""
    if rows:
        await session.execute(insert(StudyContent).values(list(rows)).on_conflict_do_nothing())
