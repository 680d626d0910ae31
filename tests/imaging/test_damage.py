"""Damaged and hostile captures of every kind: refused with a reason or converted, never anything else."""

import logging
import random
import traceback
import warnings

import pytest

from app.imaging.check import check_file
from app.imaging.convert import convert_capture
from app.imaging.errors import CaptureProblem
from tests.imaging.samples import (
    CANARY,
    CASE,
    HUMAN,
    clip,
    context_for,
    jpeg,
    jpeg_with_secrets,
    png,
    scanner_dicom,
)
from tests.imaging.test_dicom_source import bundle

KINDS = {
    "jpeg": lambda path: jpeg_with_secrets(path, CANARY),
    "progressive": lambda path: jpeg(path, progressive=True),
    "png": lambda path: png(path, "P"),
    "mp4": lambda path: clip(path, frames=3, title="x", sound=True),
    "dicom": scanner_dicom,
    "dicom-jpeg": lambda path: scanner_dicom(path, compressed=True, frames=2),
    "zip": lambda path: bundle(path, {"1": scanner_dicom(path.with_name("inner")).read_bytes()}),
}
ROUNDS = 60


def damaged(data: bytes, dice: random.Random) -> bytes:
    """The data with up to ten bytes changed, runs replaced or runs taken out, mostly near the front."""
    held = bytearray(data)
    for _ in range(dice.choice([1, 1, 3, 10])):
        at = dice.randrange(len(held) if dice.random() < 0.4 else min(len(held), 1500))
        what = dice.random()
        if what < 0.6:
            held[at] = dice.choice([0, 255, dice.randrange(256)])
        elif what < 0.8:
            held[at : at + dice.randrange(1, 9)] = dice.randbytes(4)
        else:
            del held[at : at + dice.randrange(1, 50)]
    return bytes(held)


@pytest.mark.row(46)
@pytest.mark.filterwarnings(
    "default"
)  # pydicom warns of every odd value that it reads, which is the point here
@pytest.mark.parametrize("kind", KINDS)
def test_damage_ends_in_a_reason_and_leaves_nothing_behind(tmp_path, kind):
    dice = random.Random(kind)
    whole = KINDS[kind](tmp_path / "whole").read_bytes()
    source, out = tmp_path / "damaged", tmp_path / "out"
    outcomes = set()
    for _ in range(ROUNDS):
        source.write_bytes(damaged(whole, dice))
        subject = dice.choice([HUMAN, CASE])
        changes = {"video": dice.choice(["cine", "h264"])}
        if dice.random() < 0.3:
            changes.update(burned_in="mask", masks=((1, 1, 5, 5),))
        try:
            convert_capture(source, out, context_for(subject, **changes), subject, capture_index=0)
            outcomes.add("converted")
        except CaptureProblem as problem:
            outcomes.add(problem.code)
        assert not [path for path in out.iterdir() if path.suffix != ".dcm"]
    assert len(outcomes) > 1, "the damage should matter, and not always"


@pytest.mark.parametrize("video", ["cine", "h264"])
def test_a_clip_with_broken_pictures_is_not_delivered(convert, tmp_path, video):
    source = clip(tmp_path / "c", frames=10, size=(320, 240), options={"crf": "15"})
    data = bytearray(source.read_bytes())
    middle = (data.index(b"mdat") + data.index(b"moov")) // 2
    data[middle : middle + 400] = random.Random(1).randbytes(400)
    source.write_bytes(data)
    with pytest.raises(CaptureProblem) as caught:
        convert(source, video=video)
    assert caught.value.code == "capture_unreadable"


def test_odd_values_are_quoted_nowhere(convert, tmp_path, caplog, capfd, recwarn):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = scanner_dicom(tmp_path / "odd")
        data = source.read_bytes().replace(b"19700101", CANARY[:8].encode())
        source.write_bytes(data.replace(b"1.2.826.0.1.99.2", b"1.2.826/" + CANARY[:8].encode()))
    logging.getLogger().setLevel(logging.DEBUG)
    assert check_file(convert(source).path) == []
    check_file(source)
    source.write_bytes(source.read_bytes()[:700])
    with pytest.raises(CaptureProblem) as caught:
        convert(source)
    printed = capfd.readouterr()
    everything = [caplog.text, printed.out, printed.err, *(str(warning.message) for warning in recwarn)]
    everything += traceback.format_exception(caught.value)
    assert not [text for text in everything if CANARY[:8] in text]
