"""Our required-attribute table: each rule finds what it is there for."""

import pydicom
import pytest

from app.imaging.check import check_file, require_valid
from app.imaging.errors import CaptureProblem
from tests.imaging.samples import ANIMAL, CASE, HUMAN, clip, jpeg


def changed(path, change):
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path


def without(keyword):
    return lambda dataset: delattr(dataset, keyword)


def setting(keyword, value):
    return lambda dataset: setattr(dataset, keyword, value)


@pytest.mark.parametrize(
    ("subject", "change", "attribute"),
    [
        (HUMAN, without("StudyInstanceUID"), "StudyInstanceUID"),
        (HUMAN, setting("StudyInstanceUID", ""), "StudyInstanceUID"),
        (HUMAN, without("PatientName"), "PatientName"),
        (HUMAN, without("ReferringPhysicianName"), "ReferringPhysicianName"),
        (HUMAN, without("ImageType"), "ImageType"),
        (HUMAN, without("PixelData"), "PixelData"),
        (HUMAN, without("PlanarConfiguration"), "PlanarConfiguration"),
        (HUMAN, without("LossyImageCompressionMethod"), "LossyImageCompressionMethod"),
        (HUMAN, setting("PatientSex", "X"), "PatientSex"),
        (HUMAN, setting("PhotometricInterpretation", "MONOCHROME2"), "PhotometricInterpretation"),
        (ANIMAL, without("PatientBreedDescription"), "PatientBreedDescription"),
        (ANIMAL, without("ResponsiblePersonRole"), "ResponsiblePersonRole"),
        (ANIMAL, setting("ResponsiblePerson", ""), "ResponsiblePersonRole"),
        (CASE, without("DeidentificationMethod"), "DeidentificationMethod"),
        (CASE, setting("PatientID", "another"), "PatientName"),
    ],
)
def test_every_rule_finds_its_breach(convert, tmp_path, subject, change, attribute):
    made = convert(jpeg(tmp_path / "j"), subject)
    changed(made.path, change)
    assert attribute in [finding.attribute for finding in check_file(made.path)]
    with pytest.raises(CaptureProblem) as caught:
        require_valid(made.path)
    assert caught.value.code == "missing_attribute"
    assert attribute in caught.value.message


@pytest.mark.parametrize("keyword", ["NumberOfFrames", "FrameIncrementPointer"])
def test_clips_need_their_timing(convert, tmp_path, keyword):
    made = convert(clip(tmp_path / "c", frames=2))
    changed(made.path, without(keyword))
    assert keyword in [finding.attribute for finding in check_file(made.path)]


def test_the_file_meta_information_must_agree(convert, tmp_path):
    made = convert(jpeg(tmp_path / "j"))
    changed(made.path, lambda dataset: setattr(dataset.file_meta, "MediaStorageSOPInstanceUID", "1.2.3"))
    assert [finding.attribute for finding in check_file(made.path)] == ["MediaStorageSOPInstanceUID"]


def test_what_is_not_dicom_is_said_to_be_so(tmp_path):
    (tmp_path / "page").write_bytes(b"<html>")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "head").write_bytes(bytes(128) + b"DICM")
    for name in ("page", "empty", "head"):
        assert check_file(tmp_path / name) != []
