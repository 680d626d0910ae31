"""Invented captures of every kind and who they are of; must not resemble a real patient."""

import base64
import io
import struct
from datetime import date, datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from app.imaging import uids
from app.imaging.subjects import (
    AnimalSubject,
    DeidentifiedSubject,
    HumanSubject,
    StudyContext,
    Subject,
)

EXAM_UUID = "6f1b6a2e-6f33-4d0e-b44b-8e4d0c0f6f5e"
KEY = b"an organisation's key, 32 bytes!"
CANARY = "ZANZIBARQUOLL"
TWELVE_BIT = Path(__file__).parent / "captures" / "jpeg_12_bit.b64"
STUDIED_AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone(timedelta(hours=10)))

HUMAN = HumanSubject(
    patient_id="P-1001",
    family_name="Okafor",
    given_name="Ada May",
    birth_date=date(1980, 2, 29),
    sex="F",
)
ANIMAL = AnimalSubject(patient_id="A-7", animal_name="Rex", species="Dog", owner_name="Dana Petrov", sex="M")
STRAY = AnimalSubject(patient_id="A-8", animal_name="Tom", species="Cat")
CASE = DeidentifiedSubject(label="CASE-3f9a")
ANIMAL_CASE = DeidentifiedSubject(label="CASE-77b0", species="Horse", sex="F")

SUBJECTS: dict[str, Subject] = {
    "identified": HUMAN,
    "animal": ANIMAL,
    "stray": STRAY,
    "deidentified": CASE,
    "deidentified-animal": ANIMAL_CASE,
}


def context_for(subject: Subject, **changes: Any) -> StudyContext:
    """The study of the invented exam, with the organisation's key for a de-identified subject."""
    key = KEY if isinstance(subject, DeidentifiedSubject) else None
    values: dict[str, Any] = {
        "study_uid": uids.study_uid(EXAM_UUID, deidentify_key=key),
        "accession_number": uids.accession_number(EXAM_UUID, deidentify_key=key),
        "studied_at": STUDIED_AT,
        "organisation_name": "Harbour Clinic",
        "deidentify_key": key,
        "burned_in": "no",
    }
    return StudyContext(**{**values, **changes})


def picture(mode: str = "RGB", size: tuple[int, int] = (160, 120), turn: int = 0) -> Image.Image:
    """A smooth coloured picture in which every area differs from every other."""
    bands = [
        Image.linear_gradient("L").resize(size),
        Image.radial_gradient("L").resize(size),
        Image.linear_gradient("L").rotate(90 + turn).resize(size),
    ]
    return Image.merge("RGB", bands).convert(mode)


def jpeg(path: Path, mode: str = "RGB", **options: Any) -> Path:
    """A JPEG file of `picture`; options go to Pillow."""
    size = options.pop("size", (160, 120))
    picture(mode, size).save(path, "JPEG", **{"quality": 90, **options})
    return path


