"""Reads the structure of a JPEG file and drops what is not picture, without decoding a sample.

It keeps by list (tables, frame, scans, JFIF and Adobe headers) and so loses EXIF, XMP, comments,
colour profiles, thumbnails and whatever follows the image. It must not change a coded sample.
"""

import re
import struct
from dataclasses import dataclass

from app.imaging.errors import CaptureProblem

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_APP0, _APP1, _APP14 = 0xE0, 0xE1, 0xEE
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_KEPT = _FRAME_MARKERS | {0xC4, 0xCC, 0xDB, 0xDC, 0xDD, _SOS}
"""Frames, Huffman and arithmetic tables, quantisation, number of lines, restart interval, scan."""

_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_JFIF_PAYLOAD_BYTES = 14
_ADOBE_PAYLOAD_BYTES = 12
_ORIENTATION_TAG = 0x0112


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
    """Parse and strip. CaptureProblem: `capture_truncated`, or `capture_unreadable`."""
    kept = bytearray(b"\xff\xd8")
    frame: tuple[int, bytes] | None = None
    adobe_transform: int | None = None
    has_jfif = False
    orientation = 1
    position = 2
    while True:
        marker, position = _marker_at(data, position)
        if marker == _EOI:
            kept += b"\xff\xd9"
            break
        payload, position = _payload_at(data, position)
        if marker in _FRAME_MARKERS:
            if frame is not None:
                raise _unreadable()
            frame = (marker - 0xC0, payload)
        if marker == _APP0 and payload.startswith(b"JFIF\0"):
            has_jfif = True
            kept += _segment(marker, _without_thumbnail(payload))
        elif marker == _APP14 and payload.startswith(b"Adobe"):
            adobe_transform = payload[11] if len(payload) >= _ADOBE_PAYLOAD_BYTES else None
            kept += _segment(marker, payload[:_ADOBE_PAYLOAD_BYTES])
        elif marker == _APP1 and payload.startswith(b"Exif\0\0"):
            orientation = _exif_orientation(payload[6:])
        elif marker in _KEPT:
            kept += _segment(marker, payload)
        if marker == _SOS:
            found = _NEXT_MARKER.search(data, position)
            if found is None:
                raise _truncated()
            kept += data[position : found.start()]
            position = found.start()
    if frame is None:
        raise _unreadable()
    return _describe(
        *frame,
        adobe_transform=None if has_jfif else adobe_transform,
        orientation=orientation,
        data=bytes(kept),
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


def _segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload


def _without_thumbnail(payload: bytes) -> bytes:
    if len(payload) < _JFIF_PAYLOAD_BYTES:
        raise _unreadable()
    return payload[: _JFIF_PAYLOAD_BYTES - 2] + b"\0\0"


def _exif_orientation(tiff: bytes) -> int:
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
        tag, _, _, value = struct.unpack_from(order + "HHLH", tiff, start)
        if tag == _ORIENTATION_TAG:
            return int(value) if 1 <= value <= 8 else 1
    return 1


def _truncated() -> CaptureProblem:
    return CaptureProblem("capture_truncated", "The image ends before it is complete.")


def _unreadable() -> CaptureProblem:
    return CaptureProblem("capture_unreadable", "The image is damaged and cannot be read.")
