"""Leaves of a JPEG's segments what its scans use: a table that nothing reads, or bytes behind one, could hold words.

An ordinary JPEG comes back byte for byte. It reads no coded sample.
"""

import re
import struct
from collections.abc import Iterator

_EOI, _SOS, _DHT, _DQT, _DRI, _DNL, _DAC = 0xD9, 0xDA, 0xC4, 0xDB, 0xDD, 0xDC, 0xCC
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_FIRST_ARITHMETIC = 0xC9
_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")

Key = tuple[int, int]
"""A table: the marker that defines it, and its class and number as they are coded."""

_INTERVAL: Key = (_DRI, 0)


def only_needed(data: bytes) -> bytes:
    """The JPEG (no segments but tables, frame, scans and headers) without what no scan needs.

    Frame, scan and restart headers are cut to their own length. Walked from the end: a table is needed by a scan behind
    it, unless another of its number stands between.
    """
    segments = list(_segments(data))
    components = _components(segments)
    is_arithmetic = any(marker in _FRAMES and marker >= _FIRST_ARITHMETIC for marker, _, _ in segments)
    needed: set[Key] = set()
    kept: list[bytes] = []
    for marker, payload, coded in reversed(segments):
        left = payload
        if marker == _SOS:
            left = payload[: 4 + 2 * payload[0]] if payload else payload
            needed |= _needs(left, components)
        elif marker in _FRAMES and len(payload) > 5:
            left = payload[: 6 + 3 * payload[5]]
        elif marker in (_DHT, _DQT):
            left = _used(marker, payload, needed)
        elif marker == _DRI:
            left = payload[:2] if _INTERVAL in needed else b""
            needed.discard(_INTERVAL)
        elif marker == _DNL or (marker == _DAC and not is_arithmetic):
            left = b""
        if left:
            kept.append(bytes((0xFF, marker)) + struct.pack(">H", len(left) + 2) + left + coded)
    return data[:2] + b"".join(reversed(kept)) + b"\xff\xd9"


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker, payload, and the coded samples behind a scan's header."""
    position = 2
    while data[position + 1] != _EOI:
        marker = data[position + 1]
        (length,) = struct.unpack_from(">H", data, position + 2)
        payload = data[position + 4 : position + 2 + length]
        position += 2 + length
        end = position
        if marker == _SOS:
            found = _NEXT_MARKER.search(data, position)
            end = found.start() if found else len(data)
        yield marker, payload, data[position:end]
        position = end


def _components(segments: list[tuple[int, bytes, bytes]]) -> dict[int, int]:
    """Component -> the number of its quantisation table, as the frame has them."""
    for marker, payload, _ in segments:
        if marker in _FRAMES and len(payload) > 5:
            whole = payload[6 : 6 + 3 * payload[5]]
            return {whole[at]: whole[at + 2] for at in range(0, len(whole) - 2, 3)}
    return {}


def _needs(header: bytes, components: dict[int, int]) -> set[Key]:
    """What a scan reads: its components' quantisation, its Huffman tables of both classes, the restart interval."""
    needed = {_INTERVAL}
    for at in range(1, len(header) - 4, 2):
        component, tables = header[at], header[at + 1]
        needed |= {(_DHT, tables >> 4), (_DHT, 0x10 | tables & 0x0F)}
        if component in components:
            needed.add((_DQT, components[component]))
    return needed


def _used(marker: int, payload: bytes, needed: set[Key]) -> bytes:
    """The tables of a segment that are read; from now on, those before it are not."""
    kept = []
    for table in reversed(list(_tables(marker, payload))):
        # of a quantisation table the class is only how wide its numbers are
        key = (marker, table[0] & 0x0F if marker == _DQT else table[0])
        if key in needed:
            needed.remove(key)
            kept.append(table)
    return b"".join(reversed(kept))


def _tables(marker: int, payload: bytes) -> Iterator[bytes]:
    """The whole tables of a segment (T.81 B.2.4); what is behind the last is none."""
    position = 0
    while position < len(payload):
        first = payload[position]
        if marker == _DQT:
            length = 65 if first < 0x10 else 129
        else:
            length = 17 + sum(payload[position + 1 : position + 17])
        if position + length > len(payload):
            return
        yield payload[position : position + length]
        position += length
