"""The embedded servers as several processes see them: shared, surviving, taken over, and gone when nobody is left."""

import asyncio
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest

from app.config.settings import Settings
from app.embedded import EmbeddedError, embedded_stores, hold_stores
from app.embedded.places import SYSTEM_USER
from tests.support.wait import until, until_sync

ROOT = Path(__file__).parents[2]
IS_ROOT = os.geteuid() == 0

pytestmark = pytest.mark.slow  # each makes a cluster, and most start Python several times
only_root = pytest.mark.skipif(not IS_ROOT, reason="needs root to become another user")


class User:
    """One process that uses the stores of a folder."""

    def __init__(self, folder: Path, *, prefix: tuple[str, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, str(Path(__file__).with_name("user.py")), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def report(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        answer: dict[str, Any] = json.loads(line)
        assert "problem" not in answer, answer
        return answer

    def leave(self) -> int:
        """Ends as a program ends that is done."""
        self.process.communicate("\n")
        return self.process.returncode

    def end_by(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        # only then may its input end, which makes it leave by itself
        self.process.wait()
        _, errors = self.process.communicate()
        assert "Traceback" not in errors or number == signal.SIGINT, errors
        return self.process.returncode


Enter = Callable[..., User]


@pytest.fixture
def enter() -> Iterator[Enter]:
    """Starts users; those a failed test left are ended."""
    started: list[User] = []

    def start(folder: Path, *, prefix: tuple[str, ...] = ()) -> User:
        started.append(User(folder, prefix=prefix))
        return started[-1]

    yield start
    for user in started:
        if user.process.returncode is None:
            user.leave()


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty folder outside of pytest's, which each start of pytest on the machine shuts to other users."""
    with TemporaryDirectory(prefix="sonobridge-test-") as name:
        yield Path(name)


@pytest.fixture
def folder(place: Path) -> Iterator[Path]:
    """A data folder; whatever a failed test left running there is ended."""
    folder = place / "data"
    yield folder
    for name in ("postgres/postmaster.pid", "redis/redis.pid"):
        path = folder / name
        pid = int(path.read_text().splitlines()[0]) if path.exists() else 0
        if pid and serves(pid):
            os.kill(pid, signal.SIGINT)
            until_sync(lambda pid=pid: not serves(pid))


def serves(pid: int) -> bool:
    """Whether the process is one of the servers, and alive."""
    try:
        process = psutil.Process(pid)
        return process.name() in {"postgres", "redis-server"} and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_two_processes_share_and_the_last_one_out_stops_the_servers(folder: Path, enter: Enter):
    first, second = enter(folder), enter(folder)
    seen = [first.report(), second.report()]
    assert sorted(report["visits"] for report in seen) == [1, 2]
    assert sorted(report["redis_visits"] for report in seen) == [1, 2]
    assert len({(report["postgres"], report["redis"]) for report in seen}) == 1
    servers = seen[0]["postgres"], seen[0]["redis"]
    assert first.leave() == 0
    assert all(serves(pid) for pid in servers)
    third = enter(folder)
    assert third.report()["visits"] == 3
    assert second.leave() == 0
    assert all(serves(pid) for pid in servers)
    assert third.leave() == 0
    assert not any(serves(pid) for pid in servers)

    again = enter(folder)
    report = again.report()
    assert (report["visits"], report["redis_visits"]) == (4, 4), "data did not survive the restart"
    assert report["postgres"] != servers[0]
    assert again.leave() == 0
    assert report["settings"]["fsync"] == "on"
    assert report["settings"]["max_connections"] == "200"
    assert report["settings"]["listen_addresses"] == ""
    assert report["settings"]["server_version_num"].startswith("18")
    assert report["settings"]["TimeZone"] == "UTC"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_stops_what_was_started(folder: Path, number: signal.Signals, enter: Enter):
    user = enter(folder)
    report = user.report()
    assert user.end_by(number) == -number
    assert not serves(report["postgres"])
    assert not serves(report["redis"])


def test_a_stop_signal_while_starting_leaves_nothing_behind(folder: Path, enter: Enter):
    user = enter(folder)
    until_sync(lambda: list(folder.glob("postgres.new-*")), what="initdb is under way")
    assert user.end_by(signal.SIGTERM) == -signal.SIGTERM
    assert not (folder / "postgres" / "postmaster.pid").exists()
    assert enter(folder).leave() == 0


def test_a_stop_signal_while_leaving_does_not_cut_the_leaving_short(folder: Path, enter: Enter):
    user = enter(folder)
    report = user.report()
    assert user.process.stdin is not None
    user.process.stdin.close()
    for _ in range(3):
        user.process.send_signal(signal.SIGTERM)
    user.process.wait()
    assert not serves(report["postgres"])
    assert not serves(report["redis"])
    assert user.process.stdout is not None
    assert user.process.stderr is not None
    user.process.stdout.close()
    user.process.stderr.close()


def test_what_a_killed_process_left_is_taken_over_and_stopped(folder: Path, enter: Enter):
    killed = enter(folder)
    left = killed.report()
    assert killed.end_by(signal.SIGKILL) == -signal.SIGKILL
    assert serves(left["postgres"])
    heir = enter(folder)
    report = heir.report()
    assert (report["postgres"], report["redis"]) == (left["postgres"], left["redis"])
    assert report["visits"] == 2
    assert heir.leave() == 0
    assert not serves(left["postgres"])
    assert not serves(left["redis"])


def test_killed_servers_come_back_with_their_data(folder: Path, enter: Enter):
    user = enter(folder)
    left = user.report()
    user.end_by(signal.SIGKILL)
    for name in ("postgres", "redis"):
        os.kill(left[name], signal.SIGKILL)
        until_sync(lambda name=name: not serves(left[name]))
    # Their process ids belong to others by now: to us.
    pid_file = folder / "postgres" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    (folder / "redis" / "redis.pid").write_text(f"{os.getpid()}\n")
    user = enter(folder)
    assert user.report()["visits"] == 2
    assert user.leave() == 0


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("postgres/PG_VERSION", "16\n", "was made by PostgreSQL 16; this Sonobridge runs 18"),
        ("postgres/notes.txt", "mine", "holds something else than a database"),
        ("redis/appendonlydir/x", "", "was made by Redis 7 or newer"),
        ("redis/appendonly.aof", "nonsense", "Redis did not start"),
    ],
)
def test_a_folder_of_another_version_gets_a_readable_error(folder: Path, file: str, text: str, words: str):
    (folder / file).parent.mkdir(parents=True)
    (folder / file).write_text(text)
    wants_postgres = file.startswith("postgres")
    if wants_postgres and IS_ROOT:
        with hold_and_release(folder.with_name("other")):
            owner = (folder.with_name("other") / "postgres").stat()
        os.chown(folder / "postgres", owner.st_uid, owner.st_gid)
    with pytest.raises(EmbeddedError) as caught:
        hold_stores(folder, want_postgres=wants_postgres, want_redis=not wants_postgres)
    assert words in caught.value.problem
    assert caught.value.remedy
    assert str(folder) in str(caught.value)
    assert (folder / file).read_text() == text


@only_root
@pytest.mark.parametrize("part", [".", "postgres", "redis"])
def test_a_folder_of_another_user_gets_a_readable_error(folder: Path, part: str):
    with hold_and_release(folder):
        pass
    nobody = pwd.getpwnam("nobody")
    os.chown(folder / part, nobody.pw_uid, nobody.pw_gid)
    with pytest.raises(EmbeddedError, match="belongs to the user nobody") as caught:
        hold_stores(folder)
    assert "SONOBRIDGE_DATA_DIR" in caught.value.remedy
    os.chown(folder / part, 0, 0)


def test_a_file_in_the_folders_place_gets_a_readable_error(place: Path):
    (place / "file").write_text("")
    for path in (place / "file", place / "file" / "data"):
        with pytest.raises(EmbeddedError, match="is not a folder"):
            hold_stores(path)


def test_a_path_that_would_need_quoting_is_refused(place: Path):
    with pytest.raises(EmbeddedError, match="PostgreSQL cannot live in"):
        hold_stores(place / 'a"b')


@only_root
def test_an_ordinary_user_can_run_them(place: Path, enter: Enter):
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    nobody = pwd.getpwnam("nobody")
    os.chown(place, nobody.pw_uid, nobody.pw_gid)
    # May read (our Python may lie in root's home), but is otherwise nobody.
    become = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    rights = (
        "--inh-caps=+dac_read_search",
        "--ambient-caps=+dac_read_search",
        "--bounding-set=-all,+dac_read_search",
    )
    user = enter(place / "data", prefix=(*become, *rights))
    report = user.report()
    assert psutil.Process(report["postgres"]).uids().real == nobody.pw_uid
    assert psutil.Process(report["redis"]).uids().real == nobody.pw_uid
    assert stat.S_IMODE((place / "data").stat().st_mode) == 0o700
    assert user.leave() == 0
    assert not serves(report["postgres"])


@only_root
def test_root_runs_postgres_as_a_user_that_may_only_pass_through(folder: Path, enter: Enter):
    user = enter(folder)
    report = user.report()
    assert psutil.Process(report["postgres"]).username() == SYSTEM_USER
    assert stat.S_IMODE(folder.stat().st_mode) == 0o710
    assert stat.S_IMODE((folder / "postgres").stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "redis").stat().st_mode) == 0o700
    assert user.leave() == 0


def test_a_long_path_gets_a_short_private_socket_folder(place: Path):
    folder = place / ("long" * 20) / "da ta"
    held = hold_stores(folder, durable=False)
    try:
        assert held.database_url is not None
        assert held.redis_url is not None
        assert "long" not in held.database_url + held.redis_url
        sockets = Path(held.redis_url.removeprefix("unix://").partition("?")[0])
        assert stat.S_IMODE(sockets.parent.stat().st_mode) == 0o700
    finally:
        held.release()
    assert not sockets.parent.exists()


async def test_stores_that_are_configured_are_not_started(folder: Path):
    settings = Settings(
        data_dir=folder, database_url="postgresql://db/x", redis_url="redis://cache", env="development"
    )
    async with embedded_stores(settings) as stores:
        assert (stores.database_url, stores.redis_url) == ("postgresql://db/x", "redis://cache")
    assert folder.parent.exists()
    assert list(folder.parent.iterdir()) == []


async def test_one_store_can_be_embedded_and_the_other_not(folder: Path):
    settings = Settings(data_dir=folder, database_url="postgresql://db/x", env="development")
    async with embedded_stores(settings) as stores:
        assert stores.database_url == "postgresql://db/x"
        assert stores.redis_url.startswith("unix://")
        assert not (folder / "postgres").exists()


async def test_two_users_in_one_process_count_as_two(folder: Path):
    settings = Settings(data_dir=folder, database_url="postgresql://db/x", env="development")
    async with embedded_stores(settings):
        pid = int((folder / "redis" / "redis.pid").read_text())
        async with embedded_stores(settings):
            pass
        assert serves(pid)
    assert not serves(pid)


async def test_a_cancelled_start_gives_back_what_it_had_started(folder: Path):
    settings = Settings(data_dir=folder)

    async def use() -> None:
        async with embedded_stores(settings):
            raise AssertionError("the start was to be cancelled")

    using = asyncio.ensure_future(use())
    await until(lambda: list(folder.glob("postgres.new-*")), what="initdb is under way")
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    assert (folder / "postgres" / "PG_VERSION").exists()
    assert not (folder / "postgres" / "postmaster.pid").exists()


def test_an_interrupted_first_start_is_begun_anew(folder: Path):
    (folder / "postgres.new-x" / "base").mkdir(parents=True)
    with hold_and_release(folder):
        assert not list(folder.glob("postgres.new-*"))


class hold_and_release:  # noqa: N801 - reads as a function
    """The stores of a folder for the length of a block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        self.held = hold_stores(self.folder, durable=False)

    def __exit__(self, *_: object) -> None:
        self.held.release()
