"""What the loop runs a row with, and what arq calls: the one job, which wakes the loop, and the tick. Never raises."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.delivery.runner import run_exam
from app.infrastructure.queue import JOB_NAME
from app.linking.runner import run_link
from app.observing.logs import bind_request_id
from app.resources import Resources
from app.upkeep.recurring import tick

log = structlog.get_logger(__name__)

RUNNERS: dict[str, Callable[[Resources, UUID], Awaitable[bool]]] = {"exam": run_exam, "link": run_link}


async def run_if_due(resources: Resources, kind: str, row_id: UUID) -> bool:
    """Work on one row if it is due and free.

    A kind that this version does not know is left for one that does.
    """
    runner = RUNNERS.get(kind)
    if runner is None:
        log.warning("unknown_kind", kind=kind)
        return False
    if kind == "exam" and not resources.staging.has_room():
        log.warning("disk_nearly_full", free_bytes=resources.staging.free_bytes())
        return False
    bind_request_id()
    structlog.contextvars.bind_contextvars(kind=kind, row_id=str(row_id), worker_id=resources.worker_id)
    try:
        return await runner(resources, row_id)
    except (SQLAlchemyError, OSError) as error:
        # the row is as it was; the sweep brings it back when the database is there again
        log.warning("row_not_worked_on", error_type=type(error).__name__)
        return False


async def run(ctx: dict[str, Any], _kind: str, _row_id: str) -> None:
    """What arq calls (`app.infrastructure.queue.JOB_NAME`): the loop looks at once for whatever is due."""
    ctx["wake"]()


async def run_tick(ctx: dict[str, Any]) -> None:
    """What arq's cron calls."""
    await tick(ctx["resources"])


if run.__name__ != JOB_NAME:
    raise RuntimeError(f"the job must be named {JOB_NAME}")
