"""Convert a capture and check what came of it: what the pool's processes run; imports nothing beside imaging.

A process that also loaded the database and the web would weigh twice as much.
"""

from pathlib import Path

from app.imaging.check import require_valid
from app.imaging.convert import convert_capture
from app.imaging.errors import CaptureProblem
from app.imaging.subjects import ConvertedInstance, StudyContext, Subject


def convert_checked(
    source: Path,
    out_dir: Path,
    context: StudyContext,
    subject: Subject,
    *,
    capture_index: int,
    capture_sha256: str,
) -> list[ConvertedInstance]:
    """`convert_capture`, then the required-attribute check on every object. Raises CaptureProblem, leaving no file."""
    made = convert_capture(
        source, out_dir, context, subject, capture_index=capture_index, capture_sha256=capture_sha256
    )
    try:
        for instance in made:
            require_valid(instance.path)
    except CaptureProblem:
        for instance in made:
            instance.path.unlink(missing_ok=True)
        raise
    return made
