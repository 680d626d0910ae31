"""JPEGs taken apart and damaged on purpose; must not use the reader that is under test."""

import io
import random
import struct
from collections.abc import Callable, Iterator

from PIL import Image

from tests.imaging.samples import picture

Damage = Callable[[bytes, int], bytes]


def coded(mode: str = "RGB", size: tuple[int, int] = (200, 149), **options: object) -> bytes:
    """A grainy JPEG, so that a byte of it is a few pixels and not many rows."""
    grain = Image.frombytes("L", size, random.Random(1).randbytes(size[0] * size[1])).convert("RGB")
    buffer = io.BytesIO()
    Image.blend(picture("RGB", size), grain, 0.2).convert(mode).save(
        buffer, "JPEG", **{"quality": 90, **options}
    )
    return buffer.getvalue()


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment up to and with the first scan's header."""
    at = 2
    while True:
        marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        yield marker, at, at + 2 + length
        if marker == 0xDA:
            return
        at += 2 + length


def without(data: bytes, marker: int) -> bytes:
    """The file without the segments of one kind before its first scan."""
    for _, start, end in reversed([one for one in segments(data) if one[0] == marker]):
        data = data[:start] + data[end:]
    return data


def samples_at(data: bytes) -> int:
    """Where the coded samples of the first scan begin."""
    return list(segments(data))[-1][2]


def cut_out(data: bytes, at: int) -> bytes:
    return data[:at] + data[at + 300 :]


def zeroed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes(300) + data[at + 300 :]


def ended(data: bytes, at: int) -> bytes:
    return data[:at] + b"\xff\xd9"


def scrambled(data: bytes, at: int) -> bytes:
    noise = random.Random(at).randbytes(300).replace(b"\xff", b"\xfe")
    return data[:at] + noise + data[at + 300 :]


DAMAGES: dict[str, Damage] = {
    "bytes lost": cut_out,
    "bytes zeroed": zeroed,
    "ended early": ended,
    "scrambled": scrambled,
}
