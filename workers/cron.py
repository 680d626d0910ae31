"""Recurring work. Each kind notes its last run in the database, so that any number of callers do it once."""

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.config.sealing import CannotUnseal
from app.errors import SonobridgeError
from app.inbox.gaps import find_gaps_when_due
from app.inbox.reconcile import reconcile_when_due
from app.linking.comparing import DAY_SECONDS, compare_tokens
from app.resources import Resources
from app.store.runs import begin_run, end_run
from app.upkeep.leftovers import close_uploads_when_due, tidy_staging_when_due
from app.upkeep.retention import purge_when_due
from app.upkeep.sign_in_traces import purge_accounts
from app.upkeep.sweep import sweep
from app.upstreams.gate import probe_due_accounts
from workers.counters import keep_own_samples

log = structlog.get_logger(__name__)


async def sweep_when_due(resources: Resources) -> None:
    """One round of the sweep, if the last one is SONOBRIDGE_SWEEP_SECONDS old."""
    async with resources.sessions.begin() as session:
        if not await begin_run(session, "sweep", every=resources.settings.sweep_seconds):
            return
    result = await sweep(resources)
    async with resources.sessions.begin() as session:
        await end_run(session, "sweep", result=result)


async def compare_tokens_when_due(resources: Resources) -> None:
    """Clarius's confirmed tokens against our links, once a day."""
    await compare_tokens(resources, every=DAY_SECONDS)


async def purge_accounts_when_due(resources: Resources) -> None:
    """Sessions, one-time links and throttles whose time is over, once a day."""
    async with resources.sessions.begin() as session:
        if not await begin_run(session, "purge_accounts", every=DAY_SECONDS):
            return
    result = await purge_accounts(resources)
    async with resources.sessions.begin() as session:
        await end_run(session, "purge_accounts", result=result)


RECURRING: tuple[Callable[[Resources], Awaitable[object]], ...] = (
    sweep_when_due,
    probe_due_accounts,
    reconcile_when_due,
    keep_own_samples,
    purge_when_due,
    purge_accounts_when_due,
    find_gaps_when_due,
    compare_tokens_when_due,
    close_uploads_when_due,
    tidy_staging_when_due,
)


async def tick(resources: Resources) -> None:
    """Do whatever recurring work is due. One kind's trouble does not keep the others from running."""
    for work in RECURRING:
        await attempt(work, resources)


async def attempt(work: Callable[[Resources], Awaitable[object]], resources: Resources) -> None:
    """Do one kind of recurring work; what goes wrong is logged, and tried again when it is due again."""
    try:
        await work(resources)
    except (SonobridgeError, CannotUnseal, SQLAlchemyError, OSError) as error:
        log.warning(
            "recurring_work_failed", job=getattr(work, "__name__", ""), error_type=type(error).__name__
        )


async def run_tick(ctx: dict[str, Any]) -> None:
    """What arq's cron calls."""
    await tick(ctx["resources"])
