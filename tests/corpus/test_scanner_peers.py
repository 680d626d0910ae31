"""Scanners' objects in the eyes of Orthanc: of each it shows the same picture before we had it and after."""

import uuid

import pydicom
import pytest

from app.imaging.convert import convert_capture
from tests.corpus.test_scanner_objects import of_pydicom
from tests.imaging.reading import mean_difference
from tests.imaging.samples import CASE, HUMAN, context_for, scanner_dicom
from tests.imaging.test_peers import another_study, previews, store
from tests.support.peers.orthanc import running_orthanc

pytestmark = pytest.mark.peers

MASK = {"burned_in": "mask", "masks": ((0, 0, 6, 6),)}

SOURCES = {
    "uncompressed": scanner_dicom,
    "jpeg": lambda path: scanner_dicom(path, compressed=True, frames=2),
    "palette": lambda _: of_pydicom("examples_palette.dcm"),
    "rle": lambda _: of_pydicom("SC_rgb_rle_2frame.dcm"),
    "rgb-jpeg": lambda _: of_pydicom("SC_jpeg_no_color_transform.dcm"),
    "ultrasound-30-frames": lambda _: of_pydicom("examples_ybr_color.dcm"),
    "big-endian": lambda _: of_pydicom("MR_small_bigendian.dcm"),
}


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


def fresh(path, name):
    """The source under a UID of its own, so that no two tests meet in one object."""
    dataset = pydicom.dcmread(SOURCES[name](path))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"2.25.{uuid.uuid4().int}"
    dataset.save_as(path)
    return path


def shown(orthanc, path):
    """Its frames as Orthanc shows them."""
    assert store(orthanc, path).status_code == 200
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    return previews(orthanc, dataset.SOPInstanceUID, int(dataset.get("NumberOfFrames", 1)))


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("subject", [HUMAN, CASE], ids=["identified", "deidentified"])
def test_orthanc_shows_the_same_before_and_after(orthanc, tmp_path, name, subject):
    source = fresh(tmp_path / "d", name)
    before = shown(orthanc, source)
    context = context_for(subject, **another_study())
    (made,) = convert_capture(source, tmp_path / "out", context, subject, capture_index=0)
    after = shown(orthanc, made.path)
    assert len(before) == len(after)
    assert all(mean_difference(one, other) < 0.01 for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("name", ["uncompressed", "jpeg", "rgb-jpeg", "ultrasound-30-frames"])
def test_outside_the_mask_orthanc_shows_the_same(orthanc, tmp_path, name):
    source = fresh(tmp_path / "d", name)
    context = context_for(HUMAN, **another_study(), **MASK)
    (made,) = convert_capture(source, tmp_path / "out", context, HUMAN, capture_index=0)
    for one, other in zip(shown(orthanc, source), shown(orthanc, made.path), strict=True):
        box = (16, 16, one.width, one.height)
        assert mean_difference(one.crop(box), other.crop(box)) < 3
        assert mean_difference(other.crop((0, 0, 5, 5)), other.crop((0, 0, 5, 5)).point(lambda _: 0)) < 12
