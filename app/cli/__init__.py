"""The command line, `sonobridge …`: one file per noun; what it does is done below, here it is asked for and shown."""

from typing import Annotated

import typer

import app as package
from app.cli import aurabox, clarius, doctor, exams, links, orgs, services, tokens, upkeep, users
from app.cli.check_dicom import check_dicom
from app.cli.demo import demo
from app.cli.running import guarded

cli = typer.Typer(
    name="sonobridge",
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


cli.command("demo")(demo)
cli.command("up")(services.up)
cli.command("serve")(services.serve)
cli.command("worker")(services.worker)
cli.command("migrate")(services.migrate_command)
cli.command("doctor")(doctor.doctor)
cli.add_typer(orgs.app, name="org")
cli.add_typer(users.app, name="user")
cli.add_typer(tokens.app, name="token")
cli.add_typer(links.app, name="link")
cli.add_typer(exams.app, name="exam")
cli.command("reconcile")(upkeep.reconcile)
cli.command("gaps")(upkeep.gaps)
cli.add_typer(clarius.app, name="clarius")
cli.add_typer(aurabox.app, name="aurabox")
cli.command("check-dicom")(check_dicom)
cli.add_typer(upkeep.keys, name="keys")
cli.command("purge")(upkeep.purge)


def main() -> None:
    """The console script."""
    guarded(cli)
