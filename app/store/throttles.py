"""Counts attempts (sign-in, password reset) per account and per address, with a delay that grows."""

from datetime import datetime, timedelta

from sqlalchemy import Float, Interval, case, cast, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, in_seconds, now

FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 900.0
FORGET_SECONDS = 3600.0


class Throttle(Base):
    """`key_hash` is a keyed hash of what is counted. Blocked attempts are not counted."""

    __tablename__ = "throttles"

    key_hash: Mapped[bytes] = mapped_column(primary_key=True)
    attempts: Mapped[int]
    last_at: Mapped[datetime] = mapped_column(index=True)
    blocked_until: Mapped[datetime | None]


async def begin_attempt(session: AsyncSession, key_hash: bytes, *, free: int) -> float:
    """Count an attempt before it is made; 0, or the seconds to wait when it may not be made.

    From the `free`-th on, each attempt closes the door behind it: for 1 s, 2 s, 4 s … 15 min. An hour without
    an attempt forgets them. Counting first means that a burst of parallel attempts gains nothing.
    """
    attempts = case((Throttle.last_at < in_seconds(-FORGET_SECONDS), 1), else_=Throttle.attempts + 1)
    over = func.least(attempts - free, 20)
    delay = func.least(FIRST_DELAY_SECONDS * func.power(2.0, cast(over, Float)), LONGEST_DELAY_SECONDS)
    first = in_seconds(FIRST_DELAY_SECONDS) if free <= 1 else None
    counted = await session.execute(
        insert(Throttle)
        .values(key_hash=key_hash, attempts=1, last_at=now(), blocked_until=first)
        .on_conflict_do_update(
            index_elements=[Throttle.key_hash],
            set_={
                "attempts": attempts,
                "last_at": now(),
                "blocked_until": case(
                    (attempts >= free, now() + delay * cast(timedelta(seconds=1), Interval)), else_=None
                ),
            },
            where=or_(Throttle.blocked_until.is_(None), Throttle.blocked_until <= now()),
        )
        .returning(Throttle.attempts)
    )
    if counted.scalar_one_or_none() is not None:
        return 0.0
    left = await session.execute(
        select(func.extract("epoch", Throttle.blocked_until - now())).where(Throttle.key_hash == key_hash)
    )
    return max(float(left.scalar_one_or_none() or 0.0), FIRST_DELAY_SECONDS)


async def forget_attempts(session: AsyncSession, key_hash: bytes) -> None:
    """The right person is there: the count begins anew."""
    await session.execute(delete(Throttle).where(Throttle.key_hash == key_hash))


async def take_back_attempt(session: AsyncSession, key_hash: bytes, *, free: int) -> None:
    """This attempt was good and does not count; earlier ones of others at the same address still do."""
    await session.execute(
        update(Throttle)
        .where(Throttle.key_hash == key_hash)
        .values(
            attempts=func.greatest(Throttle.attempts - 1, 0),
            blocked_until=case((Throttle.attempts - 1 < free, None), else_=Throttle.blocked_until),
        )
    )
