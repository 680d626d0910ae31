"""Names of what delivery keeps in staging, and finding it again; knows no step."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from app.delivery.work import Work
from app.resources import Resources
from app.staging import CAPTURE_PREFIX
from app.store.captures import Capture
from app.store.exams import Exam
from app.store.instances import Instance, instances_of
from app.store.uploads import Upload, UploadState

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


async def images_left(session: AsyncSession, exam: Exam) -> bool:
    """Whether an image of the exam was sent, or may have been: an upload of it was begun."""
    upload = await session.get(Upload, exam.id)
    begun = upload is not None and upload.state not in {UploadState.PLANNED, UploadState.ANNOUNCED}
    return begun or any(image.stored_at for image in await instances_of(session, exam.id))


async def discard_planned(resources: Resources, session: AsyncSession, exam: Exam) -> None:
    """Forget the objects that were made of the exam's captures and not sent; their files go too."""
    for image in await instances_of(session, exam.id):
        if image.stored_at is None:
            resources.staging.path(exam.id, staged_dicom(image.sop_instance_uid)).unlink(missing_ok=True)
            await session.delete(image)
    upload = await session.get(Upload, exam.id)
    if upload is not None:
        await session.delete(upload)
    await session.flush()
