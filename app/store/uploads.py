"""Uploads by the uploader transport: the ids of one attempt and how far it came, so that a crash resumes it."""

import uuid
from collections.abc import Sequence
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, Constant
from app.store.exams import Exam


class UploadState(StrEnum):
    """How far an upload came; each stage is committed when its call was accepted."""

    PLANNED = "planned"
    ANNOUNCED = "announced"
    STARTED = "started"
    SENT = "sent"
    COMPLETE = "complete"


class Upload(Base):
    """The upload of an exam request. `url_sealed`: where Tus goes on, stored before the first byte."""

    __tablename__ = "uploads"

    exam_id: Mapped[UUID] = mapped_column(ForeignKey("exams.id", ondelete="CASCADE"), primary_key=True)
    upload_id: Mapped[UUID]
    state: Mapped[Constant] = mapped_column(default=UploadState.PLANNED)
    url_sealed: Mapped[bytes | None]
    bytes: Mapped[int | None]
    sha256: Mapped[str | None]


async def upload_of(session: AsyncSession, exam_id: UUID) -> Upload:
    """The exam's upload, planned with a fresh id when there is none."""
    known = (await session.scalars(select(Upload).where(Upload.exam_id == exam_id))).one_or_none()
    if known is None:
        known = Upload(exam_id=exam_id, upload_id=uuid.uuid4(), state=UploadState.PLANNED)
        session.add(known)
        await session.flush()
    return known


async def plan_again(session: AsyncSession, exam_id: UUID) -> None:
    """Forget how far the upload came: the next one has a new id."""
    known = await session.get(Upload, exam_id)
    if known is not None:
        await session.delete(known)
        await session.flush()


async def abandoned_uploads(
    session: AsyncSession, *, states: Sequence[str], limit: int
) -> Sequence[tuple[Upload, Exam]]:
    """Uploads that Aurabox was told of and whose exam rests in one of these states before they were complete."""
    rows = await session.execute(
        select(Upload, Exam)
        .join(Exam, Exam.id == Upload.exam_id)
        .where(
            Upload.state.in_((UploadState.ANNOUNCED, UploadState.STARTED, UploadState.SENT)),
            Exam.state.in_(states),
        )
        .order_by(Exam.updated_at)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in rows]
