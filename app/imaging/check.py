"""What every object that we send must say: what shows it (`viewer`), and for ours our own required-attribute table.

It only reads. `sonobridge check-dicom` prints what it finds; the convert step refuses to go on.
"""

from pathlib import Path
from typing import Literal

from pydicom.dataset import Dataset, FileDataset

from app.imaging.attributes import NO_CALIBRATION
from app.imaging.errors import CaptureProblem
from app.imaging.foreign_bytes import foreign_bytes
from app.imaging.source_pixels import SourceObject, read_source
from app.imaging.subjects import US_IMAGE, US_MULTI_FRAME
from app.imaging.uids import IMPLEMENTATION_CLASS_UID
from app.imaging.viewer import Finding, viewer_findings

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


def check_file(path: Path) -> list[Finding]:
    """All findings about a DICOM file; empty means that it may be sent. OSError: the disk.

    Of any object it is asked what a viewer needs. One that this bridge wrote has to say besides who and which study;
    one whose pixels it made, all of our table. The file says itself which it is.
    """
    try:
        with foreign_bytes():
            return _findings(read_source(path))
    except CaptureProblem as problem:
        return [Finding("file", f"is not a readable DICOM file: {problem.message}")]


def _findings(source: SourceObject) -> list[Finding]:
    dataset = source.dataset
    findings = viewer_findings(source)
    if _written_here(dataset):
        findings += _missing(dataset, REQUIRED)
        findings += _subject(dataset)
    if _made_here(dataset):
        findings += _missing(dataset, REQUIRED_OF_IMAGES)
        findings += _compression(dataset)
        if source.pixels is None:
            findings.append(Finding("PixelData", "is missing"))
        if dataset.SOPClassUID == US_MULTI_FRAME:
            findings += _missing(dataset, REQUIRED_OF_CLIPS)
    findings += _file_meta(dataset)
    return list(dict.fromkeys(findings))


def require_valid(path: Path) -> None:
    """CaptureProblem naming the first finding about a file that we wrote.

    `missing_attribute` when something is to be said that is not; `capture_truncated` or `capture_unreadable` when
    what is there shows no picture.
    """
    findings = check_file(path)
    if not findings:
        return
    first = findings[0]
    code = "missing_attribute"
    if first.attribute in ("file", "PixelData") and first.problem != "is missing":
        code = "capture_truncated" if "before it is complete" in first.problem else "capture_unreadable"
    raise CaptureProblem(code, f"The image could not be completed: {first.attribute} {first.problem}.")


def _written_here(dataset: FileDataset) -> bool:
    """Whether this bridge wrote the file, whoever made the picture."""
    return str(dataset.file_meta.get("ImplementationClassUID", "")) == IMPLEMENTATION_CLASS_UID


def _made_here(dataset: FileDataset) -> bool:
    """Whether the picture was made by this bridge of a still or a clip: only these say so of their calibration."""
    return _written_here(dataset) and (
        dataset.get("ImageComments") == NO_CALIBRATION and dataset.SOPClassUID in (US_IMAGE, US_MULTI_FRAME)
    )


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


def _compression(dataset: Dataset) -> list[Finding]:
    if dataset.get("LossyImageCompression") == "01" and "LossyImageCompressionMethod" not in dataset:
        return [Finding("LossyImageCompressionMethod", "is missing")]
    return []


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
