"""Makes the DICOM files that Clarius's own DICOM export answers: small, valid ultrasound images with identity.

They are what a receiver must rewrite by policy, so they carry their own UIDs and the patient's name on purpose.
"""

import io
import zipfile
from typing import Any

from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGLosslessSV1, UltrasoundImageStorage, generate_uid

from sandbox.jpeg_lossless import encode_grey

FIXED_ZIP_TIME = (2020, 1, 1, 0, 0, 0)


def dicom_zip(
    stills: list[Image.Image], *, exam_uuid: str, patient: dict[str, Any], lossless_jpeg: bool
) -> bytes:
    """A zip of one DICOM file for each still, as C19's download_url serves it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, still in enumerate(stills, start=1):
            content = dicom_file(
                still, exam_uuid=exam_uuid, number=number, patient=patient, lossless_jpeg=lossless_jpeg
            )
            archive.writestr(zipfile.ZipInfo(f"{exam_uuid}/IMG{number:04d}.dcm", FIXED_ZIP_TIME), content)
    return out.getvalue()


def dicom_file(
    still: Image.Image,
    *,
    exam_uuid: str,
    number: int = 1,
    patient: dict[str, Any] | None = None,
    lossless_jpeg: bool = False,
    study_uid: str | None = None,
) -> bytes:
    """One grey Ultrasound Image Storage object; the same arguments give the same bytes."""
    grey = still.convert("L")
    syntax = JPEGLosslessSV1 if lossless_jpeg else ExplicitVRLittleEndian
    file = _described(exam_uuid, number=number, patient=patient or {}, study_uid=study_uid)
    file.Rows, file.Columns = grey.height, grey.width
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 8, 8, 7, 0
    file.LossyImageCompression = "00"
    if lossless_jpeg:
        file.PixelData = encapsulate([encode_grey(grey)])
        file["PixelData"].is_undefined_length = True
        file["PixelData"].VR = "OB"
    else:
        raw = grey.tobytes()
        file.add_new("PixelData", "OB", raw + b"\0" * (len(raw) % 2))
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = syntax
    out = io.BytesIO()
    dcmwrite(out, file, enforce_file_format=True)
    return out.getvalue()


def _described(exam_uuid: str, *, number: int, patient: dict[str, Any], study_uid: str | None) -> Dataset:
    def uid(*parts: str) -> UID:
        return generate_uid(entropy_srcs=["sandbox", exam_uuid, *parts])

    file = Dataset()
    file.SpecificCharacterSet = "ISO_IR 192"
    file.ImageType = ["ORIGINAL", "PRIMARY"]
    file.SOPClassUID, file.SOPInstanceUID = UltrasoundImageStorage, uid("instance", str(number))
    file.StudyDate = file.ContentDate = "20240105"
    file.StudyTime = file.ContentTime = "101500"
    file.AccessionNumber, file.Modality, file.Manufacturer = "", "US", "Clarius Mobile Health Corp."
    file.ReferringPhysicianName, file.StudyDescription = "", "Abdomen"
    family, given = str(patient.get("last_name") or ""), str(patient.get("first_name") or "")
    file.PatientName = f"{family}^{given}".rstrip("^").replace("\\", "")
    file.PatientID = str(patient.get("identifier") or "")[:64]
    file.PatientBirthDate = _dicom_date(patient.get("date_of_birth"))
    file.PatientSex = {"m": "M", "f": "F"}.get(str(patient.get("gender") or "").lower()[:1], "")
    file.StudyInstanceUID, file.SeriesInstanceUID = study_uid or uid("study"), uid("series")
    file.StudyID, file.SeriesNumber, file.InstanceNumber = "1", 1, number
    file.Laterality, file.PatientOrientation, file.BurnedInAnnotation = "", "", "NO"
    return file


def _dicom_date(value: object) -> str:
    digits = str(value or "").replace("-", "")
    return digits if len(digits) == 8 and digits.isdigit() else ""
