"""Tells workers, with the commit, that something is due: whoever listens looks at once, and nobody has to."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

WAKE_CHANNEL = "sonobridge_wake"
NAMED = 100
"""So many exams are named at most in one notification, which holds 8,000 bytes (PostgreSQL, NOTIFY)."""


async def wake_workers(session: AsyncSession) -> None:
    """Once the caller commits, every worker that listens looks for what is due."""
    await session.execute(func.pg_notify(WAKE_CHANNEL, "").select())


def named_in(payload: str) -> Sequence[UUID]:
    """The new exams that a notification names; none when there is more to look for. What is no id is left out."""
    ids = []
    for word in payload.split():
        try:
            ids.append(UUID(word))
        except ValueError:
            # a newer version's word
            return ()
    return ids
