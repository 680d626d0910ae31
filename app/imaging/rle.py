"""Frames in DICOM's run-length encoding (PS3.5 G), walked without decoding; only what is picture is kept."""

import struct

from app.imaging.foreign_bytes import damaged, truncated

HEADER_BYTES = 64
MOST_SEGMENTS = 15


def clean_rle(frame: bytes, *, segments: int, segment_bytes: int) -> bytes:
    """The frame with nothing in it but its segments, each cut where `segment_bytes` of picture are reached.

    CaptureProblem `capture_truncated` when a segment holds less, `capture_unreadable` when their number is another.
    """
    if len(frame) < HEADER_BYTES:
        raise truncated()
    count, *offsets = struct.unpack_from("<16L", frame)
    if count != segments or not 1 <= count <= MOST_SEGMENTS:
        raise damaged()
    kept = []
    for index in range(count):
        start = offsets[index]
        end = offsets[index + 1] if index + 1 < count else len(frame)
        if not HEADER_BYTES <= start <= end <= len(frame):
            raise damaged()
        used = _used(frame, start, end, segment_bytes)
        kept.append(frame[start:used] + b"\0" * ((used - start) % 2))
    position = HEADER_BYTES
    places = []
    for segment in kept:
        places.append(position)
        position += len(segment)
    header = struct.pack("<16L", count, *places, *([0] * (MOST_SEGMENTS - count)))
    return header + b"".join(kept)


def _used(frame: bytes, start: int, end: int, count: int) -> int:
    """Where the runs end that make up `wanted` bytes (PS3.5 G.3.2)."""
    position, unfolded = start, 0
    while unfolded < count:
        if position >= end:
            raise truncated()
        code = frame[position]
        if code < 128:
            position += code + 2
            unfolded += code + 1
        elif code > 128:
            position += 2
            unfolded += 257 - code
        else:
            position += 1
    if position > end:
        raise truncated()
    return position
