"""Leaves of a JPEG's segments what its scans use: a table that nothing reads, or bytes behind one, could hold words.

An ordinary JPEG comes back byte for byte. It reads no coded sample.
"""

from collections.abc import Iterator, Sequence

from app.imaging.jpeg_walk import DAC, DHT, DNL, DQT, DRI, FRAMES, SOS, Segment, as_segment, segments

_FIRST_ARITHMETIC = 0xC9

Key = tuple[int, int]
"""A table: the marker that defines it, and its class and number as they are coded."""

_INTERVAL: Key = (DRI, 0)


def only_needed(data: bytes) -> bytes:
    """The JPEG (no segments but tables, frame, scans and headers) without what no scan needs.

    Frame, scan and restart headers are cut to their own length. Walked from the end: a table is needed by a scan behind
    it, unless another of its number stands between.
    """
    walked = list(segments(data))
    components = _components(walked)
    is_arithmetic = any(
        segment.marker in FRAMES and segment.marker >= _FIRST_ARITHMETIC for segment in walked
    )
    needed: set[Key] = set()
    kept: list[bytes] = []
    for segment in reversed(walked):
        marker, payload = segment.marker, segment.payload
        left = payload
        if marker == SOS:
            left = payload[: 4 + 2 * payload[0]] if payload else payload
            needed |= _needs(left, components)
        elif marker in FRAMES and len(payload) > 5:
            left = payload[: 6 + 3 * payload[5]]
        elif marker in (DHT, DQT):
            left = _used(marker, payload, needed)
        elif marker == DRI:
            left = payload[:2] if _INTERVAL in needed else b""
            needed.discard(_INTERVAL)
        elif marker == DNL or (marker == DAC and not is_arithmetic):
            left = b""
        if left:
            kept.append(as_segment(marker, left) + data[segment.coded : segment.end])
    return data[:2] + b"".join(reversed(kept)) + b"\xff\xd9"


def _components(walked: Sequence[Segment]) -> dict[int, int]:
    """Component -> the number of its quantisation table, as the frame has them."""
    for segment in walked:
        if segment.marker in FRAMES and len(segment.payload) > 5:
            whole = segment.payload[6 : 6 + 3 * segment.payload[5]]
            return {whole[at]: whole[at + 2] for at in range(0, len(whole) - 2, 3)}
    return {}


def _needs(header: bytes, components: dict[int, int]) -> set[Key]:
    """What a scan reads: its components' quantisation, its Huffman tables of both classes, the restart interval."""
    needed = {_INTERVAL}
    for at in range(1, len(header) - 4, 2):
        component, tables = header[at], header[at + 1]
        needed |= {(DHT, tables >> 4), (DHT, 0x10 | tables & 0x0F)}
        if component in components:
            needed.add((DQT, components[component]))
    return needed


def _used(marker: int, payload: bytes, needed: set[Key]) -> bytes:
    """The tables of a segment that are read; from now on, those before it are not."""
    kept = []
    for table in reversed(list(_tables(marker, payload))):
        # of a quantisation table the class is only how wide its numbers are
        key = (marker, table[0] & 0x0F if marker == DQT else table[0])
        if key in needed:
            needed.remove(key)
            kept.append(table)
    return b"".join(reversed(kept))


def _tables(marker: int, payload: bytes) -> Iterator[bytes]:
    """The whole tables of a segment (T.81 B.2.4); what is behind the last is none."""
    position = 0
    while position < len(payload):
        first = payload[position]
        if marker == DQT:
            length = 65 if first < 0x10 else 129
        else:
            length = 17 + sum(payload[position + 1 : position + 17])
        if position + length > len(payload):
            return
        yield payload[position : position + length]
        position += length
