"""Converts public samples in every mode and holds what Orthanc shows of them against decoders that we do not use."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pydicom
from PIL import Image
from pydicom.uid import UID_dictionary

from app.imaging.convert import convert_capture
from app.imaging.errors import CaptureProblem
from tests.corpus.opinions import MOST_FRAMES, Opinion, of_dicom, of_orthanc, second_opinion
from tests.imaging.reading import mean_difference
from tests.imaging.samples import CASE, HUMAN, context_for
from tests.imaging.test_peers import another_study, previews, store
from tests.support.peers.orthanc import Orthanc

MEAN_DIFFERENCE = 3
"""Of 255: what two right decoders of one JPEG differ by (rounding, the way that colour is scaled up)."""
MASK = (0, 0, 8, 8)
OUTSIDE_MASK = 16
"""A mask grows to whole blocks of a JPEG's colour, so pictures are compared from here on."""
SHORTEST_TEXT = 5

MODES = {
    "identified": (HUMAN, {}),
    "de-identified": (CASE, {}),
    "masked": (CASE, {"burned_in": "mask", "masks": (MASK,)}),
}
SHOWN, DCMTK_ONLY, NO_PICTURE = "shown right", "right by dcmtk; Orthanc shows neither", "no picture"
SAME_BYTES, NO_OPINION = "pixels byte for byte; no second decoder", "no second decoder"
TOO_SMALL, WRONG = "all of it masked", "wrong"
_TEXTS = ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UR", "UT")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file in one mode: `result` is a column of the table, `wrong` says what is wrong with it."""

    file: str
    mode: str
    result: str
    wrong: str | None = None


def try_files(orthanc: Orthanc, files: Iterable[Path]) -> Iterator[Outcome]:
    """Each file in each mode, in order."""
    for file in files:
        with tempfile.TemporaryDirectory() as folder:
            opinion = second_opinion(orthanc, file, Path(folder) / "source")
            for mode in MODES:
                yield try_file(orthanc, file, mode=mode, opinion=opinion, folder=Path(folder) / mode)


def try_file(orthanc: Orthanc, file: Path, *, mode: str, opinion: Opinion | None, folder: Path) -> Outcome:
    """One file in one mode. Every file of the sets is one capture, so one object is made of it."""
    subject, changes = MODES[mode]
    context = context_for(subject, **another_study(), **changes)
    try:
        made = list(convert_capture(file, folder, context, subject, capture_index=0))
    except CaptureProblem as problem:
        silent = None if str(problem).strip() else "refused without a word"
        return Outcome(file.name, mode, f"refused: {problem.code}", silent)
    except Exception as error:  # noqa: BLE001 - whatever it is: that it comes out at all is the finding
        return Outcome(file.name, mode, WRONG, f"conversion raised {type(error).__name__}")
    kept = kept_texts(file, made[0].path) if subject is CASE else []
    if kept:
        return Outcome(file.name, mode, WRONG, f"de-identified, but holds {len(kept)} of the source's texts")
    answer = store(orthanc, *(one.path for one in made))
    if answer.status_code != httpx.codes.OK:
        return Outcome(file.name, mode, WRONG, f"Orthanc refused it ({answer.status_code})")
    result, fault = judged(orthanc, made[0], file, opinion=opinion, mode=mode, folder=folder)
    return Outcome(file.name, mode, WRONG if fault else result, fault)


def judged(
    orthanc: Orthanc, made, file: Path, *, opinion: Opinion | None, mode: str, folder: Path
) -> tuple[str, str | None]:
    """Which column an object belongs to, and what is wrong with it."""
    if "Rows" not in pydicom.dcmread(made.path, stop_before_pixels=True):
        return NO_PICTURE, None
    if opinion is None:
        return (SAME_BYTES if has_same_pixels(file, made.path) else NO_OPINION), None
    if mode == "masked" and any(min(image.size) <= OUTSIDE_MASK for image in opinion.pictures):
        return TOO_SMALL, None
    try:
        return SHOWN, differs(orthanc, made, opinion=opinion, mode=mode, folder=folder)
    except httpx.HTTPStatusError:
        return DCMTK_ONLY, differs_in_dcmtk(orthanc, made, file, opinion=opinion, mode=mode, folder=folder)


def has_same_pixels(source: Path, made: Path) -> bool:
    """Whether the pixel data are the source's own, byte for byte."""
    try:
        return bool(pydicom.dcmread(source, force=True).PixelData == pydicom.dcmread(made).PixelData)
    except AttributeError:
        return False


