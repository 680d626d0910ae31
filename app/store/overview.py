"""Where everything stands, for ops: counts, queue age, workers, accounts, last runs; reads only, no patient data."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts import read_account
from app.states import UNREADABLE, ExamState, Reason
from app.store.alerts import Alert, alerts_in_force
from app.store.base import in_seconds, now
from app.store.claims import last_claim_at
from app.store.exam_leases import DUE
from app.store.exam_waiting import EXPIRED
from app.store.exams import Exam
from app.store.organizations import Organization
from app.store.runs import Run
from app.store.upstreams import Upstream
from app.store.workers import Worker, living_workers

HOURS = 24


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
    counts = (
        await session.execute(
            select(
                Exam.state, Exam.reason, func.count(), func.count().filter(Exam.error_code == EXPIRED)
            ).group_by(Exam.state, Exam.reason)
        )
    ).all()
    states = {str(state): 0 for state in ExamState}
    waiting = {str(reason): 0 for reason in Reason}
    expired = 0
    for state, reason, count, old in counts:
        expired += old if state == ExamState.UNVERIFIED else 0
        states[state] = states.get(state, 0) + count
        if state == ExamState.WAITING and reason is not None:
            waiting[reason] = waiting.get(reason, 0) + count
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
        expired=expired,
        due=due,
        oldest_due_seconds=float(oldest) if oldest is not None else None,
        workers=await living_workers(session),
        last_webhook_at=await last_claim_at(session),
        runs={run.name: run for run in await session.scalars(select(Run))},
        upstreams=(await session.scalars(select(Upstream).order_by(Upstream.account))).all(),
        alerts=await alerts_in_force(session),
        organizations={
            row.id: row.name for row in await session.execute(select(Organization.id, Organization.name))
        },
    )


async def hourly(session: AsyncSession) -> list[tuple[datetime, int, float]]:
    """Of each of the last 24 hours, oldest first: its start, exams delivered, median seconds from receipt to delivery.

    Hours in which nothing arrived are not listed.
    """
    hour = func.date_trunc("hour", Exam.delivered_at)
    seconds = func.extract("epoch", Exam.delivered_at - Exam.received_at)
    rows = await session.execute(
        select(hour, func.count(), func.percentile_cont(0.5).within_group(seconds))
        .where(Exam.delivered_at >= in_seconds(-HOURS * 3600), Exam.state == ExamState.DELIVERED)
        .group_by(hour)
        .order_by(hour)
    )
    return [(row[0], row[1], float(row[2] or 0.0)) for row in rows]
