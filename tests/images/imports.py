"""What a function of the project imports when it runs, read from the source: which distributions its image must hold.

The walk goes by definitions, not by files: a stage module may hold one stage that needs Triton's client and three that
do not, and each runs in its own image.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("components", "data_contracts", "pipelines")
DISTRIBUTION = {
    "OpenGL": "pyopengl",
    "PIL": "pillow",
    "google": "protobuf",
    "grpc": "grpcio",
    "yaml": "pyyaml",
}  # where it differs from the import's name
PROVIDED = {"triton_python_backend_utils"}  # by Triton's Python backend, in no package
NAMED = re.compile(r"(components|pipelines)(\.\w+)+(:\w+)?")

Definition = tuple[str, str]
"""(module, name at its top level); the name is empty for what runs when the module is imported."""


def source(module: str) -> Path | None:
    """The file of one of the project's modules; None if there is no such module."""
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def _module(module: str) -> tuple[dict[str, ast.AST], list[ast.AST]]:
    """A module's functions by name, and every other statement: those run at import, or whenever the module is used.

    Classes count among the latter: which of their methods is called can't be read from the source.
    """
    file = source(module)
    assert file is not None
    functions: dict[str, ast.AST] = {}
    rest: list[ast.AST] = []
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions[node.name] = node
        else:
            rest.append(node)
    return functions, rest


def imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    """(module, name) of each import below `node`, inside functions too; `TYPE_CHECKING` blocks left out."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, "*") for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert not node.level, "relative imports are not used here"
        assert node.module
        yield from ((node.module, alias.name) for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and NAMED.fullmatch(node.value):
        module, _, name = node.value.partition(":")  # run by name: `-m components.training.worker`, a job's entry
        if source(module):
            yield module, name or "*"
    children = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        children = iter(node.orelse)
    for child in children:
        yield from imported(child)


def _names(node: ast.AST) -> set[str]:
    """Names that a definition uses and that are not its own parameters."""
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    own = {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)} if isinstance(node, ast.FunctionDef) else set()
    return names - own


def reached(start: ast.AST) -> tuple[set[str], dict[str, str]]:
    """The project's modules that running `start` can import, and `{distribution: a module that imports it}`."""
    seen: set[Definition] = set()
    needed: dict[str, str] = {}
    waiting = list(_definitions(imported(start), "a shell", needed))
    while waiting:
        definition = waiting.pop()
        if definition in seen or source(definition[0]) is None:
            continue
        seen.add(definition)
        module, name = definition
        functions, rest = _module(module)
        nodes = [functions[name]] if name in functions else rest if not name else list(functions.values())
        for node in nodes:
            waiting += _definitions(imported(node), module, needed)
            waiting += [(module, used) for used in _names(node) if used in functions]
        waiting.append((module, ""))
        if "." in module:
            waiting.append((module.rpartition(".")[0], ""))
    return {module for module, _ in seen}, needed


def _definitions(found: Iterator[tuple[str, str]], module: str, needed: dict[str, str]) -> Iterator[Definition]:
    """The project's definitions among the imports; the distributions of the others go into `needed`."""
    for target, name in found:
        top = target.split(".")[0]
        if top in PACKAGES:
            if source(f"{target}.{name}"):
                yield f"{target}.{name}", "*"
            else:
                known = name in _module(target)[0] if source(target) else False
                yield target, name if known or name == "*" else ""
        elif top not in sys.stdlib_module_names and top not in PROVIDED:
            needed.setdefault(DISTRIBUTION.get(top, top).lower().replace("_", "-"), module)
