"""A JPEG is taken only for what strict decoders can show: tables written in, damage found (sources: README.md)."""

import io
import subprocess

import av
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import generate_frames

from app.imaging.errors import CaptureProblem
from tests.corpus.jpegs import DAMAGES, coded, samples_at, without
from tests.imaging.reading import mean_difference, pictures
from tests.imaging.samples import turned_jpeg
from tests.support.peers import require_program

DHT, EXIF = 0xC4, 0xE1
KINDS = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "restarts": {"restart_marker_blocks": 7},
    "a restart a block": {"restart_marker_blocks": 1},
    "restarts by row": {"restart_marker_rows": 1},
    "grey": {"mode": "L"},
    "tables of its own": {"optimize": True},
    "progressive": {"progressive": True},
    "progressive, 4:4:4": {"progressive": True, "subsampling": 0, "quality": 60},
    "progressive, grey": {"progressive": True, "mode": "L"},
    "progressive, restarts": {"progressive": True, "restart_marker_blocks": 9},
}


def frame_of(path):
    (frame,) = generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)
    return frame.rstrip(b"\0")


def shown_by_dcmtk(path, tmp_path):
    """The picture that dcmtk makes of an object: IJG's library, which supplies no tables."""
    shown = tmp_path / "shown.ppm"
    subprocess.run([require_program("dcmj2pnm"), "+op", str(path), str(shown)], check=True, timeout=60)
    return Image.open(shown).convert("RGB")


def complaints(data: bytes) -> bool:
    """Whether FFmpeg's decoder, told to end at the first error, does not show the picture."""
    context = av.CodecContext.create("mjpeg", "r")
    context.options = {"err_detect": "explode"}
    try:
        return len([*context.decode(av.Packet(data)), *context.decode(None)]) != 1
    except av.error.FFmpegError:
        return True


@pytest.mark.parametrize("kind", ["4:4:4", "4:2:2", "4:2:0", "restarts", "grey"])
def test_a_jpeg_without_tables_gets_the_standard_ones(convert, tmp_path, kind):
    whole = coded(**KINDS[kind])
    source = tmp_path / "bare"
    source.write_bytes(without(whole, DHT))
    made = convert(source)
    assert b"\xff\xc4" not in source.read_bytes()
    assert made.transfer_syntax == "1.2.840.10008.1.2.4.50"
    assert frame_of(made.path)[samples_at(frame_of(made.path)) :] == whole[samples_at(whole) :]
    assert mean_difference(pictures(made.path)[0], Image.open(io.BytesIO(whole)).convert("RGB")) == 0
    assert pydicom.dcmread(made.path).ImageType[0] == "ORIGINAL", "not one coded sample is changed"


@pytest.mark.peers
@pytest.mark.parametrize("kind", ["4:4:4", "4:2:2", "4:2:0", "restarts"])
def test_dcmtk_shows_a_jpeg_that_had_no_tables(convert, tmp_path, kind):
    whole = coded(**KINDS[kind])
    source = tmp_path / "bare"
    source.write_bytes(without(whole, DHT))
    shown = shown_by_dcmtk(convert(source).path, tmp_path)
    assert mean_difference(shown, Image.open(io.BytesIO(whole)).convert("RGB")) < 3


def test_a_table_that_no_standard_has_is_not_made_up(convert, tmp_path):
    data = bytearray(without(coded(), DHT))
    data[samples_at(data) - 8] = 0x22
    source = tmp_path / "odd"
    source.write_bytes(data)
    with pytest.raises(CaptureProblem) as caught:
        convert(source)
    assert caught.value.code == "capture_unreadable"


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_jpeg_is_never_called_damaged(convert, tmp_path, kind):
    source = tmp_path / "whole"
    source.write_bytes(coded(**KINDS[kind]))
    shown = pictures(convert(source).path)[0]
    assert mean_difference(shown, Image.open(source).convert("RGB")) == 0


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_in_the_samples_is_the_captures_problem(convert, tmp_path, kind, damage):
    whole = coded(**KINDS[kind])
    start = samples_at(whole)
    source = tmp_path / "damaged"
    refused = []
    for share in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        data = DAMAGES[damage](whole, start + int((len(whole) - start) * share))
        source.write_bytes(data)
        try:
            convert(source)
        except CaptureProblem as problem:
            refused.append(problem.code)
        else:
            # the codes happen to make as many blocks as before, which nobody can see
            assert not complaints(data)
    assert len(refused) >= 6
    assert set(refused) <= {"capture_truncated", "capture_unreadable"}


def test_the_last_bytes_are_missed_too(convert, tmp_path):
    whole = coded()
    source = tmp_path / "short"
    for missing in (1, 2, 3, 10):
        source.write_bytes(whole[: -2 - missing] + b"\xff\xd9")
        with pytest.raises(CaptureProblem) as caught:
            convert(source)
        assert caught.value.code == "capture_truncated"


@pytest.mark.parametrize("filling", [b"\0" * 5, b"\xff\0" * 3, b"\0" * 3000])
@pytest.mark.parametrize("kind", ["4:2:0", "restarts"])
def test_filling_behind_the_last_block_is_dropped_and_is_no_damage(convert, tmp_path, kind, filling):
    whole = coded(**KINDS[kind])
    source = tmp_path / "filled"
    source.write_bytes(whole[:-2] + filling + whole[-2:])
    assert frame_of(convert(source).path) == whole


