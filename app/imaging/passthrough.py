"""A scanner's own DICOM object gets our identifiers and our subject; its pixels stay as they are.

Identified, it keeps what the scanner said; de-identified, only numbers on the allow-list. Text hidden
beside the pixels (JPEG comments, what stands behind the last frame) goes in both. What cannot be cleaned
or masked is refused.
"""

from collections.abc import Iterator, Mapping
from copy import copy
from pathlib import Path

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID

from app.imaging.allowlists import comes_from_scanner
from app.imaging.attributes import describe, identify, seal
from app.imaging.errors import CaptureProblem
from app.imaging.foreign_bytes import foreign_bytes
from app.imaging.foreign_dates import mended
from app.imaging.foreign_numbers import numbers_only, take_palette
from app.imaging.foreign_pixels import is_rewritten, pixel_tail
from app.imaging.masks import DERIVATION
from app.imaging.objects import sentence, store
from app.imaging.source_pixels import SourceObject, read_source
from app.imaging.subjects import (
    Capture,
    ConvertedInstance,
    DeidentifiedSubject,
    ObjectPlan,
    StudyContext,
    Subject,
    plan_object,
)
from app.imaging.viewer import COMPRESSION_OF, suitable_modality, suits

_OURS = frozenset({"SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber"})
"""What is ours to say even where the scanner said something; `identify` adds who and which study."""

_OFFSET_TABLES = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
_TIMINGS = ("FrameTime", "FrameTimeVector")
_MENDED = frozenset({"DA", "TM", "DT", "UI"})


def convert_dicom(
    capture: Capture, out_dir: Path, context: StudyContext, subject: Subject
) -> ConvertedInstance:
    """One DICOM capture -> the same object under our UIDs and identity."""
    source = read_source(capture.path)
    plan = plan_object(context, capture, sop_class_uid=str(source.dataset.SOPClassUID))
    return rewrite(source, out_dir, context, subject, capture=capture, plan=plan, our_uids={})


def rewrite(
    source: SourceObject,
    out_dir: Path,
    context: StudyContext,
    subject: Subject,
    *,
    capture: Capture,
    plan: ObjectPlan,
    our_uids: Mapping[str, str],
) -> ConvertedInstance:
    """Write `source` anew at the place that `plan` gives it.

    `our_uids` maps the UIDs of other objects in the same bundle to ours, so that references hold.
    CaptureProblem `capture_not_cleanable` or `capture_not_maskable` when policy asks for more than
    can be done to this object.
    """
    ours = describe(context, subject, plan)
    scratch = out_dir / f"{plan.instance_uid}.frames"
    strict = isinstance(subject, DeidentifiedSubject)
    if strict:
        _check_cleanable(source, context)
    try:
        with foreign_bytes():
            dataset = _merged(source, context, subject, ours=ours, our_uids=our_uids)
            return store(
                out_dir,
                seal(dataset, subject, from_scanner=True),
                plan,
                capture,
                transfer_syntax=source.transfer_syntax,
                tail=_tail(source, context, scratch, strict=strict),
            )
    finally:
        scratch.unlink(missing_ok=True)


def _merged(
    source: SourceObject,
    context: StudyContext,
    subject: Subject,
    *,
    ours: Dataset,
    our_uids: Mapping[str, str],
) -> Dataset:
    """The scanner's attributes as far as policy keeps them, under ours."""
    strict = isinstance(subject, DeidentifiedSubject)
    original = source.dataset
    if strict:
        dataset = numbers_only(original)
        dataset.update(ours)
        if suits(str(original.SOPClassUID), original.get("Modality")):
            dataset.Modality = original.Modality
    else:
        dataset = _kept(original)
        originals = {str(original.SOPInstanceUID): str(ours.SOPInstanceUID), **our_uids}
        if original.get("StudyInstanceUID"):
            originals[str(original.StudyInstanceUID)] = context.study_uid
        _rename_references(dataset, originals)
        _place(dataset, ours, is_image=source.pixels is not None)
        identify(dataset, context, subject)
        if original.get("BurnedInAnnotation") == "YES" and context.burned_in != "mask":
            # the scanner knows of this picture what the organisation says of its pictures
            dataset.BurnedInAnnotation = "YES"
    if not original.get("Modality") and source.pixels is not None:
        # an image of no class that says, in an exam of ultrasound
        dataset.Modality = suitable_modality(str(original.SOPClassUID)) or "US"
    if source.pixels is not None:
        _complete(dataset, source, strict=strict)
        if context.burned_in == "mask":
            _derive(dataset)
    return dataset


def _derive(dataset: Dataset) -> None:
    dataset.ImageType = ["DERIVED", *list(dataset.get("ImageType") or ["", "PRIMARY"])[1:]]
    dataset.DerivationDescription = sentence((DERIVATION,))
    if "IconImageSequence" in dataset:
        # a small picture of the same, with what was blanked still in it
        del dataset.IconImageSequence


