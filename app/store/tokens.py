"""Admin API tokens: who may call the admin API by a program. Only a hash of each is kept."""

import uuid
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Index, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, in_seconds, now

# how exact "last used" is: a busy program costs one write in this time and not one for each call
TOUCH_SECONDS = 60


class Scope(StrEnum):
    """What a token may do: `read` reads, `write` reads and acts."""

    READ = "read"
    WRITE = "write"


class AdminToken(Base):
    """`token_hash` is SHA-256 of 256 random bits, so it needs no salt and no key; `hint` are its last characters."""

    __tablename__ = "admin_tokens"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    name: Mapped[str]
    scope: Mapped[str]
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    hint: Mapped[str]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (
        # an actor in the audit trail is named by it, so two tokens in force never share one
        Index(
            "uq_admin_tokens_name_in_force", "name", unique=True, postgresql_where=text("revoked_at IS NULL")
        ),
    )


async def find_token(session: AsyncSession, token_hash: bytes) -> AdminToken | None:
    """The token of this hash unless it was revoked."""
    return (
        await session.scalars(
            select(AdminToken).where(AdminToken.token_hash == token_hash, AdminToken.revoked_at.is_(None))
        )
    ).one_or_none()


async def touch_token(session: AsyncSession, token: AdminToken) -> bool:
    """Note that the token is in use; whether a row was written."""
    touched = await session.execute(
        update(AdminToken)
        .where(
            AdminToken.id == token.id,
            AdminToken.last_used_at.is_(None) | (AdminToken.last_used_at < in_seconds(-TOUCH_SECONDS)),
        )
        .values(last_used_at=now())
        .returning(AdminToken.id)
    )
    return touched.scalar_one_or_none() is not None
