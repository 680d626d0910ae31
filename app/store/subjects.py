"""Subjects: the Aurabox patient or case that stands for one patient key of an organisation."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, UniqueConstraint, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, now


class SubjectKind(StrEnum):
    """What a subject is in Aurabox."""

    PATIENT = "patient"
    CASE = "case"


class Subject(Base):
    """Recorded once per (organisation, patient key). What identifies a person is sealed or hashed."""

    __tablename__ = "subjects"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"))
    patient_key: Mapped[bytes]
    # hash of the Clarius identifier alone: finds "same identifier, another person"
    identifier_hash: Mapped[bytes | None] = mapped_column(index=True)
    kind: Mapped[str]
    remote_id: Mapped[str]
    facts_sealed: Mapped[bytes]
    # a case's label as it was sent; de-identified objects carry it as name and id
    label_sealed: Mapped[bytes | None]
    adopted: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(server_default=now())

    __table_args__ = (UniqueConstraint("organization_id", "patient_key"),)


async def find_subject(session: AsyncSession, organization_id: UUID, patient_key: bytes) -> Subject | None:
    """The patient or case recorded for this key."""
    return (
        await session.scalars(
            select(Subject).where(
                Subject.organization_id == organization_id, Subject.patient_key == patient_key
            )
        )
    ).one_or_none()


async def keep_subject(session: AsyncSession, **values: object) -> None:
    """Record a subject; one that is on record for its key already stays as it is."""
    await session.execute(insert(Subject).values(**values).on_conflict_do_nothing())


async def same_identifier(
    session: AsyncSession, organization_id: UUID, identifier_hash: bytes
) -> Sequence[Subject]:
    """Everybody of this organisation who came with this Clarius identifier, oldest first."""
    return (
        await session.scalars(
            select(Subject)
            .where(
                Subject.organization_id == organization_id,
                Subject.identifier_hash == identifier_hash,
            )
            .order_by(Subject.created_at, Subject.id)
        )
    ).all()
