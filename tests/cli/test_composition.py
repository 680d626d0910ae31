"""The commands that docker-compose.yml and the Dockerfile name, run as they stand there.

No container engine is at hand where the tests run, so an ordinary user runs them from a clean virtual environment
instead: the console script, the project installed in it, and nothing of the checkout on the path.
"""

import os
import pwd
import shutil
import site
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from tests.cli.programs import ROOT, clean_environment
from tests.support.ports import free_port
from tests.support.wait import until_sync

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() == 0 and not shutil.which("setpriv"), reason="setpriv is needed to be nobody"
    ),
]

START_SECONDS = 90
NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
# may read (our Python may lie in root's home), and is otherwise nobody
READS = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")


@dataclass(frozen=True)
class Installed:
    """A console script in a clean environment, and who runs it with what."""

    script: Path
    environment: dict[str, str]

    def line(self, arguments: list[str]) -> list[str]:
        become = [*NOBODY, *READS] if os.geteuid() == 0 else []
        return [*become, str(self.script), *arguments]

    @contextmanager
    def running(self, arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        log = Path(self.environment["SONOBRIDGE_DATA_DIR"]) / f"{arguments[0]}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.line(arguments), env=self.environment, cwd="/", stdout=output, stderr=output
            )
            try:
                yield process
                process.terminate()
                assert process.wait(START_SECONDS) == 0, log.read_text()[-2000:]
            finally:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    """A new virtual environment with the project in it; its libraries are those that are installed already."""
    with tempfile.TemporaryDirectory(prefix="sonobridge-compose-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        source = folder / "source"
        tracked = subprocess.run(
            [
                "git",
                "ls-files",
                "-z",
                "app",
                "workers",
                "sandbox",
                "migrations",
                "pyproject.toml",
                "README.md",
                "alembic.ini",
            ],
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout.decode()
        for path in filter(None, tracked.split("\0")):
            target = source / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, target)
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        python = folder / "venv" / "bin" / "python"
        packages = next((folder / "venv" / "lib").glob("python*")) / "site-packages"
        (packages / "libraries.pth").write_text("\n".join(site.getsitepackages()))
        subprocess.run(
            [
                python,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--no-build-isolation",
                "--no-index",
                source,
            ],
            # built with the locked setuptools, not with the older one that a new environment may bring
            env=os.environ | {"PYTHONPATH": site.getsitepackages()[0]},
            check=True,
        )
        data = folder / "data"
        data.mkdir()
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(data, nobody.pw_uid, nobody.pw_gid)
        environment = clean_environment(data, HOME=str(data))
        del environment["PYTHONPATH"]
        yield Installed(python.with_name("sonobridge"), environment)


def commands_of_the_composition() -> dict[str, list[str]]:
    """Our services and the commands that they run, the image's own where the service names none."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    ours = {
        name: service["command"]
        for name, service in services.items()
        if "build" in service or name in {"migrate", "api", "worker"}
    }
    return {command[0]: [str(word) for word in command] for command in ours.values()}


def test_what_the_composition_runs_works_as_an_ordinary_user(installed: Installed) -> None:
    commands = commands_of_the_composition()
    assert commands.keys() == {"migrate", "serve", "worker"}
    port = str(free_port())
    serve = [
        port if word == "8000" else "127.0.0.1" if word == "0.0.0.0" else word for word in commands["serve"]
    ]
    migrated = subprocess.run(
        installed.line(commands["migrate"]),
        env=installed.environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert migrated.returncode == 0, migrated.stderr
    with installed.running(serve), installed.running(commands["worker"]):
        until_sync(lambda: ready(f"http://127.0.0.1:{port}"), timeout=START_SECONDS)


def test_the_image_starts_what_the_composition_starts(installed: Installed) -> None:
    image = (ROOT / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["sonobridge"]' in image
    assert 'CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]' in image
    assert installed.script.exists()


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
