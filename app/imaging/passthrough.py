"""A scanner's own DICOM object gets our identifiers and our subject; its pixels stay as they are.

Identified, it keeps what the scanner said; de-identified, only numbers on the allow-list. Text hidden
beside the pixels (JPEG comments) goes in both. What cannot be cleaned or masked is refused.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.uid import UID

from app.imaging.allowlists import NUMBERS_FROM_SOURCE, comes_from_scanner
from app.imaging.attributes import describe, identify, seal
from app.imaging.errors import CaptureProblem
from app.imaging.foreign_pixels import pixel_tail
from app.imaging.masks import DERIVATION
from app.imaging.objects import sentence, store
from app.imaging.source_pixels import UNREADABLE, SourceObject, damaged, read_source
from app.imaging.subjects import (
    Capture,
    ConvertedInstance,
    DeidentifiedSubject,
    ObjectPlan,
    StudyContext,
    Subject,
    plan_object,
)

_OURS = frozenset({"SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber"})
"""What is ours to say even where the scanner said something; `identify` adds who and which study."""


def convert_dicom(
    capture: Capture, out_dir: Path, context: StudyContext, subject: Subject
) -> ConvertedInstance:
    """One DICOM capture -> the same object under our UIDs and identity."""
    source = read_source(capture.path)
    plan = plan_object(context, capture, sop_class_uid=str(source.dataset.SOPClassUID))
    return rewrite(source, out_dir, context, subject, capture=capture, plan=plan, known={})


def rewrite(
    source: SourceObject,
    out_dir: Path,
    context: StudyContext,
    subject: Subject,
    *,
    capture: Capture,
    plan: ObjectPlan,
    known: Mapping[str, str],
) -> ConvertedInstance:
    """Write `source` anew at the place that `plan` gives it.

    `known` maps the UIDs of other objects in the same bundle to ours, so that references hold.
    CaptureProblem `capture_not_cleanable` or `capture_not_maskable` when policy asks for more than
    can be done to this object.
    """
    ours = describe(context, subject, plan)
    scratch = out_dir / f"{plan.instance_uid}.frames"
    strict = isinstance(subject, DeidentifiedSubject)
    if strict:
        _check_cleanable(source, context)
    try:
        dataset = _merged(source, context, subject, ours=ours, known=known)
        return store(
            out_dir,
            seal(dataset, subject, from_scanner=True),
            plan,
            capture,
            transfer_syntax=source.transfer_syntax,
            tail=_tail(source, context, scratch, strict=strict),
        )
    except UNREADABLE:
        # The cause would quote what it could not read.
        raise damaged() from None
    finally:
        scratch.unlink(missing_ok=True)


def _merged(
    source: SourceObject,
    context: StudyContext,
    subject: Subject,
    *,
    ours: Dataset,
    known: Mapping[str, str],
) -> Dataset:
    """The scanner's attributes as far as policy keeps them, under ours."""
    if isinstance(subject, DeidentifiedSubject):
        dataset = _numbers_only(source.dataset)
        dataset.update(ours)
    else:
        dataset = _kept(source.dataset)
        originals = {str(source.dataset.SOPInstanceUID): str(ours.SOPInstanceUID), **known}
        if source.dataset.get("StudyInstanceUID"):
            originals[str(source.dataset.StudyInstanceUID)] = context.study_uid
        _rename_references(dataset, originals)
        _place(dataset, ours, is_image=source.pixels is not None)
        identify(dataset, context, subject)
    if context.burned_in == "mask" and source.pixels is not None:
        dataset.ImageType = ["DERIVED", *list(dataset.get("ImageType", ["", "PRIMARY"]))[1:]]
        dataset.DerivationDescription = sentence((DERIVATION,))
    return dataset


def _tail(source: SourceObject, context: StudyContext, scratch: Path, *, strict: bool) -> Iterator[bytes]:
    if source.pixels is None:
        return iter(())
    masks = context.masks if context.burned_in == "mask" else ()
    return pixel_tail(source, masks=masks, scratch=scratch, strict=strict)


def _numbers_only(source: Dataset) -> Dataset:
    """What the allow-list lets through of a scanner's object, at every depth."""
    kept = Dataset()
    for element in source:
        if keyword_for_tag(element.tag) not in NUMBERS_FROM_SOURCE:
            continue
        if element.VR == "SQ":
            element.value = [_numbers_only(item) for item in element.value]
        kept.add(element)
    if "ImageType" in kept:
        # From the third value on, scanners write words of their own.
        kept.ImageType = list(kept.ImageType)[:2]
    return kept


def _kept(source: Dataset) -> Dataset:
    """What an identified object keeps: all that the standard names but patient, visit, request."""
    kept = Dataset()
    for element in source:
        if not comes_from_scanner(element.tag) or element.keyword == "SpecificCharacterSet":
            continue
        if element.VR == "SQ":
            element.value = [_kept(item) for item in element.value]
        kept.add(element)
    return kept


def _rename_references(dataset: Dataset, known: Mapping[str, str]) -> None:
    """Replace UIDs that have become ours; others name things that we did not rename."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _rename_references(item, known)
        elif element.VR == "UI" and not element.is_empty:
            values = [element.value] if isinstance(element.value, str) else list(element.value)
            renamed = [UID(known.get(str(value), str(value))) for value in values]
            element.value = renamed[0] if len(renamed) == 1 else renamed


def _place(dataset: Dataset, ours: Dataset, *, is_image: bool) -> None:
    """Our identifiers over the scanner's; in images, our other words where the scanner said nothing."""
    for element in ours:
        if element.keyword in _OURS or (is_image and element.tag not in dataset):
            dataset.add(element)


def _check_cleanable(source: SourceObject, context: StudyContext) -> None:
    if source.pixels is None:
        raise CaptureProblem(
            "capture_not_cleanable",
            "The DICOM object is not an image and cannot be sent without identity.",
        )
    if source.dataset.get("BurnedInAnnotation") == "YES" and context.burned_in != "mask":
        raise CaptureProblem(
            "capture_not_cleanable",
            "The scanner says that text is burned into this image, so it cannot be sent without identity.",
        )
