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

from app.imaging.jpeg_walk import DHT, DRI, FRAMES, SOF, SOS, damaged, segments, truncated

MAX_PADDING_BYTES = 65_536
"""The most filling (zeros or ones) behind the last block that is dropped and not called damage."""

SEQUENTIAL = (0, 1)
"""The processes of JPEG (n of SOFn) that can be walked; the others are decoded strictly."""

_SEQUENTIAL = frozenset(SOF + process for process in SEQUENTIAL)
_RESTART = re.compile(rb"\xff\xff*([\xd0-\xd7])")

_LENGTH_MASK = 0x3F
_STEP_SHIFT = 6
NO_CODE = 0
_BLOCK = 64
LOOK_BITS = 16
"""No Huffman code of JPEG is longer (T.81 C.2)."""


@dataclass(frozen=True, slots=True)
class Component:
    """One component of a frame and its sampling factors."""

    identifier: int
    across: int
    down: int


@dataclass(frozen=True, slots=True)
class Frame:
    """What a frame header says."""

    width: int
    height: int
    components: tuple[Component, ...]

    def named(self, identifier: int) -> Component:
        """The component that a scan names. CaptureProblem when there is none."""
        for component in self.components:
            if component.identifier == identifier:
                return component
        raise damaged()

    @property
    def across(self) -> int:
        """The largest horizontal sampling factor."""
        return max(component.across for component in self.components)

    @property
    def down(self) -> int:
        """The largest vertical sampling factor."""
        return max(component.down for component in self.components)


Table = list[int]
"""By the next 16 bits: how many bits the code and its value take, and how far in the block it leads; 0: no code."""


def whole(data: bytes) -> bytes:
    """A sequential JPEG (no segments but tables, frame and scans) whose scans are whole, as bytes without filling.

    Given back as it is unless filling (zeros or ones) stands behind the last block of a stretch. CaptureProblem
    `capture_truncated` when blocks are missing at its end, `capture_unreadable` for any other damage.
    """
    frame: Frame | None = None
    tables: dict[int, Table] = {}
    interval = 0
    seen: set[int] = set()
    pieces: list[bytes] = []
    kept = 2
    for segment in segments(data):
        payload = segment.payload
        if segment.marker in _SEQUENTIAL:
            frame = read_frame(payload)
        elif segment.marker in FRAMES:
            raise ValueError("only sequential Huffman frames can be walked")
        elif segment.marker == DHT:
            tables.update(_tables(payload))
        elif segment.marker == DRI:
            (interval,) = struct.unpack(">H", payload[:2])
        elif segment.marker == SOS:
            if frame is None:
                raise damaged()
            stretch = data[segment.coded : segment.end]
            walked = _scan(frame, payload, stretch, tables=tables, interval=interval)
            if walked != stretch:
                pieces += (data[kept : segment.coded], walked)
                kept = segment.end
            seen.update(payload[1 + 2 * index] for index in range(payload[0]))
    if frame is None or seen != {component.identifier for component in frame.components}:
        raise truncated()
    return data if not pieces else data[:2] + b"".join(pieces) + data[kept:]


def read_frame(payload: bytes) -> Frame:
    """A frame header (T.81 B.2.2)."""
    height, width, count = struct.unpack_from(">HHB", payload, 1)
    components = tuple(
        Component(payload[at], payload[at + 1] >> 4, payload[at + 1] & 15)
        for at in range(6, 6 + 3 * count, 3)
    )
    if not all(1 <= size <= 4 for component in components for size in (component.across, component.down)):
        raise damaged()
    return Frame(width, height, components)


def _tables(payload: bytes) -> Iterator[tuple[int, Table]]:
    """The tables of one segment by class and number, ready to look codes up in."""
    for name, codes in read_tables(payload):
        entries = [_entry(length, value, is_dc=name < 16) for length, value in codes]
        yield name, look_up([length for length, _ in codes], entries)


def read_tables(payload: bytes) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """The tables of one segment (T.81 B.2.4.2): class and number, then length and value of each code in order."""
    at = 0
    while at + 17 <= len(payload):
        counts = payload[at + 1 : at + 17]
        values = payload[at + 17 : at + 17 + sum(counts)]
        if len(values) != sum(counts):
            raise damaged()
        lengths = [length for length, count in enumerate(counts, 1) for _ in range(count)]
        yield payload[at], list(zip(lengths, values, strict=True))
        at += 17 + len(values)


def look_up(lengths: list[int], entries: list[int]) -> Table:
    """What to find by the next 16 bits, for codes given in order (T.81 annex C)."""
    table: Table = []
    for length, entry in zip(lengths, entries, strict=True):
        table += [entry] * (1 << (LOOK_BITS - length))
    if len(table) > 1 << LOOK_BITS:
        raise damaged()
    return table + [NO_CODE] * ((1 << LOOK_BITS) - len(table))


