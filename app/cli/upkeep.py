"""`reconcile`, `gaps`, `purge`, `keys …`: what is otherwise done by the clock, and what is done once in a while."""

from typing import Annotated, Any

import typer

from app.cli.ending import FAILED
from app.cli.output import Json, progress_bar, show_json, show_one, show_table
from app.cli.running import by_user, run
from app.config.sealing import new_key
from app.inbox.gaps import find_gaps
from app.inbox.reconcile import reconcile as reconcile_now
from app.resources import Resources
from app.upkeep.key_rotation import rotate_keys
from app.upkeep.retention import Progress, Purged
from app.upkeep.retention import purge as purge_now
from app.upkeep.sign_in_traces import purge_accounts

keys = typer.Typer(no_args_is_help=True, help="Sealing keys: they encrypt secrets and exam data at rest.")


def reconcile(as_json: Json = False) -> None:
    """Read Clarius's list of exams now and take in what no notification told us; returns when it is done.

    Example: sonobridge reconcile --json
    """
    with progress_bar("Reading Clarius's list"):
        counts = run(reconcile_now)
    show_one(
        counts, as_json=as_json, line=f"Looked at {counts['looked_at']} exams; {counts['new']} were new."
    )


def gaps(as_json: Json = False) -> None:
    """Exams that Clarius sent and Aurabox does not have, each with the reason.

    Example: sonobridge gaps
    """
    with progress_bar("Comparing with Clarius"):
        gaps = [gap.model_dump() for gap in run(find_gaps)]
    if as_json:
        show_json(gaps)
        return
    columns = ("request_uuid", "organization", "submitted_at", "reason")
    show_table(
        columns,
        [[gap[column] for column in columns] for gap in gaps],
        nothing="There are no gaps: every exam that Clarius sent was delivered.",
    )


def purge(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    as_json: Json = False,
) -> None:
    """Delete captures, exam data and events whose time is over (SONOBRIDGE_…_RETENTION_…), as the workers do hourly.

    Captures in a local staging folder can only be deleted on the host that holds them.

    Example: sonobridge purge --dry-run
    """

    async def work(resources: Resources, progress: Progress) -> dict[str, Any]:
        purged: Purged = await purge_now(resources, by=by_user(), dry_run=dry_run, progress=progress)
        return purged.as_json() | ({} if dry_run else await purge_accounts(resources))

    with progress_bar("Deleting captures") as progress:
        done = run(lambda resources: work(resources, progress))
    summary = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in done.items() if number)
    word = "Would delete" if dry_run else "Deleted"
    show_one(done | {"dry_run": dry_run}, as_json=as_json, line=f"{word}: {summary or 'nothing'}.")


@keys.command("new")
def new(as_json: Json = False) -> None:
    """Print a new key for SONOBRIDGE_SECRET_KEYS. Nothing is stored: keep it well, and the same on every host.

    Example: sonobridge keys new
    """
    key = new_key().get_secret_value()
    show_one({"key": key}, as_json=as_json, line=key)


@keys.command("rotate")
def rotate(as_json: Json = False) -> None:
    """Seal everything anew with the newest key. Stopped half-way, it goes on where it was when run again.

    With SONOBRIDGE_SECRET_KEYS: put the new key first, restart everything, run this, then take the old keys out. With
    keys generated in the data folder: stop everything, run this; it makes the new key itself.

    Example: sonobridge keys rotate
    """
    with progress_bar("Sealing anew") as progress:
        done = run(lambda resources: rotate_keys(resources, by=by_user(), progress=progress))
    show_one(
        {"looked_at": done.looked_at, "resealed": done.resealed, "unreadable": done.unreadable},
        as_json=as_json,
        line=f"{done.resealed} of {done.looked_at} values sealed anew"
        + (f"; {done.unreadable} are opened by none of the keys." if done.unreadable else "."),
    )
    if done.unreadable:
        raise typer.Exit(FAILED)
