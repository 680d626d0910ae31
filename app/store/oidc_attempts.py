"""Sign-ins under way at the single sign-on provider: what must come back with the browser."""

from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, in_seconds, now

ATTEMPT_SECONDS = 600


class OidcAttempt(Base):
    """`state_hash` finds it, `browser_hash` binds it to the browser that began; used once."""

    __tablename__ = "oidc_attempts"

    state_hash: Mapped[bytes] = mapped_column(primary_key=True)
    browser_hash: Mapped[bytes]
    nonce: Mapped[str]
    verifier_sealed: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=now(), index=True)


async def take_oidc_attempt(
    session: AsyncSession, *, state_hash: bytes, browser_hash: bytes
) -> OidcAttempt | None:
    """The attempt of this browser, which is thereby used up; None when there is none, or it took too long."""
    return (
        await session.scalars(
            delete(OidcAttempt)
            .where(
                OidcAttempt.state_hash == state_hash,
                OidcAttempt.browser_hash == browser_hash,
                OidcAttempt.created_at > in_seconds(-ATTEMPT_SECONDS),
            )
            .returning(OidcAttempt)
        )
    ).one_or_none()
