"""Accounts at the two clouds: whether they are paused or broken off, for every worker at once."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from math import inf

from sqlalchemy import case, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, in_seconds, now

BREAKER_WINDOW_SECONDS = 60
BREAKER_LEAST_CALLS = 10
BREAKER_FAILURE_SHARE = 0.7
BREAKER_OPEN_SECONDS = 30
# how often a process writes how many of its calls worked, when none fails
TALLY_SECONDS = 10.0


class Upstream(Base):
    """One account: `clarius`, or `aurabox:<organisation id>` (likewise for image transports)."""

    __tablename__ = "upstreams"

    account: Mapped[str] = mapped_column(primary_key=True)
    # throttled: nobody calls before this
    throttled_until: Mapped[datetime | None]
    throttles: Mapped[int] = mapped_column(default=0, server_default="0")
    # credentials refused: nobody calls but one probe at a time, from `probe_at` on
    refused_since: Mapped[datetime | None]
    refused_why: Mapped[str | None]
    probe_at: Mapped[datetime | None]
    # breaker: calls and failures of the running window
    window_at: Mapped[datetime | None]
    calls: Mapped[int] = mapped_column(default=0, server_default="0")
    failures: Mapped[int] = mapped_column(default=0, server_default="0")
    open_since: Mapped[datetime | None]
    open_until: Mapped[datetime | None]

    @property
    def is_marked(self) -> bool:
        """Whether anything stands, or stood, against calling it."""
        marks = (self.throttled_until, self.refused_since, self.open_since)
        return self.throttles > 0 or any(mark is not None for mark in marks)


MARKED = or_(
    Upstream.throttles > 0,
    Upstream.throttled_until.is_not(None),
    Upstream.refused_since.is_not(None),
    Upstream.open_since.is_not(None),
)
"""As `Upstream.is_marked`, for a statement."""


async def upstream(session: AsyncSession, account: str) -> Upstream | None:
    """What is known of an account; None when nothing ever was amiss."""
    return (
        await session.scalars(
            select(Upstream).where(Upstream.account == account).execution_options(populate_existing=True)
        )
    ).one_or_none()


async def take_probe(session: AsyncSession, account: str, *, seconds: float) -> bool:
    """Be the one call that tries whether a refused or broken account works again."""
    probed_accounts = await session.execute(
        update(Upstream)
        .where(
            Upstream.account == account,
            or_(Upstream.probe_at <= now(), Upstream.open_until <= now()),
        )
        .values(
            probe_at=case((Upstream.probe_at <= now(), in_seconds(seconds)), else_=Upstream.probe_at),
            open_until=case(
                (Upstream.open_until <= now(), in_seconds(BREAKER_OPEN_SECONDS)),
                else_=Upstream.open_until,
            ),
        )
        .returning(Upstream.account)
    )
    return probed_accounts.scalar_one_or_none() is not None


async def accounts_to_probe(session: AsyncSession) -> Sequence[str]:
    """Paused and broken accounts whose next probe is due."""
    due = or_(Upstream.probe_at <= now(), Upstream.open_until <= now())
    return (await session.scalars(select(Upstream.account).where(due).order_by(Upstream.account))).all()


async def forget_accounts(session: AsyncSession, accounts: Collection[str]) -> None:
    """Nobody calls these any more: their pauses and throttles are over."""
    await session.execute(delete(Upstream).where(Upstream.account.in_(accounts)))


async def throttle(session: AsyncSession, account: str, *, seconds: float) -> None:
    """Nobody calls this account for `seconds`; a longer wait in force stays."""
    until = in_seconds(seconds)
    await session.execute(
        insert(Upstream)
        .values(account=account, throttled_until=until, throttles=1)
        .on_conflict_do_update(
            index_elements=[Upstream.account],
            set_={
                "throttled_until": func.greatest(Upstream.throttled_until, until),
                "throttles": Upstream.throttles + 1,
            },
        )
    )


async def end_throttling(session: AsyncSession, account: str) -> None:
    """A call worked: earlier throttles no longer lengthen the next one. One that is in force stays."""
    await session.execute(
        update(Upstream)
        .where(Upstream.account == account, Upstream.throttles > 0, Upstream.throttled_until <= now())
        .values(throttles=0, throttled_until=None)
    )


async def refuse(session: AsyncSession, account: str, *, why: str, probe_seconds: float) -> bool:
    """Pause an account whose credentials were refused; True when that is news."""
    row_before = await upstream(session, account)
    await session.execute(
        insert(Upstream)
        .values(account=account, refused_since=now(), refused_why=why, probe_at=in_seconds(probe_seconds))
        .on_conflict_do_update(
            index_elements=[Upstream.account],
            set_={
                "refused_since": func.coalesce(Upstream.refused_since, now()),
                "refused_why": why,
                "probe_at": in_seconds(probe_seconds),
            },
        )
    )
    return row_before is None or row_before.refused_since is None


async def resume(session: AsyncSession, account: str) -> None:
    """The account works again, or has new credentials: lift every pause."""
    await session.execute(
        update(Upstream)
        .where(Upstream.account == account)
        .values(
            throttled_until=None,
            throttles=0,
            refused_since=None,
            refused_why=None,
            probe_at=None,
            open_since=None,
            open_until=None,
            calls=0,
            failures=0,
        )
    )


class Tally:
    """Calls that worked and are not written yet, by account: all they do is to weigh against failures. One per process.

    Times are seconds of a monotonic clock.
    """

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()
        self._last_at: dict[str, float] = {}
        self._written_at: dict[str, float] = {}

    def add(self, account: str, *, at: float) -> bool:
        """One more; whether it is time to write."""
        self._forget_old(account, at)
        self._calls[account] += 1
        self._last_at[account] = at
        return at - self._written_at.get(account, -inf) >= TALLY_SECONDS

    def take(self, account: str, *, at: float) -> int:
        """How many there were lately; they are the caller's to write."""
        self._forget_old(account, at)
        self._written_at[account] = at
        return self._calls.pop(account, 0)

    def _forget_old(self, account: str, at: float) -> None:
        """What worked before a pause says nothing of what fails after it."""
        if at - self._last_at.get(account, -inf) > BREAKER_WINDOW_SECONDS:
            self._calls.pop(account, None)


async def count_calls(session: AsyncSession, account: str, *, worked: int, failed: bool = False) -> None:
    """Count calls that worked, and one that failed, into the account's window; open the breaker when too many failed."""
    fresh = or_(Upstream.window_at.is_(None), Upstream.window_at < in_seconds(-BREAKER_WINDOW_SECONDS))
    failure = 1 if failed else 0
    calls = worked + failure
    counted = await session.execute(
        insert(Upstream)
        .values(account=account, window_at=now(), calls=calls, failures=failure)
        .on_conflict_do_update(
            index_elements=[Upstream.account],
            set_={
                "window_at": case((fresh, now()), else_=Upstream.window_at),
                "calls": case((fresh, calls), else_=Upstream.calls + calls),
                "failures": case((fresh, failure), else_=Upstream.failures + failure),
            },
        )
        .returning(Upstream.calls, Upstream.failures)
    )
    every, failures = counted.one()
    if failed and every >= BREAKER_LEAST_CALLS and failures / every >= BREAKER_FAILURE_SHARE:
        await session.execute(
            update(Upstream)
            .where(Upstream.account == account)
            .values(
                open_since=func.coalesce(Upstream.open_since, now()),
                open_until=in_seconds(BREAKER_OPEN_SECONDS),
            )
        )
