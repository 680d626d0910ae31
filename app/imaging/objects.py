"""What stills and clips have in common once their pixels are known; it decodes nothing."""

from collections.abc import Iterable
from pathlib import Path

from pydicom.dataset import Dataset

from app.imaging.attributes import NO_CALIBRATION
from app.imaging.subjects import Capture, ConvertedInstance, ObjectPlan
from app.imaging.writer import write_part10


def describe_pixels(dataset: Dataset, *, width: int, height: int, photometric: str) -> None:
    """Image Pixel module for 8-bit samples (PS3.3 C.7.6.3)."""
    dataset.SamplesPerPixel = 1 if photometric == "MONOCHROME2" else 3
    dataset.PhotometricInterpretation = photometric
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    else:
        # Without a window, viewers stretch grey pictures to their own darkest and brightest pixel.
        dataset.WindowCenter = "128"
        dataset.WindowWidth = "256"
    dataset.Rows = height
    dataset.Columns = width
    dataset.BitsAllocated = 8
    dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.ImageComments = NO_CALIBRATION


def sentence(changes: Iterable[str]) -> str:
    """A derivation description from what was done to the samples."""
    text = "; ".join(changes)
    return text[:1].upper() + text[1:]


def store(
    out_dir: Path,
    dataset: Dataset,
    plan: ObjectPlan,
    capture: Capture,
    *,
    transfer_syntax: str,
    tail: Iterable[bytes],
) -> ConvertedInstance:
    """Write the object as `<instance uid>.dcm` and say what was written."""
    path = out_dir / f"{plan.instance_uid}.dcm"
    written = write_part10(path, dataset, transfer_syntax=transfer_syntax, tail=tail)
    return ConvertedInstance(
        path=path,
        sop_class_uid=plan.sop_class_uid,
        sop_instance_uid=plan.instance_uid,
        series_uid=plan.series_uid,
        transfer_syntax=transfer_syntax,
        frames=int(dataset.get("NumberOfFrames", 1)),
        width=dataset.get("Columns", 0),
        height=dataset.get("Rows", 0),
        bytes=written.bytes,
        sha256=written.sha256,
        capture_sha256=capture.sha256,
        capture_index=capture.index,
    )
