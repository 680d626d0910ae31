"""`check-dicom` on the command line: what it finds in anybody's files, what it prints and how it ends."""

import json
import struct
from pathlib import Path

import pydicom
import pytest
import typer
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from typer.testing import CliRunner

from app.cli.check_dicom import check_dicom
from tests.imaging.samples import CASE, HUMAN, clip, jpeg, scanner_dicom


@pytest.fixture
def command():
    app = typer.Typer()
    app.command("check-dicom")(check_dicom)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def findings(command):
    """The attributes of which something is found in a file, by --json."""

    def run(path):
        answer = command("--json", path)
        (file,) = json.loads(answer.stdout)["files"]
        assert file["ok"] == (not file["findings"]) == (answer.exit_code == 0)
        return [one["attribute"] for one in file["findings"]]

    return run


def test_the_command_prints_why_not(convert, tmp_path, command):
    good = convert(jpeg(tmp_path / "j"))
    assert command(good.path).exit_code == 0
    bad = tmp_path / "bad.dcm"
    dataset = pydicom.dcmread(good.path)
    del dataset.StudyInstanceUID
    dataset.save_as(bad)
    answer = command(good.path, bad)
    assert answer.exit_code == 1
    assert f"{bad}: StudyInstanceUID is missing" in answer.output.replace("\n", "")
    assert f"{good.path}: ok" in answer.output.replace("\n", "")


def test_the_command_tells_misuse_from_a_finding(tmp_path, command):
    assert command().exit_code == 2
    assert command(tmp_path / "absent").exit_code == 2
    assert command(tmp_path).exit_code == 2


def test_a_folder_is_looked_through_and_what_is_passed_over_is_said(tmp_path, command):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    scanner_dicom(tmp_path / "1.dcm")
    scanner_dicom(tmp_path / "deep" / "er" / "2")
    (tmp_path / "deep" / "3.dcm").write_bytes((tmp_path / "1.dcm").read_bytes()[:600])
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "README").write_text("hello")
    (tmp_path / "DICOMDIR").write_bytes(Path(get_testdata_file("DICOMDIR", download=False)).read_bytes())
    answer = command("--json", tmp_path)
    assert answer.exit_code == 1
    said = {one["file"].removeprefix(f"{tmp_path}/"): one for one in json.loads(answer.stdout)["files"]}
    assert {name: one["ok"] for name, one in said.items()} == {
        "1.dcm": True,
        "notes.txt": True,
        "deep/3.dcm": False,
        "deep/er/2": True,
    }
    assert said["notes.txt"]["passed_over"]
    (tmp_path / "deep" / "3.dcm").unlink()
    answer = command(tmp_path)
    assert answer.exit_code == 0
    assert "notes.txt: passed over, no DICOM file" in answer.output.replace("\n", "")


def say(**attributes):
    def change(dataset):
        with pydicom.config.disable_value_validation():
            for keyword, value in attributes.items():
                setattr(dataset, keyword, value)

    return change


def leave_out(*keywords):
    def change(dataset):
        for keyword in keywords:
            delattr(dataset, keyword)

    return change


def cut_pixels(dataset):
    dataset.PixelData = dataset.PixelData[:-64]


def add_to_pixels(dataset):
    dataset.PixelData += b"words" * 20


def one_frame_less(dataset):
    frames = list(generate_frames(dataset.PixelData, number_of_frames=3))
    dataset.PixelData = encapsulate(frames[:-1])


def wrong_table(dataset):
    table = struct.pack("<3L", 0, 10, 20)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=3))
    whole = encapsulate(frames)
    dataset.PixelData = whole[:8] + table + whole[20:]


def palette_without_tables(dataset):
    del dataset.PlanarConfiguration
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "PALETTE COLOR"
    dataset.PixelData = bytes(64 * 48)


