"""What is pointed at exists: documents and headings, every test that docs/faults.md names, each row of its matrix, each invariant."""

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FAULTS = (ROOT / "docs/faults.md").read_text("utf-8")
ROWS = 50
INVARIANTS = 13
NAMED = re.compile(r"`(tests/[\w/]+\.py)?::(\w+)`")
LINE = re.compile(r"^\| ([^|]*) \|(.*)\|$", re.MULTILINE)
NUMBER = re.compile(r"\d+")
FIXED_BY_REVIEW = range(1, 38)


def section(heading: str) -> str:
    """The text below a heading, up to the next."""
    return FAULTS.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def named_in(text: str) -> list[tuple[str, str]]:
    """(file, test) of every test named, of which a file may be left out that is the one before it."""
    found: list[tuple[str, str]] = []
    for file, test in NAMED.findall(text):
        found.append((file or found[-1][0], test))
    return found


@cache
def functions_of(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def lines_of(heading: str) -> list[tuple[str, str]]:
    """The lines of a section's table: the first cell and all the others."""
    return [
        (first, rest) for first, rest in LINE.findall(section(heading)) if set(first) not in ({"-"}, {"#"})
    ]


@pytest.mark.parametrize(("file", "test"), sorted(set(named_in(FAULTS))), ids=lambda value: value)
def test_every_test_that_is_named_exists(file: str, test: str) -> None:
    assert (ROOT / file).is_file(), file
    assert test in functions_of(file), f"{file} has no {test}"


def test_every_row_and_every_invariant_is_there_once_and_is_shown_somewhere() -> None:
    rows = lines_of("The fault matrix")
    assert [first for first, _ in rows] == [str(number) for number in range(1, ROWS + 1)]
    assert [first for first, rest in rows if not named_in(rest)] == []
    invariants = lines_of("The invariants")
    assert [first for first, _ in invariants] == [f"I{number}" for number in range(1, INVARIANTS + 1)]
    assert [first for first, rest in invariants if not named_in(rest)] == []


def test_every_defect_says_where_it_is_shown() -> None:
    defects = lines_of("Defects that were found and mended")
    assert [(first, rest[:60]) for first, rest in defects if not named_in(rest)] == []
    numbers = {int(first) for first, _ in defects if NUMBER.fullmatch(first)}
    assert numbers == set(FIXED_BY_REVIEW)
    doubled = [rest for _, rest in defects if sum(other == rest for _, other in defects) > 1]
    assert doubled == []


def rows_marked(file: str) -> set[tuple[str, str, str]]:
    """(row, file, test) for each number in a test's `pytest.mark.row(…)`."""
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return {
        (ast.unparse(number), file, node.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for mark in node.decorator_list
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.row"
        for number in mark.args
    }


def test_each_row_names_the_tests_that_carry_its_mark_and_no_others() -> None:
    files = (path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py"))
    marked = set().union(*(rows_marked(file) for file in files))
    named = {(row, *test) for row, rest in lines_of("The fault matrix") for test in named_in(rest)}
    assert sorted(marked - named) == [], "marked, and the row does not name it"
    assert sorted(named - marked) == [], "named in a row, and without its mark"


POINTED = re.compile(r'(?<![\w/.-])((?:[\w.-]+/)*[\w-]+\.md)(?!\w)(?:[,:]? "([^"\n]+)")?')
SOURCES = ("*.py", "*.md", "*.yml", "*.toml", "Makefile", ".ci/*", "deploy/*", "tests/support/*/install")


@cache
def tracked(*patterns: str) -> tuple[str, ...]:
    listed = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return tuple(listed.stdout.split())


def test_every_document_and_heading_that_is_pointed_at_exists() -> None:
    files, lost = set(tracked()), []
    for source in tracked(*SOURCES):
        for page, heading in POINTED.findall((ROOT / source).read_text("utf-8")):
            near = (Path(source).parent / page).as_posix()
            found = next((one for one in (page, near) if one in files), None)
            if found is None:
                lost.append(f"{source}: {page}")
            elif heading and f"# {heading}\n" not in (ROOT / found).read_text("utf-8"):
                lost.append(f"{source}: {page} has no heading {heading!r}")
    assert lost == []
