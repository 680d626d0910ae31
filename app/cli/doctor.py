"""`sonobridge doctor`: everything the bridge needs, one line each, with what to do about what is wrong."""

import asyncio

import typer

from app.cli.ending import FAILED
from app.cli.output import Json, show_json
from app.cli.running import database_errors_told, read_settings
from app.config.settings import Settings
from app.embedded import EmbeddedError
from app.errors import SettingsError
from app.opening import opened
from app.upkeep.doctor import Check, examine


def doctor(as_json: Json = False) -> None:
    """Check configuration, stores, keys, both clouds and the workers. Exit status 1 when something is wrong.

    Example: sonobridge doctor --json
    """
    try:
        with database_errors_told():
            checks = asyncio.run(_examined(read_settings()))
    except SettingsError as error:
        checks = [
            Check("configuration", ok=False, detail=line, remedy="Correct it.") for line in error.mistakes
        ]
    except EmbeddedError as error:
        checks = [Check("embedded stores", ok=False, detail=error.problem, remedy=error.remedy)]
    ok = all(check.ok for check in checks)
    if as_json:
        show_json({"ok": ok, "checks": [check.as_json() for check in checks]})
    else:
        for check in checks:
            typer.echo(check.line())
    if not ok:
        raise typer.Exit(FAILED)


async def _examined(settings: Settings) -> list[Check]:
    async with opened(settings, check=False) as resources:
        return await examine(resources)
