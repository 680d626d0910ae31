"""Sessions of signed-in people. The cookie's value is random; the row holds its hash."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, in_seconds, now
from app.store.users import User

IDLE_SECONDS = 30 * 60
ABSOLUTE_SECONDS = 12 * 3600
# how exact "last seen" is; a busy person costs one write in this time and not one for each page
TOUCH_SECONDS = 30


class BrowserSession(Base):
    """One browser in which one person is signed in."""

    __tablename__ = "browser_sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    # of the credentials it was begun with; under another one of the user it is no session
    credentials_epoch: Mapped[int] = mapped_column(default=0, server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    last_seen_at: Mapped[datetime] = mapped_column(server_default=now())
    expires_at: Mapped[datetime] = mapped_column(index=True)
    ended_at: Mapped[datetime | None]
    address: Mapped[str | None]
    browser: Mapped[str | None]
    # the link made here, whose progress the status page follows
    link_id: Mapped[UUID | None] = mapped_column(ForeignKey("links.id", ondelete="SET NULL"))


# in a query that joins the user
ALIVE = (
    BrowserSession.ended_at.is_(None),
    BrowserSession.credentials_epoch == User.credentials_epoch,
    BrowserSession.expires_at > now(),
    BrowserSession.last_seen_at > in_seconds(-IDLE_SECONDS),
)


async def find_browser_session(
    session: AsyncSession, token_hash: bytes
) -> tuple[BrowserSession, User] | None:
    """The living session of this cookie and its user, unless the user is disabled."""
    row = (
        await session.execute(
            select(BrowserSession, User)
            .join(User, User.id == BrowserSession.user_id)
            .where(BrowserSession.token_hash == token_hash, User.disabled_at.is_(None), *ALIVE)
        )
    ).one_or_none()
    return (row[0], row[1]) if row is not None else None


async def known_browser_session(session: AsyncSession, token_hash: bytes) -> bool:
    """Whether this cookie ever was a session, so that a page can say "expired" and not "who are you"."""
    rows = await session.execute(select(BrowserSession.id).where(BrowserSession.token_hash == token_hash))
    return rows.scalar_one_or_none() is not None


async def touch_browser_session(session: AsyncSession, session_id: UUID) -> None:
    """The person is there: the idle time begins anew."""
    await session.execute(
        update(BrowserSession)
        .where(BrowserSession.id == session_id, BrowserSession.last_seen_at < in_seconds(-TOUCH_SECONDS))
        .values(last_seen_at=now())
    )


async def living_browser_sessions(session: AsyncSession, user_id: UUID) -> Sequence[BrowserSession]:
    """Where this user is signed in, the last seen first."""
    return (
        await session.scalars(
            select(BrowserSession)
            .join(User, User.id == BrowserSession.user_id)
            .where(BrowserSession.user_id == user_id, *ALIVE)
            .order_by(BrowserSession.last_seen_at.desc(), BrowserSession.id)
        )
    ).all()


async def end_browser_session(session: AsyncSession, session_id: UUID, *, user_id: UUID) -> bool:
    """End one session of this user; False when there is none such."""
    ended = await session.execute(
        update(BrowserSession)
        .where(
            BrowserSession.id == session_id,
            BrowserSession.user_id == user_id,
            BrowserSession.ended_at.is_(None),
        )
        .values(ended_at=now())
        .returning(BrowserSession.id)
    )
    return ended.scalar_one_or_none() is not None


async def end_browser_sessions(session: AsyncSession, user_id: UUID, *, but: UUID | None = None) -> None:
    """End all sessions of this user, but one where `but` is given."""
    conditions = [BrowserSession.user_id == user_id, BrowserSession.ended_at.is_(None)]
    if but is not None:
        conditions.append(BrowserSession.id != but)
    await session.execute(update(BrowserSession).where(*conditions).values(ended_at=now()))
