"""A zip of DICOM files becomes one object per file; nothing in it may choose a path or fill a disk."""

import errno
import shutil
import zipfile
import zlib
from pathlib import Path

from app.imaging.errors import CaptureProblem
from app.imaging.limits import COPY_CHUNK_BYTES, MAX_BUNDLE_BYTES, MAX_BUNDLE_MEMBERS
from app.imaging.passthrough import rewrite
from app.imaging.sniff import sniff
from app.imaging.source_pixels import SourceObject, read_source
from app.imaging.subjects import Capture, ConvertedInstance, StudyContext, Subject, plan_object
from app.imaging.writer import sha256_of

DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
"""A DICOMDIR describes the files beside it; ours are named and placed anew."""


def convert_bundle(
    capture: Capture, out_dir: Path, context: StudyContext, subject: Subject
) -> list[ConvertedInstance]:
    """One zip capture -> its DICOM objects, in the order of their names in the zip.

    Files that are not DICOM are passed over; none at all is `capture_wrong_kind`. One damaged file
    fails the capture, because half of a bundle would look whole.
    """
    scratch = out_dir / f"{capture.sha256}.bundle"
    made: list[ConvertedInstance] = []
    try:
        sources = _unpack(capture.path, scratch)
        plans = {
            sha256: plan_object(
                context,
                capture,
                sop_class_uid=str(source.dataset.SOPClassUID),
                content_sha256=sha256,
                member=number,
            )
            for number, (sha256, source) in enumerate(sources.items())
        }
        known = {
            str(source.dataset.SOPInstanceUID): plans[sha256].instance_uid
            for sha256, source in sources.items()
        }
        for sha256, source in sources.items():
            made.append(
                rewrite(source, out_dir, context, subject, capture=capture, plan=plans[sha256], known=known)
            )
    except CaptureProblem:
        for instance in made:
            instance.path.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return made


def _unpack(path: Path, scratch: Path) -> dict[str, SourceObject]:
    """The DICOM files of a zip by the SHA-256 of their content (a double counts once)."""
    scratch.mkdir(parents=True, exist_ok=True)
    sources: dict[str, SourceObject] = {}
    budget = MAX_BUNDLE_BYTES
    try:
        with zipfile.ZipFile(path) as bundle:
            members = sorted(
                (info for info in bundle.infolist() if not info.is_dir()), key=lambda info: info.filename
            )
            if len(members) > MAX_BUNDLE_MEMBERS:
                raise CaptureProblem("capture_too_large", "The zip holds too many files.")
            for number, info in enumerate(members):
                target = scratch / f"{number}.member"
                budget -= _extract(bundle, info, target, budget=budget)
                source = _source(target)
                if source is None:
                    target.unlink()
                    continue
                sources.setdefault(sha256_of(target), source)
    except zipfile.BadZipFile as error:
        raise CaptureProblem("capture_truncated", "The zip is damaged or incomplete.") from error
    except (zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        # RuntimeError is how zipfile says that a password is asked for.
        raise CaptureProblem("capture_unreadable", "The zip cannot be unpacked.") from error
    except OSError as error:
        # A damaged directory makes zipfile seek to places that no file has; the disk fails otherwise.
        if error.errno != errno.EINVAL:
            raise
        raise CaptureProblem("capture_unreadable", "The zip cannot be unpacked.") from error
    if not sources:
        raise CaptureProblem("capture_wrong_kind", "The zip holds no DICOM file.")
    return sources


def _source(path: Path) -> SourceObject | None:
    if sniff(path) != "dicom":
        return None
    source = read_source(path)
    return None if source.dataset.SOPClassUID == DIRECTORY_CLASS else source


def _extract(bundle: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, *, budget: int) -> int:
    """Unpack one member under a name of ours; what the zip claims about sizes is not believed."""
    size = 0
    with bundle.open(info) as member, target.open("wb") as file:
        while chunk := member.read(COPY_CHUNK_BYTES):
            size += len(chunk)
            if size > budget:
                raise CaptureProblem("capture_too_large", "The zip unfolds to too many bytes.")
            file.write(chunk)
    return size
