"""Reads MP4 files: is it whole, what is in it, and its frames upright one at a time.

It trusts what decoding shows over what the container says, holds one frame in memory, and opens
nothing but the file it was given (the format is fixed, so no playlist can name another).
"""

import contextlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from PIL import Image

from app.imaging.decoding import EXACT_SCALING
from app.imaging.entropy import SEQUENTIAL, whole
from app.imaging.errors import CaptureProblem
from app.imaging.jpeg import END_OF_IMAGE, read_jpeg
from app.imaging.limits import MAX_CLIP_FRAMES, MAX_CLIP_PIXELS, MAX_CLIP_SECONDS, MAX_FRAME_PIXELS

DEFAULT_FRAME_SECONDS = 1 / 30
"""For a clip that gives no two distinct times and no rate."""

_MAX_TOP_BOXES = 100_000

_TURNS = {
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
}
"""Signs of a display matrix's a, b, c, d -> what shows the picture as it asks: x' = ax + cy, y' = bx + dy."""

_MATRIX_BYTES = 36
_SIDEWAYS = frozenset(turn for signs, turn in _TURNS.items() if not signs[0])


@dataclass(frozen=True, slots=True)
class Sps:
    """Profile and level of an H.264 stream, from its own parameter set (H.264 7.3.2.1)."""

    profile: int
    level: int


@dataclass(frozen=True, slots=True)
class Probe:
    """What the container says of its picture stream. `sps` is None for anything but H.264.

    `pixel_aspect` (horizontal over vertical, before any turn) is the container's where it has one, else the bit
    stream's; `aspects_agree` is false when both have one and they differ.
    """

    codec: str
    width: int
    height: int
    pixel_format: str
    rate: Fraction
    pixel_aspect: Fraction
    aspects_agree: bool
    sps: Sps | None


@dataclass(slots=True)
class Timing:
    """Frames counted and timed while they are read."""

    frames: int = 0
    coded_bytes: int = 0
    first_seconds: float | None = None
    last_seconds: float | None = None

    def note(self, seconds: float | None) -> None:
        """Count one frame shown at `seconds`."""
        self.frames += 1
        if seconds is not None:
            self.first_seconds = seconds if self.first_seconds is None else self.first_seconds
            self.last_seconds = seconds

    def frame_milliseconds(self, rate: Fraction) -> float:
        """Mean time between frames: variable rates exist, DICOM's cine has one."""
        if self.frames > 1 and self.first_seconds is not None and self.last_seconds is not None:
            span = self.last_seconds - self.first_seconds
            if span > 0:
                return 1000 * span / (self.frames - 1)
        return float(1000 / rate) if rate > 0 else 1000 * DEFAULT_FRAME_SECONDS


def check_whole(path: Path) -> None:
    """Walk the top-level boxes (ISO 14496-12 4.2). CaptureProblem when one runs past the end."""
    size = path.stat().st_size
    position, kinds = 0, set()
    with path.open("rb") as file:
        for _ in range(_MAX_TOP_BOXES):
            if position == size:
                break
            file.seek(position)
            header = file.read(16)
            if len(header) < 8:
                raise _truncated()
            length, kind = struct.unpack(">L4s", header[:8])
            if length == 1 and len(header) == 16:
                (length,) = struct.unpack(">Q", header[8:])
            elif length == 0:
                length = size - position
            if length < 8:
                raise _unreadable()
            position += length
            kinds.add(kind)
            if position > size:
                raise _truncated()
    if b"moov" not in kinds:
        raise _truncated()


def probe(path: Path) -> Probe:
    """What the picture stream is. CaptureProblem when there is none or it is too large."""
    with opened(path) as (_, stream):
        context = stream.codec_context
        width, height = context.width, context.height
        if width <= 0 or height <= 0:
            raise _unreadable()
        if width * height > MAX_FRAME_PIXELS:
            raise CaptureProblem(
                "capture_too_large", f"The clip measures {width} x {height} pixels, which is too large."
            )
        _require_budget(width * height * stream.frames)
        codec = context.name
        aspect, coded_aspect = stream.sample_aspect_ratio, context.sample_aspect_ratio
        return Probe(
            codec=codec,
            width=width,
            height=height,
            pixel_format=stream.pix_fmt or "",
            rate=stream.average_rate or Fraction(0),
            pixel_aspect=aspect or Fraction(1),
            aspects_agree=not aspect or not coded_aspect or aspect == coded_aspect,
            sps=_sps_of(context.extradata) if codec == "h264" else None,
        )


