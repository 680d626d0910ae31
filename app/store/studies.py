"""Studies: the thing in Aurabox; one per (organisation, exam, subject), whatever the number of submissions."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, UniqueConstraint, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, now
from app.store.subjects import Subject


class Study(Base):
    """`exam_uuid` is Clarius's; UID and accession number are derived from it once and stored."""

    __tablename__ = "studies"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"))
    exam_uuid: Mapped[UUID]
    subject_id: Mapped[UUID] = mapped_column(ForeignKey("subjects.id"), index=True)
    remote_id: Mapped[str]
    study_instance_uid: Mapped[str]
    accession_number: Mapped[str]
    adopted: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    # as a subject's
    seen_at: Mapped[datetime | None]
    missing_since: Mapped[datetime | None]
    # the submission that makes and sends images of it just now (`app.store.instances.take_turn`)
    turn_exam_id: Mapped[UUID | None]
    # of the submission that it was made for: all its objects carry the same date and time
    studied_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("organization_id", "exam_uuid", "subject_id"),)


async def studies_of_exam(
    session: AsyncSession, organization_id: UUID, exam_uuid: UUID
) -> Sequence[tuple[Study, str]]:
    """The studies that stand for this exam in this organisation, with the modes of their subjects, oldest first.

    One, unless a person filed a submission of it under somebody else, or the policy did under a pseudonym.
    """
    rows = await session.execute(
        select(Study, Subject.mode)
        .join(Subject, Subject.id == Study.subject_id)
        .where(Study.organization_id == organization_id, Study.exam_uuid == exam_uuid)
        .order_by(Study.created_at, Study.id)
    )
    return [(study, mode) for study, mode in rows]


async def subject_replaced(session: AsyncSession, subject_id: UUID, since: datetime) -> None:
    """Whatever lay under the subject's former record is missing as long as that is."""
    await session.execute(update(Study).where(Study.subject_id == subject_id).values(missing_since=since))
