"""Reads somebody else's DICOM file up to its pixel data, finds these and walks them without loading them.

It reads structure only (PS3.5 A.4); what may be done with the pixels is decided elsewhere.
"""

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

from app.imaging import quiet  # noqa: F401 - pydicom is never imported without it
from app.imaging.errors import CaptureProblem
from app.imaging.foreign_bytes import damaged, foreign_bytes, truncated
from app.imaging.foreign_dates import is_uid
from app.imaging.limits import MAX_DICOM_HEADER_BYTES, MAX_STILL_BYTES
from app.imaging.sniff import sniff

IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
UNCOMPRESSED = frozenset({EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN})

DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
"""A DICOMDIR describes the files beside it; its own dataset names no class (PS3.3 F.3), only its meta information."""

_UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM, _SEQUENCE_END = 0xE000, 0xE0DD
_PIXEL_GROUP = 0x7FE0
_PIXEL_VRS = frozenset({b"OB", b"OW", b"UN"})
_DESCRIBES_PIXELS = frozenset(
    """
    SamplesPerPixel PhotometricInterpretation PlanarConfiguration Rows Columns BitsAllocated BitsStored HighBit
    PixelRepresentation NumberOfFrames
    """.split()  # noqa: SIM905 ten words read better as words
)


@dataclass(frozen=True, slots=True)
class Span:
    """A run of bytes in the file."""

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class SourcePixels:
    """Where the pixel data lies: the whole element, and its value or its fragments.

    `fragments` leaves out the basic offset table, which is `offsets`; both are empty for uncompressed pixel data.
    """

    element: Span
    value: Span
    fragments: tuple[Span, ...] = ()
    offsets: Span | None = None


@dataclass(frozen=True, slots=True)
class SourceObject:
    """A DICOM file read up to its pixel data. `unread` names attributes left out because their value is nonsense."""

    path: Path
    dataset: FileDataset
    transfer_syntax: str
    pixels: SourcePixels | None
    unread: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        """How many frames the object says that it has; one where it says nothing that makes sense."""
        try:
            return max(1, int(self.dataset.get("NumberOfFrames") or 1))
        except (TypeError, ValueError):
            return 1


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
    """Read a DICOM file, with or without its preamble, up to its pixel data. CaptureProblem for one that is no object."""
    size = path.stat().st_size
    # pydicom reads anything when it is forced to, so what is no DICOM has to be known before
    if sniff(path) != "dicom":
        raise CaptureProblem("capture_wrong_kind", "It is no DICOM file.")
    with foreign_bytes(), _BoundedReader(io.FileIO(path)) as file:
        if is_directory(path):
            raise CaptureProblem(
                "capture_wrong_kind", "The DICOM file is a directory of others and no image."
            )
        dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
        position = file.tell()
        _require_whole(dataset)
        implicit = _is_implicit(dataset)
        unread = tuple(_settle(dataset))
        # Text is decoded now, by the file's own character set, because ours differs.
        dataset.decode()
        transfer_syntax = _transfer_syntax(dataset, implicit=implicit)
        _name_class(dataset)
        _respell(dataset)
    with path.open("rb") as reader:
        pixels = _find_pixels(reader, position, size, transfer_syntax, implicit=implicit)
    return SourceObject(path, dataset, transfer_syntax, pixels, unread)


def is_directory(path: Path) -> bool:
    """Whether a DICOM file is a DICOMDIR, by what its file meta information says. CaptureProblem: it is unreadable."""
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return False
    with foreign_bytes():
        meta = pydicom.filereader.read_file_meta_info(path)
        return str(meta.get("MediaStorageSOPClassUID", "")) == DIRECTORY_CLASS


def span_bytes(path: Path, span: Span) -> bytes:
    """The bytes of a frame. CaptureProblem for one beyond MAX_STILL_BYTES."""
    if span.length > MAX_STILL_BYTES:
        raise CaptureProblem("capture_too_large", "A frame of the DICOM file is too large.")
    with path.open("rb") as file:
        file.seek(span.start)
        return file.read(span.length)


def _require_whole(dataset: Dataset) -> None:
    """The last attribute of a file that was cut is shorter than it says; pydicom lets that pass."""
    for tag in list(dataset.keys()):
        raw: object = dataset.get_item(tag)
        if (
            isinstance(raw, RawDataElement)
            and raw.length != _UNDEFINED_LENGTH
            and raw.value is not None
            and len(raw.value) < raw.length
        ):
            raise truncated()


def _settle(dataset: Dataset) -> Iterator[str]:
    """Convert every value now, so that what cannot be converted shows here and not half-way.

    A plain value that makes no sense (a number with a comma, say) is left out and its keyword yielded: its maker's
    slip in a side matter costs no image. What describes the pixels, and sequences, have to be readable.
    """
    for tag in list(dataset.keys()):
        try:
            element = _converted(dataset, tag)
        except Exception:
            if keyword_for_tag(tag) in _DESCRIBES_PIXELS or _vr(dataset, tag) == "SQ":
                raise
            del dataset[tag]
            yield keyword_for_tag(tag) or str(tag)
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from _settle(item)


