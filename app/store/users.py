"""Users: clinicians and admins who sign in; each belongs to one organisation."""

import uuid
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, now


class Role(StrEnum):
    """What a user may do."""

    CLINICIAN = "clinician"
    ADMIN = "admin"


class User(Base):
    """A person; `password_hash` is None while only invited or when signing in by OIDC alone."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"), index=True)
    email: Mapped[str]
    role: Mapped[str] = mapped_column(default=Role.CLINICIAN)
    password_hash: Mapped[str | None]
    oidc_subject: Mapped[str | None]
    # counts what ends every session: a new password, being disabled. A session holds the one it was begun under.
    credentials_epoch: Mapped[int] = mapped_column(default=0, server_default="0")
    disabled_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())

    __table_args__ = (Index("uq_users_email_lower", text("lower(email)"), unique=True),)


async def find_user(session: AsyncSession, email: str) -> User | None:
    """By e-mail address, in any case."""
    return (
        await session.scalars(select(User).where(func.lower(User.email) == email.strip().lower()))
    ).one_or_none()


async def lock_user(session: AsyncSession, user_id: UUID, *, shared: bool = False) -> User | None:
    """The user as they are now; until the commit nobody changes them (`shared`: others may hold them so too)."""
    statement = select(User).where(User.id == user_id).with_for_update(read=shared)
    return (await session.scalars(statement, execution_options={"populate_existing": True})).one_or_none()
