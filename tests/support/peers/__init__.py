"""Real peers of the product for tests, installed by `install`: Orthanc, @tus/server, PgBouncer, dciodvfy, decoders.

`require` decides what happens when one is absent: a test that needs it is skipped with one clear line, or fails when
SONOBRIDGE_REQUIRE_PEERS=1 (as CI sets it). Must not install anything itself.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

CACHE = Path(__file__).parents[3] / ".peers"
"""Where `install` puts what comes from npm; never committed."""

STOP_SECONDS = 20
ORTHANC_PLUGINS = Path("/usr/share/orthanc/plugins")
_SYSTEM_FOLDERS = ("/usr/sbin", "/sbin")


def program(name: str) -> str | None:
    """The path of an installed program, also of one that only root has on the PATH."""
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(_SYSTEM_FOLDERS))


def require_program(name: str) -> str:
    """The path of a peer's program; without it the test is skipped, or fails where peers are required."""
    found = program(name)
    if found is None:
        absent(name)
    return found


def absent(name: str) -> NoReturn:
    """Skip the test, or fail it when SONOBRIDGE_REQUIRE_PEERS=1."""
    text = f"{name} is not installed (tests/support/peers/install installs it)"
    if os.environ.get("SONOBRIDGE_REQUIRE_PEERS") == "1":
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a peer to end, and kill it when it does not."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)
