"""Finds, in the source, calls to a vendor that stand outside of an effect with kill points; imports nothing of it.

What counts as a call: a method of a client (`clarius()`, `aurabox(…)`, `uploader(…)`, … of the resources, or a
parameter annotated as a client), and any function imported from `app.clients` that is handed `….http`. A function
that makes calls without surrounding them is itself a call for those who use it within the file.
"""

import ast
from collections.abc import Callable
from pathlib import Path

SURROUNDING = {"effect", "calling", "_calling", "probing"}
MAKERS = {"clarius", "aurabox", "uploader", "dicomweb", "research"}
CLIENT_NAMES = ("Client", "Research")


def uncovered_calls(path: Path) -> list[str]:
    """Lines with a call to a vendor for which the file has no effect around it."""
    tree = ast.parse(path.read_text("utf-8"))
    functions = {
        node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    raw: set[str] = set()
    while True:
        found = {name: _bare_calls(node, raw, functions) for name, node in functions.items()}
        more = {name for name, lines in found.items() if lines} - raw
        if not more:
            break
        raw |= more
    used = {name for node in functions.values() for name in _called_names(node)}
    return [
        f"{path.name}:{line} {name}"
        for name, lines in found.items()
        for line in lines
        # a helper that is only ever used from within an effect is covered there
        if name not in used or not _is_covered_everywhere(name, functions, raw)
    ]


def points_missing(path: Path, points: frozenset[str]) -> list[str]:
    """Lines where a bare `calling` has not a registered point on both sides of what it surrounds.

    `Work.effect` itself builds its points' names, and a block that only raises calls nobody.
    """
    missing = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.AsyncWith) or _surrounds(node) not in {"calling", "_calling"}:
            continue
        if isinstance(node.body[0], ast.Raise) or any("{effect}" in ast.unparse(part) for part in node.body):
            continue
        named = [
            call.args[0].value
            for call in ast.walk(node)
            if isinstance(call, ast.Call)
            and ast.unparse(call.func) == "fault_point"
            and isinstance(call.args[0], ast.Constant)
        ]
        sides = {name.partition(":")[2].partition("_")[0] for name in named if name in points}
        if not sides >= {"before", "after"}:
            missing.append(f"{path.name}:{node.lineno}")
    return missing


def _is_covered_everywhere(
    name: str, functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef], raw: set[str]
) -> bool:
    """Whether each use of a helper is within an effect, or within another such helper."""
    for other, node in functions.items():
        if other != name and name in _called_names(node):
            bare = _walk(node, lambda call: _name_of(call) == name)
            if bare and (other not in raw or not _is_covered_everywhere(other, functions, raw - {name})):
                return False
    return any(name in _called_names(node) for other, node in functions.items() if other != name)


def _bare_calls(
    function: ast.FunctionDef | ast.AsyncFunctionDef,
    raw: set[str],
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef],
) -> list[int]:
    clients = _clients_in(function)

    def is_vendor_call(call: ast.Call) -> bool:
        if isinstance(call.func, ast.Attribute):
            owner = call.func.value
            if isinstance(owner, ast.Name) and owner.id in clients:
                return True
            return _makes_client(owner)
        name = _name_of(call)
        hands_http = any(ast.unparse(argument).endswith(".http") for argument in call.args)
        return hands_http or (name in raw and name in functions)

    return _walk(function, is_vendor_call)


def _walk(function: ast.AST, wanted: Callable[[ast.Call], bool]) -> list[int]:
    """Lines of the wanted calls that are within no effect, functions inside of functions left to themselves."""
    lines: list[int] = []

    def visit(node: ast.AST, covered: bool) -> None:
        inner = covered or (isinstance(node, ast.AsyncWith) and _surrounds(node) in SURROUNDING)
        if isinstance(node, ast.Call) and not covered and wanted(node):
            lines.append(node.lineno)
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                visit(child, inner)

    for child in ast.iter_child_nodes(function):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            visit(child, False)
    return lines


def _surrounds(node: ast.AsyncWith) -> str:
    for item in node.items:
        if isinstance(item.context_expr, ast.Call):
            name = ast.unparse(item.context_expr.func).rpartition(".")[2]
            if name in SURROUNDING:
                return name
    return ""


def _clients_in(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    names = {
        argument.arg
        for argument in [*function.args.args, *function.args.kwonlyargs]
        if argument.annotation is not None and ast.unparse(argument.annotation).endswith(CLIENT_NAMES)
    }
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and _makes_client(node.value):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def _makes_client(value: ast.AST) -> bool:
    if isinstance(value, ast.Await):
        value = value.value
    return (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Attribute)
        and value.func.attr in MAKERS
        and ast.unparse(value.func.value).endswith("resources")
    )


def _name_of(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _called_names(function: ast.AST) -> set[str]:
    return {_name_of(node) for node in ast.walk(function) if isinstance(node, ast.Call)} - {""}
