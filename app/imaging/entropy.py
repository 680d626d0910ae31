"""Walks the Huffman codes of a sequential JPEG to see that every block is there, without making a pixel of them.

The libraries that decode JPEG warn of damage and show grey or garbage in its place; what is passed through untouched
has to be whole by itself. It reads codes and lengths only, so it is exact where a decoder guesses, and it changes
nothing but what stands behind the last block.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle

from app.imaging.errors import CaptureProblem

MAX_PADDING_BYTES = 65_536
"""The most filling (zeros or ones) behind the last block that is dropped and not called damage."""

SEQUENTIAL = (0, 1)
"""The processes of JPEG (n of SOFn) that can be walked; the others are decoded strictly."""

_SEQUENTIAL = frozenset(0xC0 + process for process in SEQUENTIAL)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DHT, _SOS, _DRI, _EOI = 0xC4, 0xDA, 0xDD, 0xD9
_RESTART = re.compile(rb"\xff+([\xd0-\xd7])")
_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")

_LENGTH_MASK = 0x3F
_STEP_SHIFT = 6
_NO_CODE = 0
_BLOCK = 64
_LOOK_BITS = 16
"""No Huffman code of JPEG is longer (T.81 C.2)."""


@dataclass(frozen=True, slots=True)
class _Component:
    identifier: int
    across: int
    down: int


@dataclass(frozen=True, slots=True)
class _Frame:
    width: int
    height: int
    components: tuple[_Component, ...]

    @property
    def across(self) -> int:
        return max(one.across for one in self.components)

    @property
    def down(self) -> int:
        return max(one.down for one in self.components)


Table = list[int]
"""By the next 16 bits: how many bits the code and its value take, and how far in the block it leads; 0: no code."""


def whole(data: bytes) -> bytes:
    """A sequential JPEG (no segments but tables, frame and scans) whose scans are whole, as bytes without filling.

    Given back as it is unless filling (zeros or ones) stands behind the last block of a stretch. CaptureProblem
    `capture_truncated` when blocks are missing at its end, `capture_unreadable` for any other damage.
    """
    frame: _Frame | None = None
    tables: dict[int, Table] = {}
    interval = 0
    seen: set[int] = set()
    pieces: list[bytes] = []
    position = kept = 2
    while data[position + 1] != _EOI:
        marker = data[position + 1]
        (length,) = struct.unpack_from(">H", data, position + 2)
        payload = data[position + 4 : position + 2 + length]
        position += 2 + length
        if marker in _SEQUENTIAL:
            frame = _frame(payload)
        elif marker in _FRAMES:
            raise ValueError("only sequential Huffman frames can be walked")
        elif marker == _DHT:
            tables.update(_tables(payload))
        elif marker == _DRI:
            (interval,) = struct.unpack(">H", payload[:2])
        elif marker == _SOS:
            if frame is None:
                raise _damaged()
            end = _end_of_scan(data, position)
            stretch = data[position:end]
            walked = _scan(frame, payload, stretch, tables=tables, interval=interval)
            if walked != stretch:
                pieces += (data[kept:position], walked)
                kept = end
            seen.update(payload[1 + 2 * index] for index in range(payload[0]))
            position = end
    if frame is None or seen != {one.identifier for one in frame.components}:
        raise _truncated()
    return data if not pieces else data[:2] + b"".join(pieces) + data[kept:]


def _frame(payload: bytes) -> _Frame:
    height, width, count = struct.unpack_from(">HHB", payload, 1)
    components = tuple(
        _Component(payload[at], payload[at + 1] >> 4, payload[at + 1] & 15)
        for at in range(6, 6 + 3 * count, 3)
    )
    if not all(1 <= size <= 4 for one in components for size in (one.across, one.down)):
        raise _damaged()
    return _Frame(width, height, components)


def _tables(payload: bytes) -> Iterator[tuple[int, Table]]:
    """The tables of one segment (T.81 B.2.4.2) by class and number, ready to look codes up in."""
    at = 0
    while at + 17 <= len(payload):
        counts = payload[at + 1 : at + 17]
        values = payload[at + 17 : at + 17 + sum(counts)]
        if len(values) != sum(counts):
            raise _damaged()
        yield payload[at], _lookup(counts, values, is_dc=payload[at] < 16)
        at += 17 + len(values)


def _lookup(counts: bytes, values: bytes, *, is_dc: bool) -> Table:
    table: Table = []
    at = 0
    for length, count in enumerate(counts, 1):
        for value in values[at : at + count]:
            table += [_entry(length, value, is_dc=is_dc)] * (1 << (_LOOK_BITS - length))
        at += count
    if len(table) > 1 << _LOOK_BITS:
        raise _damaged()
    return table + [_NO_CODE] * ((1 << _LOOK_BITS) - len(table))


def _entry(length: int, value: int, *, is_dc: bool) -> int:
    """Bits of the code with its value, and coefficients passed (T.81 F.2.2): to the block's end for an EOB."""
    size = value & 15
    if is_dc:
        return _NO_CODE if value > 15 else (length + value) | 1 << _STEP_SHIFT
    if size:
        return (length + size) | ((value >> 4) + 1) << _STEP_SHIFT
    if value == 0xF0:
        return length | 16 << _STEP_SHIFT
    return length | 2 * _BLOCK << _STEP_SHIFT if value == 0 else _NO_CODE


