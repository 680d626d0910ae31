"""Recurring work: when each kind last ran and what it found, so that nothing runs twice in a row."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Mapped, mapped_column

from app.errors import SonobridgeError
from app.store.base import Base, in_seconds, now

DAY_SECONDS = 24 * 3600.0

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
    # work that takes long: one does it at a time, and goes on where the last one was broken off
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    place: Mapped[dict[str, Any] | None]


@dataclass
class OpenRun:
    """A run that has begun. Whoever does the work leaves in `result` what it came to."""

    result: dict[str, Any] | None = None


@asynccontextmanager
async def recurring(
    sessions: async_sessionmaker[AsyncSession], name: str, *, every: float, again: float | None = None
) -> AsyncIterator[OpenRun | None]:
    """One run of recurring work, or None when it is not time: the last one began less than `every` seconds ago.

    How it ends is recorded (`recording`). One that failed is due again in `again` seconds, if that is given.
    """
    async with sessions.begin() as session:
        due = await begin_run(session, name, every=every)
    if not due:
        yield None
        return
    try:
        async with recording(sessions, name) as run:
            yield run
    except Exception:
        if again is not None:
            async with sessions.begin() as session:
                await try_again(session, name, every=every, after=again)
        raise


@asynccontextmanager
async def recording(sessions: async_sessionmaker[AsyncSession], name: str) -> AsyncIterator[OpenRun]:
    """Record how a run ends that has begun: its result, or what the body raises, and then the last good one stays."""
    run = OpenRun()
    try:
        yield run
    except Exception as error:
        why = error.code if isinstance(error, SonobridgeError) else type(error).__name__
        async with sessions.begin() as session:
            await end_run(session, name, result=None, error=why)
        raise
    async with sessions.begin() as session:
        await end_run(session, name, result=run.result)


async def begin_run(session: AsyncSession, name: str, *, every: float) -> bool:
    """Whether this run is ours: the last one began at least `every` seconds ago."""
    begun = await session.execute(
        insert(Run)
        .values(name=name, started_at=now())
        .on_conflict_do_update(
            index_elements=[Run.name],
            set_={"started_at": now()},
            where=or_(Run.started_at.is_(None), Run.started_at <= in_seconds(-every)),
        )
        .returning(Run.name)
    )
    return begun.scalar_one_or_none() is not None


async def end_run(
    session: AsyncSession, name: str, *, result: dict[str, Any] | None, error: str | None = None
) -> None:
    """Record how the run ended; a failed one keeps the last good result."""
    values: dict[str, Any] = {"error": error}
    if error is None:
        values |= {"finished_at": func.clock_timestamp(), "result": result}
    await session.execute(update(Run).where(Run.name == name).values(**values))


async def hold_run(
    session: AsyncSession, name: str, *, owner: str, seconds: float, every: float = 0.0
) -> Run | None:
    """Be the only one who does this work, for `seconds`; the row as it is then.

    None while somebody else does it, or when the last one began less than `every` seconds ago.
    """
    await session.execute(insert(Run).values(name=name, started_at=text("'epoch'")).on_conflict_do_nothing())
    runs = await session.scalars(
        update(Run)
        .where(
            Run.name == name,
            or_(Run.lease_until.is_(None), Run.lease_until < now()),
            or_(Run.started_at.is_(None), Run.started_at <= in_seconds(-every)),
        )
        .values(lease_owner=owner, lease_until=in_seconds(seconds), started_at=now())
        .returning(Run)
    )
    return runs.one_or_none()


async def keep_place(
    session: AsyncSession, name: str, *, owner: str, place: dict[str, Any], seconds: float
) -> bool:
    """Note from where the work goes on, and hold it for `seconds` more; False when it is somebody else's by now."""
    kept = await session.execute(
        update(Run)
        .where(Run.name == name, Run.lease_owner == owner)
        .values(place=place, lease_until=in_seconds(seconds))
        .returning(Run.name)
    )
    return kept.scalar_one_or_none() is not None


async def let_go_of_run(session: AsyncSession, name: str, *, owner: str) -> None:
    """Let the next one begin."""
    await session.execute(
        update(Run)
        .where(Run.name == name, Run.lease_owner == owner)
        .values(lease_owner=None, lease_until=None)
    )


async def try_again(session: AsyncSession, name: str, *, every: float, after: float) -> None:
    """What is done every so many seconds and failed is due again in `after` seconds."""
    await session.execute(update(Run).where(Run.name == name).values(started_at=in_seconds(after - every)))


async def last_run(session: AsyncSession, name: str) -> Run | None:
    """The row of this kind of work, None before its first run."""
    return (await session.scalars(select(Run).where(Run.name == name))).one_or_none()
