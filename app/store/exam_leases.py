"""Which exams are due, in which turn, and taking the lease on one (docs/architecture.md, "Leases")."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Subquery,
    Uuid,
    and_,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlalchemy.sql.dml import ReturningUpdate

from app.states import LEASABLE, LEASED, ExamState, Step
from app.store.base import in_seconds, now
from app.store.exams import Exam
from app.store.organizations import Organization

# an exam whose worker died waits so long for a worker that runs nothing else
SUSPECT_PATIENCE_SECONDS = 60.0

DUE = and_(
    Exam.due_at <= now(),
    or_(
        Exam.state.in_(LEASABLE),
        # delivered, with its receipt still to be reported to Clarius
        and_(Exam.state == ExamState.DELIVERED, Exam.step == Step.REPORT),
    ),
)


@dataclass(frozen=True)
class Lease:
    """An exam that is ours under this epoch, at this step. `trace` follows it from the webhook through the logs."""

    epoch: int
    step: str
    trace: str | None


async def lease_exam(
    session: AsyncSession, exam_id: UUID, *, owner: str, host: str, seconds: float
) -> Lease | None:
    """Take the lease on a due exam for `seconds`, or None when it is not to be had.

    Not to be had: not due, leased, cancelled, at its organisation's limit, or its bytes lie on another host.
    """
    organization_id = await session.scalar(select(Exam.organization_id).where(Exam.id == exam_id))
    if organization_id is not None and not await has_room(session, organization_id, besides=exam_id):
        return None
    return await _lease(session, exam_id, _leasing(owner, host, seconds))


async def lease_nobodys(
    session: AsyncSession, exam_id: UUID, *, owner: str, host: str, seconds: float
) -> Lease | None:
    """The same for an exam of which nobody knows yet whose it is: no limit counts, and one statement is enough."""
    return await _lease(session, exam_id, _leasing(owner, host, seconds, nobodys=True))


async def _lease(
    session: AsyncSession, exam_id: UUID, statement: ReturningUpdate[int, str, str | None]
) -> Lease | None:
    row = (await session.execute(statement, {"exam_id": exam_id})).one_or_none()
    return Lease(*row) if row is not None else None


@lru_cache(maxsize=8)
def _leasing(
    owner: str, host: str, seconds: float, *, nobodys: bool = False
) -> ReturningUpdate[int, str, str | None]:
    """The statement of one worker; built once, for that takes longer than to send it."""
    which = Exam.id == bindparam("exam_id", type_=Uuid())
    free = (
        select(Exam.id)
        .where(
            which,
            Exam.organization_id.is_(None) if nobodys else true(),
            _leasable(host),
            _safe_beside(owner),
        )
        .with_for_update(skip_locked=True)
    )
    delivered = Exam.state == ExamState.DELIVERED
    return (
        update(Exam)
        .where(Exam.id.in_(free))
        .values(
            state=case((delivered, Exam.state), else_=ExamState.RUNNING),
            reason=case((delivered, Exam.reason), else_=None),
            lease_owner=owner,
            lease_until=in_seconds(seconds),
            # counted where it is written, so that no two turns ever have the same
            lease_epoch=Exam.lease_epoch + 1,
            # due, and nobody had time for it: that was no trying
            trying_since=Exam.trying_since + (now() - Exam.due_at),
        )
        .returning(Exam.lease_epoch, Exam.step, Exam.trace)
        .execution_options(synchronize_session=False)
    )


async def has_room(session: AsyncSession, organization_id: UUID | None, *, besides: UUID) -> bool:
    """Whether an organisation may run one more than it runs `besides` that one.

    Locks the organisation's row to the end of the transaction, so that two who ask at once do not both get the last.
    """
    limit = await session.scalar(
        select(Organization.concurrency)
        .where(Organization.id == organization_id)
        .with_for_update(key_share=True)
    )
    running = select(func.count()).where(
        Exam.organization_id == organization_id, Exam.state == ExamState.RUNNING, Exam.id != besides
    )
    return (await session.execute(running)).scalar_one() < (limit or 0)


async def due_exams(
    session: AsyncSession, *, limit: int, host: str | None = None
) -> Sequence[tuple[UUID, int]]:
    """Ids and epochs of due exams, organisations taking turns; of each the oldest, and now and then the newest.

    Of an organisation no more than it may still run, so that what can't be claimed hides nobody else's. `host`: only
    what a worker there can claim.
    """
    ranked = (
        select(
            Exam.id,
            Exam.organization_id,
            Exam.lease_epoch,
            Exam.due_at,
            func.row_number().over(order_by=Exam.due_at, partition_by=Exam.organization_id).label("oldest"),
            func.row_number()
            .over(order_by=Exam.due_at.desc(), partition_by=Exam.organization_id)
            .label("newest"),
        )
        .where(_leasable(host))
        .subquery()
    )
    room = _rooms()
    turn = func.least(ranked.c.oldest, ranked.c.newest * 3)
    rows = await session.execute(
        select(ranked.c.id, ranked.c.lease_epoch)
        .outerjoin(room, room.c.id == ranked.c.organization_id)
        # as yet unverified exams are nobody's
        .where(or_(ranked.c.organization_id.is_(None), turn <= room.c.left))
        .order_by(turn, ranked.c.due_at)
        .limit(limit)
    )
    return [(row.id, row.lease_epoch) for row in rows]


def _leasable(host: str | None) -> ColumnElement[bool]:
    """Due, nobody's, and with its bytes on this host or on none (None: on whatever host)."""
    return and_(
        DUE,
        # a step that only newer code knows is left to workers that run it
        Exam.step.in_(tuple(Step)),
        or_(Exam.lease_until.is_(None), Exam.lease_until < now()),
        true() if host is None else or_(Exam.staging_host.is_(None), Exam.staging_host == host),
    )


def _safe_beside(owner: str) -> ColumnElement[bool]:
    """Whether a worker may take the exam beside what it runs: one whose worker died is suspected, and runs alone.

    So whatever ran beside a killer is cleared, or the killer found, by its next turn. A suspect that finds no idle
    worker for long takes its chances: it must not wait for ever.
    """
    other = aliased(Exam)
    runs = and_(other.lease_owner == owner, other.lease_until > now())
    nothing = ~exists().where(runs)
    no_suspect = ~exists().where(runs, other.deaths > 0)
    patient = Exam.due_at > in_seconds(-SUSPECT_PATIENCE_SECONDS)
    return and_(no_suspect, or_(Exam.deaths == 0, nothing, ~patient))


def _rooms() -> Subquery:
    """How many more exams each organisation may run (`id`, `left`)."""
    running = and_(Exam.organization_id == Organization.id, Exam.state == ExamState.RUNNING)
    return (
        select(Organization.id, (Organization.concurrency - func.count(Exam.id)).label("left"))
        .outerjoin(Exam, running)
        .group_by(Organization.id)
        .subquery()
    )


async def expired_leases(session: AsyncSession, *, limit: int) -> Sequence[Exam]:
    """Exams whose worker did not come back, locked for the sweep."""
    return (
        await session.scalars(
            select(Exam)
            .where(Exam.lease_until < now(), Exam.state.in_(LEASED))
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    ).all()
