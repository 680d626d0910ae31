"""Runs dciodvfy, David Clunie's DICOM verifier, on a file; must not decide what is allowed beyond its two notes."""

import subprocess
from pathlib import Path

from tests.support.peers import require_program

ALLOWED_NOTES = (
    # We do not know the side, and DICOM has no other way to say so.
    "attribute <Laterality>",
    # The standard's own term for MPEG-4, newer than this verifier's list.
    "Unrecognized defined term <YBR_PARTIAL_420>",
)


def findings(path: Path) -> list[str]:
    """Its errors and warnings, without the allowed notes and the name of the object that it recognised."""
    answer = subprocess.run(
        [require_program("dciodvfy"), str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    lines = [line.strip() for line in (answer.stderr + answer.stdout).splitlines()]
    if not any(line in ("USImage", "USMultiFrameImage") for line in lines):
        raise AssertionError(f"dciodvfy did not recognise the object: {lines[:5]}")
    return [
        line
        for line in lines
        if line.startswith(("Error", "Warning")) and not any(note in line for note in ALLOWED_NOTES)
    ]


def errors(path: Path) -> list[str]:
    """Its errors only."""
    return [line for line in findings(path) if line.startswith("Error")]
