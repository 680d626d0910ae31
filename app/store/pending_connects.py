"""Tokens that Clarius sent a browser with, until the clinician agrees: one a browser, sealed, for an hour."""

import uuid
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, in_seconds, now

PENDING_SECONDS = 3600


class PendingConnect(Base):
    """`browser_hash` is the hash of the browser's cookie, signed in or not. A new token takes the old one's place."""

    __tablename__ = "pending_connects"

    browser_hash: Mapped[bytes] = mapped_column(primary_key=True)
    # new with every token, so that a form of an earlier page does not agree to a later token
    id: Mapped[UUID] = mapped_column(default=uuid.uuid4)
    token_sealed: Mapped[bytes]
    customer_hash: Mapped[bytes]
    customer_hint: Mapped[str]
    expires_at: Mapped[datetime]


async def keep_pending_connect(
    session: AsyncSession,
    *,
    browser_hash: bytes,
    token_sealed: bytes,
    customer_hash: bytes,
    customer_hint: str,
) -> None:
    """Remember the token for this browser."""
    values = {
        "id": uuid.uuid4(),
        "token_sealed": token_sealed,
        "customer_hash": customer_hash,
        "customer_hint": customer_hint,
        "expires_at": in_seconds(PENDING_SECONDS),
    }
    await session.execute(
        insert(PendingConnect)
        .values(browser_hash=browser_hash, **values)
        .on_conflict_do_update(index_elements=[PendingConnect.browser_hash], set_=values)
    )


async def find_pending_connect(session: AsyncSession, browser_hash: bytes) -> PendingConnect | None:
    """What this browser still has to agree to."""
    return (
        await session.scalars(
            select(PendingConnect).where(
                PendingConnect.browser_hash == browser_hash, PendingConnect.expires_at > now()
            )
        )
    ).one_or_none()


async def move_pending_connect(session: AsyncSession, *, old_hash: bytes, new_hash: bytes) -> None:
    """The browser has a new cookie (it signed in): its pending link stays with it."""
    await session.execute(
        update(PendingConnect).where(PendingConnect.browser_hash == old_hash).values(browser_hash=new_hash)
    )


async def forget_pending_connect(session: AsyncSession, browser_hash: bytes) -> None:
    """Agreed to, or signed out."""
    await session.execute(delete(PendingConnect).where(PendingConnect.browser_hash == browser_hash))
