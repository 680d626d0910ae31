"""Names of what delivery keeps in staging, and finding it again; knows no step."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from app.delivery.work import Work
from app.staging import CAPTURE_PREFIX
from app.store.captures import Capture
from app.store.instances import Instance

DICOM_FOLDER = "dicom"
ARCHIVE = "upload.zip"
# What is being made lies apart, under the lease's epoch: a process that outlived its lease disturbs nobody.
MAKING_PREFIX = "making-"

Files = Sequence[tuple[Instance, Path]]


def staged_name(capture: Capture) -> str:
    """The file of a capture."""
    return f"{CAPTURE_PREFIX}{capture.index:04d}"


def staged_dicom(sop_instance_uid: str) -> str:
    """The file of an object."""
    return f"{DICOM_FOLDER}/{sop_instance_uid}.dcm"


def making(work: Work) -> Path:
    """Where this lease's work makes its files; whoever makes one makes the folder."""
    return work.resources.staging.root / str(work.exam_id) / f"{MAKING_PREFIX}{work.epoch}"


def leftovers(work: Work) -> list[Path]:
    """What earlier leases were making when they ended."""
    ours = making(work)
    return [path for path in ours.parent.glob(f"{MAKING_PREFIX}*") if path != ours]


async def staged_files(work: Work, instances: Iterable[Instance]) -> Files | None:
    """Each object with its file, or None when one of them is no longer in staging."""
    files = []
    for instance in instances:
        path = await work.resources.staging.fetch(work.exam_id, staged_dicom(instance.sop_instance_uid))
        if path is None:
            return None
        files.append((instance, path))
    return files
