"""`sonobridge check-dicom`: says of DICOM files why Sonobridge would not send them; it changes nothing."""

from pathlib import Path
from typing import Annotated

import typer

from app.imaging.check import check_file


def check_dicom(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="DICOM files to look at.", exists=True, dir_okay=False, readable=True, show_default=False
        ),
    ],
) -> None:
    """Check DICOM files against the attributes that every object we send must have.

    Prints one line per finding, or "ok". Exit status 1 when something is wrong, 2 for misuse.
    """
    wrong = False
    for path in files:
        findings = check_file(path)
        wrong = wrong or bool(findings)
        for finding in findings:
            typer.echo(f"{path}: {finding.attribute} {finding.problem}")
        if not findings:
            typer.echo(f"{path}: ok")
    if wrong:
        raise typer.Exit(code=1)
