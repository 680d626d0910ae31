"""Names of what delivery keeps in staging, and finding it again; knows no step."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.delivery.work import Work
from app.infrastructure.staging import CAPTURE_PREFIX
from app.resources import Resources
from app.store.captures import Capture
from app.store.exams import Exam
from app.store.instances import (
    THERE,
    Instance,
    InstanceState,
    empty_upload,
    end_upload,
    forget_instances,
)
from app.store.uploads import Upload, UploadState, open_uploads

DICOM_FOLDER = "dicom"
# of an upload at these stages Aurabox has no image yet
NOTHING_SENT = frozenset({UploadState.PLANNED, UploadState.ANNOUNCED})
# What is being made lies apart, under the lease's epoch: a process that outlived its lease disturbs nobody.
MAKING_PREFIX = "making-"

Files = Sequence[tuple[Instance, Path]]


def staged_name(capture: Capture) -> str:
    """The file of a capture; its place in the list may change."""
    return f"{CAPTURE_PREFIX}{capture.id}"


def staged_dicom(sop_instance_uid: str) -> str:
    """The file of an object."""
    return f"{DICOM_FOLDER}/{sop_instance_uid}.dcm"


def staged_archive(upload: Upload) -> str:
    """The file of an upload's archive. Each upload has its own, so that none is taken for another's."""
    return f"upload-{upload.upload_id}.zip"


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


async def is_staged(work: Work, instance: Instance) -> bool:
    """Whether this submission made the object and its file is here, or in the bucket."""
    name = staged_dicom(instance.sop_instance_uid)
    return (
        instance.exam_id == work.exam_id
        and await work.resources.staging.fetch(work.exam_id, name) is not None
    )


async def images_left(session: AsyncSession, exam: Exam) -> bool:
    """Whether an image that this submission made was sent, or may have been: an upload of it was begun."""
    begun = {
        upload.upload_id
        for upload in await open_uploads(session, exam_id=exam.id)
        if upload.state not in NOTHING_SENT
    }
    images = await session.scalars(
        select(Instance).where(Instance.exam_id == exam.id, Instance.study_id == exam.study_id)
    )
    return any(image.state in THERE or image.upload_id in begun for image in images)


async def discard_planned(resources: Resources, session: AsyncSession, exam: Exam) -> None:
    """Forget the objects that this submission made and did not send; their files go too, and are made again if needed.

    An upload that was announced is left without images: the next one to send, or the sweep, tells Aurabox.
    """
    for upload in await open_uploads(session, exam_id=exam.id):
        if upload.state == UploadState.PLANNED:
            await end_upload(session, upload)
        elif upload.state == UploadState.ANNOUNCED:
            await empty_upload(session, upload)
    planned = (
        await session.scalars(
            select(Instance).where(Instance.exam_id == exam.id, Instance.state == InstanceState.PLANNED)
        )
    ).all()
    await forget_instances(session, planned)
    for image in planned:
        resources.staging.path(exam.id, staged_dicom(image.sop_instance_uid)).unlink(missing_ok=True)
