"""The zip of an exam's images in staging: made when it is missing, kept until Aurabox has answered `complete`."""

import asyncio
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.delivery.staged import ARCHIVE, making, staged_files
from app.delivery.work import Work
from app.imaging.archive import build_archive
from app.imaging.writer import sha256_of
from app.store.instances import Instance
from app.store.studies import Study
from app.store.uploads import Upload


@dataclass(frozen=True)
class Staged:
    """A whole archive: its size in bytes and SHA-256 (hex)."""

    path: Path
    bytes: int
    sha256: str


async def stage_archive(
    work: Work, study: Study, images: Sequence[Instance], upload: Upload
) -> Staged | None:
    """The archive of these images, or None when one of them is no longer in staging.

    The same images give the same bytes, so one that was lost with a host is made again alike.
    """
    path = _place(work)
    sizes = [image.bytes for image in sorted(images, key=lambda one: one.sop_instance_uid)]
    if await asyncio.to_thread(_holds, path, sizes):
        size = path.stat().st_size
        known = upload.sha256 if upload.bytes == size else None
        return Staged(path, size, known or str(await work.resources.pool.run(sha256_of, path)))
    files = await staged_files(work, images)
    if files is None:
        return None
    draft = making(work) / ARCHIVE
    draft.parent.mkdir(mode=0o700, exist_ok=True)
    made = await work.resources.pool.run(
        build_archive, draft, study.study_instance_uid, [file for _, file in files]
    )
    draft.replace(path)
    draft.parent.rmdir()
    return Staged(path, made.bytes, made.sha256)


def discard_archive(work: Work) -> None:
    """Delete it."""
    _place(work).unlink(missing_ok=True)


def _place(work: Work) -> Path:
    return work.resources.staging.path(work.exam_id, ARCHIVE)


def _holds(path: Path, sizes: Sequence[int]) -> bool:
    """Whether there is an archive of images with these sizes (bytes), in the order in which archives are made."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [member.file_size for member in archive.infolist()] == list(sizes)
    except (FileNotFoundError, zipfile.BadZipFile):
        return False
