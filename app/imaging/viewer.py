"""What a viewer would stumble over in a DICOM object, whoever made it: read from the file, nothing is decoded.

Our table of required attributes is for our objects (`check`); of others it is asked only what shows their picture.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.uid import UID

from app.imaging.errors import CaptureProblem
from app.imaging.foreign_dates import is_well_formed
from app.imaging.foreign_numbers import PHOTOMETRIC_INTERPRETATIONS
from app.imaging.foreign_pixels import RLE, picture_bytes
from app.imaging.frames import JPEG_SYNTAXES, basic_offsets, extended_offsets, frames_of, offsets_fit
from app.imaging.jpeg import read_jpeg
from app.imaging.palette import PALETTE_COLOR, kept_palette
from app.imaging.source_pixels import UNCOMPRESSED, SourceObject, SourcePixels, span_bytes
from app.imaging.subjects import US_IMAGE, US_MULTI_FRAME

_PREFIX = "1.2.840.10008.1.2.4."
_JPEG_2000 = frozenset(_PREFIX + number for number in ("90", "91", "92", "93", "201", "202", "203"))
_JPEG_LS = frozenset({_PREFIX + "80", _PREFIX + "81"})
VIDEO = frozenset(_PREFIX + str(number) for number in range(100, 109))
"""One stream for all frames: fragments and offset tables say nothing of frames."""

READABLE = UNCOMPRESSED | JPEG_SYNTAXES | _JPEG_2000 | _JPEG_LS | VIDEO | {RLE}
"""The transfer syntaxes that viewers and archives in use read; the retired JPEG processes are not among them."""

COMPRESSION_OF = {
    **dict.fromkeys((_PREFIX + "50", _PREFIX + "51"), "ISO_10918_1"),
    _PREFIX + "81": "ISO_14495_1",
    _PREFIX + "91": "ISO_15444_1",
    _PREFIX + "203": "ISO_15444_15",
    **dict.fromkeys((_PREFIX + "100", _PREFIX + "101"), "ISO_13818_2"),
    **dict.fromkeys((_PREFIX + str(number) for number in range(102, 107)), "ISO_14496_10"),
    **dict.fromkeys((_PREFIX + "107", _PREFIX + "108"), "ISO_23008_2"),
}
"""Lossy transfer syntax -> LossyImageCompressionMethod (PS3.3 C.7.6.1.1.5)."""

_IMAGES = "1.2.840.10008.5.1.4.1.1."
MODALITIES_OF = {
    US_IMAGE: ("US", "IVUS"),
    US_MULTI_FRAME: ("US", "IVUS"),
    _IMAGES + "6": ("US", "IVUS"),
    _IMAGES + "3": ("US", "IVUS"),
    _IMAGES + "6.2": ("US",),
    _IMAGES + "1": ("CR",),
    _IMAGES + "2": ("CT",),
    _IMAGES + "2.1": ("CT",),
    _IMAGES + "4": ("MR",),
    _IMAGES + "4.1": ("MR",),
    _IMAGES + "20": ("NM",),
    _IMAGES + "128": ("PT",),
    _IMAGES + "12.1": ("XA",),
    _IMAGES + "12.2": ("RF",),
}
"""SOP class -> the modalities that go with it, where its module says so (PS3.3 C.8); the first is the usual one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with an object: the attribute's keyword and what is the matter."""

    attribute: str
    problem: str


def suitable_modality(sop_class: str) -> str | None:
    """The modality of an object of this class; None where the class does not say."""
    return MODALITIES_OF.get(sop_class, (None,))[0]


def suits(sop_class: str, modality: object) -> bool:
    """Whether a modality is one at all, and one that goes with the class."""
    text = str(modality or "")
    if not (2 <= len(text) <= 16 and text.isascii() and text.isalpha() and text.isupper()):
        return False
    return sop_class not in MODALITIES_OF or text in MODALITIES_OF[sop_class]


