"""Starts, signals and waits for real API and worker processes; must not know what they do."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from app.config.settings import Settings, variable
from app.faultpoints import ARMED_VARIABLE

ROOT = Path(__file__).parents[2]


class Zygote:
    """The process that forks the others (tests/support/zygote.py)."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.zygote"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **command: Any) -> dict[str, Any]:
        """One command and its answer. Raises RuntimeError when the process is gone."""
        sent, answers = self._process.stdin, self._process.stdout
        if sent is None or answers is None:
            raise RuntimeError("the zygote has no pipes")
        sent.write(json.dumps(command) + "\n")
        sent.flush()
        line = answers.readline()
        if not line:
            raise RuntimeError(f"the zygote ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Kill what still runs, and end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=30)
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextmanager
def open_zygote() -> Iterator[Zygote]:
    """A zygote for as long as the body runs."""
    zygote = Zygote()
    try:
        yield zygote
    finally:
        zygote.close()


@dataclass
class Running:
    """One process. `status` is minus the signal that ended it, as in `subprocess`; None while it runs."""

    pid: int
    role: str
    log: Path
    zygote: Zygote = field(repr=False)
    status: int | None = None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    async def ended(self, *, timeout: float = 60.0) -> int:
        """Wait for its end; its status. Raises TimeoutError."""
        if self.status is None:
            await _wait_for_end(self.pid, timeout=timeout)
            self.status = int(self.zygote.ask(reap=self.pid)["status"])
        return self.status

    async def dies_by_kill(self, *, timeout: float = 60.0) -> None:
        """Wait until the armed point has killed it."""
        try:
            status = await self.ended(timeout=timeout)
        except TimeoutError:
            raise AssertionError(f"the {self.role} did not come to its fault point:\n{self.tail()}") from None
        assert status == -signal.SIGKILL, f"the {self.role} ended with {status}:\n{self.tail()}"

    async def kill(self) -> None:
        """SIGKILL, and wait."""
        if self.status is None:
            self.signal(signal.SIGKILL)
            await self.ended()

    async def stop(self, *, timeout: float = 60.0) -> int:
        """SIGTERM, and wait for an end in good order."""
        if self.status is None:
            self.signal(signal.SIGTERM)
        return await self.ended(timeout=timeout)

    @property
    def stopped(self) -> bool:
        """Whether the process is stopped (SIGSTOP), as the kernel sees it."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text("utf-8", "replace")[-4000:] if self.log.exists() else "(no log)"


async def _wait_for_end(pid: int, *, timeout: float) -> None:
    handle = os.pidfd_open(pid)
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(handle, over.set)
    try:
        async with asyncio.timeout(timeout):
            await over.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def start(
    zygote: Zygote, role: str, settings: Settings, log: Path, *, point: str | None = None, **more: str
) -> Running:
    """Start a process of this role; `point` is the fault point that is armed in it."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        **environment_of(settings),
        **({ARMED_VARIABLE: point} if point else {}),
        **more,
    }
    pid = int(zygote.ask(start=role, environ=environ, log=str(log))["pid"])
    return Running(pid=pid, role=role, log=log, zygote=zygote)


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment that `load_settings` reads as these settings."""
    environ = {}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if value is not None and value != Settings.model_fields[name].default:
            environ[variable(name)] = _text(value)
    return environ


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, list | frozenset):
        return ",".join(_text(item) for item in value)
    if isinstance(value, dict):
        return json.dumps(value)
    return str(value)
