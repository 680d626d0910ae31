"""The entry to conversion: what it refuses, what it needs, and that it runs in a process pool."""

import multiprocessing
import pickle
import resource
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime

import pydicom
import pytest

from app.imaging.convert import convert_capture
from app.imaging.errors import CaptureProblem
from app.imaging.receipt import Receipt
from tests.imaging.samples import ANIMAL, CASE, HUMAN, STRAY, clip, context_for, jpeg, png


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "capture_empty"),
        (b"<!doctype html><title>Sign in</title>", "capture_wrong_kind"),
        (b"{}", "capture_wrong_kind"),
        (b"%PDF-1.7", "capture_wrong_kind"),
        (b"GIF89a" + bytes(200), "capture_wrong_kind"),
        (b"\xff\xd8\xff", "capture_truncated"),
        (b"\x89PNG\r\n\x1a\n", "capture_truncated"),
        (b"PK\x03\x04", "capture_truncated"),
        (bytes(128) + b"DICM", "capture_unreadable"),
        (b"\0\0\0\x18ftypisom", "capture_truncated"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(tmp_path, content, code):
    source = tmp_path / "capture"
    source.write_bytes(content)
    out = tmp_path / "out"
    with pytest.raises(CaptureProblem) as caught:
        convert_capture(source, out, context_for(HUMAN), HUMAN, capture_index=0)
    assert caught.value.code == code
    assert caught.value.message.endswith(".")
    assert not out.exists() or list(out.iterdir()) == []


def test_a_missing_file_is_an_error_of_the_disk_not_of_the_capture(tmp_path):
    with pytest.raises(FileNotFoundError):
        convert_capture(tmp_path / "x", tmp_path / "out", context_for(HUMAN), HUMAN, capture_index=0)


@pytest.mark.row(46)
def test_a_disk_that_takes_nothing_is_no_damage(tmp_path):
    """Conversion fails for want of room, and so does writing anything else: the capture may be sound."""
    source = jpeg(tmp_path / "c")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            convert_capture(source, tmp_path / "out", context_for(HUMAN), HUMAN, capture_index=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert convert_capture(source, tmp_path / "out", context_for(HUMAN), HUMAN, capture_index=0)


def test_an_oversized_still_is_refused_unread(tmp_path):
    source = tmp_path / "huge"
    with source.open("wb") as file:
        file.write(b"\xff\xd8\xff\xe0")
        file.truncate(129 * 1024**2)
    with pytest.raises(CaptureProblem) as caught:
        convert_capture(
            source, tmp_path / "out", context_for(HUMAN), HUMAN, capture_index=0, capture_sha256="0" * 64
        )
    assert caught.value.code == "capture_too_large"


def test_it_runs_in_a_process_pool_and_so_do_its_refusals(tmp_path):
    good, bad = jpeg(tmp_path / "good"), tmp_path / "bad"
    bad.write_bytes(b"nothing")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        made = pool.submit(
            convert_capture, good, tmp_path / "out", context_for(HUMAN), HUMAN, capture_index=0
        ).result()
        refused = pool.submit(
            convert_capture, bad, tmp_path / "out", context_for(HUMAN), HUMAN, capture_index=1
        ).exception()
    assert made[0].path.exists()
    assert isinstance(refused, CaptureProblem)
    assert refused.code == "capture_wrong_kind"


def test_values_survive_pickling():
    receipt = Receipt(delivered_at=datetime(2026, 3, 4, tzinfo=UTC), stills=1, clips=0, study_uid="2.25.1")
    for value in (HUMAN, ANIMAL, CASE, context_for(CASE), receipt):
        assert pickle.loads(pickle.dumps(value)) == value


def test_stills_and_clips_stand_in_series_of_their_own(tmp_path):
    sources = [jpeg(tmp_path / "j"), clip(tmp_path / "c", frames=2), png(tmp_path / "p")]
    made = [
        one
        for index, source in enumerate(sources)
        for one in convert_capture(source, tmp_path / "out", context_for(HUMAN), HUMAN, capture_index=index)
    ]
    datasets = [pydicom.dcmread(one.path) for one in made]
    assert len({one.StudyInstanceUID for one in datasets}) == 1
    assert datasets[0].SeriesInstanceUID == datasets[2].SeriesInstanceUID != datasets[1].SeriesInstanceUID
    assert [(one.SeriesNumber, one.InstanceNumber) for one in datasets] == [(1, 1), (2, 2), (1, 3)]


def test_times_are_the_organisations(convert, tmp_path):
    dataset = pydicom.dcmread(convert(jpeg(tmp_path / "j")).path)
    assert (dataset.StudyDate, dataset.StudyTime) == ("20260304", "050607")
    assert dataset.TimezoneOffsetFromUTC == "+1000"
    assert dataset.ContentTime == "050607"


def test_animals_have_the_full_veterinary_set(convert, tmp_path):
    owned = pydicom.dcmread(convert(jpeg(tmp_path / "j"), ANIMAL).path)
    assert owned.PatientName == "Dana Petrov^Rex"
    assert (owned.PatientSpeciesDescription, owned.ResponsiblePerson) == ("Dog", "Dana Petrov")
    assert owned.ResponsiblePersonRole == "OWNER"
    stray = pydicom.dcmread(convert(jpeg(tmp_path / "j"), STRAY).path)
    assert "ResponsiblePersonRole" not in stray
    for keyword in ("PatientBreedDescription", "PatientSexNeutered", "ResponsibleOrganization"):
        assert stray[keyword].is_empty


@pytest.mark.parametrize(
    "changes",
    [
        {"studied_at": datetime(2026, 3, 4)},  # noqa: DTZ001 a time without its zone is what is tried
        {"burned_in": "mask"},
        {"burned_in": "mask", "masks": ((0, 0, 0, 5),)},
    ],
)
def test_a_context_that_contradicts_itself_is_a_mistake(changes):
    with pytest.raises(ValueError, match=r"zone|mask"):
        context_for(HUMAN, **changes)
