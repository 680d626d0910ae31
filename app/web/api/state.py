"""The bridge as a whole over the admin API: overview, audit trail, reconcile, gaps."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from app.inbox.gaps import GapItem, find_gaps
from app.inbox.reconcile import reconcile
from app.resources import Resources
from app.store.audit import audit, find_events
from app.store.cursors import read_cursor, write_cursor
from app.store.overview import Overview, read_overview
from app.store.upstreams import Upstream
from app.web.api.bodies import Page
from app.web.api.documents import problems
from app.web.api.paging import DEFAULT, Cursor, Limit, slice_page
from app.web.api.routing import ApiRoute, CallerDep
from app.web.dependencies import ResourcesDep

router = APIRouter(route_class=ApiRoute, tags=["bridge"])


class EventItem(BaseModel):
    """One act in the audit trail."""

    id: int = Field(examples=[4711])
    at: datetime
    actor: str = Field(examples=["user:admin@example.org"])
    action: str = Field(examples=["exam.retry"])
    subject: str | None = Field(examples=["7b0f3b0e-8a53-4c53-9d0e-3f1b9c1d2e4f"])
    result: str = Field(examples=["done"])
    detail: str | None = Field(examples=["was failed"])
    address: str | None = Field(examples=["192.0.2.7"])


class WorkerItem(BaseModel):
    """A worker process heard of within half a minute."""

    id: str = Field(examples=["host:4711:ab12cd34"])
    host: str = Field(examples=["host"])
    heartbeat_at: datetime


class AccountItem(BaseModel):
    """An account at an upstream that is not called just now."""

    account: str
    since: datetime | None
    why: str | None
    until: datetime | None


class AlertItem(BaseModel):
    """A condition that holds."""

    condition: str = Field(examples=["exams_stuck"])
    message: str = Field(examples=["exams have failed or need a person's decision"])
    since: datetime


class OverviewBody(BaseModel):
    """Where everything stands."""

    states: dict[str, int] = Field(
        examples=[{"queued": 0, "running": 1, "waiting": 3, "delivered": 1204, "failed": 1}]
    )
    waiting: dict[str, int] = Field(examples=[{"link": 3, "retry": 0}])
    oldest_due_seconds: float | None = Field(examples=[1.5])
    workers: list[WorkerItem]
    last_webhook_at: datetime | None = Field(examples=["2026-11-21T23:03:00Z"])
    last_reconcile_at: datetime | None = Field(examples=["2026-11-21T23:03:00Z"])
    gaps: int = Field(examples=[3])
    paused: list[AccountItem] = Field(examples=[[]])
    breakers: list[AccountItem] = Field(examples=[[]])
    throttled: list[AccountItem] = Field(examples=[[]])
    alerts: list[AlertItem]


class ReconcileResult(BaseModel):
    """What the poll API listed, and how much of it was new."""

    looked_at: int = Field(examples=[100])
    new: int = Field(examples=[2])


@router.get("/overview", responses=problems())
async def overview(resources: ResourcesDep, _: CallerDep) -> OverviewBody:
    """Where everything stands: counts by state, queue age, workers, accounts that are not called, alerts."""
    return await describe_overview(resources)


@router.get("/events", responses=problems())
async def events(
    resources: ResourcesDep,
    _: CallerDep,
    actor: Annotated[str | None, Query(max_length=300, description="Only acts of this actor.")] = None,
    action: Annotated[
        str | None, Query(max_length=100, description="Only this act, or all that begin with it and a dot.")
    ] = None,
    subject: Annotated[str | None, Query(max_length=300, description="Only acts on this row.")] = None,
    since: Annotated[AwareDatetime | None, Query(description="At or after this time (ISO 8601).")] = None,
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Page[EventItem]:
    """The audit trail, the newest first."""
    before = read_cursor(cursor, int) if cursor else None
    async with resources.sessions() as session:
        rows = await find_events(
            session,
            limit=limit + 1,
            before=before[0] if before else None,
            actor=actor,
            action=action,
            subject=subject,
            since=since,
        )
    page = rows[:limit]
    return Page(
        items=[EventItem.model_validate(row, from_attributes=True) for row in page],
        next_cursor=write_cursor(page[-1].id) if len(rows) > limit else None,
    )


@router.post("/reconcile", responses=problems(writes=True, upstream=True))
async def run_reconcile(resources: ResourcesDep, caller: CallerDep) -> ReconcileResult:
    """Read Clarius's poll API now and take in what is new; answers when it is done."""
    counts = await reconcile(resources)
    async with resources.sessions.begin() as session:
        await audit(
            session,
            by=caller.by,
            action="reconcile",
            detail=f"{counts['looked_at']} looked at, {counts['new']} new",
        )
    return ReconcileResult.model_validate(counts)


@router.get("/gaps", responses=problems(upstream=True))
async def gaps(
    resources: ResourcesDep, _: CallerDep, limit: Limit = DEFAULT, cursor: Cursor = None
) -> Page[GapItem]:
    """Exams that Clarius sent and Aurabox does not have, each with the reason."""
    rows = await find_gaps(resources)
    page, following = slice_page(rows, key=_gap_place, limit=limit, cursor=cursor)
    return Page(items=page, next_cursor=following)


def _gap_place(gap: GapItem) -> str:
    return f"{gap.submitted_at or ''}|{gap.request_uuid}"


async def describe_overview(resources: Resources) -> OverviewBody:
    """The overview in its public shape."""
    async with resources.sessions() as session:
        seen = await read_overview(session)
    return OverviewBody.model_validate(
        {
            "states": seen.states,
            "waiting": seen.waiting,
            "oldest_due_seconds": seen.oldest_due_seconds,
            "workers": [
                {"id": worker.id, "host": worker.host, "heartbeat_at": worker.heartbeat_at}
                for worker in seen.workers
            ],
            "last_webhook_at": seen.last_webhook_at,
            "last_reconcile_at": seen.last_reconcile_at,
            "gaps": seen.gaps,
            "paused": [
                _account(
                    seen,
                    account,
                    since=account.refused_since,
                    why=account.refused_why,
                    until=account.probe_at,
                )
                for account in seen.paused
            ],
            "breakers": [
                _account(
                    seen, account, since=account.open_since, why="most calls failed", until=account.open_until
                )
                for account in seen.breakers
            ],
            "throttled": [
                _account(seen, account, since=None, why="told to slow down", until=account.throttled_until)
                for account in seen.throttled
            ],
            "alerts": [
                {"condition": alert.condition, "message": alert.message, "since": alert.since}
                for alert in seen.alerts
            ],
        }
    )


def _account(seen: Overview, account: Upstream, **facts: Any) -> dict[str, Any]:
    return {"account": account.account, "name": seen.name_of(account.account)} | facts
