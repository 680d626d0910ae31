"""`check-dicom` on the command line: what it prints and how it ends."""

import pydicom
import pytest
import typer
from typer.testing import CliRunner

from app.cli.check_dicom import check_dicom
from tests.imaging.samples import jpeg


@pytest.fixture
def command():
    app = typer.Typer()
    app.command("check-dicom")(check_dicom)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


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
