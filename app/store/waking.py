"""Tells workers, with the commit, that something is due: whoever listens looks at once, and nobody has to."""

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

WAKE_CHANNEL = "sonobridge_wake"


async def wake_workers(session: AsyncSession) -> None:
    """Once the caller commits, every worker that listens looks for what is due."""
    await session.execute(func.pg_notify(WAKE_CHANNEL, "due").select())
