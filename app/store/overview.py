"""Where everything stands, for ops: counts, queue age, workers, accounts, last runs; reads only, no patient data."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, bindparam, func, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts import read_account
from app.states import UNREADABLE, ExamState, Reason
from app.store.alerts import Alert, alerts_in_force
from app.store.base import now
from app.store.claims import last_claim_at
from app.store.exam_leases import DUE
from app.store.exam_waiting import EXPIRED
from app.store.exams import Exam
from app.store.organizations import Organization
from app.store.runs import DAY_SECONDS, Run, begin_run, end_run
from app.store.upstreams import Upstream
from app.store.workers import Worker, living_workers

HOURS = 24
DELIVERED = "delivered"
# what is older than this is committed, and in the count
UNCOMMITTED_SECONDS = 3600


@dataclass(frozen=True)
class Overview:
    """One look; `runs` are the rows of recurring work by name."""

    at: datetime
    states: dict[str, int]
    waiting: dict[str, int]
    # of the unverified ones: nobody is to do anything about them
    expired: int
    due: int
    oldest_due_seconds: float | None
    workers: Sequence[Worker]
    last_webhook_at: datetime | None
    runs: dict[str, Run]
    upstreams: Sequence[Upstream]
    alerts: Sequence[Alert]
    organizations: dict[UUID, str]
    # exams that wait because no sealing key opens what they need
    unreadable: int = 0

    @property
    def paused(self) -> list[Upstream]:
        """Accounts whose credentials were refused."""
        return [account for account in self.upstreams if account.refused_since is not None]

    @property
    def breakers(self) -> list[Upstream]:
        """Accounts that are broken off because most calls failed."""
        return [account for account in self.upstreams if account.open_since is not None]

    @property
    def throttled(self) -> list[Upstream]:
        """Accounts that were told to slow down, and still have to."""
        return [
            account
            for account in self.upstreams
            if account.throttled_until is not None and account.throttled_until > self.at
        ]

    @property
    def last_reconcile_at(self) -> datetime | None:
        """When the poll API was last read to the end."""
        run = self.runs.get("reconcile")
        return run.finished_at if run is not None else None

    @property
    def gaps(self) -> int:
        """How many exams the last look for gaps found missing in Aurabox."""
        run = self.runs.get("gaps")
        count = (run.result or {}).get("gaps", 0) if run is not None else 0
        return count if isinstance(count, int) else len(count)

    def name_of(self, account: str) -> str:
        """An account in words: `aurabox · Harbour Clinic`."""
        kind, organization_id = read_account(account)
        if organization_id is None:
            return kind
        return f"{kind} · {self.organizations.get(organization_id, str(organization_id))}"


async def read_overview(session: AsyncSession) -> Overview:
    """Read it all in one transaction."""
    runs = {run.name: run for run in await session.scalars(select(Run))}
    counts = (
        await session.execute(
            select(Exam.state, Exam.reason, func.count())
            .where(Exam.state != ExamState.DELIVERED)
            .group_by(Exam.state, Exam.reason)
        )
    ).all()
    states = {str(state): 0 for state in ExamState}
    waiting = {str(reason): 0 for reason in Reason}
    states[ExamState.DELIVERED] = await _delivered(session, runs.get(DELIVERED))
    for state, reason, count in counts:
        states[state] = states.get(state, 0) + count
        if state == ExamState.WAITING and reason is not None:
            waiting[reason] = waiting.get(reason, 0) + count
    expired = select(func.count()).where(Exam.state == ExamState.UNVERIFIED, Exam.error_code == EXPIRED)
    free = and_(DUE, or_(Exam.lease_until.is_(None), Exam.lease_until < now()))
    waits = func.extract("epoch", now() - func.min(Exam.due_at))
    queue = (await session.execute(select(func.count(), waits, now()).where(free))).one()
    due, at = queue[0], queue[2]
    # none is due: no age
    oldest: float | None = queue[1]
    unreadable = select(func.count()).where(
        Exam.state == ExamState.WAITING, Exam.reason == Reason.PAUSED, Exam.error_code.startswith(UNREADABLE)
    )
    return Overview(
        at=at,
        unreadable=(await session.execute(unreadable)).scalar_one(),
        states=states,
        waiting=waiting,
        expired=(await session.execute(expired)).scalar_one(),
        due=due,
        oldest_due_seconds=float(oldest) if oldest is not None else None,
        workers=await living_workers(session),
        last_webhook_at=await last_claim_at(session),
        runs=runs,
        upstreams=(await session.scalars(select(Upstream).order_by(Upstream.account))).all(),
        alerts=await alerts_in_force(session),
        organizations={
            row.id: row.name for row in await session.execute(select(Organization.id, Organization.name))
        },
    )


async def note_delivered(session: AsyncSession, seen: Overview) -> None:
    """Once a day, count the delivered anew and leave the number in `runs`; whoever looks adds those that came since.

    A delivered exam stays so: whoever counts all of them each time reads years of history.
    """
    run = seen.runs.get(DELIVERED)
    if (
        run is not None
        and run.started_at is not None
        and (seen.at - run.started_at).total_seconds() < DAY_SECONDS
    ):
        return
    if not await begin_run(session, DELIVERED, every=DAY_SECONDS):
        return
    until = seen.at - timedelta(seconds=UNCOMMITTED_SECONDS)
    counted = select(func.count()).where(
        Exam.state == ExamState.DELIVERED, or_(Exam.delivered_at.is_(None), Exam.delivered_at < until)
    )
    count = (await session.execute(counted)).scalar_one()
    await end_run(session, DELIVERED, result={"count": count, "until": until.isoformat()})


async def _delivered(session: AsyncSession, counted: Run | None) -> int:
    """How many exams are delivered: as many as were counted, and those since then."""
    tally = counted.result if counted is not None else None
    statement = select(func.count()).where(Exam.state == ExamState.DELIVERED)
    if tally is None:
        return (await session.execute(statement)).scalar_one()
    # it stands in the SQL itself: a plan for all values would not know that hardly any are so young
    until = bindparam(
        None, datetime.fromisoformat(tally["until"]), Exam.delivered_at.type, literal_execute=True
    )
    since = (await session.execute(statement.where(Exam.delivered_at >= until))).scalar_one()
    return int(tally["count"]) + since


async def hourly(session: AsyncSession) -> list[tuple[datetime, int, float]]:
    """Of each of the last 24 hours, oldest first: its start, exams delivered, median seconds from receipt to delivery.

    Hours in which nothing arrived are not listed.
    """
    hour = func.date_trunc("hour", Exam.delivered_at)
    seconds = func.extract("epoch", Exam.delivered_at - Exam.received_at)
    rows = await session.execute(
        select(hour, func.count(), func.percentile_cont(0.5).within_group(seconds))
        .where(
            Exam.delivered_at >= func.now() - literal_column(f"interval '{HOURS} hours'"),
            Exam.state == ExamState.DELIVERED,
        )
        .group_by(hour)
        .order_by(hour)
    )
    return [(row[0], row[1], float(row[2] or 0.0)) for row in rows]