def _complete(dataset: Dataset, source: SourceObject, *, strict: bool) -> None:
    """What decoders need and the maker left out, where there is one answer; what would lead viewers astray goes."""
    if dataset.get("SamplesPerPixel") == 3 and "PlanarConfiguration" not in dataset:
        dataset.PlanarConfiguration = 0
    if dataset.get("BitsAllocated"):
        for keyword, value in (
            ("BitsStored", int(dataset.BitsAllocated)),
            ("HighBit", int(dataset.get("BitsStored") or dataset.BitsAllocated) - 1),
            ("PixelRepresentation", 0),
        ):
            if dataset.get(keyword) is None:
                setattr(dataset, keyword, value)
    take_palette(dataset, source.dataset)
    method = COMPRESSION_OF.get(source.transfer_syntax)
    if (
        dataset.get("LossyImageCompression") == "01"
        and method
        and not dataset.get("LossyImageCompressionMethod")
    ):
        dataset.LossyImageCompressionMethod = method
    _complete_timing(dataset, source.frames)
    if is_rewritten(source, strict=strict):
        for keyword in _OFFSET_TABLES:
            if keyword in dataset:
                delattr(dataset, keyword)


def _complete_timing(dataset: Dataset, frames: int) -> None:
    vector = dataset.get("FrameTimeVector")
    if vector is not None and _count(vector) != frames:
        del dataset.FrameTimeVector
    pointer = dataset.get("FrameIncrementPointer")
    if pointer is not None and not _points_within(dataset, pointer):
        del dataset.FrameIncrementPointer
    if frames > 1 and "FrameIncrementPointer" not in dataset:
        for keyword in _TIMINGS:
            if dataset.get(keyword):
                dataset.FrameIncrementPointer = tag_for_keyword(keyword)


def _count(value: object) -> int:
    return len(value) if isinstance(value, (list, tuple)) or hasattr(value, "__len__") else 1


def _points_within(dataset: Dataset, pointer: object) -> bool:
    tags = pointer if isinstance(pointer, (list, tuple)) or hasattr(pointer, "__iter__") else [pointer]
    return all(tag in dataset for tag in tags)


def _tail(source: SourceObject, context: StudyContext, scratch: Path, *, strict: bool) -> Iterator[bytes]:
    if source.pixels is None:
        return iter(())
    masks = context.masks if context.burned_in == "mask" else ()
    return pixel_tail(source, masks=masks, scratch=scratch, strict=strict)


def _kept(source: Dataset) -> Dataset:
    """What an identified object keeps: all that the standard names but patient, visit, request.

    Dates, times and identifiers that are none are left out: archives refuse or misread them.
    """
    kept = Dataset()
    for original in source:
        if not comes_from_scanner(original.tag) or original.keyword == "SpecificCharacterSet":
            continue
        # what is written over it must not change what the source said
        element = copy(original)
        if element.VR == "SQ":
            element.value = [_kept(item) for item in element.value]
        elif element.VR in _MENDED and not element.is_empty:
            values = [element.value] if isinstance(element.value, str) else list(element.value)
            texts = [mended(element.VR, str(value)) for value in values]
            if not any(texts):
                continue
            if texts != [str(value) for value in values]:
                element.value = texts[0] if len(texts) == 1 else texts
        kept.add(element)
    return kept


def _rename_references(dataset: Dataset, our_uids: Mapping[str, str]) -> None:
    """Replace UIDs that have become ours; others name things that we did not rename."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _rename_references(item, our_uids)
        elif element.VR == "UI" and not element.is_empty:
            values = [element.value] if isinstance(element.value, str) else list(element.value)
            renamed = [UID(our_uids.get(str(value), str(value))) for value in values]
            element.value = renamed[0] if len(renamed) == 1 else renamed


def _place(dataset: Dataset, ours: Dataset, *, is_image: bool) -> None:
    """Our identifiers over the scanner's; in images, our other words where the scanner said nothing."""
    for element in ours:
        if element.keyword in _OURS or (
            is_image and element.tag not in dataset and element.keyword != "Modality"
        ):
            dataset.add(element)
    if "Manufacturer" not in dataset:
        dataset.Manufacturer = ""


def _check_cleanable(source: SourceObject, context: StudyContext) -> None:
    if source.pixels is None:
        raise CaptureProblem(
            "capture_not_cleanable",
            "The DICOM object is not an image and cannot be sent without identity.",
        )
    if not UID(str(source.dataset.SOPClassUID)).keyword:
        raise CaptureProblem(
            "capture_not_cleanable",
            "The DICOM object is of no kind that the standard names, and cannot be sent without identity.",
        )
    if source.dataset.get("BurnedInAnnotation") == "YES" and context.burned_in != "mask":
        raise CaptureProblem(
            "capture_not_cleanable",
            "The scanner says that text is burned into this image, so it cannot be sent without identity.",
        )
