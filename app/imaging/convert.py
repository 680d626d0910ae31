"""A capture in, DICOM objects out: the one entry to conversion, a pure function over files.

It chooses by what the bytes are and does nothing else. It can be pickled into a process pool.
"""

import errno
import os
import warnings
from collections.abc import Callable
from pathlib import Path

from app.imaging.attributes import require_context
from app.imaging.bundles import convert_bundle
from app.imaging.check import require_valid
from app.imaging.clips import convert_clip
from app.imaging.errors import CaptureProblem
from app.imaging.passthrough import convert_dicom
from app.imaging.pieces import sha256_of
from app.imaging.sniff import sniff
from app.imaging.stills import convert_jpeg, convert_png
from app.imaging.subjects import Capture, Converted, ConvertedInstance, StudyContext, Subject

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
PROBE_BYTES = 1 << 20


def convert_capture(
    source: Path,
    out_dir: Path,
    context: StudyContext,
    subject: Subject,
    *,
    capture_index: int,
    capture_sha256: str | None = None,
) -> Converted:
    """Convert one capture into `out_dir` (made when absent), one file `<instance uid>.dcm` each.

    `capture_index` counts from 0. `capture_sha256` (hex) is computed when it is not given.
    Every object passes `check` or the capture is refused; of a bundle, its other files are still converted.
    The same input gives the same bytes, so a repeat after a crash overwrites like with like.

    CaptureProblem: the capture will never become an image; nothing is left in `out_dir`.
    OSError: the disk. ValueError: a context that contradicts itself. However else a library puts it, it is about the
    capture, OSError included (pydicom says so of a file that ends too early): as long as the disk reads and writes.
    """
    if source.stat().st_size == 0:
        raise CaptureProblem("capture_empty", "The capture is empty.")
    capture = Capture(path=source, sha256=capture_sha256 or sha256_of(source), index=capture_index)
    require_context(context, subject)
    out_dir.mkdir(parents=True, exist_ok=True)
    before = set(out_dir.iterdir())
    try:
        with warnings.catch_warnings():
            # A warning would carry values of the file to standard error.
            warnings.simplefilter("ignore")
            return _by_kind(capture, out_dir, context, subject)
    except CaptureProblem:
        raise
    except Exception as error:
        _require_disk(source, out_dir, error)
        for path in set(out_dir.iterdir()) - before:
            path.unlink()
        raise CaptureProblem(
            "capture_unreadable", f"The capture is damaged and cannot be read ({type(error).__name__})."
        ) from error


def _require_disk(source: Path, out_dir: Path, error: Exception) -> None:
    """Raise the error again if the disk is to blame for it: it is full, or does not read or write just now."""
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        raise error
    probe = out_dir / "probe"
    try:
        sha256_of(source)
        with probe.open("wb") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as trouble:
        raise trouble from error
    finally:
        probe.unlink(missing_ok=True)


def _checked(instance: ConvertedInstance) -> Converted:
    """The instance once it has passed the check; its file goes otherwise."""
    try:
        require_valid(instance.path)
    except CaptureProblem:
        instance.path.unlink(missing_ok=True)
        raise
    return Converted([instance])


def _by_kind(capture: Capture, out_dir: Path, context: StudyContext, subject: Subject) -> Converted:
    converters: dict[str, Callable[[Capture, Path, StudyContext, Subject], ConvertedInstance]] = {
        "jpeg": convert_jpeg,
        "png": convert_png,
        "mp4": convert_clip,
        "dicom": convert_dicom,
    }
    kind = sniff(capture.path)
    if kind in converters:
        return _checked(converters[kind](capture, out_dir, context, subject))
    if kind == "zip":
        return convert_bundle(capture, out_dir, context, subject)
    if kind == "heif":
        raise CaptureProblem(
            "capture_wrong_kind", "The capture is a HEIC or AVIF picture, a kind that is not taken."
        )
    raise CaptureProblem("capture_wrong_kind", "The capture is not an image or clip of a kind that we know.")
