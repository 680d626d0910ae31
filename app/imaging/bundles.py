"""A zip of DICOM files becomes one object per file; nothing in it may choose a path or fill a disk.

One bad member never costs the others, and nothing is passed over without a word but what is known to lie beside images.
"""

import errno
import re
import shutil
import zipfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from lzma import LZMAError
from pathlib import Path, PurePosixPath

from app.imaging.check import require_valid
from app.imaging.errors import CaptureProblem
from app.imaging.limits import (
    COPY_CHUNK_BYTES,
    MAX_BUNDLE_BYTES,
    MAX_BUNDLE_DEPTH,
    MAX_BUNDLE_MEMBERS,
    MAX_BUNDLE_RATIO,
    SMALL_BUNDLE_BYTES,
)
from app.imaging.passthrough import rewrite
from app.imaging.pieces import sha256_of
from app.imaging.sniff import SNIFF_BYTES, sniff_bytes
from app.imaging.source_pixels import SourceObject, is_directory, read_source
from app.imaging.subjects import Capture, Converted, ConvertedInstance, StudyContext, Subject, plan_object

BY_FILES = frozenset({"dicomdir", ".ds_store", "thumbs.db", "desktop.ini", "autorun.inf"})
"""Files that lie beside images on exported media, besides those named README and all under __MACOSX."""

NAMED_MEMBERS = 5
"""How many of the members that were left out a sentence names."""

_ENCRYPTED = 0x1
_UNPACKING = (
    zipfile.BadZipFile,
    zlib.error,
    LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""All that zipfile raises on damage; RuntimeError is how it says that a password is asked for."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A member that became no object: its number in the order of names (a name may be a patient's), and why."""

    number: int
    problem: CaptureProblem


@dataclass(slots=True)
class _Unpacking:
    """What was unpacked so far of a zip and the zips within it."""

    scratch: Path
    budget: int
    files: int = 0
    sources: dict[str, tuple[int, str, SourceObject]] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)


def convert_bundle(capture: Capture, out_dir: Path, context: StudyContext, subject: Subject) -> Converted:
    """One zip capture -> its DICOM objects, in the order in which the scanner numbered them.

    What of it became no object is said in `left_out`. When nothing did, the first problem is raised, or
    `capture_wrong_kind` where there is no DICOM at all.
    """
    scratch = out_dir / f"{capture.sha256}.bundle"
    try:
        unpacked = _unpack(capture.path, scratch)
        instances, refused = _rewrite_all(unpacked, capture, out_dir, context, subject)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    left_out = sorted([*unpacked.left_out, *refused], key=lambda file: file.number)
    if not instances:
        raise _nothing_made(left_out)
    return Converted(instances, left_out=len(left_out), why=_sentence(left_out, of=unpacked.files))


def _rewrite_all(
    unpacked: _Unpacking, capture: Capture, out_dir: Path, context: StudyContext, subject: Subject
) -> tuple[list[ConvertedInstance], list[LeftOut]]:
    """Each object written anew and checked; the place of one that cannot be stays empty."""
    instances: list[ConvertedInstance] = []
    refused: list[LeftOut] = []
    members = sorted(unpacked.sources.items(), key=lambda item: _order(item[1][2], item[1][1]))
    plans = {
        sha256: plan_object(
            context,
            capture,
            sop_class_uid=str(source.dataset.SOPClassUID),
            content_sha256=sha256,
            member=place,
        )
        for place, (sha256, (_, _, source)) in enumerate(members)
    }
    our_uids = {
        str(source.dataset.SOPInstanceUID): plans[sha256].instance_uid for sha256, (_, _, source) in members
    }
    for sha256, (number, _, source) in members:
        plan = plans[sha256]
        try:
            instance = rewrite(
                source, out_dir, context, subject, capture=capture, plan=plan, our_uids=our_uids
            )
            require_valid(instance.path)
        except CaptureProblem as problem:
            (out_dir / f"{plan.instance_uid}.dcm").unlink(missing_ok=True)
            refused.append(LeftOut(number, problem))
        else:
            instances.append(instance)
    return instances, refused


def _order(source: SourceObject, name: str) -> tuple[object, ...]:
    """The scanner's own order: its numbers, then its times; names only where it said neither."""
    dataset = source.dataset
    return (
        _number(dataset.get("SeriesNumber")),
        _number(dataset.get("InstanceNumber")),
        _digits(dataset.get("ContentDate") or dataset.get("AcquisitionDate")),
        _digits(dataset.get("ContentTime") or dataset.get("AcquisitionTime")),
        [
            (int(part), "") if part.isdigit() else (-1, part)
            for part in re.split(r"(\d+)", name, flags=re.ASCII)
        ],
    )


def _number(value: object) -> float:
    try:
        return int(str(value))
    except ValueError:
        return float("inf")


def _digits(value: object) -> str:
    # what has no time comes last
    return re.sub(r"[^0-9]", "", str(value or "")) or "~"


def _unpack(path: Path, scratch: Path) -> _Unpacking:
    """The DICOM files of a zip by the SHA-256 of their content (a double counts once)."""
    scratch.mkdir(parents=True, exist_ok=True)
    most = min(MAX_BUNDLE_BYTES, max(SMALL_BUNDLE_BYTES, MAX_BUNDLE_RATIO * path.stat().st_size))
    unpacked = _Unpacking(scratch, budget=most)
    _unpack_into(unpacked, path, depth=1)
    return unpacked


