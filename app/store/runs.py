"""Recurring work: when each kind last ran and what it found, so that nothing runs twice in a row."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, in_seconds, now

UNTRUSTED_PROXY = "untrusted_proxy"
"""Not work, but seen by the API for `doctor`: who forwards requests and is not trusted."""


class Run(Base):
    """One kind of recurring work (`reconcile`, `sweep`, `purge`, …)."""

    __tablename__ = "runs"

    name: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    result: Mapped[dict[str, Any] | None]
    error: Mapped[str | None]


async def begin_run(session: AsyncSession, name: str, *, every: float) -> bool:
    """Whether this run is ours: the last one began at least `every` seconds ago."""
    await session.execute(insert(Run).values(name=name, started_at=text("'epoch'")).on_conflict_do_nothing())
    taken = await session.execute(
        update(Run)
        .where(Run.name == name, or_(Run.started_at.is_(None), Run.started_at <= in_seconds(-every)))
        .values(started_at=now())
        .returning(Run.name)
    )
    return taken.scalar_one_or_none() is not None


async def end_run(
    session: AsyncSession, name: str, *, result: dict[str, Any] | None, error: str | None = None
) -> None:
    """Record how the run ended; a failed one keeps the last good result."""
    values: dict[str, Any] = {"error": error}
    if error is None:
        values |= {"finished_at": func.clock_timestamp(), "result": result}
    await session.execute(update(Run).where(Run.name == name).values(**values))


async def last_run(session: AsyncSession, name: str) -> Run | None:
    """The row of this kind of work, None before its first run."""
    return (await session.scalars(select(Run).where(Run.name == name))).one_or_none()
