"""Links that work once: invitations and password resets. Only a hash of what is in the link is kept."""

import hashlib
import secrets
import uuid
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, in_seconds, now

SECRET_BYTES = 32


class OneTimeLinkKind(StrEnum):
    """What opening the link lets a person do: accept an invitation, or choose a new password."""

    INVITATION = "invitation"
    RESET = "reset"


class OneTimeLink(Base):
    """`token_hash` is SHA-256 of 256 random bits, so it needs no salt and no key."""

    __tablename__ = "one_time_links"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    kind: Mapped[str]
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    expires_at: Mapped[datetime] = mapped_column(index=True)
    # used by the person, or ended because a newer one or another way in took its place
    used_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


def hash_token(token: str) -> bytes:
    """What is stored of a token (links, session cookies)."""
    return hashlib.sha256(token.encode()).digest()


async def make_one_time_link(
    session: AsyncSession, kind: OneTimeLinkKind, user_id: UUID, *, seconds: float
) -> str:
    """A new link's token; earlier ones of this kind for this user end."""
    await end_one_time_links(session, kind, user_id)
    token = secrets.token_urlsafe(SECRET_BYTES)
    session.add(
        OneTimeLink(kind=kind, token_hash=hash_token(token), user_id=user_id, expires_at=in_seconds(seconds))
    )
    return token


async def find_one_time_link(session: AsyncSession, kind: OneTimeLinkKind, token: str) -> OneTimeLink | None:
    """The link of this token if it still works; used, ended and expired ones are not found."""
    return (
        await session.scalars(
            select(OneTimeLink).where(
                OneTimeLink.kind == kind,
                OneTimeLink.token_hash == hash_token(token),
                OneTimeLink.used_at.is_(None),
                OneTimeLink.ended_at.is_(None),
                OneTimeLink.expires_at > now(),
            )
        )
    ).one_or_none()


async def use_one_time_link(session: AsyncSession, kind: OneTimeLinkKind, token: str) -> UUID | None:
    """Use the link up; the user it is for, or None. Of two at one moment, one gets the user."""
    used = await session.execute(
        update(OneTimeLink)
        .where(
            OneTimeLink.kind == kind,
            OneTimeLink.token_hash == hash_token(token),
            OneTimeLink.used_at.is_(None),
            OneTimeLink.ended_at.is_(None),
            OneTimeLink.expires_at > now(),
        )
        .values(used_at=now())
        .returning(OneTimeLink.user_id)
    )
    return used.scalar_one_or_none()


async def end_one_time_links(session: AsyncSession, kind: OneTimeLinkKind, user_id: UUID) -> None:
    """None of this user's links of this kind works any more."""
    await session.execute(
        update(OneTimeLink)
        .where(
            OneTimeLink.kind == kind,
            OneTimeLink.user_id == user_id,
            OneTimeLink.used_at.is_(None),
            OneTimeLink.ended_at.is_(None),
        )
        .values(ended_at=now())
    )