def differs_in_dcmtk(
    orthanc: Orthanc, made, file: Path, *, opinion: Opinion, mode: str, folder: Path
) -> str | None:
    """Orthanc makes no picture of some pixels (RGB of 16 bits, YBR_FULL without compression): of the source neither?"""
    if opinion.by == "Orthanc" or of_orthanc(orthanc, file) is not None:
        return "Orthanc shows the source, and not what was made of it"
    told = of_dicom(held_by_orthanc(orthanc, made, folder), folder / "held")
    return (
        compared(told.pictures, opinion, mode=mode)
        if told
        else "dcmtk shows the source, and not what was made"
    )


def differs(orthanc: Orthanc, made, *, opinion: Opinion, mode: str, folder: Path) -> str | None:
    """What is wrong with what Orthanc shows, or None."""
    if made.frames != opinion.count:
        return f"{made.frames} frames instead of the {opinion.count} of {opinion.by}"
    return compared(shown_by_orthanc(orthanc, made, opinion, folder), opinion, mode=mode)


def compared(shown: list[Image.Image], opinion: Opinion, *, mode: str) -> str | None:
    """What is wrong with pictures, next to the opinion's."""
    for number, (one, other) in enumerate(zip(shown, opinion.pictures, strict=True), 1):
        if one.size != other.size:
            return f"frame {number} is {one.size} instead of {other.size} ({opinion.by})"
        box = (OUTSIDE_MASK, OUTSIDE_MASK, *one.size) if mode == "masked" else (0, 0, *one.size)
        difference = mean_difference(one.crop(box), other.crop(box))
        if difference > MEAN_DIFFERENCE:
            return f"frame {number} differs by {difference:.1f} of 255 from {opinion.by}"
    return None


def shown_by_orthanc(orthanc: Orthanc, made, opinion: Opinion, folder: Path) -> list[Image.Image]:
    """Its previews; grey ones it stretches by a rule of its own, so of those dcmtk shows what Orthanc holds."""
    dataset = pydicom.dcmread(made.path, stop_before_pixels=True)
    grey = dataset.SamplesPerPixel == 1 and dataset.PhotometricInterpretation != "PALETTE COLOR"
    if grey and opinion.by != "Orthanc":
        told = of_dicom(held_by_orthanc(orthanc, made, folder), folder / "held")
        if told is not None:
            return told.pictures
    return previews(orthanc, made.sop_instance_uid, min(made.frames, MOST_FRAMES))


def held_by_orthanc(orthanc: Orthanc, made, folder: Path) -> Path:
    """The object as Orthanc gives it back."""
    held = folder / "held.dcm"
    instance = orthanc.find_instance(made.sop_instance_uid)
    held.write_bytes(orthanc.get(f"/instances/{instance}/file").content)
    return held


def kept_texts(source: Path, made: Path) -> list[str]:
    """Texts of five characters and more that the source says of itself and that stand in the object made of it."""
    held = made.read_bytes()
    return [
        text
        for text in sorted(_texts(source))
        if len(text) >= SHORTEST_TEXT
        and text not in UID_dictionary
        and text.encode("utf-8", "replace") in held
    ]


def _texts(source: Path) -> set[str]:
    try:
        dataset = pydicom.dcmread(source, stop_before_pixels=True)
        return {
            str(value).strip()
            for element in dataset.iterall()
            if element.VR in _TEXTS and element.value
            for value in (element.value if element.VM > 1 else [element.value])
        }
    except Exception:  # noqa: BLE001 - it is no DICOM, or pydicom can't walk it
        return _texts_of_picture(source)


def _texts_of_picture(source: Path) -> set[str]:
    """Comments, titles, EXIF of a still; none where Pillow finds nothing to read."""
    try:
        with Image.open(source) as opened:
            values = [*opened.info.values(), *dict(opened.getexif()).values()]
    except Exception:  # noqa: BLE001 - no still
        return set()
    texts = (value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values)
    return {text.strip("\0 ") for text in texts if isinstance(text, str) and text.isprintable()}


def table(by_set: Mapping[str, list[Outcome]]) -> str:
    """Counts by set, mode and result, as Markdown."""
    counts = Counter((name, one.mode, one.result) for name, outcomes in by_set.items() for one in outcomes)
    results = sorted({result for _, _, result in counts}, key=lambda name: (name.startswith("refused"), name))
    lines = [
        "| files | mode | " + " | ".join(results) + " |",
        "|---|---|" + "---|" * len(results),
        *(
            f"| {name} ({len(outcomes) // len(MODES)}) | {mode} | "
            + " | ".join(str(counts[name, mode, result]) for result in results)
            + " |"
            for name, outcomes in by_set.items()
            for mode in MODES
        ),
    ]
    return "\n".join(lines)
