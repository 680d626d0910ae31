"""Tells open admin pages that something moved (server-sent events); sends no data, only that there is news.

A stream ends by itself after a short while and the browser opens the next, so that a process that is to stop waits
for none of them, and a session that ended is noticed.
"""

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from app.resources import Resources
from app.store.alerts import Alert
from app.store.audit import AuditEvent
from app.store.exam_events import ExamEvent
from app.store.upstreams import Upstream
from app.web.admin.common import AdminDep
from app.web.dependencies import ResourcesDep

STREAM_SECONDS = 12.0
LOOK_SECONDS = 1.0
RETRY_MS = 1000

router = APIRouter(include_in_schema=False)


@router.get("/admin/live")
async def live(resources: ResourcesDep, _: AdminDep) -> StreamingResponse:
    """An event whenever what admin pages show may have changed."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(resources), media_type="text/event-stream", headers=headers)


async def _events(resources: Resources) -> AsyncIterator[str]:
    yield f"retry: {RETRY_MS}\n\n"
    until = time.monotonic() + STREAM_SECONDS
    before = await _fingerprint(resources)
    # what happened between two streams is told by the id, which the browser sends back
    yield f"id: {before}\nevent: state\ndata: {before}\n\n"
    while time.monotonic() < until:
        await asyncio.sleep(LOOK_SECONDS)
        now = await _fingerprint(resources)
        if now != before:
            before = now
            yield f"id: {now}\nevent: state\ndata: {now}\n\n"


async def _fingerprint(resources: Resources) -> str:
    """Changes with every line of any history."""
    try:
        async with resources.sessions() as session:
            row = (
                await session.execute(
                    select(
                        select(func.max(ExamEvent.id)).scalar_subquery(),
                        select(func.max(AuditEvent.id)).scalar_subquery(),
                        select(func.count())
                        .select_from(Alert)
                        .where(Alert.cleared_at.is_(None))
                        .scalar_subquery(),
                        select(func.count())
                        .select_from(Upstream)
                        .where(Upstream.refused_since.is_not(None) | Upstream.open_since.is_not(None))
                        .scalar_subquery(),
                    )
                )
            ).one()
    except (SQLAlchemyError, OSError):
        return "unknown"
    return "-".join(str(part or 0) for part in row)
