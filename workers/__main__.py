"""Runs one worker process: `python -m workers`, which is what `sonobridge worker` and `sonobridge up` start."""

import asyncio
import sys

from app.config.settings import Settings, SettingsError, load_settings
from app.embedded import embedded_stores
from app.errors import SonobridgeError
from app.infrastructure.database import pooler_problem
from app.observing.logs import configure_logging
from app.resources import open_resources
from app.store.schema import schema_problem
from workers.main import run_worker, stop_on_signals

UNTIL_STDIN_CLOSES = "--until-stdin-closes"


def main(arguments: list[str]) -> int:
    """0 after SIGTERM or ^C, with what was running drained; 1 when it can't work; 2 for wrong settings."""
    try:
        settings = load_settings()
        configure_logging(settings.env, settings.log_level)
        asyncio.run(_run(settings, watch_stdin=UNTIL_STDIN_CLOSES in arguments))
    except SettingsError as error:
        return _say(2, *error.mistakes)
    except SonobridgeError as error:
        return _say(1, error.message)
    return 0


async def _run(settings: Settings, *, watch_stdin: bool) -> None:
    stopping = stop_on_signals()
    if watch_stdin:
        # whoever started us holds the other end and never writes: it becomes readable when he is gone
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stopping.set)
    async with embedded_stores(settings) as stores:
        wanted = settings.with_stores(database_url=stores.database_url, redis_url=stores.redis_url)
        async with open_resources(wanted) as resources:
            problem = await pooler_problem(wanted)
            if problem is not None:
                raise SonobridgeError(problem, code="pooler")
            async with resources.sessions() as session:
                problem = await schema_problem(session)
            if problem is not None:
                raise SonobridgeError(problem, code="wrong_schema")
            await run_worker(resources, stopping)


def _say(status: int, *lines: str) -> int:
    for line in lines:
        sys.stderr.write(f"sonobridge: {line}\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
