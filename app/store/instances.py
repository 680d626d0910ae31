"""Instances: the DICOM objects made from an exam's captures, and where each stands on its way."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, UniqueConstraint, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base
from app.store.exams import Exam


class Instance(Base):
    """One object. Its UID is chosen from (study, content), so the same content is the same object again."""

    __tablename__ = "instances"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    exam_id: Mapped[UUID] = mapped_column(ForeignKey("exams.id", ondelete="CASCADE"))
    capture_id: Mapped[UUID] = mapped_column(ForeignKey("captures.id", ondelete="CASCADE"), index=True)
    sop_class_uid: Mapped[str]
    sop_instance_uid: Mapped[str]
    series_uid: Mapped[str]
    transfer_syntax: Mapped[str]
    frames: Mapped[int]
    bytes: Mapped[int]
    sha256: Mapped[str]
    # taken by the image transport; confirmed when it was read back
    stored_at: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("exam_id", "sop_instance_uid"),)


async def instances_of(session: AsyncSession, exam_id: UUID) -> Sequence[Instance]:
    """The objects made for an exam request, in the order of their UIDs."""
    return (
        await session.scalars(
            select(Instance).where(Instance.exam_id == exam_id).order_by(Instance.sop_instance_uid)
        )
    ).all()


async def delivered_elsewhere(
    session: AsyncSession, *, study_id: UUID, exam_id: UUID, uids: Sequence[str]
) -> set[str]:
    """Which of these SOP instance UIDs another request of the same study has delivered."""
    return set(
        await session.scalars(
            select(Instance.sop_instance_uid)
            .join(Exam, Exam.id == Instance.exam_id)
            .where(
                Exam.study_id == study_id,
                Instance.exam_id != exam_id,
                Instance.sop_instance_uid.in_(uids),
                Instance.confirmed_at.is_not(None),
            )
        )
    )
