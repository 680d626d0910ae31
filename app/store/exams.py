"""Exam requests: one row per submission that Clarius told us of, with its state and its lease.

The order of locks: an organisation before its links, links before exams, and exams in the order of their ids
(`lock_exams`, `in_lock_order`). Whoever locks more than one row in a transaction keeps to it, so that no two wait for
each other. Rows that a transaction itself inserts are nobody's to wait for until the commit.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Select,
    Subquery,
    and_,
    case,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, aliased, mapped_column

from app.errors import Misuse
from app.states import STAGED_STEPS, ExamState, Reason, Step, may_move
from app.store.base import Base, Constant, Leased, clock, in_seconds, now
from app.store.captures import Capture
from app.store.claims import end_claims
from app.store.exam_events import ExamEvent, record_event
from app.store.organizations import Organization

EXPIRED = "expired"
"""Error code of a claim that waited too long for a link."""
# not over: what a link that moves takes along, leaves held, or cancels
UNDER_WAY = (ExamState.QUEUED, ExamState.RUNNING, ExamState.WAITING, ExamState.REVIEW)


# an exam whose worker died waits so long for a worker that runs nothing else
SUSPECT_PATIENCE_SECONDS = 60.0


class Exam(Leased, Base):
    """One exam request (`request_uuid`); two requests of one `exam_uuid` meet in one study."""

    __tablename__ = "exams"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    request_uuid: Mapped[UUID] = mapped_column(unique=True)
    exam_uuid: Mapped[UUID] = mapped_column(index=True)
    source: Mapped[str]
    state: Mapped[Constant] = mapped_column(default=ExamState.QUEUED)
    step: Mapped[Constant] = mapped_column(default=Step.VERIFY)
    reason: Mapped[Constant | None]
    # once verified: Clarius's own word on whose exam it is and where its data lies
    verified_at: Mapped[datetime | None]
    customer_hash: Mapped[bytes | None] = mapped_column(index=True)
    download_url: Mapped[str | None]
    # a person released it although Clarius does not list it; then the claim's URL is followed
    released_at: Mapped[datetime | None]
    organization_id: Mapped[UUID | None] = mapped_column(ForeignKey("organizations.id"), index=True)
    first_look_at: Mapped[datetime | None]
    exam_data_sealed: Mapped[bytes | None]
    exam_data_at: Mapped[datetime | None]
    # since when Clarius lists the exam and answers 404 when asked for its data
    data_missing_since: Mapped[datetime | None]
    subject_id: Mapped[UUID | None] = mapped_column(ForeignKey("subjects.id"))
    study_id: Mapped[UUID | None] = mapped_column(ForeignKey("studies.id"), index=True)
    # the number of its newest filing: how it is filed, and who said so
    filing: Mapped[int | None]
    # what a person who decides has to know: whom it contradicts, which matches there are
    question: Mapped[dict[str, Any] | None]
    # what the version before filings kept; read by it alone, and dropped in the release after this one
    identity_decision: Mapped[dict[str, Any] | None]
    # the host whose staging folder holds the bytes, when staging is a local folder
    staging_host: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    # workers that died holding the lease since the last step was finished
    deaths: Mapped[int] = mapped_column(default=0, server_default="0")
    # the retry budget's clock: seconds tried so far, and since when it has been running again (None: it stands)
    tried_seconds: Mapped[float] = mapped_column(Float, default=0.0, server_default="0")
    trying_since: Mapped[datetime | None]
    # what else is counted at this step, each by its own name: refusals, looks, give-backs …
    counts: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    error_code: Mapped[str | None]
    # our own words, with names of fields at most: lists, alerts and logs show it
    error_message: Mapped[str | None]
    # what the upstream said to that: it may name the patient, so it is sealed and goes with the exam data
    upstream_words_sealed: Mapped[bytes | None]
    # follows an exam from the webhook to the delivery through every log line
    trace: Mapped[str | None]
    submitted_at: Mapped[datetime | None]
    received_at: Mapped[datetime] = mapped_column(server_default=now())
    delivered_at: Mapped[datetime | None]
    # images that this submission handed to the image transport, and those of them that were counted there; None before
    sent_count: Mapped[int | None]
    seen_count: Mapped[int | None]
    report_state: Mapped[str | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=now(), onupdate=now())

    __table_args__ = (
        Index(
            "ix_exams_due",
            "due_at",
            postgresql_where=text("state IN ('queued', 'waiting', 'running', 'delivered')"),
        ),
        Index("ix_exams_leased", "lease_until", postgresql_where=text("lease_until IS NOT NULL")),
        Index("ix_exams_state", "state", "reason"),
        Index("ix_exams_received", "received_at", "id"),
        Index(
            "ix_exams_unsettled",
            "id",
            postgresql_where=text("verified_at IS NULL AND state IN ('queued','waiting','running')"),
        ),
    )

    def count(self, name: str) -> int:
        """One more of `name` at this step; how many it is now. Each name counts alone, and none outlives the step."""
        number = int(self.counts.get(name, 0)) + 1
        self.counts = {**self.counts, name: number}
        return number

    def start_clock(self, at: datetime) -> float:
        """The exam is being tried, and goes on being tried: seconds of the retry budget that are used up at `at`."""
        self.stop_clock(at)
        self.trying_since = at
        return self.tried_seconds

    def stop_clock(self, at: datetime) -> None:
        """From now on it waits for something that is no trying of its own; the budget is not used up meanwhile."""
        if self.trying_since is not None:
            self.tried_seconds += max((at - self.trying_since).total_seconds(), 0.0)
        self.trying_since = None

    def begin_anew(self) -> None:
        """A step is done, or a person said so: its troubles are forgotten, and nothing is counted yet."""
        self.attempts = self.deaths = 0
        self.counts = {}
        self.tried_seconds = 0.0
        self.trying_since = self.error_code = self.error_message = self.upstream_words_sealed = None


DUE = and_(
    Exam.due_at <= now(),
    or_(
        Exam.state.in_((ExamState.QUEUED, ExamState.WAITING)),
        # delivered, with its receipt still to be reported to Clarius
        and_(Exam.state == ExamState.DELIVERED, Exam.step == Step.REPORT),
    ),
)


class StaleMove(Misuse):
    """The exam is not in a state from which this move is allowed."""


async def move(
    session: AsyncSession,
    exam: Exam,
    to: ExamState,
    *,
    reason: str | None = None,
    event: str | None = None,
    detail: str | None = None,
) -> None:
    """Put `exam` into another state and append that to its history: the only place that does.

    Leaves the commit to the caller. Raises `StaleMove` when the table of moves forbids it.
    """
    if not may_move(exam.state, to):
        raise StaleMove(f"an exam that is {exam.state} can't become {to}")
    exam.state = to
    exam.reason = reason
    await record_event(session, exam.id, step=exam.step, event=event or str(to), detail=detail)


def in_lock_order(*which: ColumnElement[bool]) -> Select[UUID]:
    """The ids of these exams, locked one after the other in the order of ids: for `Exam.id.in_()` of an UPDATE."""
    return select(Exam.id).where(*which).order_by(Exam.id).with_for_update()


async def lock_exams(session: AsyncSession, ids: Collection[UUID]) -> Sequence[Exam]:
    """These exams as they are now, locked in the order of ids, and given in it."""
    wanted = select(Exam).where(Exam.id.in_(ids)).order_by(Exam.id).with_for_update()
    return (await session.scalars(wanted.execution_options(populate_existing=True))).all()


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
    told = select(moved.c.id, moved.c.step, literal(event))
    noted = insert(ExamEvent).from_select(["exam_id", "step", "event"], told).cte("noted")
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
    told = select(moved.c.id, moved.c.step, literal(EXPIRED))
    noted = insert(ExamEvent).from_select(["exam_id", "step", "event"], told).cte("noted")
    return (await session.execute(select(func.count()).select_from(moved).add_cte(noted))).scalar_one()


async def find_exam(session: AsyncSession, request_uuid: UUID, *, lock: bool = False) -> Exam | None:
    """By Clarius's request UUID; `lock` keeps others from changing it until the commit."""
    wanted = select(Exam).where(Exam.request_uuid == request_uuid)
    return (await session.scalars(wanted.with_for_update() if lock else wanted)).one_or_none()


