"""Reads the structure of a JPEG file and drops what is not picture, without decoding a sample.

It keeps by list (tables, frame, scans, JFIF and Adobe headers) and so loses EXIF, XMP, comments,
colour profiles, thumbnails and whatever follows the image. Where a scan relies on the standard Huffman tables, as
frames of motion JPEG do, they are written in: libraries for pictures supply them, decoders of DICOM do not. It must
not change a coded sample.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from app.imaging.errors import CaptureProblem
from app.imaging.huffman import STANDARD_TABLES
from app.imaging.jpeg_segments import only_needed
from app.imaging.jpeg_walk import (
    APP0,
    APP1,
    APP14,
    DAC,
    DHT,
    DNL,
    DQT,
    DRI,
    EOI,
    FRAMES,
    NEXT_MARKER,
    SOF,
    SOS,
    as_segment,
)
from app.imaging.limits import MAX_JPEG_SCANS

END_OF_IMAGE = b"\xff\xd9"
_KEPT = FRAMES | {DHT, DAC, DQT, DNL, DRI, SOS}
"""Frames, Huffman and arithmetic tables, quantisation, number of lines, restart interval, scan."""

_JFIF_PAYLOAD_BYTES = 14
_ADOBE_PAYLOAD_BYTES = 12
_ORIENTATION_TAG = 0x0112
_ORIENTATION_TYPES = {1: "B", 3: "H", 4: "L"}
"""TIFF's number for a type -> how it is read; it should be a short, and some cameras write another."""

_SEQUENTIAL = (0xC0, 0xC1)
"""Frames whose scans a table serves whole: each component has one for DC and one for AC (T.81 B.2.4.2)."""


@dataclass(frozen=True, slots=True)
class Jpeg:
    """A JPEG's frame header and its bytes without anything that is not picture.

    `process` is n of its SOFn (0: baseline). `orientation` is the EXIF one (1: upright).
    """

    process: int
    precision: int
    width: int
    height: int
    component_ids: tuple[int, ...]
    is_rgb: bool
    orientation: int
    data: bytes


def read_jpeg(data: bytes) -> Jpeg:
    """Parse and strip. CaptureProblem: `capture_truncated`, `capture_unreadable`, or too many passes."""
    reading = _Reading()
    position = 2
    while True:
        marker, position = _marker_at(data, position)
        if marker == EOI:
            reading.kept += END_OF_IMAGE
            return reading.done()
        payload, position = _payload_at(data, position)
        reading.take(marker, payload)
        if marker == SOS:
            following = NEXT_MARKER.search(data, position)
            if following is None:
                raise _truncated()
            reading.kept += data[position : following.start()]
            position = following.start()


@dataclass(slots=True)
class _Reading:
    """What was kept and learned of a JPEG so far."""

    kept: bytearray = field(default_factory=lambda: bytearray(b"\xff\xd8"))
    frame: tuple[int, bytes] | None = None
    adobe_transform: int | None = None
    has_jfif: bool = False
    orientation: int = 1
    tables: set[int] = field(default_factory=set)
    scans: int = 0

    def take(self, marker: int, payload: bytes) -> None:
        """Keep a segment, or what it says, or neither."""
        if marker == APP0 and payload.startswith(b"JFIF\0"):
            self.has_jfif = True
            self.kept += as_segment(marker, _without_thumbnail(payload))
        elif marker == APP14 and payload.startswith(b"Adobe"):
            self.adobe_transform = payload[11] if len(payload) >= _ADOBE_PAYLOAD_BYTES else None
            self.kept += as_segment(marker, payload[:_ADOBE_PAYLOAD_BYTES])
        elif marker == APP1 and payload.startswith(b"Exif\0\0"):
            self.orientation = exif_orientation(payload[6:])
        elif marker in _KEPT:
            self._note(marker, payload)
            self.kept += as_segment(marker, payload)

    def _note(self, marker: int, payload: bytes) -> None:
        """What a segment that is kept means for those after it."""
        if marker in FRAMES:
            if self.frame is not None:
                raise _unreadable()
            self.frame = (marker - SOF, payload)
        elif marker == DHT:
            self.tables.update(_tables_in(payload))
        elif marker == SOS:
            self.scans += 1
            if self.scans > MAX_JPEG_SCANS:
                raise CaptureProblem("capture_too_large", "The image is coded in too many passes to be read.")
            if self.frame is not None and SOF + self.frame[0] in _SEQUENTIAL:
                self.kept += _missing_tables(payload, self.tables)

    def done(self) -> Jpeg:
        """The whole of it. CaptureProblem when no frame was among it."""
        if self.frame is None:
            raise _unreadable()
        return _describe(
            *self.frame,
            adobe_transform=None if self.has_jfif else self.adobe_transform,
            orientation=self.orientation,
            data=only_needed(bytes(self.kept)),
        )


