"""Opens a process and hears when it is to stop: the one way for the API, the workers and every command.

Must not decide what a process does, nor how it ends.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.config.settings import Settings
from app.embedded import embedded_stores
from app.errors import Misuse
from app.infrastructure.database import pooler_problem
from app.resources import Resources, open_resources
from app.store.schema import WrongSchema, schema_problem

UNTIL_STDIN_CLOSES = "--until-stdin-closes"
"""With it a process also stops when the one that started it is gone."""


@asynccontextmanager
async def opened(settings: Settings, *, check: bool = True) -> AsyncIterator[Resources]:
    """Stores, embedded ones where none are named, and resources over them; `check`: see `check_database`.

    Raises EmbeddedError when the embedded stores do not start.
    """
    async with embedded_stores(settings) as stores:
        complete = settings.with_stores(database_url=stores.database_url, redis_url=stores.redis_url)
        async with open_resources(complete) as resources:
            if check:
                await check_database(resources)
            yield resources


async def check_database(resources: Resources) -> None:
    """Raise unless the database can be worked with: Misuse behind a pooler that mixes servers, WrongSchema."""
    problem = await pooler_problem(resources.settings)
    if problem is not None:
        raise Misuse(problem, code="pooler")
    async with resources.sessions() as session:
        problem = await schema_problem(session)
    if problem is not None:
        raise WrongSchema(problem)


def stop_on_signals(*, watch_stdin: bool = False) -> asyncio.Event:
    """An event that SIGTERM and SIGINT set, in place of their usual effect.

    `watch_stdin`: the end of standard input sets it too. Whoever started us holds the other end and never writes.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if watch_stdin:
        loop.add_reader(sys.stdin.fileno(), stopping.set)
    return stopping