def test_ones_before_a_restart_are_filling(convert, tmp_path):
    whole = coded(restart_marker_blocks=7)
    at = whole.index(b"\xff\xd0", samples_at(whole))
    source = tmp_path / "filled"
    source.write_bytes(whole[:at] + b"\xff\0" + whole[at:])
    assert frame_of(convert(source).path) == whole


@pytest.mark.parametrize("filling", [b"\0" * 5, b"\xff\0" * 3])
def test_filling_in_a_progressive_jpeg_is_no_damage(convert, tmp_path, filling):
    whole = coded(progressive=True)
    at = whole.index(b"\xff\xc4", samples_at(whole))
    source = tmp_path / "filled"
    source.write_bytes(whole[:at] + filling + whole[at:])
    shown = pictures(convert(source).path)[0]
    assert mean_difference(shown, Image.open(io.BytesIO(whole)).convert("RGB")) == 0


@pytest.mark.parametrize("passes", [1, 2, 4])
def test_a_progressive_jpeg_without_its_last_passes_is_truncated(convert, tmp_path, passes):
    whole = coded(progressive=True)
    at = len(whole)
    for _ in range(passes):
        at = whole.rindex(b"\xff\xda", 0, at)
    source = tmp_path / "coarse"
    source.write_bytes(whole[:at] + b"\xff\xd9")
    with pytest.raises(CaptureProblem) as caught:
        convert(source)
    assert caught.value.code == "capture_truncated"


def test_arithmetic_codes_are_refused_since_nobody_can_tell_whether_they_are_whole(convert, tmp_path):
    source = tmp_path / "arithmetic"
    source.write_bytes(coded().replace(b"\xff\xc0\0", b"\xff\xc9\0", 1))
    with pytest.raises(CaptureProblem) as caught:
        convert(source)
    assert caught.value.code == "capture_unreadable"
    assert "arithmetically" in caught.value.message


def test_codes_behind_the_last_block_are_damage(convert, tmp_path):
    whole = coded()
    source = tmp_path / "more"
    source.write_bytes(whole[:-2] + b"\x35\x91\x22" + whole[-2:])
    with pytest.raises(CaptureProblem) as caught:
        convert(source)
    assert caught.value.code == "capture_unreadable"


def test_restarts_out_of_order_are_damage(convert, tmp_path):
    whole = coded(restart_marker_blocks=7)
    start = samples_at(whole)
    source = tmp_path / "order"
    source.write_bytes(whole[:start] + whole[start:].replace(b"\xff\xd3", b"\xff\xd5"))
    with pytest.raises(CaptureProblem) as caught:
        convert(source)
    assert caught.value.code == "capture_unreadable"


def test_a_jpeg_of_thousands_of_passes_is_refused_before_it_is_decoded(convert, tmp_path):
    whole = coded(progressive=True, size=(64, 48))
    last = whole.rindex(b"\xff\xda")
    source = tmp_path / "passes"
    source.write_bytes(whole[:last] + whole[last:-2] * 3000 + whole[-2:])
    with pytest.raises(CaptureProblem) as caught:
        convert(source)
    assert caught.value.code == "capture_too_large"


def test_a_version_of_jfif_that_decoders_warn_of_is_written_as_one_they_know(convert, tmp_path):
    whole = coded()
    at = whole.index(b"JFIF\0") + 5
    source = tmp_path / "version"
    source.write_bytes(whole[:at] + b"\x03\x07" + whole[at + 2 :])
    assert frame_of(convert(source).path)[at : at + 2] == b"\x01\x02"


@pytest.mark.parametrize(("kind", "order"), [(3, "big"), (4, "big"), (4, "little"), (1, "big")])
def test_the_orientation_is_read_in_whatever_type_a_camera_wrote_it(convert, tmp_path, kind, order):
    value = (6).to_bytes({1: 1, 3: 2, 4: 4}[kind], order).ljust(4, b"\0")
    entry = (0x0112).to_bytes(2, order) + kind.to_bytes(2, order) + (1).to_bytes(4, order) + value
    tiff = {"big": b"MM\0*", "little": b"II*\0"}[order] + (8).to_bytes(4, order) + (1).to_bytes(2, order)
    exif = b"Exif\0\0" + tiff + entry + bytes(4)
    whole = coded()
    source = tmp_path / "turned"
    source.write_bytes(whole[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + whole[2:])
    made = convert(source)
    upright = Image.open(io.BytesIO(whole)).convert("RGB").transpose(Image.Transpose.ROTATE_270)
    assert mean_difference(pictures(made.path)[0], upright) == 0


def test_a_turned_jpeg_that_is_damaged_is_refused_like_any_other(convert, tmp_path):
    source = turned_jpeg(tmp_path / "turned")
    data = source.read_bytes()
    middle = (samples_at(data) + len(data)) // 2
    source.write_bytes(data[:middle] + b"\xff\xd9")
    with pytest.raises(CaptureProblem) as caught:
        convert(source)
    assert caught.value.code == "capture_truncated"
