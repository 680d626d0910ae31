"""MP4 captures become US Multi-frame objects: JPEG frames, or the H.264 stream without its tags.

Cine (JPEG frames) is the default because web viewers play it. It must not keep more than one frame
in memory, nor carry over a tag, a sound track or a user-data message of the source.
"""

import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from app.imaging.attributes import describe, seal
from app.imaging.dicom_text import decimal_string
from app.imaging.errors import CaptureProblem
from app.imaging.h264 import coded_pictures, fits_high_profile, remux, transcode
from app.imaging.limits import MAX_ITEM_BYTES
from app.imaging.masks import DERIVATION, blank
from app.imaging.objects import describe_pixels, sentence, store
from app.imaging.pieces import file_chunks
from app.imaging.subjects import (
    US_MULTI_FRAME,
    Capture,
    ConvertedInstance,
    StudyContext,
    Subject,
    plan_object,
)
from app.imaging.video import (
    Probe,
    Timing,
    Turns,
    check_whole,
    probe,
    read_frames,
    turned_aspect,
    upright_picture,
)
from app.imaging.writer import (
    JPEG_BASELINE,
    MPEG4_HIGH_41,
    MPEG4_HIGH_42,
    fragment,
    framed_tail,
    single_fragment_tail,
)

CINE_QUALITY = 95
"""JPEG quality of cine frames; with 4:4:4 chroma the difference is below what an eye sees."""

_FRAME_TIME = Tag("FrameTime")
_METHODS = {
    "h264": "ISO_14496_10",
    "hevc": "ISO_23008_2",
    "mpeg2video": "ISO_13818_2",
    "mjpeg": "ISO_10918_1",
}
"""Codec -> what DICOM calls its compression (PS3.3 C.7.6.1.1.5.1)."""


@dataclass(frozen=True, slots=True)
class _Clip:
    """Facts of a finished clip for its DICOM attributes; sizes in bytes."""

    probe: Probe
    timing: Timing
    width: int
    height: int
    pixel_aspect: Fraction
    changes: tuple[str, ...]
    cine_bytes: int | None


def convert_clip(
    capture: Capture, out_dir: Path, context: StudyContext, subject: Subject
) -> ConvertedInstance:
    """One MP4 capture -> one US Multi-frame. CaptureProblem when it cannot be read."""
    check_whole(capture.path)
    facts = probe(capture.path)
    if context.video == "h264":
        converted = _as_h264(capture, out_dir, context, subject, facts=facts)
        if converted is not None:
            return converted
    return _as_cine(capture, out_dir, context, subject, facts=facts)


def _as_cine(
    capture: Capture, out_dir: Path, context: StudyContext, subject: Subject, *, facts: Probe
) -> ConvertedInstance:
    """Frames go through a file as items; the offset table stands before them, and so is made last."""
    plan = plan_object(context, capture, sop_class_uid=US_MULTI_FRAME)
    scratch = out_dir / f"{plan.instance_uid}.frames"
    masks = context.masks if context.burned_in == "mask" else ()
    timing, turns = Timing(), Turns()
    lengths: list[int] = []
    size, aspect = (facts.width, facts.height), facts.pixel_aspect
    try:
        with scratch.open("wb") as file:
            for frame in read_frames(capture.path, timing):
                turn = turns.of(frame)
                picture = upright_picture(frame, turn)
                blank(picture, masks)
                if timing.frames > 1 and picture.size != size:
                    raise CaptureProblem("capture_unreadable", "The clip changes its size part-way.")
                size, aspect = picture.size, turned_aspect(facts.pixel_aspect, turn)
                encoded = io.BytesIO()
                picture.save(encoded, "JPEG", quality=CINE_QUALITY, subsampling=0)
                lengths.append(_write_item(file, encoded.getvalue()))
                if file.tell() > MAX_ITEM_BYTES:
                    raise CaptureProblem("capture_too_large", "The clip is too long to be sent as an image.")
        changes = ("frames compressed as JPEG", *((DERIVATION,) if masks else ()))
        clip = _Clip(facts, timing, *size, aspect, changes=changes, cine_bytes=sum(lengths))
        dataset = describe(context, subject, plan)
        _describe_clip(dataset, clip, photometric="YBR_FULL_422")
        return store(
            out_dir,
            seal(dataset, subject),
            plan,
            capture,
            transfer_syntax=JPEG_BASELINE,
            tail=framed_tail(lengths, file_chunks(scratch)),
        )
    finally:
        scratch.unlink(missing_ok=True)


