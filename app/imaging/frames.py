"""Which fragments of encapsulated pixel data make which frame (PS3.5 A.4); it decodes nothing."""

import struct
from itertools import pairwise

from app.imaging.source_pixels import SourceObject, Span, span_bytes

JPEG_SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70))
"""Those that `read_jpeg` takes apart: baseline, extended and the two lossless ones."""

_JPEG_FAMILY = JPEG_SYNTAXES | {"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"}
_START_OF_JPEG = b"\xff\xd8\xff"


def frames_of(source: SourceObject) -> list[list[Span]] | None:
    """The fragments of each frame; None when nothing tells.

    A fragment a frame is the usual case. Else the basic offset table tells, or the extended one (PS3.3 C.7.6.3.1.8),
    or that each frame of a JPEG begins with its own marker.
    """
    pixels = source.pixels
    if pixels is None or not pixels.fragments:
        return None
    fragments = list(pixels.fragments)
    if source.frames == 1:
        return [fragments]
    if len(fragments) == source.frames:
        return [[span] for span in fragments]
    for starts in (
        _by_offsets(fragments, basic_offsets(source)),
        _by_offsets(fragments, extended_offsets(source)),
    ):
        if starts is not None and len(starts) == source.frames:
            return _cut_at(fragments, starts)
    if source.transfer_syntax in _JPEG_FAMILY:
        starts = [
            index
            for index, span in enumerate(fragments)
            if span_bytes(source.path, Span(span.start, min(3, span.length))) == _START_OF_JPEG
        ]
        if len(starts) == source.frames and starts[0] == 0:
            return _cut_at(fragments, starts)
    return None


def basic_offsets(source: SourceObject) -> list[int]:
    """The numbers of the basic offset table; empty when there is none, or no whole one."""
    table = source.pixels.offsets if source.pixels else None
    if table is None or not table.length or table.length % 4:
        return []
    return list(struct.unpack(f"<{table.length // 4}L", span_bytes(source.path, table)))


def extended_offsets(source: SourceObject) -> list[int]:
    """The numbers of the extended offset table; empty when there is none, or no whole one."""
    value = source.dataset.get("ExtendedOffsetTable")
    if not isinstance(value, bytes) or len(value) % 8:
        return []
    return list(struct.unpack(f"<{len(value) // 8}Q", value))


def offsets_fit(source: SourceObject, offsets: list[int]) -> bool:
    """Whether a table names the beginning of one fragment for each frame, in order."""
    if source.pixels is None:
        return False
    starts = _by_offsets(list(source.pixels.fragments), offsets)
    return starts is not None and len(starts) == source.frames


def _by_offsets(fragments: list[Span], offsets: list[int]) -> list[int] | None:
    """The index of the fragment at each offset; None for a table that does not fit."""
    base = fragments[0].start
    places = {span.start - base: index for index, span in enumerate(fragments)}
    if not offsets or offsets[0] != 0 or any(offset not in places for offset in offsets):
        return None
    if any(offset >= following for offset, following in pairwise(offsets)):
        return None
    return [places[offset] for offset in offsets]


def _cut_at(fragments: list[Span], starts: list[int]) -> list[list[Span]]:
    return [fragments[start:end] for start, end in pairwise([*starts, len(fragments)])]
