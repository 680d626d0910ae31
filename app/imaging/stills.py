"""JPEG and PNG captures become US Image objects (imaging.md "What becomes what").

A baseline JPEG is wrapped as it is; anything else is decoded once and stored uncompressed. It must
not compress anything a second time.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image
from pydicom.dataset import Dataset

from app.imaging.attributes import NO_CALIBRATION, describe, seal
from app.imaging.decoding import Decoded, check_decodes, decode_jpeg, decode_png
from app.imaging.errors import CaptureProblem
from app.imaging.jpeg import Jpeg, read_jpeg
from app.imaging.limits import MAX_STILL_BYTES
from app.imaging.masks import DERIVATION, blank
from app.imaging.subjects import (
    US_IMAGE,
    Capture,
    ConvertedInstance,
    ObjectPlan,
    StudyContext,
    Subject,
    plan_object,
)
from app.imaging.wording import decimal_string
from app.imaging.writer import (
    EXPLICIT_LITTLE_ENDIAN,
    JPEG_BASELINE,
    native_tail,
    single_fragment_tail,
    write_part10,
)

_STRIP_ROWS = 64


def convert_jpeg(
    capture: Capture, out_dir: Path, context: StudyContext, subject: Subject
) -> ConvertedInstance:
    """One JPEG capture -> one US Image. CaptureProblem when it cannot be read."""
    jpeg = read_jpeg(_read(capture.path))
    wrapped = (
        jpeg.process == 0
        and jpeg.precision == 8
        and len(jpeg.component_ids) in (1, 3)
        and jpeg.orientation == 1
        and context.burned_in != "mask"
    )
    if not wrapped:
        return _store_decoded(capture, out_dir, context, subject, decoded=decode_jpeg(jpeg), jpeg=jpeg)
    check_decodes(jpeg)
    return _wrap(capture, out_dir, context, subject, jpeg=jpeg)


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
    # 422 is the term for JPEG's YCbCr whatever its subsampling (PS3.5 table 8.2.1-1).
    colour = "RGB" if jpeg.is_rgb else "YBR_FULL_422"
    _write_pixel_description(
        dataset,
        width=jpeg.width,
        height=jpeg.height,
        photometric="MONOCHROME2" if samples == 1 else colour,
    )
    _write_history(dataset, changes=(), jpeg=jpeg)
    tail = single_fragment_tail(len(jpeg.data), (jpeg.data,))
    return _write(out_dir, seal(dataset, subject), plan, capture, transfer_syntax=JPEG_BASELINE, tail=tail)


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
    _write_pixel_description(dataset, width=width, height=height, photometric="RGB")
    _write_history(dataset, changes=changes, jpeg=jpeg)
    tail = native_tail(width * height * 3, _strips(decoded.image))
    return _write(
        out_dir,
        seal(dataset, subject),
        plan,
        capture,
        transfer_syntax=EXPLICIT_LITTLE_ENDIAN,
        tail=tail,
    )


def _write_pixel_description(dataset: Dataset, *, width: int, height: int, photometric: str) -> None:
    """Image Pixel module for 8-bit samples (PS3.3 C.7.6.3)."""
    dataset.SamplesPerPixel = 1 if photometric == "MONOCHROME2" else 3
    dataset.PhotometricInterpretation = photometric
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    dataset.Rows = height
    dataset.Columns = width
    dataset.BitsAllocated = 8
    dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.ImageComments = NO_CALIBRATION


def _write_history(dataset: Dataset, *, changes: tuple[str, ...], jpeg: Jpeg | None) -> None:
    """Image type and what compression did, also when it is undone (PS3.3 C.7.6.1.1.5)."""
    dataset.ImageType = ["DERIVED" if changes else "ORIGINAL", "PRIMARY"]
    if changes:
        text = "; ".join(changes)
        dataset.DerivationDescription = text[:1].upper() + text[1:]
    if jpeg is None:
        dataset.LossyImageCompression = "00"
        return
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionMethod = "ISO_10918_1"
    plain_bits = jpeg.width * jpeg.height * len(jpeg.component_ids) * jpeg.precision
    dataset.LossyImageCompressionRatio = decimal_string(plain_bits / (8 * len(jpeg.data)))


def _write(
    out_dir: Path,
    dataset: Dataset,
    plan: ObjectPlan,
    capture: Capture,
    *,
    transfer_syntax: str,
    tail: Iterable[bytes],
) -> ConvertedInstance:
    path = out_dir / f"{plan.instance_uid}.dcm"
    written = write_part10(path, dataset, transfer_syntax=transfer_syntax, tail=tail)
    return ConvertedInstance(
        path=path,
        sop_class_uid=plan.sop_class_uid,
        sop_instance_uid=plan.instance_uid,
        series_uid=plan.series_uid,
        transfer_syntax=transfer_syntax,
        frames=1,
        width=dataset.Columns,
        height=dataset.Rows,
        bytes=written.bytes,
        sha256=written.sha256,
        capture_sha256=capture.sha256,
        capture_index=capture.index,
    )


def _strips(image: Image.Image) -> Iterator[bytes]:
    """The samples of an image, a few rows at a time."""
    for top in range(0, image.height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, image.height)
        yield image.crop((0, top, image.width, bottom)).tobytes()


def _read(path: Path) -> bytes:
    if path.stat().st_size > MAX_STILL_BYTES:
        raise CaptureProblem("capture_too_large", "The image file is too large to be a single picture.")
    return path.read_bytes()
