"""Reads the imports of source files as edges between modules; must not import what it reads.

`Named("module", "attribute")` (`app.named`) is read as the import that it is, only later.
"""

import ast
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import TypeGuard

FLOORS: dict[str, int] = {
    "app.main": 8,
    "app.web": 7,
    "app.cli": 7,
    "workers": 7,
    "app.upkeep": 6,
    "app.linking": 5,
    "app.people": 5,
    "app.consoles": 5,
    "app.delivery": 4,
    "app.organizations": 4,
    "app.inbox": 4,
    "app.store": 3,
    "app.opening": 3,
    "app.resources": 3,
    "app.upstreams": 3,
    "app.clients": 2,
    "app.states": 2,
    "app.imaging": 1,
    "app.infrastructure": 1,
    "app.config": 1,
    "app.embedded": 1,
    "app.observing": 1,
    "app.errors": 1,
    "app.accounts": 1,
    "app.faultpoints": 1,
    "app.named": 1,
    "app": 0,
}
"""Part → floor, as the architecture page has it; `app` itself holds the version and nothing else."""

SIBLINGS = ({"app.delivery", "app.organizations", "app.inbox"}, {"app.linking", "app.consoles"})
"""Parts of one floor that do not import one another."""

OURS = ("app", "workers", "sandbox")

BY_NAME = "app.named"
"""The one module that imports by name what others name there."""


NOTHING = "(nothing)"


@dataclass(frozen=True)
class Edge:
    """One import: which module imports which, and where; `deferred` is one inside a function."""

    importer: str
    imported: str
    place: str
    deferred: bool


def modules_under(root: Path) -> dict[str, Path]:
    """Every module of our packages: dotted name → file."""
    found = {}
    for package in OURS:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def edges_of(modules: dict[str, Path]) -> list[Edge]:
    """Every import of one of our modules by one of our modules."""
    edges = []
    for name, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        inside = _below(tree, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                edges += [
                    Edge(name, target, f"{path.name}:{node.lineno}", node in inside)
                    for target in _targets(node, name, path, modules)
                    if target.split(".")[0] in OURS or node in inside
                ]
            elif _is_call_of(node, "Named"):
                edges.append(Edge(name, _named(node, modules), f"{path.name}:{node.lineno}", deferred=False))
    return edges


def _is_call_of(node: ast.AST, name: str) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _named(call: ast.Call, modules: dict[str, Path]) -> str:
    """The module that a `Named` names; the text NOTHING when that module or its attribute can't be read or found."""
    match call.args:
        case [ast.Constant(value=str(module)), ast.Constant(value=str(attribute))] if module in modules:
            body = ast.parse(modules[module].read_text(encoding="utf-8")).body
            if any(attribute in _bound_by(statement) for statement in body):
                return module
    return NOTHING


def _bound_by(statement: ast.stmt) -> set[str]:
    """The names that a statement of a module's own level gives to something."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Assign(targets=targets):
            return {target.id for target in targets if isinstance(target, ast.Name)}
    return set()


def _imports_by_name(path: Path) -> list[int]:
    """The lines on which a file takes hold of what imports by name."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(alias.name == "importlib" for alias in node.names))
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "importlib"
            and any(alias.name == "import_module" for alias in node.names)
        )
        or _is_call_of(node, "__import__")
    ]


def _below(tree: ast.AST, kinds: type[ast.AST] | UnionType) -> set[ast.AST]:
    """Every node inside a node of these kinds."""
    return {
        child
        for node in ast.walk(tree)
        if isinstance(node, kinds)
        for child in ast.walk(node)
        if child is not node
    }


def part_of(module: str) -> str:
    """The part of the building a module belongs to: `app.store.exams` → `app.store`."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "app" else parts[0]


def violations(modules: dict[str, Path]) -> list[str]:
    """Every breach of the rules on imports, one readable line each."""
    edges = edges_of(modules)
    lines = [
        f"{part_of(name)}: is on no floor; give it one"
        for name in modules
        if part_of(name) not in FLOORS | {"sandbox": 0}
    ]
    lines += [
        f"{name} ({path.name}:{line}): imports by name; {BY_NAME} does that"
        for name, path in modules.items()
        if name != BY_NAME
        for line in _imports_by_name(path)
    ]
    for edge in edges:
        source, target = part_of(edge.importer), part_of(edge.imported)
        where = f"{edge.importer} ({edge.place}) imports {edge.imported}"
        if edge.imported == NOTHING:
            lines.append(f"{edge.importer} ({edge.place}) names what is not there")
            continue
        if edge.deferred:
            lines.append(f"{where}: inside a function")
        if edge.imported.split(".")[0] not in OURS or source == target:
            continue
        if "sandbox" in (source, target):
            lines.append(f"{where}: the sandbox and the product know nothing of each other")
        elif edge.imported.split(".")[0] == "workers":
            lines.append(f"{where}: nothing in app imports the workers")
        elif any({source, target} <= rooms for rooms in SIBLINGS):
            lines.append(f"{where}: these parts do not import one another")
        elif source in FLOORS and FLOORS.get(target, 0) > FLOORS[source]:
            lines.append(f"{where}: goes up from floor {FLOORS[source]} to {FLOORS[target]}")
    return sorted(set(lines)) + _circles(edges)


def _circles(edges: list[Edge]) -> list[str]:
    """Circles between parts, and between modules; one that only the type checker follows is one too."""
    parts = {(part_of(edge.importer), part_of(edge.imported)) for edge in edges}
    modules = {(edge.importer, edge.imported) for edge in edges}
    lines = []
    for pairs in (parts, modules):
        graph: dict[str, set[str]] = {}
        for source, target in pairs:
            if source != target and target.split(".")[0] in OURS:
                graph.setdefault(source, set()).add(target)
        circle = _find_circle(graph)
        if circle:
            lines.append(f"circle: {' → '.join(circle)}")
    return lines


def _find_circle(graph: dict[str, set[str]]) -> list[str]:
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for following in sorted(graph.get(node, ())):
            circle = walk(following, [*path, node])
            if circle:
                return circle
        done.add(node)
        return []

    for start in sorted(graph):
        circle = walk(start, [])
        if circle:
            return circle
    return []


def _targets(
    node: ast.Import | ast.ImportFrom, importer: str, path: Path, modules: dict[str, Path]
) -> list[str]:
    """The modules an import statement names; `from app.store import exams` names app.store.exams if that is one."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        package = importer.split(".") if path.name == "__init__.py" else importer.split(".")[:-1]
        package = package[: len(package) - node.level + 1]
        base = ".".join([*package, base] if base else package)
    return [f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else base for alias in node.names]
