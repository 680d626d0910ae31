"""The command line, `sonobridge …`: one file per noun; what it does is done below, here it is asked for and shown.

A command's file is imported when the command is asked for: what all of them need together takes seconds to import.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import typer
import typer.core
import typer.main

import app as package
from app.cli.ending import guarded
from app.named import Named


@dataclass(frozen=True)
class Line:
    """A command, or a noun with its commands, in the help: where it is, and the first sentence of its own help."""

    target: Named[Any]
    help: str


COMMANDS = {
    "demo": Line(
        Named("app.cli.demo", "demo"),
        "Run the main job here and now: simulated Clarius and Aurabox, a real bridge with stores of its own.",
    ),
    "up": Line(
        Named("app.cli.services", "up"),
        "Run everything in one process tree: API, workers and the embedded stores; the schema is migrated first.",
    ),
    "serve": Line(
        Named("app.cli.services", "serve"),
        "Run the API: webhook, connect and sign-in pages, admin pages, admin API.",
    ),
    "worker": Line(
        Named("app.cli.worker", "worker"),
        "Run one worker: it takes exams through their steps.",
    ),
    "migrate": Line(
        Named("app.cli.services", "migrate_command"),
        "Bring the database to the schema of this version.",
    ),
    "doctor": Line(
        Named("app.cli.doctor", "doctor"),
        "Check configuration, stores, keys, both clouds and the workers.",
    ),
    "reconcile": Line(
        Named("app.cli.upkeep", "reconcile"),
        "Read Clarius's list of exams now and take in what no notification told us; returns when it is done.",
    ),
    "gaps": Line(
        Named("app.cli.upkeep", "gaps"),
        "Exams that Clarius sent and Aurabox does not have, each with the reason.",
    ),
    "check-dicom": Line(
        Named("app.cli.check_dicom", "check_dicom"),
        "Check DICOM files of any maker for what a viewer would stumble over, and ours for all that we send.",
    ),
    "purge": Line(
        Named("app.cli.upkeep", "purge"),
        "Delete captures, exam data and events whose time is over (SONOBRIDGE_…_RETENTION_…), as the workers do hourly.",
    ),
    "org": Line(
        Named("app.cli.orgs", "app"),
        "Organisations: whose exams go to which Aurabox team, and how.",
    ),
    "user": Line(
        Named("app.cli.users", "app"),
        "Users: clinicians who link their Clarius account, and admins.",
    ),
    "token": Line(
        Named("app.cli.tokens", "app"),
        "Tokens of the admin API.",
    ),
    "link": Line(
        Named("app.cli.links", "app"),
        "Links between Clarius accounts and organisations.",
    ),
    "exam": Line(
        Named("app.cli.exams", "app"),
        "Exams: where each stands, and putting it right.",
    ),
    "clarius": Line(
        Named("app.cli.clarius", "app"),
        "Clarius Cloud: URLs, records, tokens, keys, applications, reports.",
    ),
    "aurabox": Line(
        Named("app.cli.aurabox", "app"),
        "Aurabox: patients, cases and studies of an organisation's team.",
    ),
    "keys": Line(
        Named("app.cli.upkeep", "keys"),
        "Sealing keys: they encrypt secrets and exam data at rest.",
    ),
}
"""In the order of the help. `tests/cli/test_lines.py` compares each line with what the command says of itself."""


class Commands(typer.core.TyperGroup):
    """The commands of the table: their lines for help and completion, the command itself once it is the one meant."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, line in COMMANDS.items():
            self.add_command(typer.core.TyperCommand(name, help=line.help))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first of the arguments names, and the other arguments."""
        name, _, others = super().resolve_command(ctx, args)
        return name, None if name is None else loaded(name), others


def loaded(name: str) -> Any:
    """The command of that name in the table, imported."""
    target = COMMANDS[name].target.load()
    alone = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    if isinstance(target, typer.Typer):
        alone.add_typer(target, name=name)
    else:
        alone.command(name)(target)
    return typer.main.get_group(alone).commands[name]


cli = typer.Typer(
    name="sonobridge",
    cls=Commands,
    help="Carries handheld ultrasound exams from Clarius Cloud into Aurabox.",
    epilog="Settings come from the environment (README). Start with: sonobridge demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(show_version: bool) -> None:
    if show_version:
        typer.echo(package.__version__)
        raise typer.Exit


@cli.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Carries handheld ultrasound exams from Clarius Cloud into Aurabox."""


def main() -> None:
    """The console script."""
    guarded(cli)
