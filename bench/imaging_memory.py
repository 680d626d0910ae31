"""Prints how far memory rises above rest while an exam of large clips is converted and zipped.

The goal is below 250 MB for 20 captures of 100 MB (h264). Smaller by default; the whole of it is
`python -m bench.imaging_memory --captures 20 --megabytes 100`. It must not measure its own making of clips, so that and
the conversion run in processes of their own.
"""

import argparse
import multiprocessing
import random
import resource
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Literal, ParamSpec, TypeVar

import av

from app.imaging import uids
from app.imaging.archive import build_archive
from app.imaging.convert import convert_capture
from app.imaging.subjects import HumanSubject, StudyContext

P = ParamSpec("P")
R = TypeVar("R")

GOAL_MEGABYTES = 250
MEGABYTE = 1024**2
EXAM_UUID = "1f0e6f5c-7f5e-4b5e-9d2e-0c6c2a1b3d4e"
WIDTH, HEIGHT = 1280, 960
SUBJECT = HumanSubject(patient_id="P-1", family_name="Okafor", given_name="Ada")


def main() -> int:
    """Run the benchmark; exit status 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captures", type=int, default=4)
    parser.add_argument("--megabytes", type=int, default=20, help="size of each clip")
    parser.add_argument("--video", choices=["h264", "cine"], default="h264")
    parser.add_argument("--folder", type=Path, default=None, help="where to work (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        captures = in_own_process(make_captures, Path(folder), options.captures, options.megabytes)
        started = time.monotonic()
        rest, converted, peak, size = in_own_process(carry, captures, Path(folder), options.video)
        seconds = time.monotonic() - started
    print(f"{options.captures} clips of {options.megabytes} MB as {options.video}: {seconds:.1f} s")
    print(f"archive            {size / MEGABYTE:8.1f} MB")
    print(f"at rest            {rest / MEGABYTE:8.1f} MB")
    print(f"peak of convert  + {(converted - rest) / MEGABYTE:8.1f} MB")
    print(f"peak with zip    + {(peak - rest) / MEGABYTE:8.1f} MB (goal: below {GOAL_MEGABYTES})")
    return 0 if peak - rest < GOAL_MEGABYTES * MEGABYTE else 1


def in_own_process(function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """The result of a function in a fresh process, whose memory then is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **named).result()


def carry(captures: list[Path], folder: Path, video: Literal["cine", "h264"]) -> tuple[int, int, int, int]:
    """Convert and zip; returns memory at rest, its peak after conversion and after the zip, and the zip's size."""
    rest = peak_bytes()
    context = study(video)
    made = [
        one.path
        for index, capture in enumerate(captures)
        for one in convert_capture(capture, folder / "dicom", context, SUBJECT, capture_index=index)
    ]
    converted = peak_bytes()
    archive = build_archive(folder / "exam.zip", context.study_uid, made)
    return rest, converted, peak_bytes(), archive.bytes


def study(video: Literal["cine", "h264"]) -> StudyContext:
    """A study that is to get captures."""
    return StudyContext(
        study_uid=uids.study_uid(EXAM_UUID, deidentify_key=None),
        accession_number=uids.accession_number(EXAM_UUID, deidentify_key=None),
        studied_at=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
        burned_in="no",
        video=video,
    )


def make_captures(folder: Path, count: int, megabytes: int) -> list[Path]:
    """`count` different clips of High profile, each of about `megabytes`."""
    first = folder / "0.mp4"
    encode_noise(first, megabytes * MEGABYTE)
    captures = [first]
    for index in range(1, count):
        # A box that readers pass over makes the content differ (ISO 14496-12 8.1.2).
        path = folder / f"{index}.mp4"
        path.write_bytes(first.read_bytes() + struct.pack(">L4sL", 12, b"free", index))
        captures.append(path)
    return captures


def encode_noise(path: Path, size: int) -> None:
    """Pictures of noise, which compress badly, until the file has the size."""
    source = random.Random(4711)
    with av.open(str(path), "w", format="mp4") as output:
        # High by its transform; without CABAC, whose bits are read one by one: noise of this size took six times longer
        options = {
            "preset": "ultrafast",
            "profile": "high",
            "crf": "10",
            "x264-params": "8x8dct=1:cabac=0:level=4.1",
        }
        stream = output.add_stream("libx264", rate=20, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        written, number = 0, 0
        while written < size:
            frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
            for plane in frame.planes:
                plane.update(source.randbytes(plane.buffer_size))
            frame.pts, frame.time_base = number, Fraction(1, 20)
            number += 1
            for packet in stream.encode(frame):
                written += packet.size
                output.mux(packet)
        output.mux(stream.encode(None))


def peak_bytes() -> int:
    """The most memory that this process ever had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
