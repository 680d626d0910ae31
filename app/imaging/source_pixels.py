"""Finds the pixel data of somebody else's DICOM file and walks it without loading it.

It reads structure only (PS3.5 A.4); what may be done with the pixels is decided elsewhere.
"""

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import UID

from app.imaging.errors import CaptureProblem
from app.imaging.limits import MAX_DICOM_HEADER_BYTES, MAX_STILL_BYTES

IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"

_UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM, _SEQUENCE_END = 0xE000, 0xE0DD
UNREADABLE = (
    InvalidDicomError,
    BytesLengthException,
    NameError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    struct.error,
)
"""All that pydicom raises on damaged or hostile input, at reading and (NameError too) at writing it."""


@dataclass(frozen=True, slots=True)
class Span:
    """A run of bytes in the file."""

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class SourcePixels:
    """Where the pixel data lies: the whole element, and its value or its fragments.

    `fragments` leaves out the offset table; it is empty for uncompressed pixel data.
    """

    element: Span
    value: Span
    fragments: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class SourceObject:
    """A DICOM file read up to its pixel data."""

    path: Path
    dataset: FileDataset
    transfer_syntax: str
    pixels: SourcePixels | None


class _BoundedReader(io.BufferedReader):
    """Refuses to read more than a header can be, so that a hostile file cannot fill the memory."""

    budget = MAX_DICOM_HEADER_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as usual, against the budget."""
        held = os.fstat(self.fileno()).st_size - self.tell()
        # What a damaged length claims beyond the end is no more than the file holds.
        self.budget -= held if size is None or size < 0 else min(size, held)
        if self.budget < 0:
            raise CaptureProblem("capture_too_large", "The DICOM file says too much besides its image.")
        return super().read(size)


def read_source(path: Path) -> SourceObject:
    """Read a DICOM file up to its pixel data. CaptureProblem when it is damaged or cut short."""
    size = path.stat().st_size
    try:
        with _BoundedReader(io.FileIO(path)) as file:
            dataset = pydicom.dcmread(file, stop_before_pixels=True)
            position = file.tell()
            # Text is decoded now, by the file's own character set, because ours differs.
            dataset.decode()
            dataset.walk(_convert)
            transfer_syntax = str(dataset.file_meta.TransferSyntaxUID)
            class_uid, instance_uid = dataset.SOPClassUID, dataset.SOPInstanceUID
    except UNREADABLE:
        # The cause would quote what it could not read.
        raise damaged() from None
    if not class_uid or not instance_uid:
        raise damaged()
    if not UID(transfer_syntax).is_transfer_syntax or UID(transfer_syntax).is_private:
        raise CaptureProblem("capture_unreadable", "The DICOM file is in an encoding that we do not know.")
    if transfer_syntax == DEFLATED:
        raise CaptureProblem("capture_unreadable", "The DICOM file is deflated, which is not supported.")
    with path.open("rb") as reader:
        pixels = _find_pixels(reader, position, size, transfer_syntax)
    return SourceObject(path, dataset, transfer_syntax, pixels)


def _convert(dataset: Dataset, element: DataElement) -> None:
    """Being handed an element converts its value: what cannot be converted shows now, not half-way."""
    del dataset, element


def span_bytes(path: Path, span: Span) -> bytes:
    """The bytes of a frame. CaptureProblem for one beyond MAX_STILL_BYTES."""
    if span.length > MAX_STILL_BYTES:
        raise CaptureProblem("capture_too_large", "A frame of the DICOM file is too large.")
    with path.open("rb") as file:
        file.seek(span.start)
        return file.read(span.length)


def _find_pixels(
    file: io.BufferedReader, position: int, size: int, transfer_syntax: str
) -> SourcePixels | None:
    order = ">" if transfer_syntax == EXPLICIT_BIG_ENDIAN else "<"
    implicit = transfer_syntax == IMPLICIT_LITTLE_ENDIAN
    file.seek(position)
    header = file.read(8 if implicit else 12)
    if not header:
        return None
    if len(header) < (8 if implicit else 12):
        raise _truncated()
    if struct.unpack(order + "HH", header[:4]) != (0x7FE0, 0x0010):
        return None
    (length,) = struct.unpack(order + "L", header[-4:])
    start = position + len(header)
    if length != _UNDEFINED_LENGTH:
        if start + length > size:
            raise _truncated()
        return SourcePixels(Span(position, len(header) + length), Span(start, length), ())
    items, end = _items(file, start, size)
    return SourcePixels(Span(position, end - position), Span(start, end - start), tuple(items[1:]))


def _items(file: io.BufferedReader, position: int, size: int) -> tuple[list[Span], int]:
    """The items of encapsulated pixel data, the offset table first, and where they end."""
    items: list[Span] = []
    for group, element, length, start in _item_headers(file, position):
        if group != 0xFFFE or element not in (_ITEM, _SEQUENCE_END):
            raise damaged()
        if element == _SEQUENCE_END:
            return items, start
        if start + length > size:
            raise _truncated()
        items.append(Span(start, length))
    raise _truncated()


def _item_headers(file: io.BufferedReader, position: int) -> Iterator[tuple[int, int, int, int]]:
    while True:
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return
        group, element, length = struct.unpack("<HHL", header)
        yield group, element, length, position + 8
        position += 8 + length


def _truncated() -> CaptureProblem:
    return CaptureProblem("capture_truncated", "The DICOM file ends before it is complete.")


def damaged() -> CaptureProblem:
    """The problem of a file that is no proper DICOM."""
    return CaptureProblem("capture_unreadable", "The DICOM file is damaged and cannot be read.")
