"""The real command line as processes, on a data folder of their own; must end every process that it starts."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli.conftest import OURS
from tests.support.wait import until_sync

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 60


def command(*arguments: str) -> list[str]:
    """What the console script runs."""
    return [sys.executable, "-m", "app.cli", *arguments]


def clean_environment(data_dir: Path, **more: str) -> dict[str, str]:
    """The machine's environment without settings of ours, pointed at embedded stores in a folder."""
    base = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return base | {"SONOBRIDGE_DATA_DIR": str(data_dir), "PYTHONPATH": str(ROOT)} | more


@contextmanager
def running(
    *arguments: str, environment: dict[str, str], prefix: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    """A command that runs until the block ends; killed if it is still there then."""
    process = subprocess.Popen(
        [*prefix, *command(*arguments)],
        cwd="/",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.communicate(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        process.wait()


def children_of(pid: int) -> dict[int, str]:
    """The process ids of a process's children, with their command lines."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except (OSError, ValueError):
            continue  # it ended while we looked
        if parent == pid and line:
            found[int(entry.name)] = line
    return found


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """The exit status and what was said, once it has ended."""
    out, err = process.communicate(timeout=STOP_SECONDS)
    return process.returncode, out, err


def gone(pid: int) -> bool:
    """Whether a process is no more."""
    return not Path(f"/proc/{pid}").exists()


def wait_gone(*pids: int) -> None:
    """Until all of them are no more."""
    until_sync(lambda: all(gone(pid) for pid in pids), timeout=STOP_SECONDS)
