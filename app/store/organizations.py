"""Organisations: whose exams go to which Aurabox team, and by which policy; every version of a policy is kept."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import ForeignKey, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, now


class IdentityPolicy(StrEnum):
    """Whether patients are named in Aurabox."""

    IDENTIFIED = "identified"
    DEIDENTIFIED = "deidentified"


class Incomplete(StrEnum):
    """What becomes of a human who can't be a patient."""

    CASE = "case"
    HOLD = "hold"


class Animals(StrEnum):
    """How animals are filed."""

    CASE = "case"
    PATIENT = "patient"


class MatchExisting(StrEnum):
    """Whether patients that Aurabox has already are looked for."""

    EXACT = "exact"
    NEVER = "never"


class CaptureSource(StrEnum):
    """Where the images come from."""

    CAPTURES = "captures"
    CLARIUS_DICOM = "clarius-dicom"


class Images(StrEnum):
    """By which transport images go."""

    UPLOADER = "uploader"
    DICOMWEB = "dicomweb"
    NONE = "none"


class Video(StrEnum):
    """What clips become."""

    CINE = "cine"
    H264 = "h264"


class BurnedIn(StrEnum):
    """Whether Clarius burns demographics into the pixels."""

    NO = "no"
    MASK = "mask"
    UNKNOWN = "unknown"


class Corrections(StrEnum):
    """What becomes of details that a later exam of a known patient spells otherwise."""

    REVIEW = "review"
    UPDATE = "update"


class PolicyFields:
    """By what rules exams are filed and images made: the columns that an organisation and its policies share."""

    identity: Mapped[str] = mapped_column(default=IdentityPolicy.IDENTIFIED)
    incomplete: Mapped[str] = mapped_column(default=Incomplete.CASE)
    animals: Mapped[str] = mapped_column(default=Animals.CASE)
    match_existing: Mapped[str] = mapped_column(default=MatchExisting.EXACT)
    keep_birth_date: Mapped[bool] = mapped_column(default=False)
    source: Mapped[str] = mapped_column(default=CaptureSource.CAPTURES)
    images: Mapped[str] = mapped_column(default=Images.NONE)
    video: Mapped[str] = mapped_column(default=Video.CINE)
    burned_in: Mapped[str] = mapped_column(default=BurnedIn.UNKNOWN)
    masks: Mapped[list[Any]] = mapped_column(default=list)
    report: Mapped[bool] = mapped_column(default=False)
    timezone: Mapped[str] = mapped_column(default="UTC")
    corrections: Mapped[str] = mapped_column(default=Corrections.REVIEW, server_default="review")


POLICY_FIELDS = tuple(PolicyFields.__annotations__)


class Policy(PolicyFields, Base):
    """One version of an organisation's policy. Append-only: an exam is filed under a version and keeps to it."""

    __tablename__ = "policies"

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Organization(PolicyFields, Base):
    """One Aurabox team ("realm") and the policy in force, which is also its newest row in `policies`."""

    __tablename__ = "organizations"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    name: Mapped[str] = mapped_column(unique=True)
    policy_version: Mapped[int] = mapped_column(default=1, server_default="1")
    aurabox_url: Mapped[str | None]
    aurabox_key_sealed: Mapped[bytes | None]
    service_key_sealed: Mapped[bytes | None]
    # HMAC key of pseudonyms and de-identified UIDs; made once, never rotated, or studies would double
    pseudonym_key_sealed: Mapped[bytes]
    dicomweb_url: Mapped[str | None]
    dicomweb_user: Mapped[str | None]
    dicomweb_token_sealed: Mapped[bytes | None]
    # how many of its exams may run at one time, over all workers
    concurrency: Mapped[int] = mapped_column(default=8, server_default="8")
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    removed_at: Mapped[datetime | None]


class OrganizationRef(BaseModel, from_attributes=True):
    """Which organisation."""

    id: UUID = Field(examples=["5a3c1f60-6f1b-4a57-9c55-0d3b1d0f7e21"])
    name: str = Field(examples=["Harbour Clinic"])


def keep_policy(session: AsyncSession, organization: Organization, *, by: str) -> None:
    """Append the organisation's policy as it is now under its `policy_version`; the caller commits."""
    values = {name: getattr(organization, name) for name in POLICY_FIELDS}
    session.add(
        Policy(organization_id=organization.id, version=organization.policy_version, created_by=by, **values)
    )


async def find_organization(session: AsyncSession, id_or_name: str) -> Organization | None:
    """By id or by exact name; removed ones are not found."""
    try:
        which = or_(Organization.id == UUID(id_or_name), Organization.name == id_or_name)
    except ValueError:
        which = Organization.name == id_or_name
    return (
        await session.scalars(select(Organization).where(which, Organization.removed_at.is_(None)).limit(1))
    ).one_or_none()


async def hold_organization(session: AsyncSession, organization_id: UUID) -> None:
    """Keep an organisation from being removed or changed until the commit; others may hold it too.

    Before its links and exams are locked (`app.store.exams`): who removes it holds it first, and then ends its links.
    """
    await session.execute(
        select(Organization.id)
        .where(Organization.id == organization_id)
        .with_for_update(read=True, key_share=True)
    )


async def list_organizations(session: AsyncSession) -> Sequence[Organization]:
    """All that are in use, by name."""
    return (
        await session.scalars(
            select(Organization)
            .where(Organization.removed_at.is_(None))
            .order_by(func.lower(Organization.name), Organization.id)
        )
    ).all()
