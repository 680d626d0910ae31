"""The one zip that the uploader transport sends: the same instances give the same bytes.

Members are stored, not deflated (pictures are compressed already), in a fixed order with fixed times
and attributes. It must not hold a member in memory.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.imaging.pieces import file_chunks, sha256_of

FIXED_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip can say."""

_UNIX = 3
_REGULAR_FILE_MODE = 0o100600 << 16


@dataclass(frozen=True, slots=True)
class Archive:
    """The zip that was written: its size in bytes, SHA-256 (hex) and member names in order."""

    path: Path
    bytes: int
    sha256: str
    members: tuple[str, ...]


def build_archive(target: Path, study_uid: str, instances: Sequence[Path]) -> Archive:
    """Write `instances` into `target` as `<study uid>/<nnn>.dcm`, in the order of their names.

    Converted files are named by instance UID, so the order does not depend on the caller's.
    ValueError: no instance, or the same name twice. The file appears when it is whole.
    """
    ordered = sorted(instances, key=lambda path: path.name)
    if not ordered or len({path.name for path in ordered}) != len(ordered):
        raise ValueError("an archive needs instances with different names")
    digits = max(3, len(str(len(ordered))))
    members = tuple(f"{study_uid}/{number:0{digits}d}.dcm" for number in range(1, len(ordered) + 1))
    partial = target.with_name(target.name + ".part")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, path in zip(members, ordered, strict=True):
                _add(archive, name, path)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return Archive(path=target, bytes=target.stat().st_size, sha256=sha256_of(target), members=members)


def _add(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    info = zipfile.ZipInfo(name, date_time=FIXED_TIME)
    info.compress_type = zipfile.ZIP_STORED
    info.create_system = _UNIX
    info.external_attr = _REGULAR_FILE_MODE
    info.file_size = path.stat().st_size
    with archive.open(info, "w") as member:
        for chunk in file_chunks(path):
            member.write(chunk)