def viewer_findings(source: SourceObject) -> list[Finding]:
    """All that a viewer or an archive would stumble over."""
    dataset = source.dataset
    sop_class = str(dataset.SOPClassUID)
    findings = [Finding(keyword, "has a value that cannot be read") for keyword in source.unread]
    findings += _places(dataset)
    if not dataset.get("Modality"):
        findings.append(Finding("Modality", "is missing"))
    elif not suits(sop_class, dataset.Modality):
        findings.append(Finding("Modality", "does not go with the kind of image"))
    findings += _malformed(dataset)
    if source.transfer_syntax not in READABLE:
        findings.append(Finding("TransferSyntaxUID", "names an encoding that viewers do not read"))
    if source.pixels is not None:
        findings += _description(dataset)
        findings += _timing(source)
        if not any(finding.attribute in _NEEDED for finding in findings):
            findings += _pixels(source, source.pixels)
    elif "Image Storage" in UID(sop_class).name:
        findings.append(Finding("PixelData", "is missing"))
    return findings


def _places(dataset: Dataset) -> Iterator[Finding]:
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        if not dataset.get(keyword):
            yield Finding(keyword, "is empty" if keyword in dataset else "is missing")
    if not UID(str(dataset.SOPClassUID)).keyword:
        yield Finding("SOPClassUID", "is no class that the standard names")


