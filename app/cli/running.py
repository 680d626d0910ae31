"""Runs one command: opens what it works with, and turns how it ends into one readable line and an exit status.

0 done, 1 failed, 2 misuse (docs/architecture.md, "Exit statuses").
"""

import asyncio
import os
import pwd
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

import typer
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.config.settings import Settings, SettingsError, load_settings
from app.errors import Misuse, SonobridgeError, UpstreamError
from app.observing.logs import configure_logging
from app.opening import opened
from app.resources import Resources
from app.store.audit import By

T = TypeVar("T")

FAILED = 1
MISUSE = 2
INTERRUPTED = 130
NAME = "sonobridge"


def read_settings(*, service: bool = False) -> Settings:
    """Settings from the environment, with logging set up by them.

    A command that ends by itself says what it did on its own; only a service (`service`) also logs what goes well.
    """
    settings = load_settings()
    quiet = not service and settings.log_level == "INFO"
    configure_logging(settings.env, "WARNING" if quiet else settings.log_level)
    return settings


def run(work: Callable[[Resources], Awaitable[T]]) -> T:
    """Do `work` with resources opened for it, and return what it returns."""

    async def whole() -> T:
        async with opened(read_settings()) as resources:
            return await work(resources)

    return asyncio.run(whole())


def by_user() -> By:
    """Who the audit trail names for a command: the operating system's user."""
    try:
        return By(f"cli:{pwd.getpwuid(os.geteuid()).pw_name}")
    except KeyError:
        return By(f"cli:{os.geteuid()}")


def guarded(app: typer.Typer) -> NoReturn:
    """Run the command line and exit with its status."""
    try:
        status = app(standalone_mode=False, prog_name=NAME)
    except SettingsError as error:
        status = _say(MISUSE, *error.mistakes)
    except Misuse as error:
        status = _say(MISUSE, error.message)
    except typer.TyperException as error:
        # a wrong value is described by pydantic, in whose words every one is a "Value error"
        status = _say(MISUSE, error.format_message().replace("Value error, ", ""))
    except typer.Abort:
        status = INTERRUPTED
    except KeyboardInterrupt:
        status = INTERRUPTED
    except SonobridgeError as error:
        status = _say(FAILED, _error_line(error))
    except (SQLAlchemyError, OSError) as error:
        status = _say(FAILED, _trouble(error))
    sys.exit(status if isinstance(status, int) else 0)


def _error_line(error: SonobridgeError) -> str:
    """The error's line, with what the upstream said to the person's own call, and how long to wait."""
    text = error.message
    if isinstance(error, UpstreamError):
        text += f": {error.words}" if error.words else ""
        if error.retry_after is not None:
            text += f" (try again in {error.retry_after:.0f} s)"
    return text


def _trouble(error: SQLAlchemyError | OSError) -> str:
    """What went wrong with the database or this host; a statement or its values are never in it."""
    if isinstance(error, DBAPIError):
        cause = str(error.orig).partition(": ")[2] or str(error.orig)
        return f"the database did not do it: {cause}"
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        return f"{error.strerror or type(error).__name__}{where}"
    return f"the database did not do it: {type(error).__name__}"


def _say(status: int, *lines: str) -> int:
    for line in lines:
        typer.echo(f"{NAME}: {' '.join(line.split())}", err=True)
    return status
