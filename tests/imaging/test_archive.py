"""The zip of the uploader transport: names, order, bytes, and what a foreign reader makes of it."""

import subprocess
import sys
import zipfile

import pytest

from app.imaging.archive import build_archive

STUDY = "2.25.329800735698586629295641978511506172918"


def instances(folder, contents):
    folder.mkdir(exist_ok=True)
    paths = []
    for name, content in contents.items():
        path = folder / f"{name}.dcm"
        path.write_bytes(content)
        paths.append(path)
    return paths


def test_members_are_stored_sorted_and_timeless(tmp_path):
    paths = instances(tmp_path / "i", {"2.25.9": b"nine", "2.25.1": b"one", "2.25.5": b"five" * 100_000})
    archive = build_archive(tmp_path / "a.zip", STUDY, paths)
    assert archive.members == tuple(f"{STUDY}/{number}.dcm" for number in ("001", "002", "003"))
    with zipfile.ZipFile(archive.path) as opened:
        assert opened.testzip() is None
        assert tuple(opened.namelist()) == archive.members
        assert {info.compress_type for info in opened.infolist()} == {zipfile.ZIP_STORED}
        assert {info.date_time for info in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert opened.read(archive.members[0]) == b"one"
        assert opened.read(archive.members[2]) == b"nine"
    assert archive.bytes == archive.path.stat().st_size


def test_the_same_instances_give_the_same_bytes_in_any_order(tmp_path):
    contents = {str(number): bytes([number]) * 1000 for number in range(12)}
    first = build_archive(tmp_path / "1.zip", STUDY, instances(tmp_path / "i", contents))
    paths = instances(tmp_path / "j", dict(reversed(contents.items())))
    for path in paths:
        path.chmod(0o777)
    second = build_archive(tmp_path / "2.zip", STUDY, paths)
    assert first.sha256 == second.sha256
    assert first.path.read_bytes() == second.path.read_bytes()


def test_a_foreign_reader_takes_it(tmp_path):
    archive = build_archive(tmp_path / "a.zip", STUDY, instances(tmp_path / "i", {"1": b"x" * 5000}))
    subprocess.run(
        [sys.executable, "-m", "zipfile", "-t", str(archive.path)], check=True, capture_output=True
    )


@pytest.mark.slow
def test_beyond_four_gibibytes_the_zip_grows_its_fields(tmp_path):
    folder = tmp_path / "i"
    folder.mkdir()
    paths = []
    for number in range(3):
        path = folder / f"{number}.dcm"
        with path.open("wb") as file:
            file.truncate(1500 * 1024**2)
        paths.append(path)
    archive = build_archive(tmp_path / "big.zip", STUDY, paths)
    try:
        with zipfile.ZipFile(archive.path) as opened:
            assert [info.file_size for info in opened.infolist()] == [1500 * 1024**2] * 3
            assert opened.infolist()[2].header_offset == 2 * (1500 * 1024**2) + 2 * (30 + 52)
    finally:
        archive.path.unlink()


def test_nothing_to_pack_is_a_mistake(tmp_path):
    with pytest.raises(ValueError, match="instances"):
        build_archive(tmp_path / "a.zip", STUDY, [])
    assert not list(tmp_path.iterdir())
