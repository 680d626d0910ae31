"""`up`, `serve`, `worker` as processes on embedded stores: one tree, what ends is started again, all end in order."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.programs import ROOT, children_of, clean_environment, command, ended, running, wait_gone
from tests.support.wait import until_sync

pytestmark = pytest.mark.slow

START_SECONDS = 90


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Not below pytest's folder, which is closed to the user that PostgreSQL runs as when we are root."""
    with tempfile.TemporaryDirectory(prefix="sonobridge-cli-") as folder:
        yield Path(folder) / "data"


def _url(process: subprocess.Popen[str]) -> str:
    """Where `up` listens, from its first line."""
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://[^ ]+", line)
    assert found is not None, (line, process.stderr.read() if process.stderr else "")
    return found.group()


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def test_up_is_one_tree_that_heals_and_ends_in_order(data_dir: Path) -> None:
    environment = clean_environment(data_dir)
    with running("up", "--port", "0", "--workers", "2", environment=environment) as up:
        url = _url(up)
        until_sync(lambda: _ready(url), timeout=START_SECONDS)
        first = children_of(up.pid)
        workers = [pid for pid, line in first.items() if "-m workers" in line]
        api = [pid for pid, line in first.items() if " serve " in line]
        assert (len(workers), len(api)) == (2, 1)
        os.kill(workers[0], signal.SIGKILL)
        os.kill(api[0], signal.SIGKILL)
        until_sync(
            lambda: len(children_of(up.pid)) == 3 and not {workers[0], api[0]} & set(children_of(up.pid)),
            timeout=START_SECONDS,
        )
        until_sync(lambda: _ready(url), timeout=START_SECONDS)
        listed = subprocess.run(
            command("doctor", "--json"), env=environment, cwd="/", capture_output=True, text=True, check=False
        )
        assert '"name": "workers",\n      "ok": true' in listed.stdout, "a command shares the running stores"
        tree = children_of(up.pid)
        up.terminate()
        status, _, err = ended(up)
        assert status == 0, err
        wait_gone(*tree)
        assert not (data_dir / "postgres" / "postmaster.pid").exists()


def test_nothing_outlives_an_up_that_was_killed(data_dir: Path) -> None:
    with running("up", "--port", "0", environment=clean_environment(data_dir)) as up:
        url = _url(up)
        until_sync(lambda: _ready(url), timeout=START_SECONDS)
        tree = children_of(up.pid)
        up.kill()
        wait_gone(*tree)
        assert not (data_dir / "postgres" / "postmaster.pid").exists(), "the last child stopped the stores"


def test_interrupting_up_ends_it_well(data_dir: Path) -> None:
    with running("up", "--port", "0", environment=clean_environment(data_dir)) as up:
        url = _url(up)
        until_sync(lambda: _ready(url), timeout=START_SECONDS)
        os.killpg(up.pid, signal.SIGINT)
        assert ended(up)[0] == 0


def test_serve_and_worker_alone(data_dir: Path) -> None:
    environment = clean_environment(data_dir)
    refused = subprocess.run(
        command("serve", "--port", "0"), env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "run `sonobridge migrate` first" in refused.stderr
    migrated = subprocess.run(
        command("migrate"), env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    assert migrated.returncode == 0, migrated.stderr
    assert "The schema is at" in migrated.stdout
    with running("worker", environment=environment) as worker:
        until_sync(lambda: _worker_lives(environment), timeout=START_SECONDS)
        worker.terminate()
        assert ended(worker)[0] == 0


def _worker_lives(environment: dict[str, str]) -> bool:
    done = subprocess.run(
        command("doctor", "--json"), env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    return '"name": "workers",\n      "ok": true' in done.stdout


def test_a_port_that_is_taken_is_one_line(data_dir: Path) -> None:
    environment = clean_environment(data_dir)
    with running("up", "--port", "0", "--workers", "0", environment=environment) as up:
        port = _url(up).rpartition(":")[2]
        second = subprocess.run(
            command("serve", "--port", port),
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    assert second.returncode == 1
    assert f"can't listen on 127.0.0.1 port {port}" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can become somebody else"
)
def test_up_as_an_ordinary_user(data_dir: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    data_dir.parent.chmod(0o755)
    data_dir.mkdir()
    os.chown(data_dir, nobody.pw_uid, nobody.pw_gid)
    # may read (our Python and this checkout may lie in root's home), but is otherwise nobody
    become = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    become += ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    environment = clean_environment(data_dir, HOME=str(data_dir))
    with running("up", "--port", "0", environment=environment, prefix=become) as up:
        url = _url(up)
        until_sync(lambda: _ready(url), timeout=START_SECONDS)
        assert {path.stat().st_uid for path in data_dir.iterdir()} == {nobody.pw_uid}
        up.terminate()
        assert ended(up)[0] == 0


def test_the_composition_names_commands_that_exist(data_dir: Path) -> None:
    said = (ROOT / "docker-compose.yml").read_text() + (ROOT / "Dockerfile").read_text()
    named = set(re.findall(r'(?:command:|CMD) \["(\w[\w-]*)"', said))
    assert {"serve", "worker", "migrate"} <= named
    helped = subprocess.run(
        command("--help"),
        env=clean_environment(data_dir),
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    for name in named - {"redis-server", "pg_isready", "redis-cli"}:
        assert f"\n  {name} " in helped.stdout, name
