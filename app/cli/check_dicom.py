"""`sonobridge check-dicom`: says of DICOM files what a viewer would stumble over; it changes nothing.

It is the check that the convert step relies on: what it finds here would not be sent.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.output import Json, show_json
from app.cli.running import FAILED
from app.imaging.bundles import lies_beside
from app.imaging.check import check_file
from app.imaging.errors import CaptureProblem
from app.imaging.sniff import sniff
from app.imaging.source_pixels import is_directory
from app.imaging.viewer import Finding


@dataclass(frozen=True)
class _Checked:
    """What was found of one file; `passed_over` when it lies in a folder and is no DICOM file."""

    path: Path
    findings: Sequence[Finding] = ()
    passed_over: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            "file": str(self.path),
            "ok": not self.findings,
            "passed_over": self.passed_over,
            "findings": [
                {"attribute": finding.attribute, "problem": finding.problem} for finding in self.findings
            ],
        }

    def lines(self) -> Iterator[str]:
        if self.passed_over:
            yield f"{self.path}: passed over, no DICOM file"
        elif not self.findings:
            yield f"{self.path}: ok"
        for finding in self.findings:
            yield f"{self.path}: {finding.attribute} {finding.problem}"


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
    checked = [file for path in paths for file in (_folder(path) if path.is_dir() else [_file(path)])]
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


def _folder(path: Path) -> Iterator[_Checked]:
    """Every file below, in the order of their paths."""
    for place, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            file = Path(place) / name
            if not file.is_file():
                continue
            if _is_image_file(file):
                yield _file(file)
            elif not lies_beside(str(file.relative_to(path))):
                yield _Checked(file, passed_over=True)


def _is_image_file(path: Path) -> bool:
    try:
        return sniff(path) == "dicom" and not is_directory(path)
    except (CaptureProblem, OSError):
        # what cannot be read is said, and not passed over
        return True


def _file(path: Path) -> _Checked:
    try:
        return _Checked(path, check_file(path))
    except OSError as error:
        return _Checked(
            path, [Finding("file", f"cannot be read: {error.strerror or 'the disk does not give it'}")]
        )
