"""Subjects: the Aurabox patient or case that stands for one patient key of an organisation, named or not."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, ForeignKey, Index, UniqueConstraint, and_, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, now


class SubjectKind(StrEnum):
    """What a subject is in Aurabox."""

    PATIENT = "patient"
    CASE = "case"


class Mode(StrEnum):
    """Whether what is filed names the person."""

    IDENTIFIED = "identified"
    PSEUDONYMOUS = "pseudonymous"


class Subject(Base):
    """Recorded once per (organisation, mode, patient key). What identifies a person is sealed or hashed.

    `distinct`: another subject shares its identifier, so that labels and DICOM ids made from that are marked.
    """

    __tablename__ = "subjects"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"))
    patient_key: Mapped[bytes]
    # hash of the Clarius identifier alone: finds "same identifier, another person"
    identifier_hash: Mapped[bytes | None] = mapped_column(index=True)
    kind: Mapped[str]
    mode: Mapped[str] = mapped_column(default=Mode.IDENTIFIED, server_default="identified")
    distinct: Mapped[bool] = mapped_column(default=False, server_default="false")
    remote_id: Mapped[str]
    facts_sealed: Mapped[bytes]
    # a case's label as it was sent; de-identified objects carry it as name and id
    label_sealed: Mapped[bytes | None]
    adopted: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    # when Aurabox last showed it, and since when it answers 404 when asked for it (`app.delivery.remote`)
    seen_at: Mapped[datetime | None]
    missing_since: Mapped[datetime | None]
    # who stands for this one since a person said so of a record that is archived in Aurabox
    successor_id: Mapped[UUID | None] = mapped_column(ForeignKey("subjects.id"))

    __table_args__ = (
        UniqueConstraint("organization_id", "mode", "patient_key"),
        Index("ix_subjects_organization_id_remote_id", "organization_id", "remote_id"),
    )


@dataclass(frozen=True)
class Keys:
    """By which a subject is found again: the whole key, and the identifier alone if there is one."""

    organization_id: UUID
    mode: Mode
    patient: bytes
    identifier: bytes | None


async def find_subject(session: AsyncSession, keys: Keys) -> Subject | None:
    """The patient or case recorded for this key."""
    return (
        await session.scalars(
            select(Subject).where(
                Subject.organization_id == keys.organization_id,
                Subject.mode == keys.mode,
                Subject.patient_key == keys.patient,
            )
        )
    ).one_or_none()


async def successor_of(session: AsyncSession, subject: Subject) -> Subject:
    """Who stands for this subject by now: itself, unless it was archived and another record was made."""
    while subject.successor_id is not None:
        subject = await session.get_one(Subject, subject.successor_id)
    return subject


async def keep_subject(session: AsyncSession, keys: Keys, **values: object) -> Subject:
    """Record a subject; one that is on record for its key already stays as it is, and is given back."""
    named = {
        "organization_id": keys.organization_id,
        "mode": keys.mode,
        "patient_key": keys.patient,
        "identifier_hash": keys.identifier,
    }
    kept = insert(Subject).values(**named, **values).on_conflict_do_nothing().returning(Subject)
    subject = (await session.scalars(kept)).one_or_none() or await find_subject(session, keys)
    if subject is None:
        raise RuntimeError("a subject that is in the way is on record")
    return subject


async def akin(
    session: AsyncSession, keys: Keys, former: Keys | None, *, remote_id: str | None = None
) -> Sequence[Subject]:
    """Everybody of this organisation and mode with this key, the former one, or this identifier, oldest first.

    With a `remote_id` also whoever stands for that in Aurabox, in whatever mode.
    """
    alike: ColumnElement[bool] = Subject.patient_key.in_(
        [every.patient for every in (keys, former) if every is not None]
    )
    if keys.identifier is not None:
        alike = or_(alike, Subject.identifier_hash == keys.identifier)
    which = and_(Subject.mode == keys.mode, alike)
    if remote_id is not None:
        which = or_(which, Subject.remote_id == remote_id)
    return (
        await session.scalars(
            select(Subject)
            .where(Subject.organization_id == keys.organization_id, which)
            .order_by(Subject.created_at, Subject.id)
        )
    ).all()


async def owners(
    session: AsyncSession, organization_id: UUID, remote_ids: Collection[str]
) -> Sequence[Subject]:
    """Which of our subjects stand for these patients or cases of Aurabox."""
    return (
        await session.scalars(
            select(Subject).where(
                Subject.organization_id == organization_id, Subject.remote_id.in_(remote_ids)
            )
        )
    ).all()


async def lock_identity(session: AsyncSession, keys: Keys, remote_id: str) -> None:
    """Let nobody else record a subject of this identifier, or for this remote id, until the commit.

    Advisory, because the rows that must not come to be can't be locked. The identifier comes first, always.
    """
    scope = f"{keys.organization_id}|{keys.mode}"
    names = (f"{scope}|{(keys.identifier or keys.patient).hex()}", f"{keys.organization_id}|{remote_id}")
    await session.execute(
        select(*(func.pg_advisory_xact_lock(func.hashtextextended(name, 0)) for name in names))
    )
