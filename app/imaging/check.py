"""What every object that we send must say: our own required-attribute table, read from the file.

It only reads. `sonobridge check-dicom` prints what it finds; the convert step refuses to go on.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pydicom
from pydicom.dataset import Dataset, FileDataset

from app.imaging.errors import CaptureProblem
from app.imaging.limits import MAX_DICOM_HEADER_BYTES
from app.imaging.source_pixels import UNREADABLE
from app.imaging.subjects import US_IMAGE, US_MULTI_FRAME

Need = Literal["value", "present"]
"""DICOM's type 1 (a value) and type 2 (present, may be empty)."""

REQUIRED: dict[str, Need] = {
    "SpecificCharacterSet": "value",
    "SOPClassUID": "value",
    "SOPInstanceUID": "value",
    "StudyInstanceUID": "value",
    "SeriesInstanceUID": "value",
    "Modality": "value",
    "PatientName": "present",
    "PatientID": "present",
    "PatientBirthDate": "present",
    "PatientSex": "present",
    "StudyDate": "present",
    "StudyTime": "present",
    "StudyID": "present",
    "AccessionNumber": "present",
    "ReferringPhysicianName": "present",
    "SeriesNumber": "present",
    "InstanceNumber": "present",
    "Manufacturer": "present",
}

REQUIRED_OF_IMAGES: dict[str, Need] = {
    "SamplesPerPixel": "value",
    "PhotometricInterpretation": "value",
    "Rows": "value",
    "Columns": "value",
    "BitsAllocated": "value",
    "BitsStored": "value",
    "HighBit": "value",
    "PixelRepresentation": "value",
    "ImageType": "value",
}

REQUIRED_OF_CLIPS: dict[str, Need] = {
    "NumberOfFrames": "value",
    "FrameIncrementPointer": "value",
}

VETERINARY: dict[str, Need] = {
    "PatientBreedDescription": "present",
    "PatientBreedCodeSequence": "present",
    "BreedRegistrationSequence": "present",
    "PatientSexNeutered": "present",
    "ResponsiblePerson": "present",
    "ResponsibleOrganization": "present",
}

DEIDENTIFIED: dict[str, Need] = {
    "DeidentificationMethod": "value",
    "DeidentificationMethodCodeSequence": "value",
    "LongitudinalTemporalInformationModified": "value",
}

SEXES = ("M", "F", "O", "", None)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with an object: the attribute's keyword and what is the matter."""

    attribute: str
    problem: str


def check_file(path: Path) -> list[Finding]:
    """All findings about a DICOM file; empty means that it may be sent. OSError: the disk."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            # A warning would carry values of the file to standard error.
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(file, defer_size=MAX_DICOM_HEADER_BYTES, stop_before_pixels=True)
            has_pixels = _pixel_element_follows(file.read(6), dataset)
    except UNREADABLE:
        return [Finding("file", "is not a readable DICOM file")]
    return check_dataset(dataset, has_pixels=has_pixels)


def require_valid(path: Path) -> None:
    """CaptureProblem `missing_attribute` naming the first finding about a file that we made."""
    findings = check_file(path)
    if findings:
        first = findings[0]
        raise CaptureProblem(
            "missing_attribute", f"The image could not be completed: {first.attribute} {first.problem}."
        )


def check_dataset(dataset: FileDataset, *, has_pixels: bool) -> list[Finding]:
    """All findings about a dataset read without its pixel data."""
    findings = _missing(dataset, REQUIRED)
    sop_class = str(dataset.get("SOPClassUID", ""))
    if sop_class in (US_IMAGE, US_MULTI_FRAME):
        findings += _missing(dataset, REQUIRED_OF_IMAGES)
        findings += _colour(dataset)
        if not has_pixels:
            findings.append(Finding("PixelData", "is missing"))
    if sop_class == US_MULTI_FRAME:
        findings += _missing(dataset, REQUIRED_OF_CLIPS)
    findings += _subject(dataset)
    findings += _file_meta(dataset)
    return findings


def _subject(dataset: Dataset) -> list[Finding]:
    findings = []
    if dataset.get("PatientSex") not in SEXES:
        findings.append(Finding("PatientSex", "is not M, F or O"))
    if "PatientSpeciesDescription" in dataset or "PatientSpeciesCodeSequence" in dataset:
        findings += _missing(dataset, VETERINARY)
    has_role, has_person = bool(dataset.get("ResponsiblePersonRole")), bool(dataset.get("ResponsiblePerson"))
    if has_role != has_person:
        findings.append(Finding("ResponsiblePersonRole", "goes with a responsible person only"))
    if dataset.get("PatientIdentityRemoved") == "YES":
        findings += _missing(dataset, DEIDENTIFIED)
        if dataset.get("PatientName") != dataset.get("PatientID"):
            findings.append(Finding("PatientName", "differs from the case label in PatientID"))
    return findings


def _colour(dataset: Dataset) -> list[Finding]:
    samples = dataset.get("SamplesPerPixel")
    findings = []
    if samples == 3 and "PlanarConfiguration" not in dataset:
        findings.append(Finding("PlanarConfiguration", "is missing"))
    if (samples == 1) != (dataset.get("PhotometricInterpretation") in ("MONOCHROME2", "PALETTE COLOR")):
        findings.append(Finding("PhotometricInterpretation", "does not go with SamplesPerPixel"))
    if dataset.get("LossyImageCompression") == "01" and "LossyImageCompressionMethod" not in dataset:
        findings.append(Finding("LossyImageCompressionMethod", "is missing"))
    return findings


def _file_meta(dataset: FileDataset) -> list[Finding]:
    meta = dataset.file_meta
    findings = _missing(meta, {"TransferSyntaxUID": "value"})
    for theirs, ours in (
        ("MediaStorageSOPClassUID", "SOPClassUID"),
        ("MediaStorageSOPInstanceUID", "SOPInstanceUID"),
    ):
        if meta.get(theirs) != dataset.get(ours):
            findings.append(Finding(theirs, f"differs from {ours}"))
    return findings


def _missing(dataset: Dataset, table: dict[str, Need]) -> list[Finding]:
    findings = []
    for keyword, need in table.items():
        if keyword not in dataset:
            findings.append(Finding(keyword, "is missing"))
        elif need == "value" and dataset[keyword].is_empty:
            findings.append(Finding(keyword, "is empty"))
    return findings


def _pixel_element_follows(head: bytes, dataset: FileDataset) -> bool:
    """Whether the bytes after the header begin PixelData (7FE0,0010) or a float variant of it."""
    little = not str(dataset.file_meta.get("TransferSyntaxUID", "")).endswith("1.2.2")
    group, element = head[:2], head[2:4]
    expected = (b"\xe0\x7f", b"\x10\x00") if little else (b"\x7f\xe0", b"\x00\x10")
    return (group, element) == expected
