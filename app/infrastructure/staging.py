"""Where captures lie between download and send: a local folder, or an S3 bucket behind a local scratch folder.

A step always works on local paths. With a bucket, what a step finished is put there and fetched by whichever host
takes the next step; with a folder alone, the row names the host. Names are ours: `<exam id>/<name>`.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol
from uuid import UUID

from app.config.settings import Settings
from app.named import Named


class Bucket(Protocol):
    """Where other hosts find the files too, by names of ours (`app.infrastructure.bucket`)."""

    async def put(self, name: str, local: Path) -> None:
        """A local file as `name`."""

    async def get(self, name: str) -> AsyncIterator[bytes] | None:
        """The bytes of `name`; None when there is no such."""

    async def delete(self, prefix: str, unwanted: Callable[[str], bool]) -> None:
        """Delete whatever begins with `prefix` and is unwanted."""


CAPTURE_PREFIX = "capture-"
# obstore comes with it, which an installation with a folder alone has no use for
OPEN_BUCKET: Named[Bucket] = Named("app.infrastructure.bucket", "open_bucket")


class Staging:
    """Files of exams under way. `shared` says whether other hosts see what was put."""

    def __init__(self, root: Path, bucket: Bucket | None = None, *, least_free: int) -> None:
        self.root = root
        self._least_free = least_free
        self._bucket = bucket

    @property
    def shared(self) -> bool:
        """Whether the next step may run on another host."""
        return self._bucket is not None

    def folder(self, exam_id: UUID) -> Path:
        """The exam's local folder, made on demand (0700)."""
        folder = self.root / str(exam_id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def path(self, exam_id: UUID, name: str) -> Path:
        """Where a file lies, or is to be written, on this host."""
        return self.folder(exam_id) / name

    async def put(self, exam_id: UUID, name: str) -> None:
        """A file is whole: let other hosts see it."""
        if self._bucket is not None:
            await self._bucket.put(f"{exam_id}/{name}", self.path(exam_id, name))

    async def fetch(self, exam_id: UUID, name: str) -> Path | None:
        """The file's local path, brought from the bucket when this host has it not; None when it is nowhere."""
        local = self.path(exam_id, name)
        if local.exists():
            return local
        if self._bucket is None:
            return None
        chunks = await self._bucket.get(f"{exam_id}/{name}")
        if chunks is None:
            return None
        local.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = local.with_name(f"{local.name}.part")
        await _write(draft, chunks)
        draft.replace(local)
        return local

    async def discard_local(self, exam_id: UUID) -> None:
        """Delete what lies on this host; what is in a bucket stays there."""
        await asyncio.to_thread(shutil.rmtree, self.root / str(exam_id), True)

    async def discard(self, exam_id: UUID) -> None:
        """Delete all that is staged for an exam, here and in the bucket."""
        await self.discard_local(exam_id)
        if self._bucket is not None:
            await self._bucket.delete(str(exam_id), lambda _: True)

    async def discard_made(self, exam_id: UUID) -> None:
        """Delete what was made from an exam's captures; the captures stay for their retention time."""
        folder = self.root / str(exam_id)
        await asyncio.to_thread(_remove_made, folder)
        if self._bucket is not None:
            await self._bucket.delete(str(exam_id), lambda path: not _is_capture(path))

    def free_bytes(self) -> int:
        """Free disk where the files are written."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        return shutil.disk_usage(self.root).free

    def has_room(self) -> bool:
        """Whether there is room to begin anything."""
        return self.free_bytes() >= self._least_free

    def held(self) -> list[UUID]:
        """The exams that have files on this host."""
        if not self.root.exists():
            return []
        return [UUID(folder.name) for folder in sorted(self.root.iterdir()) if folder.is_dir()]


def _is_capture(path: str) -> bool:
    return path.rpartition("/")[2].startswith(CAPTURE_PREFIX)


def _remove_made(folder: Path) -> None:
    if not folder.exists():
        return
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        elif not _is_capture(entry.name) or entry.name.endswith((".part", ".etag")):
            entry.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


async def _write(path: Path, chunks: AsyncIterator[bytes]) -> None:
    with await asyncio.to_thread(path.open, "wb") as file:
        async for chunk in chunks:
            await asyncio.to_thread(file.write, chunk)


def open_staging(settings: Settings) -> Staging:
    """Staging as SONOBRIDGE_STAGING_URL says; S3's credentials and endpoint come from the usual AWS_ variables."""
    root = settings.data_dir / "staging"
    if not settings.staging_url:
        return Staging(root, least_free=settings.least_free_bytes)
    return Staging(root, OPEN_BUCKET(settings), least_free=settings.least_free_bytes)