def turned_jpeg(path: Path) -> Path:
    """A JPEG whose EXIF says that it lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(path, exif=exif)


def twelve_bit_jpeg(path: Path) -> Path:
    """A 12-bit JPEG of 64 x 48 in which the sample at (x, y) was drawn as 60 x + 4 y of 4095."""
    path.write_bytes(base64.b64decode(TWELVE_BIT.read_text()))
    return path


def jpeg_with_secrets(path: Path, secret: str) -> Path:
    """A JPEG with the secret in EXIF, XMP, a comment, a profile and after its end."""
    exif = Image.Exif()
    exif[0x010E] = secret
    exif[0x013B] = secret
    buffer = io.BytesIO()
    picture().save(
        buffer, "JPEG", quality=90, exif=exif, comment=secret.encode(), icc_profile=secret.encode() * 4
    )
    data = buffer.getvalue()
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x>" + secret.encode() + b"</x>"
    segment = b"\xff\xe1" + struct.pack(">H", len(xmp) + 2) + xmp
    path.write_bytes(data[:2] + segment + data[2:] + secret.encode())
    return path


def png(path: Path, mode: str = "RGB", size: tuple[int, int] = (161, 121)) -> Path:
    """A PNG file of `picture` in any mode, with half of it see-through when it has alpha."""
    image = picture("RGB", size)
    if mode in ("RGBA", "LA"):
        image = image.convert(mode)
        image.putalpha(Image.linear_gradient("L").resize(size))
    elif mode == "I;16":
        pixels = image.convert("L").tobytes()
        image = Image.frombytes("I;16", size, b"".join(bytes((255 - value, value)) for value in pixels))
    else:
        image = image.convert(mode)
    image.save(path, "PNG")
    return path


def clip(
    path: Path,
    *,
    frames: int = 8,
    size: tuple[int, int] = (160, 120),
    codec: str = "libx264",
    profile: str = "high",
    pixel_format: str = "yuv420p",
    rate: int = 20,
    times: list[int] | None = None,
    title: str | None = None,
    sound: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """An MP4 file of turning pictures; `times` are presentation times in frames of `rate`."""
    encoder = {"preset": "veryfast", **(options or {})}
    if codec == "libx264":
        encoder["profile"] = profile
    with av.open(str(path), "w", format="mp4") as output:
        if title:
            output.metadata.update({"title": title, "comment": title, "artist": title})
        stream = output.add_stream(codec, rate=rate, options=encoder)
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        if title:
            stream.metadata["handler_name"] = title
        tone = output.add_stream("aac", rate=44_100) if sound else None
        for number in range(frames):
            frame = _frame(picture("RGB", size, turn=5 * number)).reformat(format=pixel_format)
            frame.pts = times[number] if times else number
            frame.time_base = Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if tone is not None:
            _silence(output, tone)
    return path


def scanner_dicom(path: Path, *, compressed: bool = False, frames: int = 1, **attributes: Any) -> Path:
    """A DICOM file as a scanner writes it, full of identity, private attributes and a comment."""
    image = picture("RGB", (64, 48))
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    multi = frames > 1
    sop_class = "1.2.840.10008.5.1.4.1.1.3.1" if multi else "1.2.840.10008.5.1.4.1.1.6.1"
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = attributes.get("SOPInstanceUID", "1.2.826.0.1.99.3")
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.50" if compressed else "1.2.840.10008.1.2.1"
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = "1.2.826.0.1.99.3"
    dataset.StudyInstanceUID = "1.2.826.0.1.99.1"
    dataset.SeriesInstanceUID = "1.2.826.0.1.99.2"
    _sign(dataset)
    region = Dataset()
    region.PhysicalDeltaX = 0.01
    region.PhysicalDeltaY = 0.01
    region.RegionSpatialFormat = 1
    region.RegionDataType = 1
    region.RegionFlags = 0
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 63, 47
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    dataset.SequenceOfUltrasoundRegions = [region]
    dataset.SamplesPerPixel = 3
    dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = "YBR_FULL_422" if compressed else "RGB"
    dataset.Rows, dataset.Columns = 48, 64
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    if multi:
        dataset.NumberOfFrames = frames
        dataset.FrameTime = "50"
        dataset.FrameIncrementPointer = 0x00181063
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    if compressed:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=90, comment=CANARY.encode())
        dataset.PixelData = encapsulate([buffer.getvalue()] * frames)
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionMethod = "ISO_10918_1"
    else:
        dataset.PixelData = image.tobytes() * frames
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path, enforce_file_format=True)
    return path


def _sign(dataset: Dataset) -> None:
    """Everything with which a scanner names the patient, the place and the people."""
    dataset.PatientName = f"{CANARY}^Zoë"
    dataset.PatientID = CANARY
    dataset.PatientBirthDate = "19700101"
    dataset.PatientSex = "M"
    dataset.OtherPatientIDs = CANARY
    dataset.InstitutionName = f"{CANARY} Hospital"
    dataset.OperatorsName = CANARY
    dataset.StudyDescription = f"Scan of {CANARY}"
    dataset.SeriesDescription = f"Série of {CANARY}"
    dataset.ImageComments = CANARY
    dataset.Modality = "US"
    dataset.StudyDate = "20260304"
    dataset.MechanicalIndex = "0.7"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", CANARY]
    block = dataset.private_block(0x0019, CANARY, create=True)
    block.add_new(0x01, "LO", CANARY)


def sound_only(path: Path) -> Path:
    """An MP4 file that holds nothing but a sound track."""
    with av.open(str(path), "w", format="mp4") as output:
        _silence(output, output.add_stream("aac", rate=44_100))
    return path


def _silence(output: Any, tone: Any) -> None:
    silence = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
    silence.sample_rate = 44_100
    silence.pts = 0
    for plane in silence.planes:
        plane.update(bytes(plane.buffer_size))
    output.mux(tone.encode(silence))
    output.mux(tone.encode(None))


def _frame(image: Image.Image) -> av.VideoFrame:
    frame = av.VideoFrame(image.width, image.height, "rgb24")
    plane = frame.planes[0]
    rows = (image.crop((0, y, image.width, y + 1)).tobytes() for y in range(image.height))
    plane.update(b"".join(row.ljust(plane.line_size, b"\0") for row in rows))
    return frame
