"""arq's settings: `arq workers.settings.WorkerSettings` runs a worker; `sonobridge worker` uses the same values.

Either way a worker is `opened(settings)` and `background(resources)` around arq's jobs: nothing differs but who makes
the `arq.Worker`. Why each value is what it is: docs/adr/0005-arq-behind-one-file.md. Nothing of arq's own retrying, results or aborting is used.
"""

from contextlib import AsyncExitStack
from typing import Any

from arq.cron import CronJob, cron
from arq.worker import Function, func

from app.config.settings import Settings, load_settings
from app.errors import SettingsError
from app.infrastructure.queue import JOB_NAME, QUEUE_NAME, connect, deserialize, serialize
from app.observing.logs import configure_logging
from app.opening import opened
from workers.jobs import run, run_tick
from workers.loop import background

# The tick is the longest: it reads Clarius's whole list, of any length.
JOB_SECONDS = 4 * 3600
# A ring is for what no notification of the database brought; the loop itself looks once a second.
POLL_DELAY_SECONDS = 2.0
# What arq runs itself is the tick, which may be in the middle of a list at SIGTERM.
DRAIN_SECONDS = 40
# arq reads so many due ids at most; more than are ever rung at once.
READ_LIMIT = 1000
# Every start counts for arq, deploys and crashes too; we count attempts ourselves.
NO_LIMIT = 1_000_000

FUNCTIONS: list[Function] = [func(run, name=JOB_NAME, timeout=JOB_SECONDS, max_tries=NO_LIMIT)]
CRON_JOBS: list[CronJob] = [
    cron(run_tick, name="tick", second={0, 15, 30, 45}, run_at_startup=True, unique=True)
]


def worker_options(settings: Settings) -> dict[str, Any]:
    """What an `arq.Worker` is made with, for these settings."""
    return {
        "functions": FUNCTIONS,
        "cron_jobs": CRON_JOBS,
        "redis_pool": connect(settings),
        "queue_name": QUEUE_NAME,
        "max_jobs": settings.worker_concurrency,
        "job_timeout": JOB_SECONDS,
        "keep_result": 0,
        "max_tries": NO_LIMIT,
        "poll_delay": POLL_DELAY_SECONDS,
        "queue_read_limit": READ_LIMIT,
        "job_completion_wait": DRAIN_SECONDS,
        "allow_abort_jobs": False,
        "log_results": False,
        "job_serializer": serialize,
        "job_deserializer": deserialize,
    }


async def open_worker(ctx: dict[str, Any]) -> None:
    """Open the resources and begin the background work, when arq itself is the process. Raises as `opened` does."""
    stack = ctx["stack"] = AsyncExitStack()
    settings: Settings = ctx["settings"]
    configure_logging(settings.env, settings.log_level)
    ctx["resources"] = await stack.enter_async_context(opened(settings))
    ctx["wake"] = await stack.enter_async_context(background(ctx["resources"]))


async def close_worker(ctx: dict[str, Any]) -> None:
    """Undo `open_worker`, in the opposite order."""
    await ctx["stack"].aclose()


def __getattr__(name: str) -> Any:
    """`WorkerSettings`, made when arq's command line asks for it, so that importing this file reads no environment."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    settings = load_settings()
    if not settings.redis_url:
        raise SettingsError(
            ["REDIS_URL: missing; `arq` needs a Redis that runs already (`sonobridge worker` does not)"]
        )
    return type(
        "WorkerSettings",
        (),
        worker_options(settings)
        | {"ctx": {"settings": settings}, "on_startup": open_worker, "on_shutdown": close_worker},
    )
