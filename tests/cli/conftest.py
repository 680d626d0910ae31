"""Fixtures for the command line: run in this process on the test's stores, with its environment and standard input."""

import asyncio
import io
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from app.cli import main
from app.config.settings import Settings
from app.resources import Resources, open_resources
from sandbox.server import Sandbox, SandboxThread

T = TypeVar("T")

OURS = ("SONOBRIDGE_", "CLARIUS_", "AURA", "DATABASE_URL", "REDIS_URL")


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment that says what the test's settings say."""
    return {
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "SONOBRIDGE_DATA_DIR": str(settings.data_dir),
        "SONOBRIDGE_ENV": "development",
        "SONOBRIDGE_SECRET_KEYS": ",".join(key.get_secret_value() for key in settings.secret_keys),
        "SONOBRIDGE_REQUEST_SECONDS": "1",
    }


@dataclass(frozen=True)
class Done:
    """How a command ended and what it said."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


@dataclass
class Cli:
    """Runs `sonobridge …`; must be called outside an event loop, as the real one is."""

    settings: Settings
    environment: dict[str, str]
    _patch: pytest.MonkeyPatch
    _capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str, given: str = "", **environment: str) -> Done:
        """`given` is its standard input."""
        with self._patch.context() as patch:
            for name, value in (self.environment | environment).items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["sonobridge", *arguments])
            patch.setattr(sys, "stdin", io.StringIO(given))
            self._capture.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        said = self._capture.readouterr()
        return Done(int(ended.value.code or 0), said.out, said.err)

    def right(self, *arguments: str, given: str = "", **environment: str) -> Any:
        """The same with `--json`: what it printed, once it ended well."""
        done = self(*arguments, "--json", given=given, **environment)
        assert done.status == 0, done.err
        return done.json

    def wrong(self, *arguments: str, given: str = "", **environment: str) -> str:
        """The one line of a command that was misused."""
        done = self(*arguments, given=given, **environment)
        assert done.status == 2, (done.status, done.out, done.err)
        assert done.err.startswith("sonobridge: "), done.err
        assert done.err.count("\n") == 1, done.err
        return done.err.removeprefix("sonobridge: ").strip()

    def within(self, work: Callable[[Resources], Awaitable[T]]) -> T:
        """Do something with resources on the same stores, beside the command line."""

        async def whole() -> T:
            async with open_resources(self.settings) as resources:
                return await work(resources)

        return asyncio.run(whole())


@pytest.fixture
def cli(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The command line on this test's stores."""
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    return Cli(settings, environment_of(settings), monkeypatch, capsys)


@pytest.fixture
def vendors() -> Iterator[SandboxThread]:
    """Simulated Clarius and Aurabox in a thread of their own."""
    with Sandbox.in_thread() as running:
        yield running


@pytest.fixture
def sandbox(vendors: SandboxThread) -> Sandbox:
    """What the vendors hold."""
    return vendors.sandbox


@pytest.fixture
def bridge(cli: Cli, sandbox: Sandbox) -> Cli:
    """The command line pointed at the simulated vendors."""
    given = sandbox.settings_for_bridge
    cli.environment |= given
    cli.settings = cli.settings.model_copy(
        update={
            "clarius_base_url": given["CLARIUS_BASE_URL"],
            "aurabox_base_url": given["AURABOX_BASE_URL"],
            "allowed_upstreams": frozenset(given["SONOBRIDGE_ALLOWED_UPSTREAMS"].split(",")),
        }
    )
    return cli


@pytest.fixture
def clinic(bridge: Cli, sandbox: Sandbox) -> str:
    """An organisation over the sandbox's team."""
    key = sandbox.team().key
    made = bridge.right("org", "add", "--name", "Harbour Clinic", "--aurabox-key-stdin", given=key)
    return str(made["id"])
