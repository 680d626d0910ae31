"""Exams that wait, for a link or an account, moved, woken and counted together, however many they are."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts import read_account
from app.states import FOLLOWS_LINK, UNDER_WAY, ExamState, Reason, Step
from app.store.base import now
from app.store.exam_events import ExamEvent
from app.store.exams import Exam, in_lock_order

EXPIRED = "expired"
"""Error code of a claim that waited too long for a link."""


async def queue_waiting(
    session: AsyncSession,
    which: Select[UUID],
    *,
    event: str,
    was: ExamState = ExamState.WAITING,
    **columns: Any,
) -> list[tuple[UUID, int]]:
    """Queue the exams of which `which` gives the ids, if they are what they were (waiting), in one statement with their history.

    What `move` does to one, for thousands: their rows are never brought here. `columns` are written besides. Ids and
    lease epochs of those that were moved, in the order of ids.
    """
    moved = (
        update(Exam)
        .where(Exam.id.in_(which), Exam.state == was)
        .values(state=ExamState.QUEUED, reason=None, due_at=now(), updated_at=now(), **columns)
        .returning(Exam.id, Exam.lease_epoch, Exam.step)
        .cte("moved")
    )
    events = select(moved.c.id, moved.c.step, literal(event))
    noted = insert(ExamEvent).from_select(["exam_id", "step", "event"], events).cte("noted")
    rows = await session.execute(select(moved.c.id, moved.c.lease_epoch).order_by(moved.c.id).add_cte(noted))
    return [(row.id, row.lease_epoch) for row in rows]


async def expire_waiting(session: AsyncSession, which: Select[UUID]) -> int:
    """The same for claims that waited too long: `unverified` with the code `expired`, if they still wait; how many."""
    moved = (
        update(Exam)
        .where(Exam.id.in_(which), Exam.state == ExamState.WAITING)
        .values(
            state=ExamState.UNVERIFIED,
            reason=None,
            error_code=EXPIRED,
            error_message="nobody has linked the Clarius account that was named",
            due_at=None,
            updated_at=now(),
        )
        .returning(Exam.id, Exam.step)
        .cte("moved")
    )
    events = select(moved.c.id, moved.c.step, literal(EXPIRED))
    noted = insert(ExamEvent).from_select(["exam_id", "step", "event"], events).cte("noted")
    return (await session.execute(select(func.count()).select_from(moved).add_cte(noted))).scalar_one()


async def count_unsettled(session: AsyncSession, *, up_to: int) -> int:
    """Rows that wait for a link or for verification, counted no further than `up_to`."""
    some = (
        select(Exam.id)
        .where(
            Exam.verified_at.is_(None),
            Exam.state.in_(UNDER_WAY),
        )
        .limit(up_to)
    ).subquery()
    return (await session.execute(select(func.count()).select_from(some))).scalar_one()


async def wake_account(session: AsyncSession, account: str) -> None:
    """Exams that waited for this account are due now; those of other accounts stay as they are."""
    waiting = Exam.reason.in_((Reason.PAUSED, Reason.THROTTLED))
    organization_id = read_account(account).organization_id
    whose = (
        Exam.organization_id == organization_id
        if organization_id is not None
        else Exam.step.in_((Step.VERIFY, Step.FETCH, Step.DOWNLOAD, Step.REPORT))
    )
    paused = in_lock_order(Exam.state == ExamState.WAITING, waiting, whose)
    await session.execute(update(Exam).where(Exam.id.in_(paused)).values(due_at=now()))


def _of_customer(customer_hash: bytes, organization_id: UUID) -> ColumnElement[bool]:
    """Exams of a Clarius account that were filed for this organisation, or would be, and are not over."""
    return and_(
        Exam.customer_hash == customer_hash,
        Exam.organization_id == organization_id,
        Exam.state.in_(FOLLOWS_LINK),
    )


async def count_customer(session: AsyncSession, customer_hash: bytes, organization_id: UUID) -> int:
    """How many exams of this account are under way to the organisation."""
    counted = select(func.count()).select_from(Exam).where(_of_customer(customer_hash, organization_id))
    return (await session.execute(counted)).scalar_one()


async def count_customers(
    session: AsyncSession, hashes: Collection[bytes]
) -> Mapping[tuple[bytes, UUID], int]:
    """How many exams of these accounts are under way, by account and organisation; one of none is not in it."""
    counted = (
        select(Exam.customer_hash, Exam.organization_id, func.count())
        .where(
            Exam.customer_hash.in_(hashes),
            Exam.organization_id.is_not(None),
            Exam.state.in_(FOLLOWS_LINK),
        )
        .group_by(Exam.customer_hash, Exam.organization_id)
    )
    return {
        (customer, organization): count
        for customer, organization, count in await session.execute(counted)
        if customer is not None and organization is not None
    }


async def wake_customer(session: AsyncSession, customer_hash: bytes, organization_id: UUID) -> Sequence[Exam]:
    """The exams of this account that are under way to the organisation, locked, and due now if they wait.

    Their next step finds that their link is another one.
    """
    rows = await session.scalars(
        select(Exam).where(_of_customer(customer_hash, organization_id)).order_by(Exam.id).with_for_update()
    )
    exams = rows.all()
    for exam in exams:
        if exam.state == ExamState.WAITING and exam.reason != Reason.LINK:
            exam.due_at = await session.scalar(select(now()))
    return exams
