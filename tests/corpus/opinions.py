"""What decoders of others show of a file: dcmtk's, libjpeg's djpeg, netpbm's pngtopnm, FFmpeg's, Orthanc's own.

Must not decide by the product's own code: what no other decoder reads has no opinion, and is never called right.
"""

import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import av
import httpx
import pydicom
from PIL import Image, ImageOps

from tests.imaging.test_peers import previews, store
from tests.support.peers import program
from tests.support.peers.orthanc import Orthanc

DECODER_SECONDS = 60
MOST_FRAMES = 10
"""How many pictures of a clip or of an object of many frames are compared."""
TRUECOLOUR = 2
DJPEG_WARNED = 2
"""It showed the picture, and had something to remark."""
DCMTK = ("dcm2pnm", "dcmj2pnm", "dcml2pnm")
"""One program for plain and run-length pixels, one for JPEG, one for JPEG-LS."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """The first pictures of a file, how many it has in all, and whose decoder says so."""

    pictures: list[Image.Image]
    count: int
    by: str


def second_opinion(orthanc: Orthanc, file: Path, out: Path) -> Opinion | None:
    """What a decoder of somebody else's shows, or None when none reads the file. `out` begins the names of its files."""
    start = file.read_bytes()[:12]
    if start[:3] == b"\xff\xd8\xff":
        return _of_jpeg(file, out)
    if start[:4] == b"\x89PNG":
        return _of_png(file, out)
    if start[4:8] == b"ftyp":
        return _of_clip(file)
    return of_dicom(file, out) or of_orthanc(orthanc, file)


def of_dicom(file: Path, out: Path) -> Opinion | None:
    """What dcmtk shows; of pixels deeper than 8 bits, their whole range without any window."""
    for name in DCMTK:
        command = [name, "--all-frames", "--write-raw-pnm", str(file), str(out)]
        if program(name) is not None and _runs(command):
            found = sorted(out.parent.glob(f"{out.name}*.p?m"), key=_frame_number)
            return Opinion([_picture(one) for one in found[:MOST_FRAMES]], len(found), name)
        for left in out.parent.glob(f"{out.name}*.p?m"):
            left.unlink()
    return None


def _of_jpeg(file: Path, out: Path) -> Opinion | None:
    target = out.with_suffix(".pnm")
    command = ["djpeg", "-pnm", "-outfile", str(target), str(file)]
    if program("djpeg") is None or not _runs(command, statuses={0, DJPEG_WARNED}):
        return None
    # djpeg knows nothing of EXIF: only which way up is taken from there
    with Image.open(file) as opened:
        turned = Image.Exif()
        turned[0x0112] = opened.getexif().get(0x0112, 1)
    shown = _picture(target)
    shown.info["exif"] = turned.tobytes()
    return Opinion([ImageOps.exif_transpose(shown)], 1, "djpeg")


def _of_png(file: Path, out: Path) -> Opinion | None:
    if program("pngtopnm") is None:
        return None
    if b"tRNS" in file.read_bytes() and file.read_bytes()[25] == TRUECOLOUR:
        # netpbm 11.1 takes no colour for transparent
        return _of_transparent(file)
    # what is transparent lets black through, as we promise (docs/imaging.md)
    command = ["pngtopnm", "-mix", "-background=rgb:00/00/00"]
    plain = without_precision(file.read_bytes())
    done = subprocess.run(command, input=plain, capture_output=True, check=False, timeout=DECODER_SECONDS)
    if done.returncode or not done.stdout:
        return None
    target = out.with_suffix(".pnm")
    target.write_bytes(done.stdout)
    return Opinion([_picture(target)], 1, "pngtopnm")


def without_precision(png: bytes) -> bytes:
    """The file without sBIT, which tells how many bits samples once had and changes none (PNG 11.3.2.2).

    netpbm scales by it.
    """
    at = png.find(b"sBIT")
    return png if at < 0 else png[: at - 4] + png[at + 8 + int.from_bytes(png[at - 4 : at], "big") :]


def _of_transparent(file: Path) -> Opinion | None:
    """A still with transparency over black, as FFmpeg decodes it."""
    with av.open(str(file)) as container:
        frame = next(container.decode(video=0)).reformat(format="rgba")
    plane = frame.planes[0]
    size = (frame.width, frame.height)
    shown = Image.frombuffer("RGBA", size, bytes(plane), "raw", "RGBA", plane.line_size, 1)
    black = Image.new("RGBA", size, (0, 0, 0, 255))
    return Opinion([Image.alpha_composite(black, shown).convert("RGB")], 1, "ffmpeg")


def _of_clip(file: Path) -> Opinion | None:
    shown: list[Image.Image] = []
    count = 0
    try:
        with av.open(str(file)) as container:
            for frame in container.decode(video=0):
                count += 1
                if len(shown) < MOST_FRAMES:
                    shown.append(frame.to_image())
    except (av.FFmpegError, IndexError):
        return None
    return Opinion(shown, count, "ffmpeg")


def of_orthanc(orthanc: Orthanc, file: Path) -> Opinion | None:
    """What Orthanc shows of the source itself."""
    if store(orthanc, file).status_code != httpx.codes.OK:
        return None
    try:
        source = pydicom.dcmread(file, stop_before_pixels=True, force=True)
        count = int(source.get("NumberOfFrames") or 1)
        return Opinion(previews(orthanc, source.SOPInstanceUID, min(count, MOST_FRAMES)), count, "Orthanc")
    except (httpx.HTTPStatusError, AttributeError, AssertionError):
        return None


def _runs(command: list[str], *, statuses: Collection[int] = (0,)) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=DECODER_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode in statuses


def _frame_number(path: Path) -> int:
    part = path.name.split(".")[-2]
    return int(part) if part.isdecimal() else 0


def _picture(file: Path) -> Image.Image:
    """Raw PNM is samples behind a header: nothing is decoded here. Deeper samples keep their upper eight bits."""
    with Image.open(file) as opened:
        opened.load()
        if opened.mode.startswith("I"):
            return opened.point(lambda value: value / 257).convert("L").convert("RGB")
        return opened.convert("RGB")
