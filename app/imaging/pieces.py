"""Reads files piece by piece: their bytes, and the digest of them. Must not know what they hold."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from app.imaging.limits import COPY_CHUNK_BYTES


def file_chunks(path: Path, start: int = 0, length: int | None = None) -> Iterator[bytes]:
    """The bytes of a file from `start`, `length` of them or all, in pieces of 256 KiB."""
    with path.open("rb") as file:
        file.seek(start)
        left = length
        while left is None or left > 0:
            chunk = file.read(COPY_CHUNK_BYTES if left is None else min(COPY_CHUNK_BYTES, left))
            if not chunk:
                return
            if left is not None:
                left -= len(chunk)
            yield chunk


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file, read in pieces."""
    digest = hashlib.sha256()
    for chunk in file_chunks(path):
        digest.update(chunk)
    return digest.hexdigest()
