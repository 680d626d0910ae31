"""Uploads by the uploader transport: the ids of one attempt and how far it came, so that a crash resumes it.

A study has several over time. Which objects the archive of an upload holds is fixed when the upload is planned
(`Instance.upload_id`).
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, Constant, now
from app.store.exams import Exam


class UploadState(StrEnum):
    """How far an upload came; each stage is committed when its call was accepted."""

    PLANNED = "planned"
    ANNOUNCED = "announced"
    STARTED = "started"
    SENT = "sent"
    #: `complete` was called, committed before the call: whether it was accepted may not be known
    ASKED = "asked"
    COMPLETE = "complete"


class Upload(Base):
    """One upload of images of a study, by one exam request. `url_sealed`: where Tus goes on, stored before the
    first byte.
    """

    __tablename__ = "study_uploads"

    upload_id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    study_id: Mapped[UUID] = mapped_column(ForeignKey("studies.id"))
    exam_id: Mapped[UUID] = mapped_column(ForeignKey("exams.id"))
    state: Mapped[Constant] = mapped_column(default=UploadState.PLANNED)
    url_sealed: Mapped[bytes | None]
    bytes: Mapped[int | None]
    sha256: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())

    __table_args__ = (
        # few are open at a time, and they are looked for by study, by exam, and all of them
        Index("ix_study_uploads_open", "study_id", "exam_id", postgresql_where=text("state <> 'complete'")),
    )


async def open_uploads(
    session: AsyncSession, *, study_id: UUID | None = None, exam_id: UUID | None = None
) -> Sequence[Upload]:
    """Uploads of a study, or of an exam request, that are not complete; the oldest first."""
    statement = select(Upload).where(Upload.state != UploadState.COMPLETE)
    if study_id is not None:
        statement = statement.where(Upload.study_id == study_id)
    if exam_id is not None:
        statement = statement.where(Upload.exam_id == exam_id)
    return (await session.scalars(statement.order_by(Upload.created_at, Upload.upload_id))).all()


async def abandoned_uploads(
    session: AsyncSession, *, under_way: Sequence[str], limit: int
) -> Sequence[tuple[Upload, Exam]]:
    """Uploads that are not complete and whose exam is in none of these states, so that nobody goes on with them."""
    rows = await session.execute(
        select(Upload, Exam)
        .join(Exam, Exam.id == Upload.exam_id)
        .where(Upload.state != UploadState.COMPLETE, Exam.state.not_in(under_way))
        .order_by(Exam.updated_at)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in rows]
