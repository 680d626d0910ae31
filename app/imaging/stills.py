"""JPEG and PNG captures become US Image objects.

A baseline JPEG in YCbCr or grey is wrapped as it is once its coded samples are known to be whole; anything else is
decoded once and stored uncompressed. It must not compress anything a second time.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from PIL import Image
from pydicom.dataset import Dataset

from app.imaging.attributes import describe, seal
from app.imaging.decoding import (
    Decoded,
    check_decodes,
    check_size,
    check_strictly,
    decode_jpeg,
    decode_png,
)
from app.imaging.dicom_text import decimal_string
from app.imaging.entropy import SEQUENTIAL, whole
from app.imaging.errors import CaptureProblem
from app.imaging.jpeg import Jpeg, read_jpeg
from app.imaging.limits import MAX_STILL_BYTES
from app.imaging.masks import DERIVATION, blank
from app.imaging.objects import describe_pixels, sentence, store
from app.imaging.progressive import PROGRESSIVE, check_progressive
from app.imaging.subjects import (
    US_IMAGE,
    Capture,
    ConvertedInstance,
    StudyContext,
    Subject,
    plan_object,
)
from app.imaging.writer import (
    EXPLICIT_LITTLE_ENDIAN,
    JPEG_BASELINE,
    native_tail,
    single_fragment_tail,
)

_STRIP_ROWS = 64


def convert_jpeg(
    capture: Capture, out_dir: Path, context: StudyContext, subject: Subject
) -> ConvertedInstance:
    """One JPEG capture -> one US Image. CaptureProblem when it cannot be read."""
    jpeg = _whole(read_jpeg(_read(capture.path)))
    wrapped = (
        jpeg.process == 0
        and jpeg.precision == 8
        and len(jpeg.component_ids) in (1, 3)
        and not jpeg.is_rgb  # a verifier takes RGB under JPEG for an error (ADR 12)
        and jpeg.orientation == 1
        and context.burned_in != "mask"
    )
    if not wrapped:
        return _store_decoded(capture, out_dir, context, subject, decoded=decode_jpeg(jpeg), jpeg=jpeg)
    check_decodes(jpeg)
    return _wrap(capture, out_dir, context, subject, jpeg=jpeg)


def _whole(jpeg: Jpeg) -> Jpeg:
    """The picture once nothing of it is known to be missing. CaptureProblem when something is."""
    check_size(jpeg.width, jpeg.height)
    if jpeg.process in SEQUENTIAL:
        return replace(jpeg, data=whole(jpeg.data))
    if jpeg.process == PROGRESSIVE:
        check_progressive(jpeg.data)
    else:
        check_strictly(jpeg)
    return jpeg


def convert_png(
    capture: Capture, out_dir: Path, context: StudyContext, subject: Subject
) -> ConvertedInstance:
    """One PNG capture -> one US Image, uncompressed RGB. CaptureProblem when it cannot be read."""
    decoded = decode_png(_read(capture.path))
    return _store_decoded(capture, out_dir, context, subject, decoded=decoded, jpeg=None)


def _wrap(
    capture: Capture, out_dir: Path, context: StudyContext, subject: Subject, *, jpeg: Jpeg
) -> ConvertedInstance:
    """A baseline JPEG inside DICOM: not one coded sample is changed."""
    plan = plan_object(context, capture, sop_class_uid=US_IMAGE)
    dataset = describe(context, subject, plan)
    samples = len(jpeg.component_ids)
    describe_pixels(
        dataset,
        width=jpeg.width,
        height=jpeg.height,
        # 422 is the term for JPEG's YCbCr whatever its subsampling (PS3.5 table 8.2.1-1).
        photometric="MONOCHROME2" if samples == 1 else "YBR_FULL_422",
    )
    _write_history(dataset, changes=(), jpeg=jpeg)
    tail = single_fragment_tail(len(jpeg.data), (jpeg.data,))
    return store(out_dir, seal(dataset, subject), plan, capture, transfer_syntax=JPEG_BASELINE, tail=tail)


def _store_decoded(
    capture: Capture,
    out_dir: Path,
    context: StudyContext,
    subject: Subject,
    *,
    decoded: Decoded,
    jpeg: Jpeg | None,
) -> ConvertedInstance:
    plan = plan_object(context, capture, sop_class_uid=US_IMAGE)
    dataset = describe(context, subject, plan)
    changes = decoded.changes
    if context.burned_in == "mask":
        blank(decoded.image, context.masks)
        changes = (*changes, DERIVATION)
    width, height = decoded.image.size
    describe_pixels(dataset, width=width, height=height, photometric="RGB")
    _write_history(dataset, changes=changes, jpeg=jpeg)
    tail = native_tail(width * height * 3, _strips(decoded.image))
    return store(
        out_dir,
        seal(dataset, subject),
        plan,
        capture,
        transfer_syntax=EXPLICIT_LITTLE_ENDIAN,
        tail=tail,
    )


def _write_history(dataset: Dataset, *, changes: tuple[str, ...], jpeg: Jpeg | None) -> None:
    """Image type and what compression did, also when it is undone (PS3.3 C.7.6.1.1.5)."""
    dataset.ImageType = ["DERIVED" if changes else "ORIGINAL", "PRIMARY"]
    if changes:
        dataset.DerivationDescription = sentence(changes)
    if jpeg is None:
        dataset.LossyImageCompression = "00"
        return
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionMethod = "ISO_10918_1"
    plain_bits = jpeg.width * jpeg.height * len(jpeg.component_ids) * jpeg.precision
    dataset.LossyImageCompressionRatio = decimal_string(plain_bits / (8 * len(jpeg.data)))


def _strips(image: Image.Image) -> Iterator[bytes]:
    """The samples of an image, a few rows at a time."""
    for top in range(0, image.height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, image.height)
        yield image.crop((0, top, image.width, bottom)).tobytes()


def _read(path: Path) -> bytes:
    if path.stat().st_size > MAX_STILL_BYTES:
        raise CaptureProblem("capture_too_large", "The image file is too large to be a single picture.")
    return path.read_bytes()
