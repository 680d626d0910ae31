"""The overview page: what is stuck, how work flows, which accounts, workers and runs need a look."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.inbox.gaps import find_gaps
from app.inbox.reconcile import reconcile
from app.resources import Resources
from app.states import ExamState
from app.store.audit import By, audit
from app.store.overview import Overview, hourly, read_overview
from app.upstreams.gate import lift
from app.upstreams.probes import Standing, ask_account, can_be_asked
from app.web.admin.charts import Chart, bar_chart, hours
from app.web.admin.common import AdminDep, ByDep, admin_page, attempt, sentence, span
from app.web.browser import CheckedForm
from app.web.dependencies import ResourcesDep
from app.web.rendering import PageError, see_other

DONE = {
    "reconcile": "Clarius's list was read; what was new is on its way.",
    "account": "The account is tried again at once.",
}
SHOWN_STATES = (
    ExamState.QUEUED,
    ExamState.RUNNING,
    ExamState.WAITING,
    ExamState.REVIEW,
    ExamState.FAILED,
    ExamState.UNVERIFIED,
    ExamState.DELIVERED,
    ExamState.CANCELLED,
    ExamState.GONE,
)

router = APIRouter(include_in_schema=False)


@router.get("/admin")
async def overview(request: Request, resources: ResourcesDep, _: AdminDep, done: str = "") -> Response:
    """The page."""
    async with resources.sessions() as session:
        seen = await read_overview(session)
        delivered, waits = await _charts(session, seen.at)
    context: dict[str, Any] = {
        "seen": seen,
        "states": [(state, seen.states.get(state, 0)) for state in SHOWN_STATES],
        "delivered": delivered,
        "waits": waits,
        "health": _health(seen),
        "sentence": sentence,
        "age": lambda at: span((seen.at - at).total_seconds()) if at is not None else "never",
        "redis": await resources.queue.alive(),
        "done": DONE.get(done),
    }
    return admin_page(request, "overview.html", context, tab="overview")


@router.post("/admin/reconcile")
async def run_reconcile(resources: ResourcesDep, by: ByDep, _form: CheckedForm) -> Response:
    """Read Clarius's list now."""
    counts = await attempt(reconcile(resources), back="/admin")
    async with resources.sessions.begin() as session:
        await audit(session, by=by, action="reconcile", detail=f"{counts['new']} new")
    return see_other("/admin?done=reconcile")


@router.post("/admin/accounts/{account}/resume")
async def resume_account(resources: ResourcesDep, by: ByDep, _form: CheckedForm, account: str) -> Response:
    """Look whether an account's credentials work by now, and let it go on at once when nothing says otherwise."""
    await _resume(resources, account, by=by)
    return see_other("/admin?done=account")


async def _resume(resources: Resources, account: str, *, by: By) -> None:
    async with resources.sessions() as session:
        seen = await read_overview(session)
        if account not in {row.account for row in seen.upstreams}:
            raise PageError(
                404, "There is no such account", "It may work again already.", action=("Go back", "/admin")
            )
    if can_be_asked(account) and await ask_account(resources, account) is Standing.REFUSED:
        raise PageError(
            409,
            "The credentials are still refused",
            "Give new ones; the account goes on by itself as soon as they work.",
            action=("Go back", "/admin"),
        )
    async with resources.sessions.begin() as session:
        await lift(session, account)
        await audit(session, by=by, action="account.try", subject=account)


@router.get("/admin/gaps")
async def gaps(request: Request, resources: ResourcesDep, _: AdminDep) -> Response:
    """Exams that Clarius sent and Aurabox does not have, looked up now."""
    gaps = await attempt(find_gaps(resources), back="/admin")
    return admin_page(request, "gaps.html", {"gaps": gaps}, tab="overview")


async def _charts(session: AsyncSession, at: datetime) -> tuple[Chart, Chart]:
    rows = {start: (count, seconds) for start, count, seconds in await hourly(session)}
    starts = hours(at)
    counts = [rows.get(start, (0, 0.0))[0] for start in starts]
    waits = [rows.get(start, (0, 0.0))[1] for start in starts]
    total, slowest = sum(counts), max(waits, default=0.0)
    delivered = bar_chart(
        starts,
        [float(count) for count in counts],
        [f"{count} delivered" for count in counts],
        top=str(max(counts, default=0)),
        summary=f"{total} exam{'' if total == 1 else 's'} delivered in the last 24 hours.",
    )
    times = bar_chart(
        starts,
        waits,
        [
            f"{span(seconds)} from receipt to delivery (median)" if seconds else "nothing delivered"
            for seconds in waits
        ],
        top=span(slowest),
        summary=f"The slowest hour had a median of {span(slowest)} from receipt to delivery.",
    )
    return delivered, times


def _health(seen: Overview) -> list[dict[str, Any]]:
    """Each account at an upstream that was ever amiss, and how it stands; those in trouble first."""
    throttled = {account.account for account in seen.throttled}
    rows = []
    for account in seen.upstreams:
        if account.refused_since is not None:
            state, why = "Credentials refused", account.refused_why or ""
        elif account.open_since is not None:
            state, why = "Most calls fail", "It is tried with one call every now and then."
        elif account.account in throttled:
            state, why = "Told to slow down", "It goes on by itself."
        else:
            state, why = "Works", ""
        rows.append(
            {
                "account": account.account,
                "name": seen.name_of(account.account),
                "state": state,
                "ok": state == "Works",
                "why": why,
                "since": account.refused_since or account.open_since,
            }
        )
    return sorted(rows, key=lambda row: (row["ok"], row["name"]))