def _as_h264(
    capture: Capture, out_dir: Path, context: StudyContext, subject: Subject, *, facts: Probe
) -> ConvertedInstance | None:
    """The stream itself when it is High profile up to 4.2, else transcoded; None: make it cine."""
    plan = plan_object(context, capture, sop_class_uid=US_MULTI_FRAME)
    scratch = out_dir / f"{plan.instance_uid}.mp4"
    masks = context.masks if context.burned_in == "mask" else ()
    changes: tuple[str, ...] = ()
    aspect = facts.pixel_aspect
    try:
        timing = None
        if not masks and fits_high_profile(capture.path, facts):
            remux(capture.path, scratch)
            timing = _shown(scratch)
        if timing is None:
            if not transcode(capture.path, scratch, facts=facts, masks=masks):
                return None
            timing = _shown(scratch)
            if timing is None:
                return None
            changes = ("transcoded to H.264 High profile", *((DERIVATION,) if masks else ()))
            aspect = turned_aspect(aspect, Turns().of(next(read_frames(capture.path, Timing()))))
        sent = probe(scratch)
        clip = _Clip(sent, timing, sent.width, sent.height, aspect, changes=changes, cine_bytes=None)
        dataset = describe(context, subject, plan)
        _describe_clip(dataset, clip, photometric="YBR_PARTIAL_420")
        level = sent.sps.level if sent.sps else 0
        return store(
            out_dir,
            seal(dataset, subject),
            plan,
            capture,
            transfer_syntax=MPEG4_HIGH_42 if level > 41 else MPEG4_HIGH_41,
            tail=single_fragment_tail(scratch.stat().st_size, file_chunks(scratch)),
        )
    finally:
        scratch.unlink(missing_ok=True)


def _shown(path: Path) -> Timing | None:
    """The frames of what is really sent, counted by decoding; None when it holds others besides."""
    timing = Timing()
    for _ in read_frames(path, timing):
        pass
    return timing if timing.frames == coded_pictures(path) else None


def _describe_clip(dataset: Dataset, clip: _Clip, *, photometric: str) -> None:
    """Multi-frame, cine and image modules of a clip (PS3.3 C.7.6.5, C.7.6.6)."""
    describe_pixels(dataset, width=clip.width, height=clip.height, photometric=photometric)
    milliseconds = clip.timing.frame_milliseconds(clip.probe.rate)
    per_second = max(1, round(1000 / milliseconds))
    dataset.NumberOfFrames = clip.timing.frames
    dataset.FrameTime = decimal_string(milliseconds)
    dataset.FrameIncrementPointer = _FRAME_TIME
    dataset.CineRate = per_second
    dataset.RecommendedDisplayFrameRate = per_second
    if clip.pixel_aspect not in (Fraction(0), Fraction(1)):
        # DICOM gives vertical over horizontal, video the other way round.
        dataset.PixelAspectRatio = [clip.pixel_aspect.denominator, clip.pixel_aspect.numerator]
    dataset.ImageType = ["DERIVED" if clip.changes else "ORIGINAL", "PRIMARY"]
    if clip.changes:
        dataset.DerivationDescription = sentence(clip.changes)
    plain_bytes = clip.width * clip.height * 3 * clip.timing.frames
    steps = []
    if clip.probe.codec in _METHODS:
        steps.append((_METHODS[clip.probe.codec], clip.timing.coded_bytes))
    if clip.cine_bytes is not None:
        steps.append(("ISO_10918_1", clip.cine_bytes))
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionMethod = [method for method, _ in steps]
    dataset.LossyImageCompressionRatio = [decimal_string(plain_bytes / max(1, size)) for _, size in steps]


def _write_item(file: BinaryIO, encoded: bytes) -> int:
    """Append one frame as an item and return its length without padding."""
    file.writelines(fragment(len(encoded), (encoded,)))
    return len(encoded)