def cut_frame(dataset):
    frames = list(generate_frames(dataset.PixelData, number_of_frames=3))
    dataset.PixelData = encapsulate([frames[0], frames[1][: len(frames[1]) // 2], frames[2]])


BREACHES = [
    (False, 1, cut_pixels, "PixelData"),
    (False, 2, cut_pixels, "PixelData"),
    (False, 1, add_to_pixels, "PixelData"),
    (False, 1, leave_out("PixelData"), "PixelData"),
    (False, 2, say(NumberOfFrames=5), "PixelData"),
    (True, 3, one_frame_less, "PixelData"),
    (True, 3, wrong_table, "PixelData"),
    (True, 3, cut_frame, "PixelData"),
    (True, 3, say(NumberOfFrames=2), "NumberOfFrames"),
    (True, 3, say(Rows=480), "PixelData"),
    (True, 3, leave_out("FrameTime"), "FrameIncrementPointer"),
    (True, 3, say(FrameTimeVector=[0, 20]), "FrameTimeVector"),
    (False, 1, say(Modality="CT"), "Modality"),
    (False, 1, say(Modality="ultrasound"), "Modality"),
    (False, 1, leave_out("Modality"), "Modality"),
    (False, 1, say(StudyDate="2026-03-04"), "StudyDate"),
    (False, 1, say(StudyDate="20260230"), "StudyDate"),
    (False, 1, say(AcquisitionDate="20261301"), "AcquisitionDate"),
    (False, 1, say(StudyTime="25:00"), "StudyTime"),
    (False, 1, say(ContentTime="246000"), "ContentTime"),
    (False, 1, say(AcquisitionDateTime="20260304T050607"), "AcquisitionDateTime"),
    (False, 1, say(PatientBirthDate="1980"), "PatientBirthDate"),
    (False, 1, say(FrameOfReferenceUID="1.2.x"), "FrameOfReferenceUID"),
    (False, 1, say(MechanicalIndex=None, SeriesInstanceUID=""), "SeriesInstanceUID"),
    (False, 1, palette_without_tables, "RedPaletteColorLookupTableData"),
    (False, 1, say(PhotometricInterpretation="MONOCHROME2"), "PhotometricInterpretation"),
    (False, 1, say(PhotometricInterpretation="HSV"), "PhotometricInterpretation"),
    (False, 1, say(Rows=0), "Rows"),
    (False, 1, leave_out("BitsStored"), "BitsStored"),
    (False, 1, say(BitsStored=12), "BitsStored"),
    (False, 1, leave_out("PlanarConfiguration"), "PlanarConfiguration"),
]


@pytest.mark.parametrize(("compressed", "frames", "change", "attribute"), BREACHES)
def test_what_a_viewer_would_stumble_over_is_found_in_anybodys_file(
    tmp_path, findings, compressed, frames, change, attribute
):
    source = scanner_dicom(tmp_path / "d", compressed=compressed, frames=frames)
    assert findings(source) == []
    dataset = pydicom.dcmread(source)
    change(dataset)
    dataset.save_as(source)
    assert attribute in findings(source)


def test_what_cannot_be_read_at_all_is_said_in_a_sentence(tmp_path, findings, command):
    whole = scanner_dicom(tmp_path / "d").read_bytes()
    for content in (b"", b"<html>", whole[:500], whole[:-5], bytes(128) + b"DICM" + b"\xff" * 40):
        (tmp_path / "bad").write_bytes(content)
        assert findings(tmp_path / "bad") == ["file"]
        assert "is not a readable DICOM file: " in command(tmp_path / "bad").output.replace("\n", " ")


def test_nothing_is_found_in_what_we_send(convert, tmp_path, findings):
    for subject in (HUMAN, CASE):
        for source in (jpeg(tmp_path / "j"), clip(tmp_path / "c", frames=3), scanner_dicom(tmp_path / "d")):
            assert findings(convert(source, subject).path) == []
        assert findings(convert(clip(tmp_path / "c", frames=3), subject, video="h264").path) == []


def test_ours_have_to_say_more_than_others(convert, tmp_path, findings):
    """Our table is for our objects: of a scanner's own, these cost no picture."""
    ours, theirs = convert(clip(tmp_path / "c", frames=3)).path, scanner_dicom(tmp_path / "d", frames=3)
    for path, wanted in ((ours, ["FrameIncrementPointer"]), (theirs, [])):
        dataset = pydicom.dcmread(path)
        del dataset.FrameIncrementPointer
        dataset.save_as(path)
        assert findings(path) == wanted
