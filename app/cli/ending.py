"""Turns how a command ends into one readable line and an exit status; must not import what only some commands need.

0 done, 1 failed, 2 misuse (docs/architecture.md, "Exit statuses").
"""

import sys
from typing import NoReturn

import typer

from app.errors import Misuse, SettingsError, SonobridgeError, UpstreamError

FAILED = 1
MISUSE = 2
INTERRUPTED = 130
NAME = "sonobridge"


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
        status = _say(FAILED, _told(error))
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        status = _say(FAILED, f"{error.strerror or type(error).__name__}{where}")
    sys.exit(status if isinstance(status, int) else 0)


def _told(error: SonobridgeError) -> str:
    """The error's line, with what the upstream said to the person's own call, and how long to wait."""
    text = error.message
    if isinstance(error, UpstreamError):
        text += f": {error.words}" if error.words else ""
        if error.retry_after is not None:
            text += f" (try again in {error.retry_after:.0f} s)"
    return text


def _say(status: int, *lines: str) -> int:
    for line in lines:
        typer.echo(f"{NAME}: {' '.join(line.split())}", err=True)
    return status
