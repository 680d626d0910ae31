"""Captures: the images and clips of an exam request, as Clarius serves them."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, UniqueConstraint, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base


class Capture(Base):
    """One capture. `bytes` and `sha256` are those of the file as served.

    `problem_code` says why this capture can't be delivered; the others of the exam still are.
    """

    __tablename__ = "captures"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    exam_id: Mapped[UUID] = mapped_column(ForeignKey("exams.id", ondelete="CASCADE"))
    index: Mapped[int]
    url_sealed: Mapped[bytes | None]
    kind: Mapped[str | None]
    bytes: Mapped[int | None]
    sha256: Mapped[str | None]
    etag: Mapped[str | None]
    downloaded_at: Mapped[datetime | None]
    sop_instance_uid: Mapped[str | None]
    # delivered by an earlier submission of the same exam: not sent again
    already_delivered: Mapped[bool] = mapped_column(default=False)
    problem_code: Mapped[str | None]
    problem_message: Mapped[str | None]
    # the file is gone from our store (retention)
    purged_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("exam_id", "index"),)


async def captures_of(session: AsyncSession, exam_id: UUID) -> Sequence[Capture]:
    """The captures of an exam request in Clarius's order."""
    return (
        await session.scalars(select(Capture).where(Capture.exam_id == exam_id).order_by(Capture.index))
    ).all()
