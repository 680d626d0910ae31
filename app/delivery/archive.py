"""The zip of an upload's images in staging: made when it is missing, kept until Aurabox has answered `complete`."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.delivery.staged import making, staged_archive, staged_files
from app.delivery.work import Work
from app.imaging.archive import build_archive
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
    """The upload's archive of these images, or None when one of them is no longer in staging.

    The same images give the same bytes, so one that was lost with a host is made again alike.
    """
    path = _place(work, upload)
    if upload.sha256 is not None and await asyncio.to_thread(_size, path) == upload.bytes:
        return Staged(path, upload.bytes or 0, upload.sha256)
    files = await staged_files(work, images)
    if files is None:
        return None
    draft = making(work) / path.name
    draft.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    archive = await work.resources.pool.run(
        build_archive,
        draft,
        study.study_instance_uid,
        [file for _, file in files],
        turn=study.organization_id,
    )
    draft.replace(path)
    draft.parent.rmdir()
    return Staged(path, archive.bytes, archive.sha256)


def discard_archive(work: Work, upload: Upload) -> None:
    """Delete it."""
    _place(work, upload).unlink(missing_ok=True)


def _place(work: Work, upload: Upload) -> Path:
    return work.resources.staging.path(work.exam_id, staged_archive(upload))


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None
