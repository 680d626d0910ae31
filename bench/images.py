"""What it costs to make DICOM of a capture: a still against copying its file, a clip against FFmpeg's own way to JPEGs.

FFmpeg is here by PyAV, in this process, for its program need not be on a machine that has its libraries. It gets as many
threads as our conversion uses, which is one, and makes JPEGs of the same sampling.
"""

import shutil
import statistics
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import av
from av.video.frame import PictureType
from av.video.reformatter import ColorRange
from PIL import ImageChops

from app.config.settings import Settings
from app.imaging.convert import convert_capture
from bench.figures import Figure, alternating, ratio
from bench.imaging_memory import SUBJECT, study
from sandbox.media import scan_image
from sandbox.video import FRAMES_PER_SECOND, make_mp4

SIZE_PIXELS = (1280, 960)
STILLS = 20
# some five seconds, at the rate of a scanner's clips
CLIP_BYTES = 3_000_000
FINEST = 1


async def measure(_settings: Settings, folder: Path) -> AsyncIterator[Figure]:
    """The rows of images, one after the other."""
    yield await _still(folder)
    yield await _clip(folder)


async def _still(folder: Path) -> Figure:
    source = folder / "still.jpg"
    scan_image(1, size=SIZE_PIXELS).save(source, "JPEG", quality=85)

    async def converted() -> float:
        return statistics.median(_timed(partial(_convert, source, folder)) for _ in range(STILLS))

    async def copied() -> float:
        return statistics.median(
            _timed(partial(shutil.copyfile, source, folder / "copy")) for _ in range(STILLS)
        )

    ours, theirs = (statistics.median(seconds) * 1000 for seconds in await alternating(converted, copied))
    detail = f"{ours:.1f} ms; copy {theirs:.2f} ms; {source.stat().st_size / 1000:.0f} kB, {_pixels()}"
    return Figure(
        "JPEG → DICOM, more than a copy of the file: milliseconds", ours - theirs, 10, detail=detail
    )


async def _clip(folder: Path) -> Figure:
    source = folder / "clip.mp4"
    scan = scan_image(7, size=SIZE_PIXELS)
    source.write_bytes(
        make_mp4(
            lambda index: ImageChops.offset(scan, 5 * index, 3 * index), profile="high", size_bytes=CLIP_BYTES
        )
    )
    frames = 0

    async def converted() -> float:
        return _timed(partial(_convert, source, folder))

    async def encoded() -> float:
        nonlocal frames
        began = time.perf_counter()
        frames = encode_frames(source, folder / "frames.mjpeg")
        return time.perf_counter() - began

    ours, theirs = await alternating(converted, encoded)
    detail = (
        f"{statistics.median(ours):.2f} s; PyAV here, one thread each, 4:4:4, {statistics.median(theirs):.2f} s; "
        f"{frames} frames, {_pixels()}"
    )
    return Figure("cine / FFmpeg's decode + mjpeg encode", ratio(ours, theirs), 1.3, detail=detail)


def encode_frames(source: Path, dest: Path) -> int:
    """What `ffmpeg -threads 1 -i source -pix_fmt yuvj444p -q:v 1 dest` does; the number of frames."""
    frames = 0
    with av.open(str(source)) as reading, av.open(str(dest), "w", format="mjpeg") as writing:
        clip = reading.streams.video[0]
        clip.codec_context.thread_count = 1
        made = writing.add_stream("mjpeg", rate=FRAMES_PER_SECOND)
        made.width, made.height, made.pix_fmt = clip.width, clip.height, "yuvj444p"
        context = made.codec_context
        context.thread_count, context.qmin, context.qmax = 1, FINEST, FINEST
        for frame in reading.decode(clip):
            full = frame.reformat(format="yuvj444p", dst_color_range=ColorRange.JPEG)
            full.pict_type = PictureType.NONE
            writing.mux(made.encode(full))
            frames += 1
        writing.mux(made.encode(None))
    return frames


def _convert(source: Path, folder: Path) -> None:
    convert_capture(source, folder / "dicom", study("cine"), SUBJECT, capture_index=0)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _pixels() -> str:
    return " x ".join(map(str, SIZE_PIXELS))
