"""If these fail, a step of a pipeline dies on a cluster with ModuleNotFoundError, after its image was pulled."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
INSTALLED = "/opt/orrery/"
PROGRAMS = [  # what runs in an image besides the shells and the command line
    ("data", "from components.store.access import set_up"),
    ("serving", "from pipelines.commands.serve import serve"),
    ("serving", "from components.release.triton_model import *"),
    ("rollout", "from components.language.sampling import sample_to"),
    ("trainer", "from components.training.worker import main"),
    ("trainer", "from components.launcher.node import main"),
]

COMMAND_LINE_WITHOUT = """
import json, sys
from importlib.metadata import packages_distributions
held, arguments = map(json.loads, sys.argv[1:])
owners = {top: {d.lower().replace("_", "-") for d in names} for top, names in packages_distributions().items()}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if "." not in name and name in owners and not owners[name] & {*held, "orrery"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from pipelines.cli import main
main(arguments)
"""
"""`orrery` where only the distributions of a lock can be imported."""


def shells() -> dict[str, tuple[str, ast.FunctionDef]]:
    """The image and the body of every KFP component, by name."""
    found = {}
    for file in sorted(ROOT.glob("components/*/component.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                [decorator] = node.decorator_list
                assert isinstance(decorator, ast.Call)
                found[node.name] = (ast.literal_eval(_base_image(decorator)), node)
    return found


def _base_image(decorator: ast.Call) -> ast.expr:
    """`"data"` of `@dsl.component(base_image=image("data"))`."""
    [value] = [k.value for k in decorator.keywords if k.arg == "base_image"]
    assert isinstance(value, ast.Call), "the image is named through components.images"
    return value.args[0]


SHELLS = shells()


@pytest.fixture(scope="session")
def imports() -> ModuleType:
    spec = importlib.util.spec_from_file_location("orrery_test_imports", HERE / "imports.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("component", SHELLS)
def test_a_component_finds_what_it_imports_in_its_image(
    component: str, imports: ModuleType, locked: Callable[[str], dict[str, str]]
) -> None:
    image, body = SHELLS[component]
    _, needed = imports.reached(body)
    missing = {d: f"imported by {m}" for d, m in needed.items() if d not in locked(image)}
    assert not missing, f"{component} runs in the image {image!r}, whose lock lacks these"


@pytest.mark.parametrize(("image", "program"), PROGRAMS)
def test_a_program_finds_what_it_imports_in_its_image(
    image: str, program: str, imports: ModuleType, locked: Callable[[str], dict[str, str]]
) -> None:
    _, needed = imports.reached(ast.parse(program))
    missing = {d: f"imported by {m}" for d, m in needed.items() if d not in locked(image)}
    assert not missing, f"the lock of {image!r} lacks these"


@pytest.mark.parametrize("arguments", [["--help"], ["runs", "list", "--help"]])
def test_the_command_line_starts_in_every_image(
    arguments: list[str], image_name: str, locked: Callable[[str], dict[str, str]]
) -> None:
    """An image's own command; a verb imports its engines when it is called."""
    command = [sys.executable, "-c", COMMAND_LINE_WITHOUT, json.dumps(sorted(locked(image_name)))]
    command.append(json.dumps(arguments))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage: orrery" in done.stdout


def test_the_walk_sees_what_it_should(imports: ModuleType) -> None:
    """Breaks if the two tests above had nothing to compare."""
    reached, needed = imports.reached(SHELLS["ge_base_stage1"][1])
    assert {"torch", "deepspeed", "diffusers"} <= needed.keys(), "imports of the worker that torchrun starts by name"
    assert {"components.training.worker", "components.ge_base.train"} <= reached
    assert "mujoco" in imports.reached(SHELLS["robots_record"][1])[1]
    assert "tritonclient" in imports.reached(SHELLS["release_check"][1])[1]


def test_recording_and_intake_do_without_torch(imports: ModuleType, locked: Callable[[str], dict[str, str]]) -> None:
    """Breaks if the small image grew by gigabytes."""
    assert "torch" not in locked("data")
    assert not [name for name in locked("data") if name.startswith("nvidia-")]


def test_the_source_files_are_copied(
    image_name: str, imports: ModuleType, dockerfile: Callable[..., list[tuple[str, str]]],
    in_context: Callable[[str], bool],
) -> None:  # fmt: skip
    """Code, and the data files beside it, reach /opt/orrery at the place that imports them."""
    copies = [rest.split() for keyword, rest in dockerfile(image_name) if keyword == "COPY" and "--from" not in rest]
    folders = {copy[0] for copy in copies if len(copy) == 2 and copy[1] == INSTALLED + copy[0]}
    assert folders >= {"components", "data_contracts", "pipelines", "images/images.json"}
    code = [path for package in imports.PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    wanted = [path.relative_to(ROOT) for path in code if "__pycache__" not in path.parts]
    lost = [str(path) for path in wanted if not in_context(path.as_posix())]
    assert not lost, ".dockerignore keeps these out of the images"
    bodies = [body for image, body in SHELLS.values() if image == image_name]
    modules = {module for body in bodies for module in imports.reached(body)[0]}
    files = {imports.source(module).relative_to(ROOT) for module in modules}
    assert {file.parts[0] for file in files} <= folders
