"""H.264 as DICOM wants it: an MP4 of High profile with nothing in it but the picture stream.

A remux drops container tags, sound, chapters, and the supplemental messages (SEI) in the stream, in
which encoders and editors leave text; not one coded picture is changed. Whether a transcode really
became High profile is read from the stream, because presets lower it in silence.
"""

from pathlib import Path

import av
from av.bitstream import BitStreamFilterContext
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from PIL import Image

from app.imaging.decoding import EXACT_SCALING
from app.imaging.masks import blank
from app.imaging.subjects import Rectangle
from app.imaging.video import Probe, Timing, opened, probe, read_frames, upright_picture

HIGH_PROFILE = 100
MAX_LEVEL = 42
"""Level 4.2, times ten: the highest that DICOM has a transfer syntax for (PS3.5 A.4.7)."""

TRANSCODE_LEVEL_MACROBLOCKS = 8_192
"""Macroblocks of a frame at level 4.1 (H.264 table A-1)."""

TRANSCODE_LEVEL_MACROBLOCKS_PER_SECOND = 245_760
"""Macroblocks of a second at level 4.1 (H.264 table A-1)."""

CONSTANT_QUALITY = "17"
"""x264's constant rate factor; 17 is held to be visually lossless."""

_DROP_MESSAGES = "filter_units=remove_types=6"
_ENCODER_OPTIONS = {
    "preset": "medium",
    "profile": "high",
    "level": "4.1",
    "crf": CONSTANT_QUALITY,
    # One thread and no choice by processor: the same bytes on every host.
    "x264-params": "threads=1:lookahead-threads=1:sliced-threads=0:cpu-independent=1",
}
_OUTPUT_OPTIONS = {"fflags": "+bitexact", "movflags": "+faststart"}


def fits_high_profile(path: Path, facts: Probe) -> bool:
    """Whether the stream can be sent as it is: 8-bit 4:2:0, High profile up to 4.2, upright."""
    if facts.sps is None or facts.sps.profile != HIGH_PROFILE or facts.sps.level > MAX_LEVEL:
        return False
    if facts.pixel_format not in ("yuv420p", "yuvj420p"):
        return False
    first = next(read_frames(path, Timing()))
    return first.rotation % 360 == 0


def remux(source: Path, target: Path) -> None:
    """Copy the picture stream of `source`, and nothing else, into a new MP4."""
    with opened(source) as (container, stream), _output(target) as output:
        copy = output.add_stream_from_template(stream, opaque=True)
        messages_dropped = BitStreamFilterContext(_DROP_MESSAGES, stream, copy)
        for packet in container.demux(stream):
            if packet.dts is None:
                continue
            for filtered in messages_dropped.filter(packet):
                filtered.stream = copy
                output.mux_one(filtered)
        for filtered in messages_dropped.filter(None):
            filtered.stream = copy
            output.mux_one(filtered)


def transcode(source: Path, target: Path, *, facts: Probe, masks: tuple[Rectangle, ...]) -> bool:
    """Re-encode to High@4.1 with `masks` blanked; False when this host or that level cannot."""
    if "libx264" not in av.codecs_available or not _fits_transcode_level(facts):
        return False
    encoded = target.with_name(target.name + ".encoded")
    try:
        if not _encode(source, encoded, facts=facts, masks=masks):
            return False
        result = probe(encoded)
        if result.sps is None or result.sps.profile != HIGH_PROFILE or result.sps.level > MAX_LEVEL:
            return False
        remux(encoded, target)
        return True
    finally:
        encoded.unlink(missing_ok=True)


def _encode(source: Path, target: Path, *, facts: Probe, masks: tuple[Rectangle, ...]) -> bool:
    """Encode every frame, upright and masked; False for a size that 4:2:0 cannot hold."""
    with _output(target) as output:
        stream = output.add_stream("libx264", rate=facts.rate or 30, options=dict(_ENCODER_OPTIONS))
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        started = False
        for frame in read_frames(source, Timing()):
            picture = upright_picture(frame)
            if picture.width % 2 or picture.height % 2:
                return False
            if not started:
                stream.width, stream.height = picture.size
                if frame.time_base is not None:
                    stream.codec_context.time_base = frame.time_base
                started = True
            blank(picture, masks)
            output.mux(stream.encode(_video_frame(picture, frame)))
        output.mux(stream.encode(None))
    return True


def _video_frame(picture: Image.Image, original: VideoFrame) -> VideoFrame:
    """A picture as studio-range 4:2:0, at the time of the frame it came from."""
    full = VideoFrame(picture.width, picture.height, "yuv444p")
    for plane, band in zip(full.planes, picture.split(), strict=True):
        rows = band.tobytes()
        padding = bytes(plane.line_size - picture.width)
        plane.update(
            b"".join(
                rows[start : start + picture.width] + padding for start in range(0, len(rows), picture.width)
            )
        )
    frame = full.reformat(
        format="yuv420p",
        interpolation=EXACT_SCALING,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
    )
    frame.pts = original.pts
    frame.time_base = original.time_base
    return frame


def _fits_transcode_level(facts: Probe) -> bool:
    macroblocks = -(-facts.width // 16) * -(-facts.height // 16)
    per_second = macroblocks * float(facts.rate or 30)
    return macroblocks <= TRANSCODE_LEVEL_MACROBLOCKS and per_second <= TRANSCODE_LEVEL_MACROBLOCKS_PER_SECOND


def _output(target: Path) -> OutputContainer:
    return av.open(f"file:{target}", mode="w", format="mp4", options=dict(_OUTPUT_OPTIONS))
