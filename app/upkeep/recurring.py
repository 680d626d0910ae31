"""The list of recurring work. Each kind notes its last run in the database, so that any number of callers do it once."""

from collections.abc import Awaitable, Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.config.sealing import CannotUnseal
from app.errors import SonobridgeError
from app.inbox.gaps import find_gaps_when_due
from app.inbox.reconcile import reconcile_when_due
from app.linking.comparing import compare_tokens_when_due
from app.resources import Resources
from app.upkeep.alerts import watch_when_due
from app.upkeep.counters import keep_own_samples
from app.upkeep.leftovers import close_uploads_when_due, tidy_staging_when_due
from app.upkeep.retention import purge_when_due
from app.upkeep.sign_in_traces import purge_accounts_when_due
from app.upkeep.sweep import sweep_when_due
from app.upstreams.gate import probe_due_accounts

log = structlog.get_logger(__name__)

Work = Callable[[Resources], Awaitable[object]]

RECURRING: tuple[Work, ...] = (
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
"""What `tick` does, in this order; some of it each worker or host does for itself."""


async def tick(resources: Resources) -> None:
    """Do whatever recurring work is due. One kind's trouble does not keep the others from running."""
    for work in RECURRING:
        await _attempt(work, resources)


async def watch(resources: Resources) -> None:
    """Look for what people have to be told, and tell it, if it is due.

    Apart from the other recurring work: whoever is told may be slow, and that must hold up nothing.
    """
    await _attempt(watch_when_due, resources)


async def _attempt(work: Work, resources: Resources) -> None:
    """Do one kind of recurring work; what goes wrong is logged, and tried again when it is due again."""
    try:
        await work(resources)
    except (SonobridgeError, CannotUnseal, SQLAlchemyError, OSError) as error:
        log.warning(
            "recurring_work_failed", job=getattr(work, "__name__", ""), error_type=type(error).__name__
        )
