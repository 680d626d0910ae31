"""The same exam converted twice, on two hosts, gives the same bytes."""

import ctypes
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import av
import pytest

from app.imaging.archive import build_archive
from app.imaging.convert import convert_capture
from app.imaging.subjects import Subject
from tests.imaging.samples import CASE, HUMAN, clip, context_for, jpeg, png, scanner_dicom

ROOT = Path(__file__).parents[2]


def exam(folder: Path) -> list[Path]:
    folder.mkdir()
    return [
        jpeg(folder / "baseline"),
        jpeg(folder / "progressive", progressive=True),
        png(folder / "png", "RGBA"),
        scanner_dicom(folder / "dicom", compressed=True),
        clip(folder / "high", frames=6),
        clip(folder / "baseline-profile", frames=6, profile="baseline"),
    ]


def digest(sources: list[Path], out: Path, subject: Subject, video: str) -> str:
    context = (
        context_for(subject, video=video, burned_in="mask", masks=((4, 4, 30, 12),))
        if video == "h264"
        else context_for(subject, video=video)
    )
    made = [
        one
        for index, source in enumerate(sources)
        for one in convert_capture(source, out, context, subject, capture_index=index)
    ]
    return build_archive(out / "a.zip", context.study_uid, [one.path for one in made]).sha256


def on_another_host(sources: list[Path], out: Path, which: str, video: str) -> str:
    """The same in a process of another time zone, locale, hash seed and processor (no vector units)."""
    answer = subprocess.run(
        [sys.executable, "-m", "tests.imaging.test_same_bytes", str(out), which, video, *map(str, sources)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={
            **os.environ,
            "TZ": "Pacific/Auckland",
            "LC_ALL": "C",
            "PYTHONHASHSEED": "4711",
            "JSIMD_FORCENONE": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
    return answer.stdout.strip()


@pytest.mark.parametrize("video", ["cine", "h264"])
@pytest.mark.parametrize("which", ["identified", "deidentified"])
def test_two_hosts_agree_on_every_byte(tmp_path, which, video):
    subject = CASE if which == "deidentified" else HUMAN
    sources = exam(tmp_path / "exam")
    here = digest(sources, tmp_path / "here", subject, video)
    again = digest(sources, tmp_path / "again", subject, video)
    there = on_another_host(sources, tmp_path / "there", which, video)
    assert here == again == there
    assert len(here) == 64


def test_the_order_of_captures_moves_no_identifier(tmp_path):
    sources = exam(tmp_path / "exam")
    context = context_for(HUMAN)
    names = []
    for out, order in (("one", sources), ("two", sources[::-1])):
        made = [
            one
            for index, source in enumerate(order)
            for one in convert_capture(source, tmp_path / out, context, HUMAN, capture_index=index)
        ]
        names.append({(one.sop_instance_uid, one.series_uid, one.capture_sha256) for one in made})
    assert names[0] == names[1]
    assert len(names[0]) == len(sources)


def test_a_repeat_overwrites_like_with_like(tmp_path):
    source = jpeg(tmp_path / "j")
    made = [
        convert_capture(source, tmp_path / "out", context_for(HUMAN), HUMAN, capture_index=0)[0]
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert hashlib.sha256(made[0].path.read_bytes()).hexdigest() == made[0].sha256
    assert made[0].bytes == made[0].path.stat().st_size


def _without_vector_units() -> None:
    """Make FFmpeg believe that this processor has none."""
    (library,) = Path(av.__file__).parent.parent.glob("av.libs/libavutil-*.so*")
    utilities = ctypes.CDLL(str(library))
    assert utilities.av_get_cpu_flags() != 0
    utilities.av_force_cpu_flags(0)
    assert utilities.av_get_cpu_flags() == 0


if __name__ == "__main__":
    _without_vector_units()
    folder, which_subject, video_mode, *files = sys.argv[1:]
    sys.stdout.write(
        digest(
            [Path(file) for file in files],
            Path(folder),
            CASE if which_subject == "deidentified" else HUMAN,
            video_mode,
        )
    )
