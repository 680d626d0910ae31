"""Rows that wait for a link or for verification: how many there may be, and when one has waited long enough.

Anybody can make such rows, so nothing that the webhook does may cost more the more of them there are: it does not count
them. The sweep counts, and leaves the number in `runs`; a process adds what it took itself since then.
"""

from collections import deque
from uuid import UUID

from sqlalchemy import exists, func, literal, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from app.states import ExamState, Reason
from app.store.base import in_seconds
from app.store.claims import Claim
from app.store.exam_waiting import EXPIRED, count_unsettled, expire_waiting, queue_waiting
from app.store.exams import Exam, in_lock_order
from app.store.runs import Run, begin_run, end_run

COUNTED = "unsettled"
# a row that was taken so long before a count began is committed, and in it
UNSEEN_SECONDS = 5


class Room:
    """What a process knows of the room that is left. One per process; many coroutines use it at once.

    With several processes the cap is passed by no more than the others take between two counts.
    """

    def __init__(self) -> None:
        # what this process took and no count can have seen yet: [at, how many] by second, oldest first
        self._places: deque[list[int]] = deque()
        self._sum = 0

    async def take(self, session: AsyncSession, *, limit: int) -> bool:
        """Take a place for one more row, or False when there is none; `give_back` it when no row came of it."""
        run = select(Run.result, Run.started_at).where(Run.name == COUNTED).subquery()
        at, result, counted_at = (
            await session.execute(
                select(func.clock_timestamp(), run.c.result, run.c.started_at).select_from(
                    select(literal(1)).subquery().outerjoin(run, true())
                )
            )
        ).one()
        if counted_at is not None:
            self._forget(int(counted_at.timestamp() - UNSEEN_SECONDS))
        if int((result or {}).get("count", 0)) + self._sum >= limit:
            return False
        second = int(at.timestamp())
        if not self._places or self._places[-1][0] < second:
            self._places.append([second, 0])
        self._places[-1][1] += 1
        self._sum += 1
        return True

    def give_back(self) -> None:
        """The place was not used."""
        if self._places and self._places[-1][1]:
            self._places[-1][1] -= 1
            self._sum -= 1

    def _forget(self, before: int) -> None:
        while self._places and self._places[0][0] < before:
            self._sum -= self._places.popleft()[1]


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