@contextlib.contextmanager
def opened(path: Path, *, hidden: bool = False) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its picture stream (cover art does not count), decoding in one thread.

    What an edit list cuts away is not there, unless `hidden`.

    FFmpeg's errors inside the block become CaptureProblem `capture_unreadable`, but for those of
    the disk, which say nothing about the capture and stay OSError.
    """
    try:
        with av.open(
            f"file:{path}",
            mode="r",
            format="mp4",
            options={"protocol_whitelist": "file", "ignore_editlist": str(int(hidden))},
            metadata_errors="replace",
        ) as container:
            pictures = [
                stream
                for stream in container.streams.video
                if not stream.disposition & Disposition.attached_pic
            ]
            if not pictures:
                raise CaptureProblem("capture_wrong_kind", "The video holds no moving picture.")
            context = pictures[0].codec_context
            if context is None:
                raise CaptureProblem("capture_unreadable", "The clip is in a format that we cannot decode.")
            context.thread_count = 1
            if context.name == "mjpeg":
                context.options = {"err_detect": "explode"}
            yield container, pictures[0]
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise _unreadable() from error


def read_frames(path: Path, timing: Timing) -> Iterator[VideoFrame]:
    """Decode the picture stream frame by frame, counting into `timing`, within the bounds."""
    with opened(path) as (container, stream):
        size = (0, 0)
        is_jpeg = stream.codec_context.name == "mjpeg"
        for packet in container.demux(stream):
            timing.coded_bytes += packet.size
            if is_jpeg and packet.size:
                _require_whole(bytes(packet))
            for frame in packet.decode():
                if frame.is_corrupt:
                    raise _unreadable()
                if timing.frames == 0:
                    size = (frame.width, frame.height)
                elif (frame.width, frame.height) != size:
                    raise CaptureProblem("capture_unreadable", "The clip changes its size part-way.")
                timing.note(frame.time)
                _check_length(timing)
                _require_budget(frame.width * frame.height * timing.frames)
                yield frame
    if not timing.frames:
        raise CaptureProblem("capture_unreadable", "The clip holds no frame that can be read.")


class Turns:
    """What shows the frames of a clip as their file asks.

    The matrix is read once for each angle: reading it ties a frame to itself, and so keeps it in memory until
    Python's collector comes by, which a clip's few and large frames hardly ever make it do.
    """

    def __init__(self) -> None:
        self._turns: dict[int, Image.Transpose | None] = {}

    def of(self, frame: VideoFrame) -> Image.Transpose | None:
        """What shows this frame as its file asks, mirrored ones included; None when it is upright."""
        angle = frame.rotation
        if angle not in self._turns:
            self._turns[angle] = _turn_of(frame)
        return self._turns[angle]


def _turn_of(frame: VideoFrame) -> Image.Transpose | None:
    """The turn of a frame by its matrix.

    The file's matrix and its stream's are one by now. An angle in between is taken for the right angle next to it,
    and a scale for none (it is in the pixel aspect).
    """
    # The library's stubs know one kind of side data only.
    matrix = bytes(cast("Mapping[Type, bytes]", frame.side_data).get(Type.DISPLAYMATRIX, b""))
    if len(matrix) < _MATRIX_BYTES:
        return None
    a, b, _, c, d = struct.unpack_from("=5i", matrix)
    upright = abs(a) + abs(d) >= abs(b) + abs(c)
    signs = [_sign(value) for value in ((a, 0, 0, d) if upright else (0, b, c, 0))]
    return _TURNS.get((signs[0], signs[1], signs[2], signs[3]))


def turned_aspect(aspect: Fraction, turn: Image.Transpose | None) -> Fraction:
    """A pixel aspect as it is once the picture is turned."""
    return 1 / aspect if turn in _SIDEWAYS and aspect else aspect


def upright_picture(frame: VideoFrame, turn: Image.Transpose | None) -> Image.Image:
    """A frame as full-range BT.601 YCbCr, which is what JPEG holds, turned as the file asks."""
    full = frame.reformat(
        format="yuv444p",
        interpolation=EXACT_SCALING,
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.JPEG,
    )
    size = (full.width, full.height)
    picture = Image.merge(
        "YCbCr",
        [Image.frombytes("L", size, bytes(plane), "raw", "L", plane.line_size) for plane in full.planes],
    )
    return picture if turn is None else picture.transpose(turn)


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def _require_whole(coded: bytes) -> None:
    """A frame of motion JPEG is whole; some writers leave its end marker out. CaptureProblem otherwise."""
    jpeg = read_jpeg(coded + END_OF_IMAGE)
    if jpeg.process in SEQUENTIAL:
        whole(jpeg.data)


def _require_budget(pixels: int) -> None:
    if pixels > MAX_CLIP_PIXELS:
        raise CaptureProblem(
            "capture_too_large",
            "The clip has too many pixels in all (width times height times frames) to be sent as an image.",
        )


def _check_length(timing: Timing) -> None:
    seconds = (timing.last_seconds or 0.0) - (timing.first_seconds or 0.0)
    if timing.frames > MAX_CLIP_FRAMES or seconds > MAX_CLIP_SECONDS:
        raise CaptureProblem("capture_too_large", "The clip is too long to be sent as an image.")


def _sps_of(extradata: bytes | None) -> Sps | None:
    """The first parameter set of an avcC record (ISO 14496-15 5.3.3); None when there is none."""
    if not extradata or len(extradata) < 12 or extradata[0] != 1 or not extradata[5] & 0x1F:
        return None
    unit = extradata[8:]
    if unit[0] & 0x1F != 7:
        return None
    return Sps(profile=unit[1], level=unit[3])


def _truncated() -> CaptureProblem:
    return CaptureProblem("capture_truncated", "The clip ends before it is complete.")


def _unreadable() -> CaptureProblem:
    return CaptureProblem("capture_unreadable", "The clip is damaged and cannot be read.")
