"""Walks the Huffman codes of a progressive JPEG, scan by scan, to see that every block of every pass is there.

What `entropy` does for sequential ones: it reads codes and remembers which coefficients are not zero, for later passes
have a bit for each of those. It makes no pixel and changes nothing.
"""

import struct
from dataclasses import dataclass, field

from app.imaging.entropy import (
    LOOK_BITS,
    NO_CODE,
    Frame,
    Table,
    intervals,
    look_up,
    read_frame,
    read_tables,
    require_filling,
    units_of,
)
from app.imaging.jpeg_walk import DHT, DRI, SOF, SOS, damaged, segments, truncated

PROGRESSIVE = 2
"""The process (n of SOFn) that this walks."""

_LENGTH_MASK = 0x1F
_VALUE_SHIFT = 5
_BLOCK = 64


class _Bits:
    """The bits of one stretch."""

    __slots__ = ("_ahead", "_left", "_plain", "_words", "bits_read", "total")

    def __init__(self, coded: bytes) -> None:
        self._plain = coded.replace(b"\xff\x00", b"\xff")
        self._words = struct.iter_unpack(">L", self._plain + bytes(4 + -len(self._plain) % 4))
        self._ahead = self._left = self.bits_read = 0
        self.total = 8 * len(self._plain)

    def symbol(self, table: Table) -> int:
        """The value of the next code."""
        self._fill()
        entry = table[self._ahead >> self._left - LOOK_BITS & 0xFFFF]
        if entry == NO_CODE:
            raise truncated() if self.bits_read + LOOK_BITS > self.total else damaged()
        self._left -= entry & _LENGTH_MASK
        self.bits_read += entry & _LENGTH_MASK
        return entry >> _VALUE_SHIFT

    def take(self, count: int) -> int:
        """The next bits (16 at most) as a number."""
        self._fill()
        self._left -= count
        self.bits_read += count
        return self._ahead >> self._left & (1 << count) - 1

    def skip(self, count: int) -> None:
        """Pass over bits; `require` notices when they were more than there are."""
        while count > LOOK_BITS:
            self.take(LOOK_BITS)
            count -= LOOK_BITS
        self.take(count)

    def end(self) -> None:
        """CaptureProblem unless the stretch ends here, but for filling."""
        self.require()
        require_filling(self._plain[(self.bits_read + 7) // 8 :])

    def require(self) -> None:
        """CaptureProblem when more was read than there is."""
        if self.bits_read > self.total:
            raise truncated()

    def _fill(self) -> None:
        while self._left < LOOK_BITS:
            (word,) = next(self._words, (0,))
            self._ahead = (self._ahead & 0xFFFF) << 32 | word
            self._left += 32


@dataclass(slots=True)
class _Walk:
    """What is known of a picture so far: which coefficients of which block are not zero, and how fine each is."""

    frame: Frame
    tables: dict[int, Table] = field(default_factory=dict)
    interval: int = 0
    filled: dict[int, list[int]] = field(default_factory=dict)
    fineness: dict[int, list[int | None]] = field(default_factory=dict)

    def scan(self, header: bytes, coded: bytes) -> None:
        """One pass over one component, or over the first coefficients of several."""
        count = header[0] if header else 0
        if not count or len(header) < 4 + 2 * count:
            raise damaged()
        start, end, bits = header[1 + 2 * count : 4 + 2 * count]
        high, low = bits >> 4, bits & 15
        if start > end or end >= _BLOCK or (start and count != 1) or (not start and end):
            raise damaged()
        for at in range(1, 1 + 2 * count, 2):
            fineness = self.fineness.setdefault(self.frame.named(header[at]).identifier, [None] * _BLOCK)
            for position in range(start, end + 1):
                if fineness[position] != (high or None):
                    raise damaged()
                fineness[position] = low
        first = 0
        for piece, units, _ in intervals(coded, units_of(self.frame, header), self.interval):
            reading = _Bits(piece)
            if start:
                self._coefficients(
                    reading, header, range(first, first + units), span=(start, end), again=bool(high)
                )
            else:
                self._levels(reading, header, units, again=bool(high))
            reading.end()
            first += units

    def _levels(self, bits: _Bits, header: bytes, units: int, *, again: bool) -> None:
        """The first coefficient of each block (T.81 G.1.2.1): a code and its value, or one more bit."""
        order: list[Table] = []
        for at in range(1, 1 + 2 * header[0], 2):
            component = self.frame.named(header[at])
            blocks = component.across * component.down if header[0] > 1 else 1
            order += [[]] * blocks if again else [self._table(header[at + 1] >> 4)] * blocks
        if again:
            bits.skip(units * len(order))
            return
        for _ in range(units):
            for table in order:
                size = bits.symbol(table)
                if size > LOOK_BITS:
                    raise damaged()
                bits.take(size)
            bits.require()

    def _coefficients(
        self, bits: _Bits, header: bytes, blocks: range, *, span: tuple[int, int], again: bool
    ) -> None:
        """The other coefficients of one component (T.81 G.1.2.2 and G.1.2.3)."""
        table = self._table(0x10 | header[2] & 15)
        filled = self.filled.setdefault(header[1], [0] * units_of(self.frame, header))
        walk = _refined if again else _first
        run = 0
        for block in blocks:
            filled[block], run = walk(bits, table, filled[block], span=span, run=run)
            bits.require()
        if run:
            raise damaged()

    def _table(self, name: int) -> Table:
        if name not in self.tables:
            raise damaged()
        return self.tables[name]

    def done(self) -> None:
        """CaptureProblem unless every coefficient of every component came, to its last bit."""
        for component in self.frame.components:
            if self.fineness.get(component.identifier) != [0] * _BLOCK:
                raise truncated()


def _first(bits: _Bits, table: Table, filled: int, *, span: tuple[int, int], run: int) -> tuple[int, int]:
    """A block's first pass: which of its coefficients are not zero, and how many blocks after it have none."""
    if run:
        return filled, run - 1
    position, end = span
    while position <= end:
        value = bits.symbol(table)
        zeros, size = value >> 4, value & 15
        if not size and zeros < 15:
            return filled, (1 << zeros) - 1 + bits.take(zeros)
        position += zeros
        if position > end:
            raise damaged()
        if size:
            bits.take(size)
            filled |= 1 << position
        position += 1
    return filled, 0


def _refined(bits: _Bits, table: Table, filled: int, *, span: tuple[int, int], run: int) -> tuple[int, int]:
    """A later pass: a bit for each coefficient that is not zero by now, and those that become so."""
    position, end = span
    fresh = 0
    while not run and position <= end:
        value = bits.symbol(table)
        zeros, size = value >> 4, value & 15
        if size > 1:
            raise damaged()
        if not size and zeros < 15:
            run = (1 << zeros) + bits.take(zeros)
            break
        bits.take(size)
        while position <= end:
            if filled >> position & 1:
                bits.take(1)
            elif zeros:
                zeros -= 1
            else:
                break
            position += 1
        if size and position > end:
            raise damaged()
        fresh |= size << position
        position += 1
    if run:
        bits.skip((filled >> position & (1 << max(0, end - position + 1)) - 1).bit_count())
        run -= 1
    return filled | fresh, run


def check_progressive(data: bytes) -> None:
    """Walk a progressive JPEG (no segments but tables, frame and scans). CaptureProblem as `entropy.whole` raises."""
    walk: _Walk | None = None
    tables: dict[int, Table] = {}
    interval = 0
    for segment in segments(data):
        payload = segment.payload
        if segment.marker == SOF + PROGRESSIVE:
            walk = _Walk(read_frame(payload), tables)
        elif segment.marker == DHT:
            for name, codes in read_tables(payload):
                entries = [size | value << _VALUE_SHIFT for size, value in codes]
                tables[name] = look_up([size for size, _ in codes], entries)
        elif segment.marker == DRI:
            (interval,) = struct.unpack(">H", payload[:2])
        elif segment.marker == SOS:
            if walk is None:
                raise damaged()
            walk.interval = interval
            walk.scan(payload, data[segment.coded : segment.end])
    if walk is None:
        raise damaged()
    walk.done()