async def count_unsettled(session: AsyncSession, *, up_to: int) -> int:
    """Rows that wait for a link or for verification, counted no further than `up_to`."""
    some = (
        select(Exam.id)
        .where(
            Exam.verified_at.is_(None),
            Exam.state.in_((ExamState.QUEUED, ExamState.WAITING, ExamState.RUNNING)),
        )
        .limit(up_to)
    ).subquery()
    return (await session.execute(select(func.count()).select_from(some))).scalar_one()


async def settle_verified(
    session: AsyncSession,
    exam: Exam,
    *,
    customer_hash: bytes,
    exam_uuid: UUID,
    download_url: str,
    submitted_at: datetime | None,
) -> None:
    """Clarius listed the request (C1): its word on customer, exam and URL counts, and every claim ends."""
    exam.verified_at = await clock(session)
    exam.customer_hash = customer_hash
    exam.exam_uuid = exam_uuid
    exam.download_url = download_url
    exam.submitted_at = submitted_at or exam.submitted_at
    await end_claims(session, [exam.id])
    await record_event(session, exam.id, step=Step.VERIFY, event="verified")


async def claim_exam(
    session: AsyncSession, exam_id: UUID, *, owner: str, host: str, seconds: float
) -> tuple[int, str] | None:
    """Take the lease on a due exam for `seconds`; its new epoch and its step, or None when it is not to be had.

    Not to be had: not due, leased, cancelled, at its organisation's limit, or its bytes lie on another host.
    """
    organization_id = await session.scalar(select(Exam.organization_id).where(Exam.id == exam_id))
    if organization_id is not None and not await has_room(session, organization_id, besides=exam_id):
        return None
    free = (
        select(Exam.id)
        .where(Exam.id == exam_id, _claimable(host), _safe_beside(owner))
        .with_for_update(skip_locked=True)
    )
    delivered = Exam.state == ExamState.DELIVERED
    taken = await session.execute(
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
        .returning(Exam.lease_epoch, Exam.step)
        .execution_options(synchronize_session=False)
    )
    row = taken.one_or_none()
    return (row.lease_epoch, row.step) if row is not None else None


