"""Writes DICOM files, pixel data streamed; the same dataset and pixels give the same bytes anywhere.

It sets no attribute of its own beyond the file meta information (PS3.10 7.1), and never holds the
pixel data in memory. A file appears under its name only when it is whole.
"""

import hashlib
import io
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID

from app.imaging import quiet  # noqa: F401 - pydicom is never imported without it
from app.imaging.errors import CaptureProblem
from app.imaging.limits import MAX_ITEM_BYTES
from app.imaging.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
MPEG4_HIGH_41 = "1.2.840.10008.1.2.4.102"
MPEG4_HIGH_42 = "1.2.840.10008.1.2.4.104"

_ITEM = b"\xfe\xff\x00\xe0"
_SEQUENCE_END = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
_PIXEL_DATA_OB = b"\xe0\x7f\x10\x00OB\x00\x00"
_UNDEFINED_LENGTH = b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class Written:
    """What a write left behind: size in bytes and SHA-256 (hex) of the whole file."""

    bytes: int
    sha256: str


def write_part10(
    path: Path, dataset: Dataset, *, transfer_syntax: str, tail: Iterable[bytes] = ()
) -> Written:
    """Write `dataset` and, after it, the encoded pixel data element that `tail` yields."""
    partial = path.with_name(path.name + ".part")
    digest = hashlib.sha256()
    size = 0
    try:
        with partial.open("wb") as file:
            for chunk in _all_of(_head(dataset, transfer_syntax), tail):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return Written(bytes=size, sha256=digest.hexdigest())


def native_tail(length: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The element of uncompressed pixel data of `length` bytes, padded to an even length."""
    yield _PIXEL_DATA_OB + struct.pack("<L", length + length % 2)
    yield from chunks
    if length % 2:
        yield b"\0"


def single_fragment_tail(length: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Encapsulated pixel data: an empty offset table and one fragment (PS3.5 A.4)."""
    yield _PIXEL_DATA_OB + _UNDEFINED_LENGTH
    yield _ITEM + struct.pack("<L", 0)
    yield from fragment(length, chunks)
    yield _SEQUENCE_END


def framed_tail(lengths: list[int], fragments: Iterable[bytes]) -> Iterator[bytes]:
    """Encapsulated pixel data, one fragment per frame, with a basic offset table.

    `lengths` are those of the frames without padding; `fragments` yields whole items, as
    `fragment` makes them. CaptureProblem when an offset does not fit its 32 bits.
    """
    offsets = []
    position = 0
    for length in lengths:
        offsets.append(position)
        position += 8 + length + length % 2
    if position > MAX_ITEM_BYTES:
        raise CaptureProblem("capture_too_large", "The clip is too long to be sent as an image.")
    yield _PIXEL_DATA_OB + _UNDEFINED_LENGTH
    yield _ITEM + struct.pack("<L", 4 * len(offsets)) + struct.pack(f"<{len(offsets)}L", *offsets)
    yield from fragments
    yield _SEQUENCE_END


def encapsulated_tail(items: Iterable[bytes]) -> Iterator[bytes]:
    """Encapsulated pixel data whose items, from the offset table to the delimiter, are there already."""
    yield _PIXEL_DATA_OB + _UNDEFINED_LENGTH
    yield from items


def fragment(length: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """One item of encapsulated pixel data, padded to an even length."""
    if length > MAX_ITEM_BYTES:
        raise CaptureProblem("capture_too_large", "The clip is too large to be sent as an image.")
    yield _ITEM + struct.pack("<L", length + length % 2)
    yield from chunks
    if length % 2:
        yield b"\0"


def _all_of(head: bytes, tail: Iterable[bytes]) -> Iterator[bytes]:
    yield head
    yield from tail


def _head(dataset: Dataset, transfer_syntax: str) -> bytes:
    """Preamble, file meta information and everything before the pixel data."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