def _malformed(dataset: Dataset) -> Iterator[Finding]:
    """Dates, times and UIDs that are none, at any depth; each attribute once."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _malformed(item)
        elif element.VR in _WORDS and not element.is_empty:
            values = [element.value] if isinstance(element.value, str) else element.value
            if not all(is_well_formed(element.VR, str(value)) for value in values):
                yield Finding(keyword_for_tag(element.tag) or str(element.tag), f"is no {_WORDS[element.VR]}")


_WORDS = {"DA": "date (YYYYMMDD)", "TM": "time (HHMMSS)", "DT": "date and time", "UI": "UID"}

_NEEDED = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "NumberOfFrames",
)


def _description(dataset: Dataset) -> list[Finding]:
    """Image Pixel module (PS3.3 C.7.6.3): what no decoder can do without, and what contradicts itself."""
    findings = []
    for keyword in _NEEDED[:-1]:
        if keyword not in dataset:
            findings.append(Finding(keyword, "is missing"))
        elif dataset[keyword].is_empty:
            findings.append(Finding(keyword, "is empty"))
        elif dataset[keyword].VM != 1:
            findings.append(Finding(keyword, "has several values"))
    findings += [Finding(keyword, "is 0") for keyword in ("Rows", "Columns") if dataset.get(keyword) == 0]
    return [*findings, *_colours(dataset), *_bits(dataset)]


def _colours(dataset: Dataset) -> Iterator[Finding]:
    samples, photometric = dataset.get("SamplesPerPixel"), dataset.get("PhotometricInterpretation")
    if samples == 3 and "PlanarConfiguration" not in dataset:
        yield Finding("PlanarConfiguration", "is missing")
    if photometric and photometric not in PHOTOMETRIC_INTERPRETATIONS:
        yield Finding("PhotometricInterpretation", "is none that viewers know")
    elif (samples == 1) != (photometric in ("MONOCHROME1", "MONOCHROME2", PALETTE_COLOR)):
        yield Finding("PhotometricInterpretation", "does not go with SamplesPerPixel")
    if photometric == PALETTE_COLOR and kept_palette(dataset) is None:
        yield Finding(
            "RedPaletteColorLookupTableData", "is missing or cut short, or another of the palette is"
        )


def _bits(dataset: Dataset) -> Iterator[Finding]:
    allocated, stored, high = (dataset.get(keyword) for keyword in ("BitsAllocated", "BitsStored", "HighBit"))
    if not (isinstance(allocated, int) and isinstance(stored, int) and isinstance(high, int)):
        return
    if allocated not in (1, 8, 16, 32, 64):
        yield Finding("BitsAllocated", f"is {allocated}")
    if not 0 < stored <= allocated:
        yield Finding("BitsStored", "does not go with BitsAllocated")
    if not stored - 1 <= high < allocated:
        yield Finding("HighBit", "does not go with BitsStored")


def _timing(source: SourceObject) -> Iterator[Finding]:
    """Frame count and what says how fast the frames follow each other (PS3.3 C.7.6.5, C.7.6.6)."""
    dataset = source.dataset
    frames = dataset.get("NumberOfFrames")
    if "NumberOfFrames" in dataset and (
        frames is None or not str(frames).strip().isdigit() or int(frames) < 1
    ):
        yield Finding("NumberOfFrames", "is no number of frames")
    pointer = dataset.get("FrameIncrementPointer")
    if pointer is not None:
        tags = pointer if hasattr(pointer, "__iter__") else [pointer]
        for tag in tags:
            if tag not in dataset:
                yield Finding("FrameIncrementPointer", "points to an attribute that is missing")
    vector = dataset.get("FrameTimeVector")
    if vector is not None and (len(vector) if hasattr(vector, "__len__") else 1) != source.frames:
        yield Finding("FrameTimeVector", "has not one value for each frame")


def _pixels(source: SourceObject, pixels: SourcePixels) -> Iterator[Finding]:
    if source.transfer_syntax in UNCOMPRESSED:
        yield from _uncompressed(source, pixels)
        return
    if not any(span.length for span in pixels.fragments):
        yield Finding("PixelData", "is empty")
        return
    if source.transfer_syntax in VIDEO:
        return
    for name, offsets in (
        ("PixelData", basic_offsets(source)),
        ("ExtendedOffsetTable", extended_offsets(source)),
    ):
        if offsets and not offsets_fit(source, offsets):
            yield Finding(name, "has an offset table that does not fit its frames")
    if pixels.offsets is not None and pixels.offsets.length % 4:
        yield Finding("PixelData", "has an offset table that does not fit its frames")
    if source.frames > len(pixels.fragments):
        yield Finding(
            "PixelData", f"holds {len(pixels.fragments)} frames of the {source.frames} in NumberOfFrames"
        )
        return
    frames = frames_of(source)
    if frames is None:
        yield Finding(
            "NumberOfFrames", f"is {source.frames}, but PixelData has {len(pixels.fragments)} fragments"
        )
        return
    for number, spans in enumerate(frames, 1):
        try:
            problem = _frame_problem(source, b"".join(span_bytes(source.path, span) for span in spans))
        except CaptureProblem as error:
            problem = "ends before it is complete" if error.code == "capture_truncated" else "is damaged"
        if problem:
            yield Finding("PixelData", f"{problem} in frame {number}")
            return


def _uncompressed(source: SourceObject, pixels: SourcePixels) -> Iterator[Finding]:
    held = pixels.value.length
    needed = picture_bytes(source.dataset, source.frames, held=held)
    if held < needed:
        yield Finding("PixelData", f"ends before it is complete: {held} of {needed} bytes")
    elif held > needed + needed % 2:
        yield Finding("PixelData", f"holds {held - needed} bytes more than its picture")


def _frame_problem(source: SourceObject, frame: bytes) -> str:
    """What is wrong with a compressed frame by its own header; empty when nothing is."""
    syntax, size = source.transfer_syntax, (int(source.dataset.Columns), int(source.dataset.Rows))
    if syntax in JPEG_SYNTAXES:
        jpeg = read_jpeg(frame)
        if (jpeg.width, jpeg.height) != size:
            return f"measures {jpeg.width} x {jpeg.height} and not {size[0]} x {size[1]}"
        return ""
    if syntax in _JPEG_LS:
        whole = frame.startswith(b"\xff\xd8") and frame.rstrip(b"\0").endswith(b"\xff\xd9")
        return "" if whole else "is damaged or ends before it is complete"
    if syntax in _JPEG_2000:
        begins = frame.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "))
        return "" if begins else "is no JPEG 2000"
    if syntax == RLE:
        segments = int(source.dataset.SamplesPerPixel) * (int(source.dataset.BitsAllocated) // 8)
        begins = len(frame) > 64 and int.from_bytes(frame[:4], "little") == segments
        return "" if begins else "is no run-length encoded picture of this kind"
    return ""
