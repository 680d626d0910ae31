"""Queues exams that waited for a link; must not be asked for a customer without a confirmed link.

A clinician may link an account for which tens of thousands wait: they are queued by a few statements, each a
transaction of its own, so that nobody waits long for their locks and no row is brought here.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import and_, case, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.states import ExamState, LinkState, Reason, Step
from app.store.claims import Claim
from app.store.exam_waiting import queue_waiting
from app.store.exams import Exam, in_lock_order
from app.store.links import Link
from app.store.organizations import hold_organization

AT_ONCE = 5000
# arq reads only the first hundred due ids, and the sweep rings for whatever is due
RING_LIMIT = 100

Queued = Sequence[tuple[UUID, int]]


async def queue_linked(
    session: AsyncSession, *, customer_hash: bytes, organization_id: UUID, after: UUID | None = None
) -> Queued:
    """Queue the exams of this customer that wait for a link; ids and lease epochs, to ring once committed.

    At most `AT_ONCE`, those with the lowest ids beyond `after`: as many as that, and there may be more
    (`queue_rest`). A verified one belongs to the organisation from here on; a claim is checked with Clarius first.
    Idempotent: a queued exam does not wait for a link any more.
    """
    for_link = Exam.reason == Reason.LINK
    # one that waits for another look at somebody else's claim must not wait longer for that
    for_look = and_(Exam.step == Step.VERIFY, Exam.reason.in_((Reason.RETRY, Reason.SETTLING)))
    # two questions, each answered by an index: a million forged claims of other customers are not read for it
    verified = select(Exam.id).where(
        # all that the index needs to know: with the state itself another one looks as good, which has everybody's
        Exam.customer_hash == customer_hash,
        Exam.state != ExamState.DELIVERED,
        for_link,
    )
    claimed = (
        select(Exam.id)
        .join(Claim, Claim.exam_id == Exam.id)
        .where(Claim.customer_hash == customer_hash, Claim.ended_at.is_(None), or_(for_link, for_look))
    )
    waiting = in_lock_order(
        Exam.id.in_(verified.union(claimed)),
        Exam.state == ExamState.WAITING,
        or_(for_link, for_look),
        *([Exam.id > after] if after is not None else []),
    ).limit(AT_ONCE)
    owner = case((Exam.verified_at.is_not(None), organization_id), else_=Exam.organization_id)
    return await queue_waiting(session, waiting, event="linked", organization_id=owner)


async def queue_rest(
    sessions: async_sessionmaker[AsyncSession],
    *,
    customer_hash: bytes,
    organization_id: UUID,
    queued: Queued,
) -> int:
    """After a first `queue_linked` was committed: the others, each batch in a transaction of its own; how many.

    Ends early when the link was ended or moved meanwhile. Whoever dies here leaves the rest to the sweep.
    """
    more = 0
    while len(queued) == AT_ONCE:
        async with sessions.begin() as session:
            if not await _still_linked(session, customer_hash, organization_id):
                break
            queued = await queue_linked(
                session,
                customer_hash=customer_hash,
                organization_id=organization_id,
                after=queued[-1][0],
            )
        more += len(queued)
    return more


async def queue_stragglers(sessions: async_sessionmaker[AsyncSession], *, limit: int) -> int:
    """For the sweep: exams that were put to wait at the very moment their customer's link was confirmed; how many.

    Looks at no more than `limit` customers.
    """
    waits = and_(Exam.state == ExamState.WAITING, Exam.reason == Reason.LINK)
    # two questions, each answered by an index: a million forged claims of other customers are not read for it
    verified = exists().where(waits, Exam.customer_hash == Link.customer_hash)
    claimed = exists().where(
        Claim.customer_hash == Link.customer_hash, Claim.ended_at.is_(None), Claim.exam_id == Exam.id, waits
    )
    async with sessions() as session:
        rows = await session.execute(
            select(Link.customer_hash, Link.organization_id)
            .where(Link.state == LinkState.CONFIRMED, or_(verified, claimed))
            .limit(limit)
        )
    count = 0
    for customer_hash, organization_id in rows.all():
        async with sessions.begin() as session:
            if not await _still_linked(session, customer_hash, organization_id):
                continue
            queued = await queue_linked(session, customer_hash=customer_hash, organization_id=organization_id)
        count += len(queued) + await queue_rest(
            sessions, customer_hash=customer_hash, organization_id=organization_id, queued=queued
        )
    return count


async def _still_linked(session: AsyncSession, customer_hash: bytes, organization_id: UUID) -> bool:
    """Whether the link is confirmed; it and its organisation stay as they are until the commit."""
    await hold_organization(session, organization_id)
    confirmed_link = select(Link.id).where(
        Link.customer_hash == customer_hash,
        Link.organization_id == organization_id,
        Link.state == LinkState.CONFIRMED,
    )
    return (await session.scalars(confirmed_link.with_for_update(read=True))).one_or_none() is not None


async def resume_held(session: AsyncSession, *, customer_hash: bytes, organization_id: UUID) -> Queued:
    """Queue the exams that are held because their link had ended, now that the account is linked to the same
    organisation again; ids and lease epochs, to ring once committed.
    """
    held = in_lock_order(
        Exam.state == ExamState.REVIEW,
        Exam.reason == Reason.LINK,
        Exam.customer_hash == customer_hash,
        Exam.organization_id == organization_id,
    )
    return await queue_waiting(
        session, held, event="linked", was=ExamState.REVIEW, error_code=None, error_message=None
    )
