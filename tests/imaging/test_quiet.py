"""pydicom says nothing of the values it reads, by whichever file of ours it came."""

import ast
from pathlib import Path

from tests.support.imports import edges_of, modules_under

ROOT = Path(__file__).parents[2]
QUIET = "app.imaging.quiet"


def imports_pydicom(path: Path) -> bool:
    names = [
        name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    ]
    return any(name.split(".")[0] == "pydicom" for name in names)


def test_whatever_imports_pydicom_imports_what_keeps_it_quiet():
    modules = {name: path for name, path in modules_under(ROOT).items() if name.split(".")[0] == "app"}
    imported: dict[str, set[str]] = {}
    for edge in edges_of(modules):
        imported.setdefault(edge.importer, set()).add(edge.imported)

    def reached(name: str) -> set[str]:
        seen, todo = set(), [name]
        while todo:
            for following in imported.get(todo.pop(), set()) - seen:
                seen.add(following)
                todo.append(following)
        return seen

    users = [name for name, path in modules.items() if imports_pydicom(path) and name != QUIET]
    assert len(users) > 10, "the reader found too few modules to mean anything"
    assert [name for name in users if QUIET not in reached(name)] == []
