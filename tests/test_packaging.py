"""What people install and deploy from: the locks, the Makefile, the image, the composition."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.config.settings import Settings, load_settings, variable

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = ("requirements.txt", "requirements-dev.txt")


def entries(name: str) -> list[str]:
    """What a lock file says, a line for each package (one may have several, for different Pythons)."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"(?m)^\s*#.*\n", "", text).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip()]


def locked(name: str) -> dict[str, list[str]]:
    """Package → its entries in a lock file, hashes included."""
    found: dict[str, list[str]] = {}
    for entry in entries(name):
        found.setdefault(re.split(r"[=\[ ;]", entry, maxsplit=1)[0].lower(), []).append(entry)
    return found


def wanted(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=\[ ;]", text, maxsplit=1)[0].lower() for text in requirements}


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_one_version_and_hashes(name: str):
    assert len(locked(name)) > 40
    for entry in entries(name):
        assert re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==\S+ ", entry), entry
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_place_to_fetch_from(name: str):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"(?m)^\s*(-i|--index-url|--extra-index-url|-f|--find-links)\b", text)


def test_the_locks_hold_everything_asked_for_and_agree():
    run, develop = locked("requirements.txt"), locked("requirements-dev.txt")
    groups = PROJECT["dependency-groups"]
    assert wanted(PROJECT["project"]["dependencies"] + groups["build"]) <= set(run)
    assert wanted(groups["dev"] + PROJECT["project"]["optional-dependencies"]["otel"]) <= set(develop)
    assert run == {name: develop[name] for name in run}


def pinned(name: str) -> dict[str, Requirement]:
    """Package → what a lock file pins it to, where it is for this Python and system."""
    pins = [Requirement(entry.partition(" --hash")[0]) for entry in entries(name)]
    return {canonicalize_name(pin.name): pin for pin in pins if pin.marker is None or pin.marker.evaluate()}


def version_of(pin: Requirement) -> str:
    return str(pin.specifier).removeprefix("==")


def demands(package: Distribution, extras: set[str]) -> Iterator[Requirement]:
    """What a package, with these extras, needs on this Python and system."""
    for requirement in map(Requirement, package.requires or ()):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            yield requirement


def test_what_is_installed_is_what_is_locked():
    installed = {canonicalize_name(one.metadata["Name"]): one.version for one in distributions()}
    # pip comes with the virtual environment, and we are installed from here
    others = {"pip": installed.get("pip"), "sonobridge": PROJECT["project"]["version"]}
    locked_versions = {name: version_of(pin) for name, pin in pinned("requirements-dev.txt").items()}
    assert installed | others == locked_versions | others


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_needs_no_resolving_extras_included(name: str):
    pins = pinned(name)
    ours = Distribution.from_name("sonobridge")
    extras = {"otel"} if "dev" in name else set()
    wanting = [(ours, extras)] + [(distribution(pin.name), pin.extras) for pin in pins.values()]
    missing = [
        f"{package.metadata['Name']} needs {needed}"
        for package, with_extras in wanting
        for needed in demands(package, with_extras)
        if (pin := pins.get(canonicalize_name(needed.name))) is None
        or not needed.specifier.contains(version_of(pin), prereleases=True)
        or not needed.extras <= pin.extras
    ]
    assert missing == []


def test_everything_that_installs_a_lock_checks_hashes_and_resolves_nothing():
    for name in ("Makefile", "Dockerfile"):
        text = (ROOT / name).read_text(encoding="utf-8")
        installs = re.findall(r"pip install (.*) -r ", text)
        assert installs, name
        for options in installs:
            assert {"--no-deps", "--require-hashes"} <= set(options.split()), f"{name}: {options}"


def test_make_lists_its_targets():
    listing = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^  make (\S+)", listing, re.MULTILINE)
    assert {"demo", "test", "check", "lint", "types", "lock", "run", "peers", "browser", "clean"} <= set(
        targets
    )
    phony = re.findall(r"^\.PHONY: (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(targets) == sorted(phony), "a target without a line of help, or the other way round"


def test_scripts_are_sound_bash():
    for script in (".ci/run", ".ci/audit"):
        subprocess.run(["bash", "-n", script], cwd=ROOT, check=True)
        assert (ROOT / script).stat().st_mode & 0o111


def dockerfile() -> list[tuple[str, str]]:
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8")).replace(
        "\\\n", " "
    )
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    return [(line[0], line[1]) for line in lines]


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8")))


def test_the_image_runs_as_an_ordinary_user_and_needs_no_shell():
    stages = "\n".join(f"{word} {rest}" for word, rest in dockerfile()).split("FROM ")[1:]
    final = dict(line.split(None, 1) for line in stages[-1].splitlines()[1:])
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", final["USER"])
    assert json.loads(final["ENTRYPOINT"]) == ["sonobridge"]
    assert json.loads(final["CMD"])[0] == "serve"
    assert final["STOPSIGNAL"] == "SIGTERM"
    assert "--no-deps --require-hashes" in stages[0]
    assert "requirements.txt" in stages[0]


def test_the_image_copies_only_what_exists_and_what_is_not_ignored():
    passed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for word, rest in dockerfile():
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert source in passed, f"{source} is kept from the engine by .dockerignore"


def test_the_composition_has_every_part_in_the_order_they_need():
    services = compose()["services"]
    assert set(services) == {"postgres", "redis", "migrate", "api", "worker"}
    assert services["postgres"]["image"] == "postgres:18"
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    for name in ("api", "worker"):
        assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    for name in ("migrate", "api", "worker"):
        service = services[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["build"] == "."


def defaults_of(value: str) -> str:
    """A value of the composition where nothing is set: the defaults, of which one may hold another."""
    while (inner := re.sub(r"\$\{[^${}]*:-([^${}]*)\}", r"\1", value)) != value:
        value = inner
    return value


def test_the_composition_sets_variables_that_exist():
    known = {variable(field) for field in Settings.model_fields}
    given = compose()["services"]["api"]["environment"]
    assert set(given) <= known
    plain = {name: defaults_of(value) for name, value in given.items()}
    plain = {name: re.sub(r"\$\{POSTGRES_PASSWORD[^}]*\}", "secret", value) for name, value in plain.items()}
    key = subprocess.run(
        [sys.executable, "-c", "from app.config.sealing import new_key; print(new_key().get_secret_value())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    settings = load_settings(plain | {"SONOBRIDGE_SECRET_KEYS": key})
    assert settings.database_url.startswith("postgresql://sonobridge:secret@postgres/")


def deployed_commands() -> list[tuple[str, ...]]:
    """What the image and the composition have `sonobridge` do."""
    commands = [tuple(json.loads(rest)) for word, rest in dockerfile() if word == "CMD"]
    commands += [tuple(compose()["services"][name]["command"]) for name in ("migrate", "api", "worker")]
    return sorted(set(commands))


@pytest.mark.parametrize("command", deployed_commands(), ids=" ".join)
def test_the_command_line_has_what_is_deployed(command: tuple[str, ...]):
    done = subprocess.run(
        [sys.executable, "-c", "from app.cli import main; main()", command[0], "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for option in command[1:]:
        if option.startswith("--"):
            assert option in done.stdout, f"{command[0]} has no {option}"
