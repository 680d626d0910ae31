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
from app.imaging.video import (
    Probe,
    Timing,
    Turns,
    opened,
    probe,
    read_frames,
    turned_aspect,
    upright_picture,
)

HIGH_PROFILE = 100
MAX_LEVEL = 42
"""Level 4.2, times ten: the highest that DICOM has a transfer syntax for (PS3.5 A.4.7)."""

TRANSCODE_LEVEL_MACROBLOCKS = 8_192
"""Macroblocks of a frame at level 4.1 (H.264 table A-1)."""

TRANSCODE_LEVEL_MACROBLOCKS_PER_SECOND = 245_760
"""Macroblocks of a second at level 4.1 (H.264 table A-1)."""

CONSTANT_QUALITY = "17"
"""x264's constant rate factor; 17 is held to be visually lossless."""

_SMPTE_170M = 6
"""BT.601's matrix, as H.264 numbers it (table E-5)."""

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
    """Whether the stream can be sent as it is: 8-bit 4:2:0, High profile up to 4.2, upright, and all of it shown.

    What an edit list hides cannot be left out without coding anew, nor can a pixel aspect be changed that the
    container overrules.
    """
    if facts.sps is None or facts.sps.profile != HIGH_PROFILE or facts.sps.level > MAX_LEVEL:
        return False
    if facts.pixel_format not in ("yuv420p", "yuvj420p"):
        return False
    if not facts.aspects_agree or not _all_shown(path):
        return False
    turns = Turns()
    return all(turns.of(frame) is None for frame in read_frames(path, Timing()))


def coded_pictures(path: Path) -> int:
    """How many pictures a file holds, also those that its edit list hides: one packet each (ISO 14496-15 4.2)."""
    with opened(path, hidden=True) as (container, stream):
        return sum(1 for packet in container.demux(stream) if packet.size)


def _all_shown(path: Path) -> bool:
    """Whether every packet is shown, once, in the order in which it is stored."""
    last: int | None = None
    with opened(path) as (container, stream):
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if packet.is_discard or packet.dts is None or (last is not None and packet.dts <= last):
                return False
            last = packet.dts
    return True


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
        # What `upright_picture` makes, said in the stream too; else players guess by the size.
        stream.codec_context.colorspace = _SMPTE_170M
        stream.codec_context.color_range = ColorRange.MPEG
        started, turns = False, Turns()
        for frame in read_frames(source, Timing()):
            turn = turns.of(frame)
            picture = upright_picture(frame, turn)
            if picture.width % 2 or picture.height % 2:
                return False
            if not started:
                stream.width, stream.height = picture.size
                stream.codec_context.sample_aspect_ratio = turned_aspect(facts.pixel_aspect, turn)
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