def _unpack_into(unpacked: _Unpacking, path: Path, *, depth: int) -> None:
    try:
        with zipfile.ZipFile(path) as bundle:
            members = sorted(
                (info for info in bundle.infolist() if not info.is_dir()), key=lambda info: info.filename
            )
            if unpacked.files + len(members) > MAX_BUNDLE_MEMBERS:
                raise CaptureProblem("capture_too_large", "The zip holds too many files.")
            for info in members:
                _take(unpacked, bundle, info, depth=depth)
    except zipfile.BadZipFile as error:
        raise CaptureProblem("capture_truncated", "The zip is damaged or incomplete.") from error
    except _UNPACKING as error:
        raise CaptureProblem("capture_unreadable", "The zip cannot be unpacked.") from error
    except OSError as error:
        # A damaged directory makes zipfile seek to places that no file has; the disk fails otherwise.
        if error.errno != errno.EINVAL:
            raise
        raise CaptureProblem("capture_unreadable", "The zip cannot be unpacked.") from error


def _take(unpacked: _Unpacking, bundle: zipfile.ZipFile, info: zipfile.ZipInfo, *, depth: int) -> None:
    """Read one member into what was unpacked, or say why not. Only what may be an object is unpacked."""
    unpacked.files += 1
    number = unpacked.files
    try:
        with closing(_chunks(bundle, info)) as chunks:
            _take_bytes(unpacked, info.filename, number, chunks, depth=depth)
    except CaptureProblem as problem:
        if problem.code == "capture_too_large":
            raise
        if not lies_beside(info.filename):
            unpacked.left_out.append(LeftOut(max(number, unpacked.files), problem))


def _take_bytes(unpacked: _Unpacking, name: str, number: int, chunks: Iterator[bytes], *, depth: int) -> None:
    head = next(chunks, b"")
    kind = sniff_bytes(head)
    if kind == "zip" and depth < MAX_BUNDLE_DEPTH:
        inner = unpacked.scratch / f"{number}.zip{depth}"
        _extract(unpacked, head, chunks, inner)
        # what is in it counts, not the zip itself
        unpacked.files -= 1
        _unpack_into(unpacked, inner, depth=depth + 1)
        inner.unlink()
    elif kind == "dicom":
        target = unpacked.scratch / f"{number}.member"
        _extract(unpacked, head, chunks, target)
        if not is_directory(target):
            unpacked.sources.setdefault(sha256_of(target), (number, name, read_source(target)))
    else:
        raise CaptureProblem("capture_wrong_kind", "It is no DICOM file.")


def _chunks(bundle: zipfile.ZipFile, info: zipfile.ZipInfo) -> Generator[bytes]:
    """The bytes of a member, first as many as tell what it is. CaptureProblem for one that cannot be had."""
    if info.flag_bits & _ENCRYPTED:
        raise CaptureProblem("capture_unreadable", "It needs a password.")
    try:
        with bundle.open(info) as member:
            yield member.read(SNIFF_BYTES)
            while chunk := member.read(COPY_CHUNK_BYTES):
                yield chunk
    except _UNPACKING:
        raise CaptureProblem("capture_truncated", "It is damaged or incomplete in the zip.") from None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise CaptureProblem("capture_truncated", "It is damaged or incomplete in the zip.") from None


def _extract(unpacked: _Unpacking, head: bytes, chunks: Iterator[bytes], target: Path) -> None:
    """Unpack one member under a name of ours; what the zip claims about sizes is not believed."""
    with target.open("wb") as file:
        for chunk in chain((head,), chunks):
            unpacked.budget -= len(chunk)
            if unpacked.budget < 0:
                raise CaptureProblem("capture_too_large", "The zip unfolds to too many bytes.")
            file.write(chunk)


def lies_beside(name: str) -> bool:
    """Whether a member that is no image is known to lie beside images, so that nobody need be told of it."""
    path = PurePosixPath(name.replace("\\", "/").lower())
    return path.name in BY_FILES or path.name.split(".")[0] == "readme" or "__macosx" in path.parts


def _nothing_made(left_out: Sequence[LeftOut]) -> CaptureProblem:
    """The first problem of a member that is DICOM, for the whole zip; without one, that there is none."""
    for file in left_out:
        if file.problem.code != "capture_wrong_kind":
            return file.problem
    return CaptureProblem("capture_wrong_kind", "The zip holds no DICOM file.")


def _sentence(left_out: Sequence[LeftOut], *, of: int) -> str:
    """What a person has to know of a zip that was sent in part; empty when nothing was left out."""
    if not left_out:
        return ""
    named = "; ".join(
        f"file {file.number} by name: {file.problem.message}" for file in left_out[:NAMED_MEMBERS]
    )
    more = f"; and {len(left_out) - NAMED_MEMBERS} more" if len(left_out) > NAMED_MEMBERS else ""
    verb = "was" if len(left_out) == 1 else "were"
    return f"{len(left_out)} of the {of} files in this zip {verb} left out: {named}{more}"
