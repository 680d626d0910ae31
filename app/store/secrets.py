"""Sealed values that belong to the whole installation: the look-up key, Clarius's API key in use."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, now

LOOKUP_KEY = "lookup_key"
CLARIUS_API_KEY = "clarius_api_key"


class Secret(Base):
    """`sealed` can only be opened with one of SONOBRIDGE_SECRET_KEYS."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(primary_key=True)
    sealed: Mapped[bytes]
    updated_at: Mapped[datetime] = mapped_column(server_default=now(), onupdate=now())


async def read_secret(session: AsyncSession, name: str) -> bytes | None:
    """The sealed value, or None."""
    return (await session.execute(select(Secret.sealed).where(Secret.name == name))).scalar_one_or_none()


async def keep_first_secret(session: AsyncSession, name: str, sealed: bytes) -> bytes:
    """Store the value unless there is one; the one that counts from now on."""
    await session.execute(insert(Secret).values(name=name, sealed=sealed).on_conflict_do_nothing())
    return (await session.execute(select(Secret.sealed).where(Secret.name == name))).scalar_one()


async def replace_secret(session: AsyncSession, name: str, sealed: bytes) -> None:
    """Store the value in place of what was there."""
    await session.execute(
        insert(Secret)
        .values(name=name, sealed=sealed)
        .on_conflict_do_update(index_elements=[Secret.name], set_={"sealed": sealed, "updated_at": now()})
    )
