"""Zips of DICOM as scanners and archives export them: their order, what lies beside the images, what is broken in them."""

import io
import random
import zipfile
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from app.imaging.convert import convert_capture
from app.imaging.errors import CaptureProblem
from tests.imaging.samples import HUMAN, context_for, jpeg, scanner_dicom


def zipped(files, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def convert(tmp_path):
    """Convert a zip of these files; what came of it, each read."""

    def run(files, **options):
        source = tmp_path / "z"
        source.write_bytes(zipped(files, **options))
        made = convert_capture(source, tmp_path / "made", context_for(HUMAN), HUMAN, capture_index=0)
        assert {one.path for one in made} == set((tmp_path / "made").iterdir())
        return made

    return run


@pytest.fixture
def scan(tmp_path):
    """The bytes of a scanner's object, each with other pixels."""

    def run(number, **attributes):
        path = scanner_dicom(
            tmp_path / f"{number}.scan", SOPInstanceUID=f"1.2.826.0.1.99.3.{number}", **attributes
        )
        return path.read_bytes()

    return run


def directory():
    """A real one, that pydicom ships."""
    return Path(get_testdata_file("DICOMDIR", download=False)).read_bytes()


def order_of(made, keyword="SeriesDescription"):
    datasets = [pydicom.dcmread(one.path) for one in made]
    return [str(one[keyword].value) for one in sorted(datasets, key=lambda one: one.InstanceNumber)]


@pytest.mark.parametrize("told_by", ["InstanceNumber", "ContentTime", "AcquisitionTime", "name"])
def test_the_scanners_order_is_the_order(convert, scan, told_by):
    """US1 … US12 without leading zeros, as exports are named: by name, 10 comes before 2."""
    files = {}
    for number in range(1, 13):
        said = {
            "InstanceNumber": {"InstanceNumber": str(number)},
            "ContentTime": {"ContentDate": "20260304", "ContentTime": f"0906{number + 10}.5"},
            "AcquisitionTime": {"AcquisitionTime": f"0906{number + 10}"},
            "name": {},
        }[told_by]
        name = f"US{number}.dcm" if told_by == "name" else f"{random.Random(number).random()}"
        files[name] = scan(number, SeriesDescription=str(number), **said)
    made = convert(files)
    assert order_of(made) == [str(number) for number in range(1, 13)]
    assert made.left_out == 0


def test_series_follow_each_other(convert, scan):
    files = {
        f"{series}{number}": scan(
            10 * series + number,
            SeriesNumber=series,
            InstanceNumber=number,
            SeriesDescription=f"{series}.{number}",
        )
        for series in (2, 1)
        for number in (2, 1)
    }
    assert order_of(convert(files)) == ["1.1", "1.2", "2.1", "2.2"]


def test_what_is_known_to_lie_beside_images_passes_without_a_word(convert, scan):
    made = convert(
        {
            "DICOMDIR": directory(),
            "disc2/dicomdir": b"not even that",
            "index/D0001": directory(),
            "README.txt": b"hello",
            "__MACOSX/._US1.dcm": b"Mac OS X",
            ".DS_Store": b"x",
            "Thumbs.db": b"x",
            "IMAGES/": b"",
            "IMAGES/US1": scan(1),
        }
    )
    assert len(made) == 1
    assert (made.left_out, made.why) == (0, "")


def test_every_kind_of_bad_member_costs_only_itself_and_is_said(convert, scan, tmp_path):
    good = scan(1)
    names = {
        "a.dcm": good,
        "b.dcm": good[:682],
        "c.dcm": good[:-100],
        "d.jpg": jpeg(tmp_path / "j").read_bytes(),
        "e.dcm": b"",
        "f.dcm": scan(6, Modality="CT"),
        "g.dcm": scan(7),
    }
    made = convert(names)
    assert len(made) == 2
    assert made.left_out == 5
    assert made.why.startswith("5 of the 7 files in this zip were left out: file 2 by name: ")
    assert "file 4 by name: It is no DICOM file" in made.why
    assert not [name for name in names if name in made.why]


def test_a_member_that_cannot_be_unpacked_costs_only_itself(tmp_path, scan):
    data = bytearray(zipped({"1.dcm": scan(1), "2.dcm": scan(2)}))
    # a byte of the second member's pixels: its checksum fails
    data[len(data) - 400] ^= 0xFF
    source = tmp_path / "z"
    source.write_bytes(data)
    made = convert_capture(source, tmp_path / "made", context_for(HUMAN), HUMAN, capture_index=0)
    assert len(made) == 1
    assert "file 2 by name: It is damaged or incomplete in the zip." in made.why


def test_when_all_are_bad_the_first_problem_is_the_captures(convert, scan):
    with pytest.raises(CaptureProblem) as caught:
        convert({"notes.pdf": b"%PDF", "1.dcm": scan(1)[:-100]})
    assert caught.value.code == "capture_truncated"


def test_zips_within_zips_are_opened_and_too_deep_ones_named(convert, scan):
    inner = zipped({f"{number}.dcm": scan(number) for number in range(2, 5)})
    deep = zipped({"9.dcm": scan(9)})
    for _ in range(3):
        deep = zipped({"deeper.zip": deep})
    made = convert({"1.dcm": scan(1), "rest.zip": inner, "deep.zip": deep})
    assert len(made) == 4
    assert made.left_out == 1


def test_an_object_without_preamble_is_read_from_a_zip(convert, scan):
    made = convert({"1.dcm": scan(1), "2.dcm": scan(2)[132:]})
    assert len(made) == 2
    assert made.left_out == 0


def test_what_is_no_image_is_not_unpacked_and_what_unfolds_too_far_is_refused(convert, scan):
    made = convert({"1.dcm": scan(1), "zeros": bytes(300 * 1024**2)}, compression=zipfile.ZIP_DEFLATED)
    assert (len(made), made.left_out) == (1, 1)
    with pytest.raises(CaptureProblem) as caught:
        convert({"1.dcm": scan(1) + bytes(300 * 1024**2)}, compression=zipfile.ZIP_DEFLATED)
    assert caught.value.code == "capture_too_large"
