"""Clips whose container says something of them: a matrix, a pixel aspect, an edit list, colours; made with PyAV alone."""

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image

from tests.imaging.samples import picture

MATRICES = {
    "upright": (1, 0, 0, 1),
    "left and right": (-1, 0, 0, 1),
    "top and bottom": (1, 0, 0, -1),
    "by half": (-1, 0, 0, -1),
    "by a quarter": (0, 1, -1, 0),
    "by three quarters": (0, -1, 1, 0),
    "along one diagonal": (0, 1, 1, 0),
    "along the other": (0, -1, -1, 0),
}
"""a, b, c, d of a track header (ISO 14496-12 8.3.2): x' = ax + cy and y' = bx + dy, y downwards."""


def shown_as(matrix: tuple[int, int, int, int], image: Image.Image) -> Image.Image:
    """A picture under a matrix, pixel by pixel from its definition: no decoder's idea of it, nor ours."""
    a, b, c, d = matrix
    width, height = (image.width, image.height) if a or d else (image.height, image.width)
    # where the corners go says where the picture begins
    left = min(0, a * (image.width - 1)) + min(0, c * (image.height - 1))
    top = min(0, b * (image.width - 1)) + min(0, d * (image.height - 1))
    shown = Image.new("RGB", (width, height))
    source, target = image.load(), shown.load()
    for y in range(image.height):
        for x in range(image.width):
            target[a * x + c * y - left, b * x + d * y - top] = source[x, y]
    return shown


def make(
    path: Path,
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    profile: str | None = "high",
    frames: int = 4,
    size: tuple[int, int] = (96, 64),
    aspect: Fraction | None = None,
    colours: tuple[int, int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """A clip of turning pictures, ten a second; `colours` are matrix and range as FFmpeg numbers them."""
    encoder = dict(options or {})
    if codec == "libx264":
        encoder |= {"preset": "veryfast", "profile": profile or "high", "crf": encoder.get("crf", "10")}
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream(codec, rate=10, options=encoder)
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if colours:
            stream.codec_context.colorspace, stream.codec_context.color_range = colours
        for number in range(frames):
            image = picture("RGB", size, turn=9 * number)
            frame = av.VideoFrame.from_image(image).reformat(
                format=pixel_format,
                **({"dst_colorspace": colours[0], "dst_color_range": colours[1]} if colours else {}),
            )
            frame.pts, frame.time_base = number, Fraction(1, 10)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def turned(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """The clip with another matrix in its track header."""
    data = path.read_bytes()
    at = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    path.write_bytes(data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + 36 :])
    return path


def trimmed(path: Path, *edits: tuple[int, int]) -> Path:
    """The clip with an edit list (ISO 14496-12 8.6.6) of its own: (milliseconds, first time in the track's units)."""
    data = bytearray(path.read_bytes())
    movie, track = _boxes(data, b"moov"), _boxes(data, b"moov", b"trak")
    old = _boxes(data, b"moov", b"trak", b"edts") or (track[0] + 8 + _length(data, track[0] + 8), 0)
    entries = b"".join(struct.pack(">LlL", length, start, 1 << 16) for length, start in edits)
    table = _box(b"elst", struct.pack(">LL", 0, len(edits)) + entries)
    new = _box(b"edts", table)
    data[old[0] : old[0] + old[1]] = new
    for start, length in (movie, track):
        struct.pack_into(">L", data, start, length + len(new) - old[1])
    path.write_bytes(data)
    return path


def with_pixel_aspect(path: Path, across: int, down: int) -> Path:
    """The clip with another pixel aspect in the container's `pasp` box than in the bit stream."""
    data = path.read_bytes()
    at = data.index(b"pasp") + 4
    path.write_bytes(data[:at] + struct.pack(">LL", across, down) + data[at + 8 :])
    return path


def pictures_in(stream: bytes) -> int:
    """How many pictures an MP4 holds, whatever its edit list hides."""
    with av.open(io.BytesIO(stream), options={"ignore_editlist": "1"}) as container:
        return sum(1 for _ in container.decode(video=0))


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">L4s", 8 + len(content), kind) + content


def _length(data: bytes, at: int) -> int:
    return int(struct.unpack_from(">L", data, at)[0])


def _boxes(data: bytes, *path: bytes) -> tuple[int, int]:
    """(start, length) of the box at a path; (0, 0) without one."""
    start, end = 0, len(data)
    found = (0, 0)
    for kind in path:
        at, found = start, (0, 0)
        while at < end:
            if data[at + 4 : at + 8] == kind:
                found = (at, _length(data, at))
                break
            at += _length(data, at)
        start, end = found[0] + 8, sum(found)
    return found
