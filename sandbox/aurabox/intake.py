"""Reads arriving DICOM objects and attaches them to a team; never decodes pixels, never changes a byte."""

import hashlib
import io
import re
import zipfile
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.errors import InvalidDicomError

from sandbox.aurabox.state import Instance, Team
from sandbox.world import World

MEMBER = re.compile(r"(?P<study>[0-9.]{1,64})/[^/\\]+\.dcm")
HASH_CHUNK_BYTES = 1 << 20
PIXELS_READ_BYTES = 8 << 20
TEXTS = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"})
REQUIRED = ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID")


class ArchiveError(ValueError):
    """The archive, or an object in it, cannot be taken in; the text says why."""


def read_archive(path: Path) -> list[Instance]:
    """Every object of a `<study uid>/<name>.dcm` zip. ArchiveError when anything in it is wrong."""
    try:
        with zipfile.ZipFile(path) as archive:
            if (broken := archive.testzip()) is not None:
                raise ArchiveError(f"The archive's member {broken} is damaged.")
            members = [i for i in archive.infolist() if not i.is_dir()]
            if not members:
                raise ArchiveError("The archive is empty.")
            return [_read_member(archive, member) for member in members]
    except zipfile.BadZipFile as problem:
        raise ArchiveError(f"The archive is not a whole zip: {problem}.") from problem


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Instance:
    match = MEMBER.fullmatch(member.filename)
    if match is None:
        raise ArchiveError(f"{member.filename} is not <study uid>/<name>.dcm.")
    with archive.open(member) as file:
        digest = _digest(file)
    with archive.open(member) as file:
        instance = read_instance(file, sha256=digest, size_bytes=member.file_size)
    if instance.study_instance_uid != match["study"]:
        raise ArchiveError(f"{member.filename} belongs to study {instance.study_instance_uid}.")
    return instance


def read_instance(file: Any, *, sha256: str, size_bytes: int) -> Instance:
    """One DICOM object's identity; ArchiveError when it is not one or lacks what identifies it."""
    small = size_bytes <= PIXELS_READ_BYTES
    try:
        read = dcmread(io.BytesIO(file.read()) if small else file, stop_before_pixels=not small)
    except (InvalidDicomError, EOFError, ValueError) as problem:
        raise ArchiveError(f"Not a DICOM file: {problem}") from problem
    missing = [name for name in REQUIRED if not read.get(name)]
    if missing or "TransferSyntaxUID" not in read.file_meta:
        raise ArchiveError(f"A DICOM file lacks {', '.join(missing) or 'TransferSyntaxUID'}.")
    return Instance(
        sop_instance_uid=str(read.SOPInstanceUID),
        sop_class_uid=str(read.SOPClassUID),
        series_instance_uid=str(read.SeriesInstanceUID),
        study_instance_uid=str(read.StudyInstanceUID),
        transfer_syntax_uid=str(read.file_meta.TransferSyntaxUID),
        patient_name=str(read.get("PatientName", "")),
        patient_id=str(read.get("PatientID", "")),
        patient_birth_date=str(read.get("PatientBirthDate", "")),
        number_of_frames=int(read.get("NumberOfFrames", 1) or 1),
        sha256=sha256,
        pixel_sha256=_first_frame_digest(read) if small and "PixelData" in read else "",
        bytes=size_bytes,
        words=tuple(str(e.value) for e in read.iterall() if e.VR in TEXTS and e.value),
    )


def take_in(world: World, team: Team, instance: Instance, *, via: str) -> bool:
    """Attaches an object to its team; False, and no effect, when the team holds that SOP instance already."""
    if instance.sop_instance_uid in team.instances:
        return False
    team.instances[instance.sop_instance_uid] = instance
    study = team.study_by_uid(instance.study_instance_uid)
    world.journal.record_effect(
        "aurabox.instance.create",
        who=team.name,
        natural_key=instance.sop_instance_uid,
        remote_id=instance.sop_instance_uid,
        digest=instance.sha256,
        detail={
            "via": via,
            "study_id": study.id if study else None,
            "study_instance_uid": instance.study_instance_uid,
            "series_instance_uid": instance.series_instance_uid,
            "patient_name": instance.patient_name,
            "patient_id": instance.patient_id,
            "patient_birth_date": instance.patient_birth_date,
            "sop_class_uid": instance.sop_class_uid,
            "transfer_syntax_uid": instance.transfer_syntax_uid,
            "pixel_sha256": instance.pixel_sha256,
            "bytes": instance.bytes,
        },
    )
    return True


def _digest(file: Any) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(HASH_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _first_frame_digest(read: Dataset) -> str:
    pixels = bytes(read.PixelData)
    if read.file_meta.TransferSyntaxUID.is_encapsulated:
        frames = int(read.get("NumberOfFrames", 1) or 1)
        pixels = next(generate_frames(pixels, number_of_frames=frames), b"")
        # An odd JPEG stream is padded with one zero byte; what was served ended with its EOI marker.
        if pixels.endswith(b"\xff\xd9\x00"):
            pixels = pixels[:-1]
    return hashlib.sha256(pixels).hexdigest()
