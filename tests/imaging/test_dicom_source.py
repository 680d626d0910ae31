"""A scanner's own DICOM, alone or in a zip: identity and identifiers replaced, pixels kept."""

import zipfile

import pydicom
import pytest
from pydicom.encaps import encapsulate

from app.imaging.check import check_file
from app.imaging.convert import convert_capture
from app.imaging.errors import CaptureProblem
from tests.imaging.reading import pictures
from tests.imaging.samples import ANIMAL, CANARY, CASE, HUMAN, context_for, png, scanner_dicom


def bundle(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("subject", [HUMAN, CASE, ANIMAL], ids=["identified", "deidentified", "animal"])
def test_pixels_stay_and_identity_is_ours(convert, tmp_path, compressed, subject):
    source = scanner_dicom(tmp_path / "d", compressed=compressed, frames=3)
    made = convert(source, subject)
    before, after = pydicom.dcmread(source), pydicom.dcmread(made.path)
    assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
    assert [one.tobytes() for one in pictures(made.path)] == [one.tobytes() for one in pictures(source)]
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientName", "PatientID"):
        assert after[keyword].value != before[keyword].value
    assert after.SequenceOfUltrasoundRegions[0].PhysicalDeltaX == 0.01
    assert "OtherPatientIDs" not in after
    assert not [element for element in after if element.tag.is_private]


def test_identified_keeps_what_the_scanner_said(convert, tmp_path):
    dataset = pydicom.dcmread(convert(scanner_dicom(tmp_path / "d")).path)
    assert dataset.MechanicalIndex == 0.7
    assert dataset.SeriesDescription == f"Série of {CANARY}"
    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    assert dataset.StudyDescription == "Ultrasound"
    assert dataset.PatientName == "Okafor^Ada May"


@pytest.mark.parametrize("compressed", [False, True])
def test_deidentified_leaves_no_word_of_the_scanner(convert, tmp_path, compressed):
    source = scanner_dicom(tmp_path / "d", compressed=compressed)
    assert CANARY.encode() in source.read_bytes()
    made = convert(source, CASE)
    assert CANARY.encode() not in made.path.read_bytes()
    assert b"1.2.826.0.1.99" not in made.path.read_bytes()
    assert pydicom.dcmread(made.path).PatientIdentityRemoved == "YES"


@pytest.mark.parametrize("compressed", [False, True])
def test_masks_blank_a_scanner_image(convert, tmp_path, compressed):
    source = scanner_dicom(tmp_path / "d", compressed=compressed, frames=2)
    made = convert(source, burned_in="mask", masks=((8, 8, 16, 16), (60, 40, 99, 99)))
    for image, original in zip(pictures(made.path), pictures(source), strict=True):
        limit = 8 if compressed else 0
        assert max(high for _, high in image.crop((10, 10, 22, 22)).getextrema()) <= limit
        if not compressed:
            assert image.crop((24, 0, 60, 40)).tobytes() == original.crop((24, 0, 60, 40)).tobytes()
            assert image.crop((60, 40, 64, 48)).getextrema() == ((0, 0),) * 3
    assert pydicom.dcmread(made.path).ImageType[0] == "DERIVED"


def test_a_bundle_becomes_one_object_per_file_and_keeps_references(tmp_path):
    first = scanner_dicom(tmp_path / "1", SOPInstanceUID="1.2.826.0.1.99.31")
    reference = pydicom.Dataset()
    reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
    reference.ReferencedSOPInstanceUID = "1.2.826.0.1.99.31"
    second = scanner_dicom(
        tmp_path / "2",
        frames=2,
        SOPInstanceUID="1.2.826.0.1.99.32",
        ReferencedImageSequence=[reference],
    )
    source = bundle(
        tmp_path / "z",
        {
            "README.txt": b"hello",
            "a/1.dcm": first.read_bytes(),
            "a/again.dcm": first.read_bytes(),
            "../../b.dcm": second.read_bytes(),
        },
    )
    out = tmp_path / "out"
    made = convert_capture(source, out, context_for(HUMAN), HUMAN, capture_index=4)
    assert [check_file(one.path) for one in made] == [[], []]
    assert sorted(path.name for path in out.iterdir()) == sorted(one.path.name for one in made)
    by_class = {one.sop_class_uid: pydicom.dcmread(one.path) for one in made}
    still = by_class["1.2.840.10008.5.1.4.1.1.6.1"]
    moving = by_class["1.2.840.10008.5.1.4.1.1.3.1"]
    assert moving.ReferencedImageSequence[0].ReferencedSOPInstanceUID == still.SOPInstanceUID
    assert moving.SeriesInstanceUID != still.SeriesInstanceUID
    assert {5000, 5001} == {one.InstanceNumber for one in by_class.values()}


def test_a_damaged_file_in_a_bundle_costs_only_itself(tmp_path):
    whole = scanner_dicom(tmp_path / "1").read_bytes()
    source = bundle(tmp_path / "z", {"1.dcm": whole, "2.dcm": whole[:-500]})
    out = tmp_path / "out"
    made = convert_capture(source, out, context_for(HUMAN), HUMAN, capture_index=0)
    assert [path.name for path in out.iterdir()] == [one.path.name for one in made]
    assert made.left_out == 1
    assert made.why == (
        "1 of the 2 files in this zip was left out: file 2 by name: The DICOM file ends before it is complete."
    )


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({}, "capture_wrong_kind"),
        ({"notes.txt": b"no picture here"}, "capture_wrong_kind"),
        ({"many/" + str(n): b"" for n in range(2_001)}, "capture_too_large"),
    ],
    ids=["empty", "no-dicom", "too-many"],
)
def test_other_zips_are_refused(convert, tmp_path, content, code):
    with pytest.raises(CaptureProblem) as caught:
        convert(bundle(tmp_path / "z", content))
    assert caught.value.code == code