def _converted(dataset: Dataset, tag: BaseTag) -> DataElement:
    """The element with its value. ValueError: a number that is none; pydicom leaves it the text that it is."""
    element = dataset[tag]
    vr = dictionary_VR(tag) if keyword_for_tag(tag) else element.VR
    if vr not in ("DS", "IS") or element.is_empty:
        return element
    if vr != element.VR:
        element = DataElement(tag, vr, element.value)
        dataset[tag] = element
    values = element.value if element.VM > 1 else [element.value]
    if any(isinstance(value, str) and value for value in values):
        raise ValueError("text in place of a number")
    return element


def _vr(dataset: Dataset, tag: BaseTag) -> str:
    vr: str | None = dataset.get_item(tag).VR
    # in implicit encoding nothing is said
    return vr or (dictionary_VR(tag) if keyword_for_tag(tag) else "UN")


def _is_implicit(dataset: FileDataset) -> bool:
    """Whether the attributes stand there without their representations; some files say another encoding than they have."""
    for tag in list(dataset.keys()):
        raw: object = dataset.get_item(tag)
        if isinstance(raw, RawDataElement):
            return raw.is_implicit_VR
    return bool(dataset.original_encoding[0])


def _transfer_syntax(dataset: FileDataset, *, implicit: bool) -> str:
    """What the file meta information says; without it, or where it is wrong of plain bytes, how these are."""
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
    if not syntax or syntax in UNCOMPRESSED:
        if not dataset.original_encoding[1]:
            return EXPLICIT_BIG_ENDIAN
        return IMPLICIT_LITTLE_ENDIAN if implicit else EXPLICIT_LITTLE_ENDIAN
    if not UID(syntax).is_transfer_syntax or UID(syntax).is_private:
        raise CaptureProblem("capture_unreadable", "The DICOM file is in an encoding that we do not know.")
    if syntax == DEFLATED:
        raise CaptureProblem("capture_unreadable", "The DICOM file is deflated, which is not supported.")
    return syntax


def _name_class(dataset: FileDataset) -> None:
    """The class that the object, or at least its meta information, names. It goes into our objects: no other text may."""
    meta = dataset.file_meta
    for ours, theirs in (
        ("SOPClassUID", "MediaStorageSOPClassUID"),
        ("SOPInstanceUID", "MediaStorageSOPInstanceUID"),
    ):
        if not dataset.get(ours) and meta.get(theirs):
            setattr(dataset, ours, meta[theirs].value)
        if not is_uid(str(dataset.get(ours) or "")):
            raise CaptureProblem(
                "capture_unreadable", f"The DICOM file does not say what it is: it names no {ours}."
            )


def _respell(dataset: FileDataset) -> None:
    """Code strings are capitals (PS3.5 6.2) and a number of frames is one at least: what is meant is plain."""
    for keyword in ("Modality", "PhotometricInterpretation"):
        value = dataset.get(keyword)
        if isinstance(value, str) and value != value.strip().upper():
            setattr(dataset, keyword, value.strip().upper())
    if "NumberOfFrames" in dataset and not dataset.NumberOfFrames:
        dataset.NumberOfFrames = 1


def _find_pixels(
    file: io.BufferedReader, position: int, size: int, transfer_syntax: str, *, implicit: bool
) -> SourcePixels | None:
    order = ">" if transfer_syntax == EXPLICIT_BIG_ENDIAN else "<"
    file.seek(position)
    header = file.read(8 if implicit else 12)
    if not header:
        return None
    if len(header) < (8 if implicit else 12):
        raise truncated()
    group, element = struct.unpack(order + "HH", header[:4])
    if group != _PIXEL_GROUP:
        return None
    if element != 0x0010 or (not implicit and header[4:6] not in _PIXEL_VRS):
        raise CaptureProblem(
            "capture_unreadable", "The DICOM file keeps its image in a way that we do not know."
        )
    (length,) = struct.unpack(order + "L", header[-4:])
    start = position + len(header)
    if (length == _UNDEFINED_LENGTH) == (transfer_syntax in UNCOMPRESSED):
        raise damaged()
    if length != _UNDEFINED_LENGTH:
        if start + length > size:
            raise truncated()
        return SourcePixels(Span(position, len(header) + length), Span(start, length))
    items, end = _items(file, start, size)
    if not items:
        raise damaged()
    return SourcePixels(
        Span(position, end - position), Span(start, end - start), tuple(items[1:]), offsets=items[0]
    )


def _items(file: io.BufferedReader, position: int, size: int) -> tuple[list[Span], int]:
    """The items of encapsulated pixel data, the offset table first, and where they end."""
    items: list[Span] = []
    for group, element, length, start in _item_headers(file, position):
        if group != 0xFFFE or element not in (_ITEM, _SEQUENCE_END):
            raise damaged()
        if element == _SEQUENCE_END:
            return items, start
        if start + length > size:
            raise truncated()
        items.append(Span(start, length))
    raise truncated()


def _item_headers(file: io.BufferedReader, position: int) -> Iterator[tuple[int, int, int, int]]:
    while True:
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return
        group, element, length = struct.unpack("<HHL", header)
        yield group, element, length, position + 8
        position += 8 + length
