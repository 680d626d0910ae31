"""What `sonobridge check-dicom` finds in files and folders; must not print."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.imaging.bundles import lies_beside
from app.imaging.check import check_file
from app.imaging.errors import CaptureProblem
from app.imaging.sniff import sniff
from app.imaging.source_pixels import is_directory
from app.imaging.viewer import Finding


@dataclass(frozen=True)
class Checked:
    """What was found of one file; `passed_over` when it lies in a folder and is no DICOM file."""

    path: Path
    findings: Sequence[Finding] = ()
    passed_over: bool = False

    def as_json(self) -> dict[str, Any]:
        """As `--json` shows it."""
        return {
            "file": str(self.path),
            "ok": not self.findings,
            "passed_over": self.passed_over,
            "findings": [
                {"attribute": finding.attribute, "problem": finding.problem} for finding in self.findings
            ],
        }

    def lines(self) -> Iterator[str]:
        """What is said of it, a line for each finding."""
        if self.passed_over:
            yield f"{self.path}: passed over, no DICOM file"
        elif not self.findings:
            yield f"{self.path}: ok"
        for finding in self.findings:
            yield f"{self.path}: {finding.attribute} {finding.problem}"


def checked_files(paths: Sequence[Path]) -> list[Checked]:
    """Each of the files, and every file below the folders."""
    return [file for path in paths for file in (_folder(path) if path.is_dir() else [_file(path)])]


def _folder(path: Path) -> Iterator[Checked]:
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
                yield Checked(file, passed_over=True)


def _is_image_file(path: Path) -> bool:
    try:
        return sniff(path) == "dicom" and not is_directory(path)
    except (CaptureProblem, OSError):
        # what cannot be read is said, and not passed over
        return True


def _file(path: Path) -> Checked:
    try:
        return Checked(path, check_file(path))
    except OSError as error:
        return Checked(
            path, [Finding("file", f"cannot be read: {error.strerror or 'the disk does not give it'}")]
        )