def _describe(
    process: int, payload: bytes, *, adobe_transform: int | None, orientation: int, data: bytes
) -> Jpeg:
    if len(payload) < 6 or len(payload) < 6 + 3 * payload[5]:
        raise _unreadable()
    precision, height, width, components = struct.unpack(">BHHB", payload[:6])
    ids = tuple(payload[6 + 3 * index] for index in range(components))
    if not width or not height or not ids:
        raise _unreadable()
    return Jpeg(
        process=process,
        precision=precision,
        width=width,
        height=height,
        component_ids=ids,
        # A JFIF header means YCbCr whatever Adobe's says, as every decoder has it.
        is_rgb=len(ids) == 3 and (adobe_transform == 0 or ids == tuple(b"RGB")),
        orientation=orientation,
        data=data,
    )


def _marker_at(data: bytes, position: int) -> tuple[int, int]:
    """The marker at `position` (fill bytes skipped) and where its segment starts."""
    if position >= len(data):
        raise _truncated()
    if data[position] != 0xFF:
        raise _unreadable()
    while position < len(data) and data[position] == 0xFF:
        position += 1
    if position >= len(data):
        raise _truncated()
    return data[position], position + 1


def _payload_at(data: bytes, position: int) -> tuple[bytes, int]:
    if position + 2 > len(data):
        raise _truncated()
    (length,) = struct.unpack_from(">H", data, position)
    if length < 2:
        raise _unreadable()
    if position + length > len(data):
        raise _truncated()
    return data[position + 2 : position + length], position + length


def _tables_in(payload: bytes) -> Iterator[int]:
    """Class and number of each Huffman table in a segment."""
    at = 0
    while at + 17 <= len(payload):
        yield payload[at]
        at += 17 + sum(payload[at + 1 : at + 17])


def _missing_tables(scan: bytes, tables: set[int]) -> bytes:
    """The standard tables that a scan names and nothing has defined, as segments; `tables` learns of them."""
    if not scan or len(scan) < 1 + 2 * scan[0]:
        raise _unreadable()
    named = {table for at in range(2, 2 + 2 * scan[0], 2) for table in (scan[at] >> 4, 0x10 | scan[at] & 15)}
    written = b""
    for table in sorted(named - tables):
        if table not in STANDARD_TABLES:
            raise _unreadable()
        written += as_segment(DHT, bytes((table,)) + STANDARD_TABLES[table])
        tables.add(table)
    return written


def _without_thumbnail(payload: bytes) -> bytes:
    """The JFIF header, as of a version that decoders know (they warn of any other and read it all the same)."""
    if len(payload) < _JFIF_PAYLOAD_BYTES:
        raise _unreadable()
    version = payload[5:7] if payload[5] == 1 else b"\x01\x02"
    return payload[:5] + version + payload[7 : _JFIF_PAYLOAD_BYTES - 2] + b"\0\0"


def exif_orientation(tiff: bytes) -> int:
    """The orientation (1 to 8) of an EXIF block; 1 when it says none, or nonsense."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    (directory,) = struct.unpack_from(order + "L", tiff, 4)
    if directory + 2 > len(tiff):
        return 1
    (entries,) = struct.unpack_from(order + "H", tiff, directory)
    for index in range(entries):
        start = directory + 2 + 12 * index
        if start + 12 > len(tiff):
            return 1
        tag, kind, _ = struct.unpack_from(order + "HHL", tiff, start)
        if tag == _ORIENTATION_TAG:
            (value,) = struct.unpack_from(order + _ORIENTATION_TYPES.get(kind, "H"), tiff, start + 8)
            return int(value) if 1 <= value <= 8 else 1
    return 1


def _truncated() -> CaptureProblem:
    return CaptureProblem("capture_truncated", "The image ends before it is complete.")


def _unreadable() -> CaptureProblem:
    return CaptureProblem("capture_unreadable", "The image is damaged and cannot be read.")