async def has_room(session: AsyncSession, organization_id: UUID, *, besides: UUID) -> bool:
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
    session: AsyncSession, *, limit: int, late_by: float = 0.0, host: str | None = None
) -> Sequence[tuple[UUID, int]]:
    """Ids and epochs of due exams, organisations taking turns; of each the oldest, and now and then the newest.

    Of an organisation no more than it may still run, so that what can't be claimed hides nobody else's. `late_by`:
    due for at least so many seconds. `host`: only what a worker there can claim.
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
        .where(_claimable(host), Exam.due_at <= in_seconds(-late_by))
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


def _claimable(host: str | None) -> ColumnElement[bool]:
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
            .where(Exam.lease_until < now(), Exam.state.in_((ExamState.RUNNING, ExamState.DELIVERED)))
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    ).all()


async def wake_account(session: AsyncSession, account: str) -> None:
    """Exams that waited for this account are due now; those of other accounts stay as they are."""
    waiting = Exam.reason.in_((Reason.PAUSED, Reason.THROTTLED))
    organization = account.partition(":")[2]
    whose = (
        Exam.organization_id == UUID(organization)
        if organization
        else Exam.step.in_((Step.VERIFY, Step.FETCH, Step.DOWNLOAD, Step.REPORT))
    )
    paused = in_lock_order(Exam.state == ExamState.WAITING, waiting, whose)
    await session.execute(update(Exam).where(Exam.id.in_(paused)).values(due_at=now()))


def _of_customer(customer_hash: bytes, organization_id: UUID) -> ColumnElement[bool]:
    """Exams of a Clarius account that were filed for this organisation, or would be, and are not over."""
    return and_(
        Exam.customer_hash == customer_hash,
        Exam.organization_id == organization_id,
        Exam.state.in_(UNDER_WAY),
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
            Exam.state.in_(UNDER_WAY),
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
    found = await session.scalars(
        select(Exam).where(_of_customer(customer_hash, organization_id)).order_by(Exam.id).with_for_update()
    )
    exams = found.all()
    for exam in exams:
        if exam.state == ExamState.WAITING and exam.reason != Reason.LINK:
            exam.due_at = await session.scalar(select(now()))
    return exams


async def cancel(session: AsyncSession, exam: Exam) -> None:
    """Stop an exam for good, and fence a worker that has it just now: whatever it still writes hits nothing."""
    await move(session, exam, ExamState.CANCELLED)
    exam.due_at = None
    exam.lease_owner = exam.lease_until = None
    exam.lease_epoch += 1


async def staging_hosts(session: AsyncSession) -> Sequence[str]:
    """Hosts whose local staging folders hold bytes of exams under way."""
    hosts = await session.scalars(
        select(Exam.staging_host)
        .where(Exam.staging_host.is_not(None), Exam.state.in_((ExamState.QUEUED, ExamState.WAITING)))
        .distinct()
    )
    return [host for host in hosts if host]


async def forget_staging(session: AsyncSession, host: str) -> None:
    """Exams whose bytes lay on a host that is gone start again at download, those that need no bytes go on.

    Their captures count as not downloaded: a host that comes back, or had the exam before, may hold older files.
    """
    waiting = in_lock_order(Exam.staging_host == host, Exam.state.in_((ExamState.QUEUED, ExamState.WAITING)))
    staged = Exam.step.in_(STAGED_STEPS)
    moved = (
        update(Exam)
        .where(Exam.id.in_(waiting))
        .values(
            step=case((staged, Step.DOWNLOAD), else_=Exam.step),
            due_at=case((staged, now()), else_=Exam.due_at),
            staging_host=None,
        )
        .returning(Exam.id, Exam.step)
        .cte("moved")
    )
    again = select(moved.c.id).where(moved.c.step == Step.DOWNLOAD.value)
    await session.execute(
        update(Capture)
        .where(Capture.exam_id.in_(again))
        .values(downloaded_at=None)
        .execution_options(synchronize_session=False)
    )
