"""What a de-identified object takes over of a scanner's own: numbers and codes of closed sets, and no place for words.

An allow-list by name is not enough (a number's name may carry text): each attribute has to have the dictionary's
value representation and multiplicity, be a number within bounds or a word of its closed set. Else it is left out.
"""

import math
import re
from collections.abc import Sequence

from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from app.imaging.allowlists import NUMBERS_FROM_SOURCE
from app.imaging.palette import PALETTE_COLOR, kept_palette

PHOTOMETRIC_INTERPRETATIONS = frozenset(
    """
    MONOCHROME1 MONOCHROME2 RGB YBR_FULL YBR_FULL_422 YBR_PARTIAL_422 YBR_PARTIAL_420 YBR_ICT YBR_RCT
    """.split()  # noqa: SIM905 ten words read better as words
) | {PALETTE_COLOR}

COMPRESSION_METHODS = frozenset(
    """
    ISO_10918_1 ISO_14495_1 ISO_15444_1 ISO_15444_15 ISO_13818_2 ISO_14496_10 ISO_23008_2 ISO_18181_1
    """.split()  # noqa: SIM905 as above
)

CLOSED_SETS: dict[str, frozenset[str]] = {
    "PhotometricInterpretation": PHOTOMETRIC_INTERPRETATIONS,
    "LossyImageCompression": frozenset({"00", "01"}),
    "LossyImageCompressionMethod": COMPRESSION_METHODS,
    "ConversionType": frozenset({"DV", "DI", "DF", "WSD", "SD", "SI", "DRW", "SYN"}),
}
"""Code strings and the only words that each may say."""

IMAGE_TYPES = (("ORIGINAL", "DERIVED"), ("PRIMARY", "SECONDARY"))
"""The first two values; from the third on, scanners write words of their own."""

FRAME_INCREMENTS = frozenset({0x00181063, 0x00181065, 0x00182002, 0x00200013})
"""Frame time, its vector, labels and instance numbers: what a frame increment pointer may point to."""

MOST_VALUES = 16
"""Of an attribute that may have any number of values and is not one for each frame."""

MOST = 1e9
"""No measure of an ultrasound image is larger; eight letters read as a number mostly are."""

_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?")
_INTEGER = re.compile(r"[+-]?\d{1,12}")
_BINARY_NUMBERS = frozenset({"US", "SS", "UL", "SL", "FL", "FD"})


def numbers_only(source: Dataset) -> Dataset:
    """What the allow-list lets through of a scanner's object, at every depth, with its palette if it needs one."""
    kept = _numbers(source, frames=_frames(source))
    kept.ImageType = _image_type(source)
    take_palette(kept, source)
    return kept


def take_palette(dataset: Dataset, source: Dataset) -> None:
    """Write the source's palette, if the pixels need one and it is whole, with nothing behind its last number."""
    if dataset.get("PhotometricInterpretation") != PALETTE_COLOR:
        return
    for keyword, value in (kept_palette(source) or {}).items():
        setattr(dataset, keyword, value)
        if isinstance(value, list):
            dataset[keyword].VR = "SS" if min(value) < 0 else "US"
        else:
            dataset[keyword].VR = "OW"


def _numbers(source: Dataset, *, frames: int) -> Dataset:
    kept = Dataset()
    for element in source:
        keyword = keyword_for_tag(element.tag)
        if keyword not in NUMBERS_FROM_SOURCE or element.VR not in dictionary_VR(element.tag).split(" or "):
            continue
        if element.VR == "SQ":
            kept.add_new(element.tag, "SQ", Items([_numbers(item, frames=frames) for item in element.value]))
        elif (values := _values(element, keyword, frames=frames)) is not None:
            kept.add_new(element.tag, element.VR, values[0] if len(values) == 1 else values)
    return kept


def _values(element: DataElement, keyword: str, *, frames: int) -> list[object] | None:
    """The values as they may leave; None when one of them may not, or their number is wrong."""
    values = list(element.value) if element.VM > 1 else [element.value]
    if element.is_empty or not _may_have(len(values), keyword, dictionary_VM(element.tag), frames=frames):
        return None
    if keyword in CLOSED_SETS:
        allowed = CLOSED_SETS[keyword]
        return list(values) if all(value in allowed for value in values) else None
    if element.VR in ("DS", "IS"):
        pattern = _DECIMAL if element.VR == "DS" else _INTEGER
        texts = [str(getattr(value, "original_string", value)).strip() for value in values]
        fits = all(len(text) <= 16 and pattern.fullmatch(text) for text in texts)
        return list(texts) if fits else None
    if element.VR == "AT":
        return list(values) if all(int(value) in FRAME_INCREMENTS for value in values) else None
    if element.VR in _BINARY_NUMBERS:
        return list(values) if all(_is_measure(value, element.VR) for value in values) else None
    return None


def _is_measure(value: object, vr: str) -> bool:
    if not isinstance(value, (int, float)):
        return False
    return vr not in ("FL", "FD") or (math.isfinite(value) and abs(value) <= MOST)


def _may_have(count: int, keyword: str, multiplicity: str, *, frames: int) -> bool:
    """Whether so many values are as many as the dictionary says ("1", "2", "1-n", "2-2n")."""
    if keyword == "FrameTimeVector":
        return count == frames
    return count == int(multiplicity) if multiplicity.isdigit() else count <= MOST_VALUES


def _image_type(source: Dataset) -> list[str]:
    value = source.get("ImageType")
    values: Sequence[str] = [value] if isinstance(value, str) else list(value or ())
    return [
        values[index] if index < len(values) and values[index] in words else words[0]
        for index, words in enumerate(IMAGE_TYPES)
    ]


def _frames(source: Dataset) -> int:
    element = source.get("NumberOfFrames")
    return int(element) if isinstance(element, (int, str)) and str(element).isdigit() else 1
