"""Rows that wait for a link or for verification: how many there may be, and when one has waited long enough.

Anybody can make such rows, so nothing that the webhook does may cost more the more of them there are: it does not count
them. The sweep counts, and leaves the number in `runs`; a process adds what it took itself since then.
"""

from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from uuid import UUID

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.states import ExamState, Reason
from app.store.base import in_seconds
from app.store.claims import Claim
from app.store.exam_waiting import EXPIRED, count_unsettled, expire_waiting, queue_waiting
from app.store.exams import Exam, in_lock_order
from app.store.runs import begin_run, end_run

COUNTED = "unsettled"
# a row that was taken so long before a count began is committed, and in it
UNSEEN_SECONDS = 5
# the rows of so many seconds are kept apart
MOST_SECONDS = 60


async def unverified_requests(session: AsyncSession, customer: bytes) -> AbstractSet[UUID]:
    """The requests that this customer's claims name and that Clarius has not confirmed yet."""
    return set(
        await session.scalars(
            select(Exam.request_uuid)
            .join(Claim, Claim.exam_id == Exam.id)
            .where(
                Claim.customer_hash == customer,
                Claim.ended_at.is_(None),
                Exam.verified_at.is_(None),
            )
        )
    )


async def lock_claimed(
    session: AsyncSession, customer: bytes, *, until: datetime
) -> Sequence[tuple[Claim, Exam, datetime]]:
    """The customer's open claims that came `until` then, with their exams, locked, and the database's clock."""
    rows = await session.execute(
        select(Claim, Exam, func.clock_timestamp())
        .join(Exam, Claim.exam_id == Exam.id)
        .where(
            Claim.customer_hash == customer,
            Claim.ended_at.is_(None),
            Claim.received_at <= until,
            Exam.verified_at.is_(None),
        )
        # an exam is locked before its claims, as by everybody (`app.store.exams`)
        .order_by(Exam.id)
        .with_for_update(of=Exam)
    )
    return [(claim, exam, at) for claim, exam, at in rows]


class Room:
    """What a process took of the room that is left, as far as no count can have seen it. One per process.

    With several processes the cap is passed by no more than the others take between two counts.
    """

    def __init__(self) -> None:
        # how many rows by the second of the database's clock in which they were taken, oldest first
        self._taken: deque[tuple[int, int]] = deque()

    def taken(self) -> tuple[list[int], list[int]]:
        """The seconds, and how many rows were taken in each."""
        return [second for second, _ in self._taken], [count for _, count in self._taken]

    def took(self, count: int, *, at: int, counted_until: int | None) -> None:
        """So many rows were committed at `at`; what is older than `counted_until` is in the count by now."""
        while self._taken and counted_until is not None and self._taken[0][0] < counted_until:
            self._taken.popleft()
        if count and self._taken and self._taken[-1][0] >= at:
            second, before = self._taken.pop()
            self._taken.append((second, before + count))
        elif count:
            self._taken.append((at, count))
        if len(self._taken) > MOST_SECONDS:
            # nobody counts just now: the two oldest become one, as if both were taken in the later second
            oldest, (second, next_oldest) = self._taken.popleft(), self._taken.popleft()
            self._taken.appendleft((second, oldest[1] + next_oldest))


async def note_unsettled(session: AsyncSession, *, up_to: int) -> int:
    """Count, no further than `up_to`, and leave the number where every process finds it."""
    await begin_run(session, COUNTED, every=0)
    count = await count_unsettled(session, up_to=up_to)
    await end_run(session, COUNTED, result={"count": count})
    return count


async def expire_unlinked(session: AsyncSession, *, after_seconds: float, limit: int) -> int:
    """Claims that nobody linked in this time are `unverified` from here on; how many (at most `limit`).

    The row stays, and goes on when the account is linked, when another claim is made, or when Clarius lists it.
    """
    claimed_since = exists().where(Claim.exam_id == Exam.id, Claim.received_at > in_seconds(-after_seconds))
    which = in_lock_order(
        Exam.verified_at.is_(None),
        Exam.released_at.is_(None),
        Exam.state == ExamState.WAITING,
        Exam.reason == Reason.LINK,
        Exam.received_at <= in_seconds(-after_seconds),
        ~claimed_since,
    ).limit(limit)
    return await expire_waiting(session, which)


async def resume_expired(
    session: AsyncSession, *, customer_hash: bytes, limit: int
) -> list[tuple[UUID, int]]:
    """Queue the expired claims of a customer who is linked after all; ids and lease epochs, to ring once committed."""
    claimed = select(Claim.exam_id).where(Claim.customer_hash == customer_hash, Claim.ended_at.is_(None))
    which = in_lock_order(
        Exam.id.in_(claimed), Exam.state == ExamState.UNVERIFIED, Exam.error_code == EXPIRED
    ).limit(limit)
    return await queue_waiting(
        session, which, event="linked", was=ExamState.UNVERIFIED, error_code=None, error_message=None
    )
