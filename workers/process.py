"""One worker process, from its settings to its exit status; what it does meanwhile is `workers.main`."""

import sys

import uvloop

from app.config.settings import Settings, load_settings
from app.errors import SettingsError, SonobridgeError
from app.observing.logs import configure_logging
from app.opening import UNTIL_STDIN_CLOSES, opened, stop_on_signals
from workers.main import run_worker


def main(arguments: list[str]) -> int:
    """0 after SIGTERM or ^C, with what was running drained; 1 when it can't work; 2 for wrong settings."""
    try:
        settings = load_settings()
        configure_logging(settings.env, settings.log_level)
        uvloop.run(_run(settings, watch_stdin=UNTIL_STDIN_CLOSES in arguments))
    except SettingsError as error:
        return _say(2, *error.mistakes)
    except SonobridgeError as error:
        return _say(1, error.message)
    return 0


async def _run(settings: Settings, *, watch_stdin: bool) -> None:
    stopping = stop_on_signals(watch_stdin=watch_stdin)
    async with opened(settings) as resources:
        await run_worker(resources, stopping)


def _say(status: int, *lines: str) -> int:
    for line in lines:
        sys.stderr.write(f"sonobridge: {line}\n")
    return status
