"""Says whether the process lives and whether it can work; each thing that it needs is named."""

import asyncio

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.resources import Resources, schema_revision
from app.store.workers import living_workers
from app.web.dependencies import ResourcesDep
from app.web.gauges import render_metrics

LOOK_SECONDS = 2.0

router = APIRouter()


@router.get("/healthz", include_in_schema=False)
async def healthz() -> JSONResponse:
    """Alive: the event loop answers."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", include_in_schema=False)
async def readyz(resources: ResourcesDep) -> JSONResponse:
    """Can work: 200 when all that work needs is there, else 503.

    Redis is named, but its absence only slows work down: a process must not be taken out of service for it, and
    lose webhooks that it could have taken.
    """
    checks = await _checks(resources)
    ready = all(holds for name, holds in checks.items() if name != "redis")
    status = "not ready" if not ready else "ok" if checks["redis"] else "slow"
    return JSONResponse({"status": status, "checks": checks}, status_code=200 if ready else 503)


async def _checks(resources: Resources) -> dict[str, bool]:
    database = schema = worker = False
    try:
        async with asyncio.timeout(LOOK_SECONDS), resources.sessions() as session:
            schema = await schema_revision(session) is not None
            # one that takes no writes (a standby) takes no notification either
            database = await session.scalar(text("SHOW transaction_read_only")) == "off"
            worker = schema and bool(await living_workers(session))
    except (SQLAlchemyError, OSError, TimeoutError):
        database = False
    return {
        "database": database,
        "schema": schema,
        "redis": await resources.queue.alive(),
        "worker": worker,
        "disk": resources.staging.has_room(),
    }


@router.get("/metrics", include_in_schema=False)
async def metrics(resources: ResourcesDep) -> Response:
    """Prometheus text."""
    return Response(await render_metrics(resources), media_type=CONTENT_TYPE_LATEST)