def _entry(length: int, value: int, *, is_dc: bool) -> int:
    """Bits of the code with its value, and coefficients passed (T.81 F.2.2): to the block's end for an EOB."""
    size = value & 15
    if is_dc:
        return NO_CODE if value > 15 else (length + value) | 1 << _STEP_SHIFT
    if size:
        return (length + size) | ((value >> 4) + 1) << _STEP_SHIFT
    if value == 0xF0:
        return length | 16 << _STEP_SHIFT
    return length | 2 * _BLOCK << _STEP_SHIFT if value == 0 else NO_CODE


def _scan(frame: Frame, header: bytes, coded: bytes, *, tables: dict[int, Table], interval: int) -> bytes:
    """The coded bytes of one scan without filling, every restart interval counted out."""
    blocks = _tables_of_blocks(frame, header, tables)
    pieces = intervals(coded, units_of(frame, header), interval)
    return b"".join(_stretch(piece, units, blocks) + marker for piece, units, marker in pieces)


def intervals(coded: bytes, units: int, interval: int) -> list[tuple[bytes, int, bytes]]:
    """(coded bytes, how many units they are to hold, the restart marker behind them) of each stretch of a scan."""
    pieces = []
    at, number = 0, 0
    while units > 0:
        counted = min(units, interval) if interval else units
        units -= counted
        marker = _RESTART.search(coded, at)
        end = marker.start() if marker else len(coded)
        if units and marker is None:
            raise truncated()
        if units and marker and marker[1][0] != 0xD0 + number % 8:
            raise damaged()
        pieces.append((coded[at:end], counted, marker[0] if units and marker else b""))
        at = marker.end() if units and marker else end
        number += 1
    require_filling(_RESTART.sub(b"", coded[at:], count=1))
    return pieces


def units_of(frame: Frame, header: bytes) -> int:
    """How many units (MCU, T.81 A.2) a scan has; of one component alone they are its blocks."""
    if header[0] > 1:
        return -(-frame.width // (8 * frame.across)) * -(-frame.height // (8 * frame.down))
    component = frame.named(header[1])
    width = -(-frame.width * component.across // frame.across)
    height = -(-frame.height * component.down // frame.down)
    return -(-width // 8) * -(-height // 8)


def _tables_of_blocks(frame: Frame, header: bytes, tables: dict[int, Table]) -> list[tuple[Table, Table]]:
    """The tables of each block of one unit."""
    blocks: list[tuple[Table, Table]] = []
    for at in range(1, 1 + 2 * header[0], 2):
        component = frame.named(header[at])
        dc, ac = tables.get(header[at + 1] >> 4), tables.get(0x10 | header[at + 1] & 15)
        if dc is None or ac is None:
            raise damaged()
        blocks += [(dc, ac)] * (1 if header[0] == 1 else component.across * component.down)
    return blocks


def _stretch(coded: bytes, units: int, blocks: list[tuple[Table, Table]]) -> bytes:
    """One restart interval without filling behind its last block."""
    plain = coded.replace(b"\xff\x00", b"\xff")
    used = (_bits(plain, units, blocks) + 7) // 8
    rest = plain[used:]
    if not rest:
        return coded
    require_filling(rest)
    return plain[:used].replace(b"\xff", b"\xff\x00")


def _bits(plain: bytes, units: int, blocks: list[tuple[Table, Table]]) -> int:
    """How many bits `units` units take. One look-up a code: this is where the time goes."""
    words = struct.iter_unpack(">L", plain + bytes(4 + -len(plain) % 4))
    ahead, left, total = 0, 0, 8 * len(plain)
    bits_read = 0
    order = cycle(blocks)
    for _ in range(units * len(blocks)):
        dc, table = next(order)
        position, codes = 0, dc
        while position < _BLOCK:
            while left < 2 * LOOK_BITS:
                (word,) = next(words, (0,))
                ahead = (ahead & 0xFFFFFFFF) << 32 | word
                left += 32
            entry = codes[ahead >> left - LOOK_BITS & 0xFFFF]
            if not entry:
                raise truncated() if bits_read + LOOK_BITS > total else damaged()
            left -= entry & _LENGTH_MASK
            bits_read += entry & _LENGTH_MASK
            position += entry >> _STEP_SHIFT
            codes = table
        if _BLOCK < position < 2 * _BLOCK:
            raise damaged()
        if bits_read > total:
            raise truncated()
    return bits_read


def require_filling(rest: bytes) -> None:
    """What stands behind the last block is filling, or the codes before it are not those that were written."""
    if len(rest) > MAX_PADDING_BYTES or (rest.strip(b"\x00") and rest.strip(b"\xff")):
        raise damaged()
