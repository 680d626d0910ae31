"""Lets exams go on that waited for a link; must not be asked for a customer without a confirmed link."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import and_, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.states import ExamState, LinkState, Reason, Step
from app.store.base import clock
from app.store.claims import Claim
from app.store.exams import Exam, move
from app.store.links import Link


async def release_customer(
    session: AsyncSession, *, customer_hash: bytes, organization_id: UUID
) -> Sequence[tuple[UUID, int]]:
    """Queue every exam of this customer that waits for a link; ids and lease epochs, to ring once committed.

    A verified one belongs to the organisation from here on; a claim is checked with Clarius first. Nothing is
    released twice: a released exam does not wait for a link any more.
    """
    claimed = exists().where(
        Claim.exam_id == Exam.id, Claim.customer_hash == customer_hash, Claim.ended_at.is_(None)
    )
    # one that waits for another look at somebody else's claim must not wait longer for that
    looked_at = and_(Exam.step == Step.VERIFY, Exam.reason.in_((Reason.RETRY, Reason.SETTLING)), claimed)
    waiting = await session.scalars(
        select(Exam)
        .where(
            Exam.state == ExamState.WAITING,
            or_(
                and_(Exam.reason == Reason.LINK, or_(Exam.customer_hash == customer_hash, claimed)), looked_at
            ),
        )
        .order_by(Exam.id)
        .with_for_update()
    )
    at = await clock(session)
    released = []
    for exam in waiting:
        if exam.verified_at is not None:
            exam.organization_id = organization_id
        exam.due_at = at
        await move(session, exam, ExamState.QUEUED, event="linked")
        released.append((exam.id, exam.lease_epoch))
    return released


async def release_stragglers(session: AsyncSession, *, limit: int) -> Sequence[tuple[UUID, int]]:
    """For the sweep: exams that were put to wait at the very moment their customer's link was confirmed.

    Looks at no more than `limit` customers.
    """
    waits = and_(Exam.state == ExamState.WAITING, Exam.reason == Reason.LINK)
    # two questions, each answered by an index: a million forged claims of other customers are not read for it
    verified = exists().where(waits, Exam.customer_hash == Link.customer_hash)
    claimed = exists().where(
        Claim.customer_hash == Link.customer_hash, Claim.ended_at.is_(None), Claim.exam_id == Exam.id, waits
    )
    rows = await session.execute(
        select(Link.customer_hash, Link.organization_id)
        .where(Link.state == LinkState.CONFIRMED, or_(verified, claimed))
        .limit(limit)
    )
    released: list[tuple[UUID, int]] = []
    for row in rows.all():
        released += await release_customer(
            session, customer_hash=row.customer_hash, organization_id=row.organization_id
        )
    return released