def test_a_cut_zip_is_truncated(convert, tmp_path):
    data = bundle(tmp_path / "z", {"1.dcm": scanner_dicom(tmp_path / "1").read_bytes()}).read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) // 2])
    with pytest.raises(CaptureProblem) as caught:
        convert(tmp_path / "cut")
    assert caught.value.code == "capture_truncated"


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("missing", [1, 700])
def test_a_cut_dicom_is_truncated(convert, tmp_path, compressed, missing):
    source = scanner_dicom(tmp_path / "d", compressed=compressed)
    source.write_bytes(source.read_bytes()[:-missing])
    with pytest.raises(CaptureProblem) as caught:
        convert(source)
    assert caught.value.code == "capture_truncated"


@pytest.mark.row(46)
@pytest.mark.parametrize("as_member", [False, True])
def test_cut_anywhere_at_all_it_is_the_captures_problem(convert, tmp_path, as_member):
    """pydicom says OSError of a file that ends within the header of an item: that is not the disk."""
    whole = scanner_dicom(tmp_path / "d").read_bytes()
    source = tmp_path / "cut"
    for length in range(132, 1500, 1 if not as_member else 40):
        source.write_bytes(whole[:length])
        if as_member:
            bundle(source, {"1": whole[:length]})
        with pytest.raises(CaptureProblem):
            convert(source)
        assert not list((tmp_path / "converted").glob("*"))


def test_nonsense_after_the_prefix_is_unreadable(convert, tmp_path):
    source = tmp_path / "bad"
    source.write_bytes(bytes(128) + b"DICM" + b"\xff" * 64)
    with pytest.raises(CaptureProblem) as caught:
        convert(source)
    assert caught.value.code == "capture_unreadable"


def test_deidentified_refuses_what_cannot_be_vouched_for(convert, tmp_path):
    burned = scanner_dicom(tmp_path / "burned", BurnedInAnnotation="YES")
    opaque = scanner_dicom(tmp_path / "opaque", compressed=True)
    dataset = pydicom.dcmread(opaque)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.90"
    dataset.PixelData = encapsulate([b"\xff\x4f\xff\x51" + CANARY.encode()])
    dataset.save_as(opaque)
    for source in (burned, opaque):
        with pytest.raises(CaptureProblem) as caught:
            convert(source, CASE)
        assert caught.value.code == "capture_not_cleanable"
        convert(source, HUMAN)


def test_a_png_inside_a_zip_is_not_dicom(convert, tmp_path):
    with pytest.raises(CaptureProblem) as caught:
        convert(bundle(tmp_path / "z", {"1.dcm": png(tmp_path / "p").read_bytes()}))
    assert caught.value.code == "capture_wrong_kind"