def _scan(frame: _Frame, header: bytes, coded: bytes, *, tables: dict[int, Table], interval: int) -> bytes:
    """The coded bytes of one scan without filling, every restart interval counted out."""
    units, blocks = _layout(frame, header, tables)
    stretches: list[bytes] = []
    at, number = 0, 0
    while units > 0:
        wanted = min(units, interval) if interval else units
        units -= wanted
        marker = _RESTART.search(coded, at)
        end = marker.start() if marker else len(coded)
        if units and (marker is None or marker[1][0] != 0xD0 + number % 8):
            raise _truncated() if marker is None else _damaged()
        stretches.append(_stretch(coded[at:end], wanted, blocks))
        if units and marker:
            stretches.append(marker[0])
            at = marker.end()
        else:
            at = end
        number += 1
    _require_filling(_RESTART.sub(b"", coded[at:], count=1))
    return b"".join(stretches)


def _layout(frame: _Frame, header: bytes, tables: dict[int, Table]) -> tuple[int, list[tuple[Table, Table]]]:
    """How many units (MCU, T.81 A.2) a scan has, and the tables of each block of one unit."""
    named = {one.identifier: one for one in frame.components}
    count = header[0]
    blocks: list[tuple[Table, Table]] = []
    component = None
    for at in range(1, 1 + 2 * count, 2):
        component = named.get(header[at])
        dc, ac = tables.get(header[at + 1] >> 4), tables.get(0x10 | header[at + 1] & 15)
        if component is None or dc is None or ac is None:
            raise _damaged()
        blocks += [(dc, ac)] * (1 if count == 1 else component.across * component.down)
    if component is None:
        raise _damaged()
    if count > 1:
        across, down = 8 * frame.across, 8 * frame.down
        return -(-frame.width // across) * -(-frame.height // down), blocks
    width = -(-frame.width * component.across // frame.across)
    height = -(-frame.height * component.down // frame.down)
    return -(-width // 8) * -(-height // 8), blocks


def _stretch(coded: bytes, units: int, blocks: list[tuple[Table, Table]]) -> bytes:
    """One restart interval without filling behind its last block."""
    plain = coded.replace(b"\xff\x00", b"\xff")
    used = (_bits(plain, units, blocks) + 7) // 8
    rest = plain[used:]
    if not rest:
        return coded
    _require_filling(rest)
    return plain[:used].replace(b"\xff", b"\xff\x00")


def _bits(plain: bytes, units: int, blocks: list[tuple[Table, Table]]) -> int:
    """How many bits `units` units take. One look-up a code: this is where the time goes."""
    words = struct.iter_unpack(">L", plain + bytes(4 + -len(plain) % 4))
    ahead, left, total = 0, 0, 8 * len(plain)
    taken = 0
    order = cycle(blocks)
    for _ in range(units * len(blocks)):
        dc, table = next(order)
        position, codes = 0, dc
        while position < _BLOCK:
            while left < 2 * _LOOK_BITS:
                (word,) = next(words, (0,))
                ahead = (ahead & 0xFFFFFFFF) << 32 | word
                left += 32
            entry = codes[ahead >> left - _LOOK_BITS & 0xFFFF]
            if not entry:
                raise _truncated() if taken + _LOOK_BITS > total else _damaged()
            left -= entry & _LENGTH_MASK
            taken += entry & _LENGTH_MASK
            position += entry >> _STEP_SHIFT
            codes = table
        if _BLOCK < position < 2 * _BLOCK:
            raise _damaged()
        if taken > total:
            raise _truncated()
    return taken


def _require_filling(rest: bytes) -> None:
    """What stands behind the last block is filling, or the codes before it are not those that were written."""
    if len(rest) > MAX_PADDING_BYTES or (rest.strip(b"\x00") and rest.strip(b"\xff")):
        raise _damaged()


def _end_of_scan(data: bytes, position: int) -> int:
    found = _NEXT_MARKER.search(data, position)
    if found is None:
        raise _truncated()
    return found.start()


def _truncated() -> CaptureProblem:
    return CaptureProblem("capture_truncated", "Part of the image is missing.")


def _damaged() -> CaptureProblem:
    return CaptureProblem("capture_unreadable", "The image is damaged: part of it cannot be shown.")
