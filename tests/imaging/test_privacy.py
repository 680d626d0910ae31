"""De-identified objects carry nothing of the patient; identified ones carry what they should."""

from datetime import date

import pydicom
import pytest
from pydicom.dataset import Dataset

from app.imaging import uids
from app.imaging.allowlists import assert_allowed
from app.imaging.archive import build_archive
from app.imaging.convert import convert_capture
from app.imaging.subjects import DeidentifiedSubject
from tests.imaging.samples import (
    ANIMAL_CASE,
    CANARY,
    CASE,
    EXAM_UUID,
    HUMAN,
    KEY,
    clip,
    context_for,
    jpeg,
    jpeg_with_secrets,
    png,
    scanner_dicom,
)


@pytest.mark.parametrize("video", ["cine", "h264"])
@pytest.mark.parametrize("subject", [CASE, ANIMAL_CASE], ids=["human", "animal"])
def test_a_canary_reaches_no_byte_of_the_archive(tmp_path, video, subject):
    # Every free text that the caller has of the exam, and every place of a capture that holds text.
    context = context_for(
        subject,
        video=video,
        description=f"Scan of {CANARY}",
        organisation_name=f"{CANARY} Hospital",
        study_id=CANARY,
    )
    sources = [
        jpeg_with_secrets(tmp_path / "jpeg", CANARY),
        clip(tmp_path / "clip", title=CANARY, sound=True),
        clip(tmp_path / "baseline", profile="baseline", title=CANARY),
        scanner_dicom(tmp_path / "dicom", compressed=True),
        png(tmp_path / "png"),
    ]
    made = [
        one
        for index, source in enumerate(sources)
        for one in convert_capture(source, tmp_path / "out", context, subject, capture_index=index)
    ]
    archive = build_archive(tmp_path / "a.zip", context.study_uid, [one.path for one in made])
    sent = archive.path.read_bytes()
    assert len(made) == len(sources)
    for secret in (CANARY, CANARY.lower(), CANARY.title(), EXAM_UUID, "Okafor"):
        assert secret.encode() not in sent
        assert secret.encode("utf-16-le") not in sent
    exam_number = uids.study_uid(EXAM_UUID, deidentify_key=None)
    assert exam_number.encode() not in sent


def test_deidentified_says_so(convert, tmp_path):
    dataset = pydicom.dcmread(convert(jpeg(tmp_path / "j"), CASE).path)
    assert dataset.PatientName == dataset.PatientID == CASE.label
    assert dataset.PatientIdentityRemoved == "YES"
    assert dataset.LongitudinalTemporalInformationModified == "UNMODIFIED"
    codes = [item.CodeValue for item in dataset.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113106"]
    assert "InstitutionName" not in dataset
    assert dataset.PatientBirthDate == ""


@pytest.mark.parametrize("label", ["Smith^=\\\\x", "L" * 200, "a  b"])
def test_name_and_id_are_one_label_whatever_it_holds(convert, tmp_path, label):
    dataset = pydicom.dcmread(convert(jpeg(tmp_path / "j"), DeidentifiedSubject(label=label)).path)
    assert str(dataset.PatientName) == dataset.PatientID != ""


@pytest.mark.parametrize(
    ("written", "sent"),
    [("Horse", "Horse"), ("Guinea pig", "Guinea pig"), (f"Dog {CANARY}", "Unknown"), ("", "Unknown")],
)
def test_a_species_is_named_only_when_it_is_one(convert, tmp_path, written, sent):
    subject = DeidentifiedSubject(label="CASE-1", species=written)
    assert pydicom.dcmread(convert(jpeg(tmp_path / "j"), subject).path).PatientSpeciesDescription == sent


def test_masking_is_stated(convert, tmp_path):
    made = convert(jpeg(tmp_path / "j"), CASE, burned_in="mask", masks=((0, 0, 10, 10),))
    dataset = pydicom.dcmread(made.path)
    codes = [item.CodeValue for item in dataset.DeidentificationMethodCodeSequence]
    assert "113101" in codes
    assert dataset.BurnedInAnnotation == "NO"


def test_a_birth_date_is_there_only_when_the_policy_keeps_it(convert, tmp_path):
    kept = DeidentifiedSubject(label="CASE-1", birth_date=date(1999, 12, 31))
    assert pydicom.dcmread(convert(jpeg(tmp_path / "j"), kept).path).PatientBirthDate == "19991231"


def test_pixels_nobody_vouched_for_are_not_called_deidentified(tmp_path):
    context = context_for(CASE, burned_in="unknown")
    with pytest.raises(ValueError, match="burned_in"):
        convert_capture(jpeg(tmp_path / "j"), tmp_path / "out", context, CASE, capture_index=0)


def test_deidentified_needs_the_key(tmp_path):
    context = context_for(CASE, deidentify_key=None)
    with pytest.raises(ValueError, match="key"):
        convert_capture(jpeg(tmp_path / "j"), tmp_path / "out", context, CASE, capture_index=0)


def test_the_key_does_not_show_in_a_repr():
    assert KEY.decode() not in repr(context_for(CASE))


def test_identified_names_the_patient(convert, tmp_path):
    dataset = pydicom.dcmread(convert(jpeg(tmp_path / "j"), HUMAN).path)
    assert dataset.PatientName == "Okafor^Ada May"
    assert dataset.PatientID == "P-1001"
    assert dataset.PatientBirthDate == "19800229"
    assert dataset.PatientSex == "F"
    assert dataset.InstitutionName == "Harbour Clinic"
    assert "PatientIdentityRemoved" not in dataset


@pytest.mark.parametrize("deidentified", [True, False])
@pytest.mark.parametrize(
    ("keyword", "value"),
    [("OtherPatientIDs", "x"), ("OperatorsName", "x"), ("PatientComments", "x"), ("PatientAge", "040Y")],
)
def test_an_attribute_on_no_list_is_refused_at_any_depth(deidentified, keyword, value):
    inner = Dataset()
    setattr(inner, keyword, value)
    outer = Dataset()
    outer.PatientBreedCodeSequence = [inner]
    for dataset in (inner, outer):
        with pytest.raises(AssertionError, match=keyword):
            assert_allowed(dataset, deidentified=deidentified)


def test_a_private_attribute_is_refused():
    dataset = Dataset()
    dataset.private_block(0x0019, "SOMEBODY", create=True).add_new(1, "LO", "x")
    with pytest.raises(AssertionError):
        assert_allowed(dataset, deidentified=False, from_scanner=True)


def test_the_institution_is_on_the_identified_list_only():
    dataset = Dataset()
    dataset.InstitutionName = "Harbour Clinic"
    assert_allowed(dataset, deidentified=False)
    with pytest.raises(AssertionError, match="InstitutionName"):
        assert_allowed(dataset, deidentified=True)
