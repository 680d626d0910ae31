"""Rules on the source as a whole: who may import whom, what each file says of itself, what no file may name."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.imports import edges_of, modules_under, violations

ROOT = Path(__file__).parents[1]


def test_imports_point_downwards():
    modules = modules_under(ROOT)
    assert len(modules) > 50, "the reader found too few modules to mean anything"
    assert violations(modules) == []


def test_pages_and_admin_api_do_not_import_one_another():
    faces = {"app.web.admin", "app.web.api"}
    crossing = [
        edge
        for edge in edges_of(modules_under(ROOT))
        if {".".join(name.split(".")[:3]) for name in (edge.importer, edge.imported)} == faces
    ]
    assert crossing == []


def test_error_codes_are_snake_case():
    codes = {
        keyword.value.value: path
        for path in modules_under(ROOT).values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    }
    assert len(codes) > 50, "the reader found too few codes to mean anything"
    assert {
        code: path for code, path in codes.items() if not re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", code)
    } == {}


PLANTED = {
    "app/store/exams.py": ("from app.delivery import work", "goes up from floor 3 to 4"),
    "app/imaging/convert.py": ("import app.store.exams", "goes up from floor 1 to 3"),
    "app/clients/http/call.py": ("from ...resources import Resources", "goes up from floor 2 to 3"),
    "app/delivery/steps/fetch.py": ("from app.inbox.receive import receive", "do not import one another"),
    "app/web/pages.py": ("from workers import jobs", "nothing in app imports the workers"),
    "app/cli/demo.py": ("import sandbox.world", "know nothing of each other"),
    "sandbox/world.py": ("from app.errors import Misuse", "know nothing of each other"),
    "app/delivery/archive.py": ('ZIP = Named("app.store.zips", "zipped")', "names what is not there"),
    "app/delivery/staged.py": ('READ = Named("app.store.exams", "read")', "names what is not there"),
    "app/delivery/filing.py": ('PAGE = Named("app.web.pages", "page")', "goes up from floor 4 to 7"),
    "app/embedded/redis.py": ("from importlib import import_module", "imports by name"),
    "app/infrastructure/queue.py": ("def ring():\n    import json", "inside a function"),
    "app/novelty/thing.py": ("import json", "is on no floor"),
    "sandbox/server.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from sandbox.control import Control",
        "circle: sandbox.control → sandbox.server → sandbox.control",
    ),
    "app/config/settings.py": (
        "from app.config import sealing",
        "circle: app.config.sealing → app.config.settings → app.config.sealing",
    ),
}


@pytest.mark.parametrize("path", PLANTED)
def test_the_reader_catches_a_planted_breach(tmp_path: Path, path: str):
    sound = {
        "app/__init__.py": "",
        "app/config/sealing.py": "from app.config.settings import Settings",
        "app/config/settings.py": "",
        "app/inbox/receive.py": "from app.store import exams",
        "app/delivery/__init__.py": "",
        "app/delivery/work.py": "from app.store import exams\nfrom . import fetch",
        "app/delivery/steps/fetch.py": "",
        "app/store/__init__.py": "",
        "app/store/exams.py": "",
        "app/resources.py": "",
        "app/web/pages.py": "def page(): ...",
        "workers/jobs.py": "from app.delivery.work import run",
        "sandbox/world.py": "",
        "sandbox/control.py": "from sandbox.server import Sandbox",
        "sandbox/server.py": "",
    }
    breach, expected = PLANTED[path]
    for name, text in (sound | {path: breach}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = violations(modules_under(tmp_path))
    assert any(expected in line for line in found), found
    (tmp_path / path).write_text(sound.get(path, ""), encoding="utf-8")
    if path not in sound:
        (tmp_path / path).unlink()
    assert violations(modules_under(tmp_path)) == []


def test_every_source_file_says_why_it_exists():
    folders = ("app", "workers", "sandbox", "migrations", "tests", "bench")
    files = [
        path
        for path in tracked_files()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders
    ]
    assert len(files) > 50
    mute = [
        str(path.relative_to(ROOT))
        for path in files
        if path.stat().st_size and ast.get_docstring(ast.parse(path.read_text("utf-8"))) is None
    ]
    assert mute == []


UNWANTED = (
    # Written in pieces, so that this file does not name them either.
    re.compile("pypi" + r"\.org|pythonhosted" + r"\.org", re.IGNORECASE),
    re.compile("npmjs" + r"\.(org|com)|yarnpkg" + r"\.com", re.IGNORECASE),
    re.compile("debian" + r"\.(org|net)|deb\.nodesource", re.IGNORECASE),
    re.compile(r"/work" + r"/(main|shared|\.library)|/root" + r"/|/tmp" + r"/plan|/opt" + r"/(wheels|pypi)"),
)


def test_no_file_names_a_registry_or_a_path_of_somebodys_machine():
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # images and other binary data
        for pattern in UNWANTED:
            found += [f"{path.relative_to(ROOT)}: {match.group()}" for match in pattern.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "https://pypi" + ".org/simple",
        "files.pythonhosted" + ".org",
        "registry.npmjs" + ".org",
        "/root" + "/x",
    ],
)
def test_the_search_for_unwanted_names_finds_them(text: str):
    assert any(pattern.search(text) for pattern in UNWANTED)


def tracked_files() -> list[Path]:
    """What git would hand to somebody else."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]
