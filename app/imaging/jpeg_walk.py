"""Walks a JPEG from segment to segment: one that `jpeg.read_jpeg` gave, of tables, frame, scans and headers only."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from app.imaging.errors import CaptureProblem

EOI, SOS, DHT, DQT, DRI, DNL, DAC = 0xD9, 0xDA, 0xC4, 0xDB, 0xDD, 0xDC, 0xCC
APP0, APP1, APP14 = 0xE0, 0xE1, 0xEE
SOF = 0xC0
"""The first frame header; n of SOFn is the process."""

FRAMES = frozenset(range(SOF, 0xD0)) - {DHT, 0xC8, DAC}
NEXT_MARKER = re.compile(rb"\xff\xff*[^\x00\xff\xd0-\xd7]")
"""What ends the coded bytes of a scan: a marker that is no restart. A byte that surely comes first is looked for sixteen
times as fast as one that is repeated."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment: where it starts, what it holds, and the coded bytes behind a scan's header (`coded` to `end`)."""

    marker: int
    payload: bytes
    start: int
    coded: int
    end: int


def segments(data: bytes) -> Iterator[Segment]:
    """Every segment between the marker of the image's start and that of its end. CaptureProblem: no end."""
    position = 2
    while data[position + 1] != EOI:
        marker = data[position + 1]
        (length,) = struct.unpack_from(">H", data, position + 2)
        coded = position + 2 + length
        end = _end_of_scan(data, coded) if marker == SOS else coded
        yield Segment(marker, data[position + 4 : coded], position, coded, end)
        position = end


def as_segment(marker: int, payload: bytes) -> bytes:
    """A segment as it stands in a file."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload


def _end_of_scan(data: bytes, position: int) -> int:
    marker = NEXT_MARKER.search(data, position)
    if marker is None:
        raise truncated()
    return marker.start()


def truncated() -> CaptureProblem:
    """The problem of a JPEG in which blocks are missing."""
    return CaptureProblem("capture_truncated", "Part of the image is missing.")


def damaged() -> CaptureProblem:
    """The problem of a JPEG whose codes are not those that were written."""
    return CaptureProblem("capture_unreadable", "The image is damaged: part of it cannot be shown.")
