"""`sonobridge check-dicom`: says of DICOM files what a viewer would stumble over; it changes nothing.

It is the check that the convert step relies on: what it finds here would not be sent.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.ending import FAILED
from app.cli.output import Json, show_json
from app.named import Named

# pydicom, PyAV and Pillow come with it
CHECKED_FILES: Named[Any] = Named("app.cli.dicom_files", "checked_files")


def check_dicom(
    paths: Annotated[
        list[Path],
        typer.Argument(help="DICOM files to look at, or folders of them.", exists=True, show_default=False),
    ],
    as_json: Json = False,
) -> None:
    """Check DICOM files of any maker for what a viewer would stumble over, and ours for all that we send.

    Prints one line per finding, or "ok". In folders, files that are no DICOM are passed over.
    Exit status 1 when something is wrong, 2 for misuse (no file at all).

    Example: sonobridge check-dicom --json exports/
    """
    checked = CHECKED_FILES(paths)
    if not checked:
        raise typer.BadParameter("there is no file in it", param_hint="PATHS")
    wrong = any(file.findings for file in checked)
    if as_json:
        show_json({"ok": not wrong, "files": [file.as_json() for file in checked]})
    else:
        for file in checked:
            for line in file.lines():
                typer.echo(line)
    if wrong:
        raise typer.Exit(FAILED)
